"""Many callers at once: races, cancellation, closing, and faults on the way."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import SkipTest

from holdfast.errors import Closed, StoreError, StoreUnavailable
from holdfast.persist.driver import KEEP, Create, Get, Increment, Operation, Remove, Replace, Set
from holdfast.testing.faults import EVERY, Dropping, DyingMidBatch, Failing, Held
from holdfast.testing.persist.subject import HOUR, Subject, SuiteCore, case, read, tidy

__all__ = ["ConcurrencyCases"]


def shared_or_skip(s: Subject) -> None:
    if s.driver.traits.shared == "process":
        raise SkipTest("two drivers of this kind share nothing")


class ConcurrencyCases(SuiteCore):
    """The driver under the Batcher, as `api` uses it."""

    # --- races ---

    @case
    async def test_of_many_creates_exactly_one_wins(self, s: Subject) -> None:
        async with s.batcher() as line:
            waiting = [line.submit(s.place(Create("k", b"%d" % number, None))) for number in range(100)]
            outcomes = await asyncio.gather(*waiting)
        assert outcomes.count(True) == 1
        assert outcomes.count(False) == 99
        assert (await s.found("k")).value == outcomes.index(True)

    @case
    async def test_of_creates_by_two_drivers_exactly_one_wins(self, s: Subject) -> None:
        shared_or_skip(s)
        async with self.another_driver() as other, s.batcher() as one, s.batcher(other) as two:
            for turn in range(10):
                lines = (one, two) * 8
                waiting = [
                    line.submit(s.place(Create(f"k{turn}", b"%d" % at, None)))
                    for at, line in enumerate(lines)
                ]
                outcomes = await asyncio.gather(*waiting)
                assert outcomes.count(True) == 1, outcomes
                assert (await s.found(f"k{turn}")).value == outcomes.index(True)

    @case
    async def test_increments_by_two_drivers_add_up(self, s: Subject) -> None:
        shared_or_skip(s)
        async with self.another_driver() as other, s.batcher() as one, s.batcher(other) as two:
            waiting = [line.submit(s.place(Increment("k", 1, HOUR))) for line in (one, two) * 100]
            assert sorted(await asyncio.gather(*waiting)) == list(range(1, 201))

    @case
    async def test_of_many_replaces_of_one_version_exactly_one_wins(self, s: Subject) -> None:
        await s.do(Set("k", b"-1", None))
        version = (await s.found("k")).version
        async with s.batcher() as line:
            ops = (Replace("k", b"%d" % number, version, KEEP) for number in range(50))
            outcomes = await asyncio.gather(*(line.submit(s.place(op)) for op in ops))
        winners = [number for number, outcome in enumerate(outcomes) if outcome is not None]
        found = await s.found("k")
        assert winners == [found.value]
        assert outcomes[found.value] == found.version

    @case
    async def test_two_drivers_see_what_the_other_wrote(self, s: Subject) -> None:
        shared_or_skip(s)
        async with self.another_driver() as driver:
            other = s.beside(driver)
            await s.do(Set("k", b'"one"', HOUR))
            seen = await other.found("k")
            assert seen.value == "one"
            assert seen.ttl is not None
            assert await other.do(Replace("k", b'"two"', seen.version, None)) is not None
            assert (await s.found("k")).value == "two"
            assert (await s.found("k")).ttl is None
            for number in range(5):  # whatever either of them read before
                assert await s.do(Set("k", b"%d" % number, KEEP)) is None
                assert read(await other.do(Get("k"))) == number
            assert await other.do(Increment("k", 100, None)) == 104
            assert read(await s.do(Get("k"))) == 104
            assert await s.do(Remove("k")) is True
            assert await other.do(Get("k")) is None
            assert await other.keys() == []

    @case
    async def test_batches_over_the_same_keys_in_opposite_order_do_not_lock_each_other_out(
        self, s: Subject
    ) -> None:
        shared_or_skip(s)
        names = [f"k{number:02}" for number in range(40)]
        async with self.another_driver() as driver:
            other = s.beside(driver)
            for turn in range(10):
                up = [kind for name in names for kind in (Set(name, b"1", KEEP), Increment(name, 1, None))]
                down: list[Operation] = [Increment(name, 1, None) for name in reversed(names)]
                if turn % 2:
                    down = [Remove(name) for name in reversed(names)]
                for outcomes in await asyncio.gather(s.batch(*up), other.batch(*down)):
                    failed = [each for each in outcomes if isinstance(each, Exception)]
                    assert not failed, failed[0]

    @case
    async def test_writes_submitted_one_after_another_happen_in_that_order(self, s: Subject) -> None:
        async with s.batcher() as line:
            ops: list[Operation] = []
            for number in range(60):
                ops += [Set("set", b"%d" % number, KEEP), Increment("count", 1, None), Get(f"other{number}")]
            waiting = []
            for at, op in enumerate(ops):
                waiting.append(line.submit(s.place(op)))
                if at % 7 == 0:
                    await asyncio.sleep(0)  # so that several batches are under way
            outcomes = await asyncio.gather(*waiting)
        assert outcomes[1::3] == list(range(1, 61))
        assert (await s.found("set")).value == 59

    @case
    async def test_many_callers_each_get_their_own_answer(self, s: Subject) -> None:
        async def caller(number: int) -> None:
            key = f"k{number}"
            for turn in range(5):
                assert await line.submit(s.place(Create(key, b"%d" % turn, HOUR))) is True
                assert read(await line.submit(s.place(Get(key)))) == turn
                assert await line.submit(s.place(Increment(key, number, None))) == turn + number
                assert await line.submit(s.place(Remove(key))) is True

        async with s.batcher() as line:
            await asyncio.gather(*map(caller, range(60)))

    # --- cancellation ---

    @case
    async def test_an_operation_cancelled_while_it_is_queued_is_never_sent(self, s: Subject) -> None:
        held = Held(s.driver)
        async with s.batcher(held) as line:
            first = line.submit(s.place(Set("k", b"1", None)))
            await held.arrived()
            queued = line.submit(s.place(Set("k", b"2", None)))
            queued.cancel()
            held.release()
            assert await first is None
        assert (await s.found("k")).value == 1
        assert sum(len(batch) for batch in held.batches) == 1

    @tidy
    @case
    async def test_callers_cancelled_in_flight_leave_the_answers_of_others_in_place(self, s: Subject) -> None:
        names = [f"k{number}" for number in range(64)]
        await s.batch(*(Set(name, b"%d" % number, None) for number, name in enumerate(names)))
        async with s.batcher() as line:
            for turn in range(10):
                waiting = [line.submit(s.place(Get(name))) for name in names]
                for _ in range(turn % 4):
                    await asyncio.sleep(0)
                for number in range(turn, 64, 7):
                    waiting[number].cancel()
                answers = await asyncio.gather(*waiting, return_exceptions=True)
                for number, answer in enumerate(answers):
                    if not isinstance(answer, asyncio.CancelledError):
                        assert not isinstance(answer, BaseException), answer
                        assert read(answer) == number

    @tidy
    @case
    async def test_a_round_trip_that_is_cancelled_leaves_the_driver_in_step(self, s: Subject) -> None:
        await s.batch(*(Set(f"k{number}", b"%d" % number, None) for number in range(20)))
        for turn in range(6):
            lost = asyncio.ensure_future(s.driver.apply([s.place(Get(f"k{turn}"))] * (turn + 1)))
            for _ in range(turn % 3):
                await asyncio.sleep(0)
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)
            for number in range(turn, 20):
                (text,) = await patiently(s, Get(f"k{number}"))
                assert read(text) == number, "an answer went to the wrong question"

    # --- closing ---

    @tidy
    @case
    async def test_what_was_taken_before_closing_is_finished(self, s: Subject) -> None:
        async with s.batcher() as line:
            waiting = [line.submit(s.place(Set(f"k{number}", b"1", None))) for number in range(200)]
            closing = asyncio.ensure_future(line.close())
            assert await asyncio.gather(*waiting) == [None] * 200
            await closing
            try:
                line.submit(s.place(Set("late", b"1", None)))
            except Closed:
                pass  # as it should be
            else:
                raise AssertionError("a closed line took an operation")
        assert len(await s.keys()) == 200

    @tidy
    @case
    async def test_closing_the_driver_during_use_leaves_no_caller_waiting(self, s: Subject) -> None:
        batch = [s.place(Set(f"k{number}", b"1", None)) for number in range(50)]
        for turns in range(4):
            under_way = asyncio.ensure_future(s.driver.apply(batch))
            for _ in range(turns):
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(s.driver.close())  # the only one: its engine closes too
            (answer,) = await asyncio.gather(under_way, return_exceptions=True)
            assert isinstance(answer, list | StoreError), answer
            await closing
            await s.driver.open()
            assert await s.batch(Set("after", b"1", None)) == [None]

    # --- faults ---

    @case
    async def test_a_round_trip_that_fails_before_it_is_sent_changes_nothing(self, s: Subject) -> None:
        failing = Failing(s.driver, on=EVERY)
        async with s.batcher(failing) as line:
            waiting = [line.submit(s.place(Set(f"k{number}", b"1", None))) for number in range(5)]
            errors = await asyncio.gather(*waiting, return_exceptions=True)
            assert [error.maybe_applied for error in unavailable(errors)] == [False] * 5
            assert await s.keys() == []
            failing.on = ()
            assert await line.submit(s.place(Set("k0", b"1", None))) is None

    @case
    async def test_a_lost_answer_repeats_reads_and_never_writes(self, s: Subject) -> None:
        await s.do(Set("old", b"7", None))
        async with s.batcher(Dropping(s.driver)) as line:
            ops = (Increment("old", 1, None), Get("old"), Increment("old", 1, None))
            first, text, second = await asyncio.gather(
                *(line.submit(s.place(op)) for op in ops), return_exceptions=True
            )
        assert not isinstance(text, BaseException), text
        assert read(text) in (7, 8, 9)
        assert [error.maybe_applied for error in unavailable([first, second])] == [True, True]
        assert (await s.found("old")).value == 9, "a write was repeated or lost"

    @case
    async def test_dying_mid_batch_tells_every_waiter_for_itself(self, s: Subject) -> None:
        async with s.batcher(DyingMidBatch(s.driver, after=2)) as line:
            waiting = [line.submit(s.place(Increment("k", 1, None))) for _ in range(6)]
            errors = unavailable(await asyncio.gather(*waiting, return_exceptions=True))
            assert [error.maybe_applied for error in errors] == [True] * 6
            assert len({id(error) for error in errors}) == 6, "waiters share an exception object"
            assert (await s.found("k")).value == 2
            assert await line.submit(s.place(Increment("k", 1, None))) == 3


def unavailable(answers: list[Any]) -> list[StoreUnavailable]:
    assert all(isinstance(answer, StoreUnavailable) for answer in answers), answers
    return answers


async def patiently(s: Subject, op: Operation) -> list[Any]:
    """The answer, where the driver may have to connect again first."""
    deadline = s.now_ms() + 5000
    while True:
        try:
            return await s.batch(op)
        except StoreUnavailable:
            if s.clock is not None or s.now_ms() > deadline:
                raise
            await asyncio.sleep(0.01)
