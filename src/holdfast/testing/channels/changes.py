"""One message found, edited and erased, by its id or by its position."""

from __future__ import annotations

from typing import Any

from holdfast.channels.driver import Changed, Clear, Edit, Entry, Erase, Find, Found
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import Subject, body, offsets, text

__all__ = ["ChangeCases"]


class ChangeCases(SuiteCore):
    """`Find`, `Edit`, `Erase`."""

    @case
    async def test_a_message_is_found_by_its_id_and_by_its_position(self, s: Subject) -> None:
        await s.fill("room", 3)
        said = await s.say("room", "named", id="x")
        entry = Entry(4, "x", "said", '{"message":"named"}', said.at, None)
        named: tuple[dict[str, Any], ...] = ({"id": "x"}, {"offset": 4, "epoch": said.epoch})
        for name in named:
            found = await s.do(Find("room", **name))
            assert isinstance(found, Found), f"{name}: {found!r}"
            assert found.epoch == said.epoch
            assert readable(found.entry) == entry
        plain = await s.do(Find("room", offset=2, epoch=said.epoch))
        assert (plain.entry.offset, plain.entry.id) == (2, None)

    @case
    async def test_an_edit_takes_the_next_offset_and_keeps_the_place(self, s: Subject) -> None:
        said = await s.say("room", "first", id="x")
        await s.fill("room", 3)
        changed = await s.do(Edit("room", body("second"), id="x"))
        assert isinstance(changed, Changed)
        wanted = Entry(1, "x", "said", '{"message":"second"}', said.at, 5)
        assert (changed.epoch, readable(changed.entry)) == (said.epoch, wanted)
        log = await s.log("room")
        assert log.last == 5
        assert log.entries[0] == wanted
        assert offsets(log) == [1, 2, 3, 4]
        assert (await s.say("room")).offset == 6
        again = await s.do(Edit("room", body("third"), offset=1, epoch=said.epoch))
        assert (again.entry.changed, text(again.entry.payload)) == (7, '{"message":"third"}')
        assert readable((await s.do(Find("room", id="x"))).entry) == readable(again.entry)

    @case
    async def test_an_edit_to_the_same_payload_is_a_change_too(self, s: Subject) -> None:
        await s.say("room", "same", id="x")
        changed = await s.do(Edit("room", body("same"), id="x"))
        assert changed.entry.changed == 2
        assert (await s.log("room")).last == 2

    @case
    async def test_a_message_without_an_id_is_edited_and_erased_by_its_position(self, s: Subject) -> None:
        (first, *_) = await s.fill("room", 3)
        changed = await s.do(Edit("room", body("new"), offset=2, epoch=first.epoch))
        assert (changed.entry.offset, changed.entry.id, changed.entry.changed) == (2, None, 4)
        erased = await s.do(Erase("room", offset=3, epoch=first.epoch))
        assert (erased.entry.offset, erased.entry.payload, erased.entry.changed) == (3, None, 5)
        assert offsets(await s.log("room")) == [1, 2]

    @case
    async def test_an_erased_message_leaves_no_payload(self, s: Subject) -> None:
        said = await s.say("room", "secret", id="x")
        await s.do(Edit("room", body("secret, edited"), id="x"))
        erased = await s.do(Erase("room", id="x"))
        tombstone = Entry(1, "x", "said", None, said.at, 3)
        assert isinstance(erased, Changed)
        assert (erased.epoch, erased.entry) == (said.epoch, tombstone)
        for where in ({}, {"after": 0}, {"before": 9}):
            log = await s.log("room", **where)
            assert list(log.entries) == [], f"{where}: an erased message is read"
            assert log.last == 3
        for after in (0, 1, 2):
            assert list((await s.log("room", changes_after=after)).entries) == [tombstone]
        assert list((await s.log("room", changes_after=3)).entries) == []

    @case
    async def test_what_was_erased_is_found_edited_and_erased_no_more(self, s: Subject) -> None:
        said = await s.say("room", "secret", id="x")
        await s.do(Erase("room", id="x"))
        named: tuple[dict[str, Any], ...] = ({"id": "x"}, {"offset": 1, "epoch": said.epoch})
        for name in named:
            await nothing(s, Find("room", **name), Edit("room", body("back"), **name), Erase("room", **name))
        log = await s.log("room", changes_after=0)
        assert log.last == 2, "a change of nothing took an offset"
        assert [entry.payload for entry in log.entries] == [None]

    @case
    async def test_what_is_not_there_is_none(self, s: Subject) -> None:
        said = await s.say("room", "here", id="x")
        await s.say("other", "there", id="y")
        other = (await s.log("other")).epoch
        nobody: tuple[dict[str, Any], ...] = (
            {"id": "y"},
            {"id": "X"},
            {"id": "1"},
            {"offset": 2, "epoch": said.epoch},
            {"offset": 0, "epoch": said.epoch},
            {"offset": -1, "epoch": said.epoch},
            {"offset": 1, "epoch": "0"},
            {"offset": 1, "epoch": other},
            {"offset": 1, "epoch": said.epoch.swapcase() + "x"},
        )
        for name in nobody:
            await nothing(s, Find("room", **name), Edit("room", b"{}", **name), Erase("room", **name))
            await nothing(s, Find("absent", **name), Edit("absent", b"{}", **name), Erase("absent", **name))
        log = await s.log("room")
        assert (log.last, [entry.payload for entry in log.entries]) == (1, ['{"message":"here"}'])
        assert (await s.log("absent")).epoch is None, "a change of nothing began a log"
        assert {topic.key for topic in await s.topics()} == {"room", "other"}

    @case
    async def test_the_offset_of_a_change_names_no_message(self, s: Subject) -> None:
        said = await s.say("room", "one", id="x")
        await s.do(Edit("room", body("two"), id="x"))
        name: dict[str, Any] = {"offset": 2, "epoch": said.epoch}
        await nothing(s, Find("room", **name), Edit("room", b"{}", **name), Erase("room", **name))

    @case
    async def test_a_position_of_a_cleared_log_names_nothing_in_the_next(self, s: Subject) -> None:
        old = await s.say("room", "old")
        await s.do(Clear("room"))
        await s.say("room", "new")
        name: dict[str, Any] = {"offset": 1, "epoch": old.epoch}
        await nothing(s, Find("room", **name), Edit("room", b"{}", **name), Erase("room", **name))
        assert [entry.payload for entry in (await s.log("room")).entries] == ['{"message":"new"}']

    @case
    async def test_changes_of_one_topic_leave_the_others_alone(self, s: Subject) -> None:
        for room in ("a", "b"):
            await s.say(room, "one", id="x")
        await s.do(Edit("a", body("two"), id="x"))
        await s.do(Erase("a", id="x"))
        log = await s.log("b", changes_after=0)
        assert (log.last, [(entry.payload, entry.changed) for entry in log.entries]) == (
            1,
            [('{"message":"one"}', None)],
        )


def readable(entry: Entry) -> Entry:
    return Entry(entry.offset, entry.id, entry.event, text(entry.payload), entry.at, entry.changed)


async def nothing(s: Subject, *ops: Find | Edit | Erase) -> None:
    """None of these names a live message, alone or in a batch."""
    for op in ops:
        outcome = await s.do(op)
        assert outcome is None, f"{op}: {outcome!r}"
    assert await s.batch(*ops) == [None] * len(ops)
