"""What retention takes away and what it leaves; forgetting a whole log."""

from __future__ import annotations

from holdfast.channels.driver import Append, Clear, Edit, Erase, Find, Log, Trim
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import HOUR, SHORT, Subject, body, offsets

__all__ = ["RetentionCases"]


def slack(most: int) -> int:
    """How many may stay above `max_messages`."""
    return max(16, -(-most // 8))


class RetentionCases(SuiteCore):
    """`max_messages` and `max_age` of `Append`, `Trim`, `Clear`."""

    # --- as messages come ---

    @case
    async def test_the_newest_stay_and_not_many_more(self, s: Subject) -> None:
        for room, most, steps in (
            ("one", 1, (1, 1, 30, 7)),
            ("ten", 10, (9, 1, 1, 60)),
            ("200", 200, (300,)),
        ):
            told = 0
            for count in steps:
                await s.all(
                    Append(room, "said", body(told + at), max_messages=most) for at in range(1, count + 1)
                )
                told += count
                log = await s.log(room)
                kept = offsets(log)
                assert kept == list(range(log.trimmed + 1, told + 1)), f"{room}: {log.trimmed}, {kept}"
                assert min(told, most) <= len(kept) <= most + slack(most), (
                    f"{room}: {len(kept)} of {told} stay"
                )
                assert log.entries[0].payload == body(kept[0]).decode()

    @case
    async def test_a_steady_room_stays_within_its_bounds(self, s: Subject) -> None:
        for number in range(1, 50):
            await s.say("room", number, max_messages=3)
            log = await s.log("room")
            assert offsets(log) == list(range(log.trimmed + 1, number + 1))
            assert min(number, 3) <= len(log.entries) <= 3 + slack(3)
        assert (await s.log("room")).trimmed > 0

    @case
    async def test_edits_do_not_push_messages_out(self, s: Subject) -> None:
        for number in range(10):
            await s.say("room", number, id=f"{number}", max_messages=10)
        for turn in range(40):
            await s.do(Edit("room", body(turn), id="4"))
        await s.say("room", "last", max_messages=10)
        log = await s.log("room")
        assert offsets(log)[-10:] == [*range(2, 11), 51], "offsets of edits were counted as messages"
        assert log.trimmed <= 1

    @case
    async def test_without_a_retention_everything_stays(self, s: Subject) -> None:
        await s.fill("room", 300)
        log = await s.log("room")
        assert (len(log.entries), log.trimmed) == (300, 0)

    @case
    async def test_what_is_young_enough_stays(self, s: Subject) -> None:
        old = s.wall() - 3 * HOUR
        await s.batch(*(Append("room", "said", body(at), at=old + at) for at in range(5)))
        await s.batch(*(Append("room", "said", body(at), at=s.wall(), max_age=2 * HOUR) for at in range(5)))
        log = await s.log("room")
        assert set(range(6, 11)) <= set(offsets(log)), "what is younger went"
        assert offsets(log) == list(range(log.trimmed + 1, 11))
        await s.batch(*(Append("young", "said", body(at), max_age=HOUR) for at in range(50)))
        assert len((await s.log("young")).entries) == 50

    # --- exactly ---

    @case
    async def test_a_trim_leaves_exactly_the_newest(self, s: Subject) -> None:
        await s.fill("room", 20)
        assert await s.do(Trim("room", 30, None)) == 0
        assert await s.do(Trim("room", 20, None)) == 0
        assert (await s.log("room")).trimmed == 0
        assert await s.do(Trim("room", 7, None)) == 13
        log = await s.log("room")
        assert (log.last, log.trimmed, offsets(log)) == (20, 13, list(range(14, 21)))
        assert await s.do(Trim("room", 7, None)) == 0
        assert await s.do(Trim("room", None, None)) == 0
        assert await s.do(Trim("absent", 1, 1)) == 0
        assert (await s.log("absent")).epoch is None, "a trim began a log"

    @case
    async def test_a_trim_by_age_leaves_exactly_the_young(self, s: Subject) -> None:
        now = s.wall()
        ages = (9, 8, 7, 5, 3, 1)
        await s.batch(*(Append("room", "said", body(hours), at=now - hours * HOUR) for hours in ages))
        assert await s.do(Trim("room", None, 10 * HOUR)) == 0
        assert await s.do(Trim("room", None, 6 * HOUR)) == 3
        log = await s.log("room")
        assert (log.trimmed, offsets(log)) == (3, [4, 5, 6])
        assert await s.do(Trim("room", 2, 6 * HOUR)) == 1, "what is too many goes, however young"
        assert await s.do(Trim("room", 2, 2 * HOUR)) == 1, "what is too old goes, however few there are"
        assert offsets(await s.log("room")) == [6]

    @case
    async def test_age_is_counted_in_milliseconds(self, s: Subject) -> None:
        await s.fill("room", 3)
        await s.pass_time(SHORT)
        await s.say("room", "young")
        assert await s.do(Trim("room", None, HOUR)) == 0
        gone = await s.do(Trim("room", None, SHORT))
        log = await s.log("room")
        if s.clock is not None or log.entries:  # a slow machine may have made the young one old
            assert (gone, offsets(log)) == (3, [4])

    @case
    async def test_a_log_that_was_trimmed_empty_goes_on_where_it_was(self, s: Subject) -> None:
        said = (await s.fill("room", 5))[0]
        assert await s.do(Trim("room", 0, None)) == 5
        assert await s.log("room") == Log(said.epoch, 5, 5, [])
        assert await s.log("room", changes_after=0) == Log(said.epoch, 5, 5, [])
        following = await s.say("room")
        assert (following.offset, following.epoch) == (6, said.epoch)
        assert offsets(await s.log("room")) == [6]

    @case
    async def test_trimmed_tells_the_newest_that_went(self, s: Subject) -> None:
        for number in range(6):
            await s.say("room", number, id=f"{number}")
        await s.do(Edit("room", b"{}", id="1"))  # 7
        await s.do(Erase("room", id="2"))  # 8
        await s.fill("room", 4)  # 9 to 12
        assert await s.do(Trim("room", 6, None)) == 4, "erased ones are messages too"
        log = await s.log("room", changes_after=0)
        assert (log.last, log.trimmed, offsets(log)) == (12, 4, [5, 6, 9, 10, 11, 12])
        assert await s.do(Trim("room", 4, None)) == 2
        log = await s.log("room", changes_after=0)
        assert 6 <= log.trimmed < 9, f"{log.trimmed}: message 6 went, 9 is there"
        assert offsets(log) == [9, 10, 11, 12]

    @case
    async def test_what_was_trimmed_is_found_no_more_and_its_id_is_free(self, s: Subject) -> None:
        first = await s.say("room", "first", id="x")
        await s.say("room", "erased", id="y")
        await s.do(Erase("room", id="y"))
        await s.fill("room", 2)
        assert await s.do(Trim("room", 2, None)) == 2
        for op in (
            Find("room", id="x"),
            Find("room", offset=1, epoch=first.epoch),
            Edit("room", b"{}", id="x"),
            Erase("room", id="y"),
            Edit("room", b"{}", offset=1, epoch=first.epoch),
        ):
            assert await s.do(op) is None, f"{op} found what was trimmed"
        for id in ("x", "y"):
            again = await s.say("room", "again", id=id)
            assert (again.repeated, again.epoch) == (False, first.epoch)
        log = await s.log("room")
        assert (offsets(log), log.last) == ([4, 5, 6, 7], 7)

    @case
    async def test_a_trim_takes_the_changes_with_it(self, s: Subject) -> None:
        for number in range(4):
            await s.say("room", number, id=f"{number}")
        await s.do(Edit("room", b"{}", id="0"))
        await s.do(Edit("room", b"{}", id="3"))
        assert await s.do(Trim("room", 2, None)) == 2
        assert offsets(await s.log("room", changes_after=0)) == [3, 4]
        assert offsets(await s.log("room", changes_after=4)) == [4]

    @case
    async def test_retention_of_one_topic_leaves_the_others_alone(self, s: Subject) -> None:
        for room in ("a", "A", "b"):
            await s.fill(room, 40)
        await s.do(Trim("a", 3, None))
        await s.say("b", max_messages=5)
        assert [len((await s.log(room)).entries) for room in ("a", "A")] == [3, 40]
        assert [(await s.log(room)).trimmed > 0 for room in ("a", "A", "b")] == [True, False, True]

    # --- all of it ---

    @case
    async def test_a_cleared_log_is_gone_and_the_next_begins_anew(self, s: Subject) -> None:
        old = await s.say("room", "old", id="x")
        await s.fill("room", 4)
        await s.do(Trim("room", 3, None))
        await s.say("other")
        assert await s.do(Clear("room")) is True
        for where in ({}, {"changes_after": 0}, {"after": 0}, {"before": 9}):
            assert await s.log("room", **where) == Log(None, 0, 0, [])
        assert [topic.key for topic in await s.topics()] == ["other"]
        assert await s.do(Find("room", id="x")) is None
        assert await s.do(Clear("room")) is False
        new = await s.say("room", "new", id="x")
        assert (new.offset, new.repeated) == (1, False)
        assert new.epoch != old.epoch, "an epoch came back"
        log = await s.log("room")
        assert (log.epoch, log.last, log.trimmed, offsets(log)) == (new.epoch, 1, 0, [1])

    @case
    async def test_no_epoch_comes_back_however_often_a_log_is_cleared(self, s: Subject) -> None:
        epochs = []
        for _ in range(20):
            epochs.append((await s.say("room")).epoch)
            assert await s.do(Clear("room")) is True
        assert len(set(epochs)) == 20
        assert await s.do(Clear("never")) is False
