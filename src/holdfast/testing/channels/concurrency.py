"""Many writers at once: one order for all, nothing skipped, and what cancelling and closing leave behind."""

from __future__ import annotations

import asyncio

from holdfast.channels.driver import Append, Appended, Clear, Edit, Erase, Find, Log, Operation, Read
from holdfast.coalesce import Batcher
from holdfast.errors import StoreError, StoreUnavailable
from holdfast.testing.channels.running import SuiteCore, case, meanwhile, shared_or_skip, tidy
from holdfast.testing.channels.subject import Subject, body, offsets, text

__all__ = ["ConcurrencyCases"]


class ConcurrencyCases(SuiteCore):
    """The driver under the Batcher, as `api` uses it, alone and beside another process."""

    # --- one order ---

    @case
    async def test_messages_submitted_one_after_another_stand_in_that_order(self, s: Subject) -> None:
        async with s.batcher() as line:
            waiting = []
            for at in range(150):
                waiting.append(line.submit(s.place(Append(f"room{at % 3}", "said", body(at)))))
                if at % 7 == 0:
                    await asyncio.sleep(0)  # so that several batches are under way
            said = await asyncio.gather(*waiting)
        assert [each.offset for each in said] == [at // 3 + 1 for at in range(150)]
        for room in range(3):
            entries = (await s.log(f"room{room}")).entries
            assert [entry.payload for entry in entries] == [body(at).decode() for at in range(room, 150, 3)]

    @case
    async def test_two_processes_share_one_order_without_holes(self, s: Subject) -> None:
        async with self.another(s) as other, s.batcher() as one, s.batcher(other.driver) as two:
            lines = {"one": one, "two": two}
            said = await asyncio.gather(*(talk(s, line, name, 40) for name, line in lines.items()))
            given = [each.offset for by_one in said for each in by_one]
            assert sorted(given) == list(range(1, 81)), "offsets are given twice or left out"
            assert len({each.epoch for by_one in said for each in by_one}) == 1
            for mine in said:
                assert [each.offset for each in mine] == sorted(each.offset for each in mine)
            logs = [await each.log("room") for each in (s, other)]
            assert logs[0] == logs[1]
            assert offsets(logs[0]) == list(range(1, 81))
            for name, mine in zip(lines, said, strict=True):
                at = {each.offset: body(f"{name} {number}").decode() for number, each in enumerate(mine)}
                got = {entry.offset: entry.payload for entry in logs[0].entries if entry.offset in at}
                assert got == at, "a message stands under another's offset"

    @case
    async def test_a_reader_that_saw_an_offset_meets_no_lower_one_later(self, s: Subject) -> None:
        async with (
            self.another(s) as other,
            self.another(s) as reader,
            s.batcher() as one,
            s.batcher(other.driver) as two,
            meanwhile(talk(s, one, "one", 60), talk(s, two, "two", 60)) as writers,
        ):
            seen = 0
            while seen < 120:
                log = await reader.log("room", changes_after=seen)
                came = offsets(log)
                assert came == list(range(seen + 1, seen + 1 + len(came))), f"after {seen} came {came}"
                assert log.last == seen + len(came), f"{log.last}, but the log ends with {came[-1:]}"
                seen += len(came)
                await asyncio.sleep(0)  # a driver that never waits lets nobody else write
            await writers

    @case
    async def test_the_parts_of_a_log_are_of_one_moment(self, s: Subject) -> None:
        async with (
            self.another(s) as other,
            s.batcher(other.driver) as line,
            meanwhile(trimmed_talk(s, line)) as writing,
        ):
            while not writing.done():
                for log in (await s.log("room"), *(await s.batch(Read("room", 99), Read("room", 99)))):
                    there = offsets(log)
                    whole = list(range(log.trimmed + 1, log.last + 1))
                    assert there == whole, f"trimmed {log.trimmed}, last {log.last}, there are {there}"
                await asyncio.sleep(0)
            await writing
        assert (await s.log("room")).trimmed > 0

    @case
    async def test_of_two_processes_with_one_id_one_is_stored(self, s: Subject) -> None:
        async with self.another(s) as other, s.batcher() as one, s.batcher(other.driver) as two:
            for turn in range(8):
                lines = (one, two) * 3
                said = await asyncio.gather(
                    *(
                        line.submit(s.place(Append("room", "said", body(turn), id=f"{turn}")))
                        for line in lines
                    )
                )
                assert [each.repeated for each in said].count(False) == 1, said
                assert {each.offset for each in said} == {turn + 1}
        assert offsets(await s.log("room")) == list(range(1, 9))

    @case
    async def test_a_log_that_two_processes_begin_at_once_has_one_epoch(self, s: Subject) -> None:
        async with self.another(s) as other:
            for turn in range(8):
                both = [each.say(f"room{turn}") for each in (s, other)]
                said = await asyncio.gather(*both)
                assert sorted(each.offset for each in said) == [1, 2]
                assert said[0].epoch == said[1].epoch, "one topic has two logs"

    @case
    async def test_two_processes_see_what_the_other_wrote(self, s: Subject) -> None:
        async with self.another(s) as other:
            first = await s.say("room", "one", id="x")
            found = await other.do(Find("room", id="x"))
            assert (found.epoch, text(found.entry.payload)) == (first.epoch, '{"message":"one"}')
            assert (await other.do(Edit("room", body("two"), id="x"))).entry.changed == 2
            assert (await s.log("room")).entries[0].payload == '{"message":"two"}'
            for number in range(3, 8):  # whatever either of them read before
                assert (await s.say("room", number)).offset == number
                assert (await other.log("room")).last == number
            assert (await other.do(Erase("room", id="x"))).entry.changed == 8
            assert await s.do(Find("room", id="x")) is None
            assert await other.do(Clear("room")) is True
            assert (await s.log("room")).epoch is None
            anew = await s.say("room", "anew", id="x")
            assert (anew.offset, anew.repeated) == (1, False)
            assert anew.epoch != first.epoch
            assert (await other.log("room")).epoch == anew.epoch
            assert [topic.key for topic in await other.topics()] == ["room"]

    @case
    async def test_batches_over_the_same_topics_in_opposite_order_do_not_lock_each_other_out(
        self, s: Subject
    ) -> None:
        shared_or_skip(s)
        rooms = [f"r{number:02}" for number in range(20)]
        async with self.another(s) as other:
            for turn in range(6):
                up = [op for room in rooms for op in (Append(room, "said", b"{}"), Edit(room, b"{}", id="x"))]
                down: list[Operation] = [Append(room, "said", b"{}", id="x") for room in reversed(rooms)]
                if turn % 3 == 2:
                    down = [Clear(room) for room in reversed(rooms)]
                for outcomes in await asyncio.gather(s.batch(*up), other.batch(*down)):
                    failed = [each for each in outcomes if isinstance(each, Exception)]
                    assert not failed, failed[0]

    # --- cancelling and closing ---

    @tidy
    @case
    async def test_a_round_trip_that_is_cancelled_leaves_the_driver_in_step(self, s: Subject) -> None:
        for number in range(12):
            await s.say(f"r{number}", number)
        for turn in range(6):
            cut = [s.place(Append("lost", "said", body(at))) for at in range(turn + 1)]
            lost = asyncio.ensure_future(s.driver.apply(cut))
            for _ in range(turn % 3):
                await asyncio.sleep(0)
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)
            for number in range(turn, 12):
                log = await patiently(s, Read(f"r{number}", 5))
                (entry,) = log.entries
                assert text(entry.payload) == body(number).decode(), "an answer went to the wrong question"
        log = await s.log("lost")
        assert offsets(log) == list(range(1, log.last + 1)), "a cancelled batch left a hole"

    @tidy
    @case
    async def test_closing_the_driver_during_use_leaves_no_caller_waiting(self, s: Subject) -> None:
        batch = [s.place(Append(f"r{number}", "said", b"{}")) for number in range(50)]
        for turns in range(4):
            under_way = asyncio.ensure_future(s.driver.apply(batch))
            for _ in range(turns):
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(s.driver.close())  # the only one: its engine closes too
            (answer,) = await asyncio.gather(under_way, return_exceptions=True)
            assert isinstance(answer, list | StoreError), answer
            await closing
            await s.driver.open()
            assert (await s.say("after")).offset == turns + 1


async def talk(s: Subject, line: Batcher[Operation], name: str, count: int) -> list[Appended]:
    """Say this many messages, a few at a time."""
    waiting: list[asyncio.Future[Appended]] = []
    for number in range(count):
        waiting.append(line.submit(s.place(Append("room", "said", body(f"{name} {number}")))))
        if number % 5 == 0:
            await waiting[-1]
    return await asyncio.gather(*waiting)


async def trimmed_talk(s: Subject, line: Batcher[Operation]) -> None:
    """The same under a retention that has work with it."""
    for _ in range(20):
        said = (Append("room", "said", body(at), max_messages=5) for at in range(7))
        await asyncio.gather(*(line.submit(s.place(op)) for op in said))


async def patiently(s: Subject, op: Operation) -> Log:
    """The answer, where the driver may have to connect again first."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 5
    while True:
        try:
            (log,) = await s.batch(op)
        except StoreUnavailable:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.01)
        else:
            assert isinstance(log, Log)
            return log
