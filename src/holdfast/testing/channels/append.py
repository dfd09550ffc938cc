"""Appending: offsets without holes, one epoch a log, and ids that are stored once."""

from __future__ import annotations

import re

from holdfast.channels.driver import Append, Appended, Entry, Erase, Log
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import HOUR, Subject, body, offsets

__all__ = ["AppendCases"]


class AppendCases(SuiteCore):
    """`Append`, without retention."""

    @case
    async def test_a_message_comes_back_as_it_was_said(self, s: Subject) -> None:
        before = s.wall()
        said = await s.do(Append("room", "new_message", b'{"name": "Ada", "message": "hi"}', id="a1"))
        after = s.wall()
        assert (said.offset, said.repeated) == (1, False)
        assert before - s.skew <= said.at <= after + s.skew, f"said at {said.at}, not {before} to {after}"
        log = await s.log("room")
        text = '{"name": "Ada", "message": "hi"}'
        entry = Entry(1, "a1", "new_message", text, said.at, None)
        assert log == Log(said.epoch, 1, 0, [entry])

    @case
    async def test_offsets_count_from_one_without_holes(self, s: Subject) -> None:
        said = [await s.say("room", number) for number in range(5)]
        said += await s.fill("room", 20)
        said += [await s.say("room", number) for number in range(5)]
        assert [each.offset for each in said] == list(range(1, 31))
        assert not any(each.repeated for each in said)
        log = await s.log("room")
        assert offsets(log) == list(range(1, 31))
        assert (log.last, log.trimmed) == (30, 0)

    @case
    async def test_a_log_has_one_epoch_and_every_log_another(self, s: Subject) -> None:
        said = [await s.say(room, 1) for room in ("a", "b", "a", "c", "b")]
        said += await s.batch(*(Append(room, "said", body(2)) for room in ("c", "a", "d")))
        rooms = "abacbcad"
        epochs = {room: each.epoch for room, each in zip(rooms, said, strict=True)}
        assert [each.epoch for each in said] == [epochs[room] for room in rooms]
        assert len(set(epochs.values())) == 4, f"logs share an epoch: {epochs}"
        for epoch in epochs.values():
            assert re.fullmatch(r"[0-9A-Za-z]{1,16}", epoch), f"{epoch!r} is no epoch"
        for room, epoch in epochs.items():
            assert (await s.log(room)).epoch == epoch

    @case
    async def test_messages_keep_the_order_in_which_they_stand_in_the_batch(self, s: Subject) -> None:
        await s.fill("room", 100)
        log = await s.log("room")
        assert [entry.payload for entry in log.entries] == [body(n).decode() for n in range(1, 101)]

    @case
    async def test_a_batch_may_write_to_many_topics(self, s: Subject) -> None:
        rooms = [f"room{number % 7}" for number in range(50)]
        said = await s.batch(*(Append(room, "said", body(at)) for at, room in enumerate(rooms)))
        counts: dict[str, int] = {}
        for room, each in zip(rooms, said, strict=True):
            counts[room] = counts.get(room, 0) + 1
            assert each.offset == counts[room]
        for room, count in counts.items():
            log = await s.log(room)
            assert (log.last, len(log.entries)) == (count, count)
            wanted = [body(at).decode() for at, each in enumerate(rooms) if each == room]
            assert [entry.payload for entry in log.entries] == wanted

    @case
    async def test_times_do_not_run_backwards_within_a_log(self, s: Subject) -> None:
        said = [*await s.fill("room", 5), await s.say("room"), *await s.fill("room", 5)]
        times = [each.at for each in said]
        assert times == sorted(times) or s.driver.traits.clock == "server", times
        assert times == [entry.at for entry in (await s.log("room")).entries]

    @case
    async def test_an_import_says_when_it_was_said(self, s: Subject) -> None:
        then = (0, 1, 946_684_800_123, s.wall() - HOUR)
        said = await s.batch(*(Append("room", "said", body(at), at=at) for at in then))
        assert [each.at for each in said] == list(then)
        assert [entry.at for entry in (await s.log("room")).entries] == list(then)
        now = await s.say("room")
        assert abs(now.at - s.wall()) <= s.skew + 10_000, "the import's time was taken for the next one's"

    # --- ids ---

    @case
    async def test_an_id_is_stored_once(self, s: Subject) -> None:
        first = await s.say("room", "first", id="x")
        await s.say("room", "between")
        again = await s.say("room", "second", id="x")
        assert (again.offset, again.epoch, again.at) == (first.offset, first.epoch, first.at)
        assert again.repeated is True
        assert first.repeated is False
        log = await s.log("room")
        assert [entry.payload for entry in log.entries] == ['{"message":"first"}', '{"message":"between"}']
        assert log.last == 2
        assert (await s.say("room")).offset == 3, "the repeated message took an offset"

    @case
    async def test_an_id_is_stored_once_within_a_batch(self, s: Subject) -> None:
        ids = ["x", "y", "x", None, "x", "y", None, "z"]
        said = await s.batch(*(Append("room", "said", body(at), id=id) for at, id in enumerate(ids)))
        assert [(each.offset, each.repeated) for each in said] == [
            *((1, False), (2, False), (1, True), (3, False)),
            *((1, True), (2, True), (4, False), (5, False)),
        ]
        assert [each.at for each in said[2:5:2]] == [said[0].at] * 2
        log = await s.log("room")
        assert [entry.id for entry in log.entries] == ["x", "y", None, None, "z"]
        assert [entry.payload for entry in log.entries] == [body(at).decode() for at in (0, 1, 3, 6, 7)]

    @case
    async def test_an_id_belongs_to_its_topic(self, s: Subject) -> None:
        await s.say("elsewhere", 1)
        one = await s.say("a", 1, id="x")
        two = await s.say("b", 2, id="x")
        three, four = await s.batch(
            Append("c", "said", body(3), id="x"), Append("elsewhere", "said", body(4), id="x")
        )
        assert [each.repeated for each in (one, two, three, four)] == [False] * 4
        assert [each.offset for each in (one, two, three, four)] == [1, 1, 1, 2]

    @case
    async def test_messages_without_an_id_are_never_taken_for_each_other(self, s: Subject) -> None:
        said = [await s.say("room", "same") for _ in range(3)]
        said += await s.batch(*[Append("room", "said", body("same"))] * 3)
        assert [(each.offset, each.repeated) for each in said] == [(n, False) for n in range(1, 7)]

    @case
    async def test_the_id_of_an_erased_message_is_still_taken(self, s: Subject) -> None:
        first = await s.say("room", "first", id="x")
        await s.do(Erase("room", id="x"))
        again = await s.say("room", "second", id="x")
        assert (again.offset, again.repeated) == (first.offset, True)
        log = await s.log("room", changes_after=0)
        assert [entry.payload for entry in log.entries] == [None]
        assert log.last == 2

    @case
    async def test_a_repeated_message_trims_and_changes_nothing(self, s: Subject) -> None:
        await s.fill("room", 60)
        named = await s.say("room", "named", id="x")
        again: Appended = await s.do(
            Append("room", "other", body("again"), id="x", max_messages=1, at=5, max_age=1)
        )
        assert (again.offset, again.at, again.repeated) == (61, named.at, True)
        log = await s.log("room")
        assert (log.last, log.trimmed, len(log.entries)) == (61, 0, 61)
        assert (log.entries[-1].event, log.entries[-1].payload) == ("said", '{"message":"named"}')
