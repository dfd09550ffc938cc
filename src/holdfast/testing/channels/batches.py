"""Many operations at once: answered by position, in order per topic, each with an answer of its own."""

from __future__ import annotations

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Found,
    Log,
    Operation,
    Read,
    Send,
    TopicPage,
    Topics,
    Trim,
)
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import Subject, body, offsets, text

__all__ = ["BatchCases"]


class BatchCases(SuiteCore):
    """Round trips that carry more than one operation."""

    @case
    async def test_a_batch_of_one_is_answered_with_one(self, s: Subject) -> None:
        (said,) = await s.batch(Append("room", "said", body(1), id="x"))
        assert (said.offset, said.repeated) == (1, False)
        (again,) = await s.batch(Append("room", "said", body(1), id="x"))
        assert again == Appended(1, said.epoch, said.at, True)
        (log,) = await s.batch(Read("room", 10))
        assert offsets(log) == [1]
        (changed,) = await s.batch(Edit("room", body(2), id="x"))
        assert isinstance(changed, Changed)
        assert await s.batch(Send("room", b"x")) == [None]
        assert await s.batch(Trim("room", 0, None)) == [1]
        assert await s.batch(Clear("room")) == [True]

    @case
    async def test_every_kind_of_operation_is_answered_at_its_position(self, s: Subject) -> None:
        for number in range(9):
            await s.batch(*(Append(f"old{number}", "said", body(at), id=f"{at}") for at in range(number + 1)))
        epoch = (await s.log("old5")).epoch
        outcomes = await s.batch(
            Read("old1", 10),
            Append("new0", "said", body(100)),
            Edit("old2", body("edited"), id="1"),
            Find("old3", id="2"),
            Append("old4", "said", body(101)),
            Erase("old5", offset=3, epoch=epoch),
            Send("old5", b"hush"),
            Read("absent", 10),
            Find("absent", id="1"),
            Trim("old6", 2, None),
            Append("old4", "said", body(102), id="1"),
            Topics("old", None, 3),
            Clear("old7"),
            Edit("absent", body(0), id="1"),
            Append("new0", "said", body(103)),
            Read("old8", 2, before=4),
            Clear("absent"),
        )
        assert offsets(outcomes[0]) == [1, 2]
        assert (outcomes[1].offset, outcomes[1].repeated) == (1, False)
        assert (outcomes[2].entry.offset, outcomes[2].entry.changed) == (2, 4)
        assert isinstance(outcomes[3], Found)
        assert outcomes[3].entry.offset == 3
        assert (outcomes[4].offset, outcomes[10].offset, outcomes[10].repeated) == (6, 2, True)
        assert (outcomes[5].entry.offset, outcomes[5].entry.payload, outcomes[5].epoch) == (3, None, epoch)
        assert outcomes[6] is None
        assert isinstance(outcomes[7], Log)
        assert outcomes[7].epoch is None
        assert outcomes[8] is None
        assert outcomes[9] == 5
        assert isinstance(outcomes[11], TopicPage)
        assert {s.short(topic.key) for topic in outcomes[11].topics} <= {f"old{at}" for at in range(9)}
        assert outcomes[12] is True
        assert outcomes[13] is None
        assert (outcomes[14].offset, outcomes[14].epoch) == (2, outcomes[1].epoch)
        assert offsets(outcomes[15]) == [2, 3]
        assert outcomes[16] is False
        assert [text(entry.payload) for entry in (await s.log("new0")).entries] == [
            body(100).decode(),
            body(103).decode(),
        ]
        assert (await s.log("absent")).epoch is None

    @case
    async def test_writes_to_one_topic_take_effect_in_the_order_of_the_batch(self, s: Subject) -> None:
        epoch = (await s.say("room", 0)).epoch
        outcomes = await s.batch(
            Append("room", "said", body(1), id="x"),  # 2
            Edit("room", body(2), id="x"),  # 3
            Append("room", "said", body(3), id="x"),  # repeated
            Edit("room", body(4), offset=2, epoch=epoch),  # 4
            Append("room", "said", body(5), id="y"),  # 5
            Erase("room", id="x"),  # 6
            Edit("room", body(6), id="x"),  # it was erased
            Erase("room", id="x"),  # likewise
            Append("room", "said", body(7), id="x"),  # repeated
            Edit("room", body(8), offset=5, epoch=epoch),  # 7
            Append("room", "said", body(9)),  # 8
        )
        assert [summary(outcome) for outcome in outcomes] == [
            *((2, False), (2, 3), (2, True), (2, 4), (5, False), (2, 6), None, None, (2, True), (5, 7)),
            (8, False),
        ]
        assert [text(outcomes[at].entry.payload) for at in (1, 3, 5, 9)] == [
            *(body(2).decode(), body(4).decode(), None, body(8).decode()),
        ]
        log = await s.log("room", changes_after=0)
        assert [(entry.offset, entry.changed) for entry in log.entries] == [
            (1, None),
            (2, 6),
            (5, 7),
            (8, None),
        ]
        assert [entry.payload for entry in log.entries] == [
            *(body(0).decode(), None, body(8).decode(), body(9).decode()),
        ]

    @case
    async def test_a_log_may_be_trimmed_and_cleared_within_a_batch(self, s: Subject) -> None:
        outcomes = await s.batch(
            *(Append("room", "said", body(at), id=f"{at}") for at in range(1, 6)),
            Trim("room", 2, None),
            Append("room", "said", body(6), id="1"),
            Clear("room"),
            Clear("room"),
            Edit("room", b"{}", id="5"),
            Trim("room", 0, None),
            Append("room", "said", body(7), id="5"),
            Append("room", "said", body(8), id="5"),
        )
        assert [each.offset for each in outcomes[:5]] == [1, 2, 3, 4, 5]
        assert outcomes[5] == 3
        assert (outcomes[6].offset, outcomes[6].repeated) == (6, False), "the id was trimmed away before"
        assert outcomes[7:11] == [True, False, None, 0]
        assert [(each.offset, each.repeated) for each in outcomes[11:]] == [(1, False), (1, True)]
        assert outcomes[0].epoch == outcomes[6].epoch != outcomes[11].epoch == outcomes[12].epoch
        log = await s.log("room")
        assert (log.epoch, log.last, log.trimmed) == (outcomes[11].epoch, 1, 0)
        assert [entry.payload for entry in log.entries] == [body(7).decode()]

    @case
    async def test_interleaved_topics_each_keep_their_order(self, s: Subject) -> None:
        rooms = [f"r{number}" for number in range(9)]
        scripts: list[list[Operation]] = [
            [
                Append(room, "said", body(1), id="x"),
                Edit(room, body(2), id="x"),
                Append(room, "said", body(3), id="y" if at % 2 else "x"),
                Erase(room, id="y"),
                Append(room, "said", body(4)),
            ]
            for at, room in enumerate(rooms)
        ]
        turns = [script[turn] for turn in range(5) for script in reversed(scripts)]
        answered: dict[str, list[object]] = {}
        for op, outcome in zip(turns, await s.batch(*turns), strict=True):
            answered.setdefault(op.key, []).append(summary(outcome))
        for at, room in enumerate(rooms):
            odd = [(1, False), (1, 2), (3, False), (3, 4), (5, False)]
            even = [(1, False), (1, 2), (1, True), None, (3, False)]
            assert answered[room] == (odd if at % 2 else even), room

    @case
    async def test_a_topic_may_be_read_many_times_in_one_batch(self, s: Subject) -> None:
        await s.fill("a", 5)
        await s.fill("b", 2)
        logs = await s.batch(
            Read("a", 2),
            Read("b", 9),
            Read("a", 2, after=0),
            Read("a", 9, changes_after=3),
            Read("c", 9),
            Read("a", 2),
            Read("a", 1, before=3),
        )
        assert [offsets(log) for log in logs] == [[4, 5], [1, 2], [1, 2], [4, 5], [], [4, 5], [2]]
        assert [log.last for log in logs] == [5, 2, 5, 5, 0, 5, 5]

    @case
    async def test_what_comes_to_nothing_leaves_the_rest_of_the_batch_standing(self, s: Subject) -> None:
        (first,) = await s.batch(Append("room", "said", body(1), id="x"))
        outcomes = await s.batch(
            Append("a", "said", body(1)),
            Edit("room", body(2), id="nobody"),
            Append("room", "said", body(2)),
            Erase("room", offset=1, epoch="another"),
            Edit("room", body(3), id="x"),
            Find("room", offset=9, epoch=first.epoch),
            Append("b", "said", body(1)),
        )
        assert [summary(outcome) for outcome in outcomes] == [
            *((1, False), None, (2, False), None, (1, 3), None, (1, False)),
        ]

    @case
    async def test_a_full_batch_is_answered_whole(self, s: Subject) -> None:
        most = s.driver.traits.max_ops
        said = await s.batch(*(Append("room", "said", body(at)) for at in range(most)))
        assert [each.offset for each in said] == list(range(1, most + 1))
        spread = await s.batch(*(Append(f"r{at}", "said", body(at), id=f"{at}") for at in range(most)))
        assert [(each.offset, each.repeated) for each in spread] == [(1, False)] * most
        assert len({each.epoch for each in spread}) == most
        logs = await s.batch(*(Read(f"r{at}", 5) for at in range(most)))
        assert [text(log.entries[0].payload) for log in logs] == [body(at).decode() for at in range(most)]
        edits = await s.batch(*(Edit(f"r{at}", body("new"), id=f"{at}") for at in range(most)))
        assert [summary(each) for each in edits] == [(1, 2)] * most
        assert await s.batch(*(Clear(f"r{at}") for at in range(most))) == [True] * most


def summary(outcome: object) -> object:
    """What matters of an outcome: where the message stands, and whether it is old or when it changed."""
    if isinstance(outcome, Appended):
        return outcome.offset, outcome.repeated
    if isinstance(outcome, Changed):
        entry: Entry = outcome.entry
        return entry.offset, entry.changed
    return outcome
