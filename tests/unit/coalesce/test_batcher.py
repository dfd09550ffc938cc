"""The Batcher against drivers that are slow, faulty, dying or wrong."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar

import pytest

from holdfast import events
from holdfast.coalesce import Batcher
from holdfast.errors import Closed, Overloaded, StoreError, StoreUnavailable


class Op:
    repeatable: ClassVar[bool] = False

    def __init__(self, key: str, number: int = 0) -> None:
        self.key = key
        self.number = number

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key}, {self.number})"


class Read(Op):
    repeatable = True


class Gate:
    """A driver whose round trips end when the test says so; answers each operation with its number."""

    def __init__(self) -> None:
        self.batches: list[list[Op]] = []
        self.lanes: list[int] = []
        self.doors: list[asyncio.Future[Any]] = []

    async def apply(self, batch: Sequence[Op], lane: int) -> list[Any]:
        self.batches.append(list(batch))
        self.lanes.append(lane)
        door: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.doors.append(door)
        answer = await door
        return [op.number for op in batch] if answer is None else answer

    async def arrived(self, count: int) -> None:
        """Until that many batches have come; bounded, so that a lost batch fails the test."""
        for _ in range(100):
            if len(self.batches) >= count:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{len(self.batches)} batches came, {count} expected")


class Wire(Gate):
    """The same for a pipelined lane: the batch is on the wire when `apply` returns."""

    def apply(self, batch: Sequence[Op], lane: int) -> Awaitable[list[Any]]:  # type: ignore[override]
        self.batches.append(list(batch))
        self.lanes.append(lane)
        door: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.doors.append(door)
        return door

    def answer(self, at: int) -> None:
        self.doors[at].set_result([op.number for op in self.batches[at]])


def serial(gate: Gate, **settings: Any) -> Batcher[Op]:
    batcher: Batcher[Op] = Batcher(gate.apply, name="fake", **settings)
    batcher.start()
    return batcher


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_operation_leaves_in_the_next_turn_of_the_loop() -> None:
    gate = Gate()
    batcher = serial(gate)
    await turns()  # the pump goes to sleep
    future = batcher.submit(Op("a", 1))
    await asyncio.sleep(0)
    assert len(gate.batches) == 1
    gate.doors[0].set_result(None)
    assert await future == 1
    await batcher.close()


async def test_what_one_turn_brings_leaves_together() -> None:
    gate = Gate()
    batcher = serial(gate)
    futures = [batcher.submit(Op("k", n)) for n in range(5)]
    await gate.arrived(1)
    assert [op.number for op in gate.batches[0]] == [0, 1, 2, 3, 4]
    gate.doors[0].set_result(None)
    assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]
    await batcher.close()


async def test_what_arrives_during_a_round_trip_becomes_the_next_batch() -> None:
    gate = Gate()
    batcher = serial(gate)
    first = batcher.submit(Op("a", 0))
    await gate.arrived(1)
    rest = [batcher.submit(Op("b", n)) for n in range(1, 8)]
    await turns()
    assert len(gate.batches) == 1
    gate.doors[0].set_result(None)
    await gate.arrived(2)
    assert [op.number for op in gate.batches[1]] == list(range(1, 8))
    gate.doors[1].set_result(None)
    assert await asyncio.gather(first, *rest) == list(range(8))
    await batcher.close()


async def test_a_batch_is_bounded_by_operations() -> None:
    gate = Gate()
    batcher = serial(gate, max_ops=3)
    futures = [batcher.submit(Op("k", n)) for n in range(7)]
    for at, size in enumerate((3, 3, 1)):
        await gate.arrived(at + 1)
        assert len(gate.batches[at]) == size
        gate.doors[at].set_result(None)
    assert await asyncio.gather(*futures) == list(range(7))
    await batcher.close()


async def test_a_batch_is_bounded_by_bytes_and_one_larger_operation_goes_alone() -> None:
    gate = Gate()
    batcher = serial(gate, max_bytes=100)
    futures = [batcher.submit(Op("k", n), size) for n, size in enumerate((40, 40, 40, 500, 10))]
    for at, numbers in enumerate(([0, 1], [2], [3], [4])):
        await gate.arrived(at + 1)
        assert [op.number for op in gate.batches[at]] == numbers
        gate.doors[at].set_result(None)
    await asyncio.gather(*futures)
    await batcher.close()


async def test_operations_of_one_key_stay_in_one_lane_in_order() -> None:
    gate = Gate()
    batcher = serial(gate, lanes=4)
    futures = [batcher.submit(Op(f"k{n % 5}", n)) for n in range(50)]
    await turns()
    by_key: dict[str, set[int]] = {}
    for lane, batch in zip(gate.lanes, gate.batches, strict=True):
        for op in batch:
            by_key.setdefault(op.key, set()).add(lane)
        numbers = [op.number for op in batch]
        assert numbers == sorted(numbers)
    assert all(len(lanes) == 1 for lanes in by_key.values())
    for door in gate.doors:
        door.set_result(None)
    await asyncio.gather(*futures)
    await batcher.close()


async def test_writes_can_keep_to_one_lane_while_reads_use_all() -> None:
    gate = Gate()
    batcher = serial(gate, lanes=2, writes_in_one_lane=True)
    futures = [batcher.submit(kind(f"k{n}", n)) for n in range(40) for kind in (Op, Read)]
    await gate.arrived(2)
    lanes = {kind: {lane for lane, batch in zip(gate.lanes, gate.batches, strict=True) for op in batch
                    if type(op) is kind} for kind in (Op, Read)}  # fmt: skip
    assert lanes == {Op: {0}, Read: {0, 1}}
    for door in gate.doors:
        door.set_result(None)
    await asyncio.gather(*futures)
    await batcher.close()


def overlapping(gate: Gate) -> Batcher[Op]:
    return serial(gate, lanes=2, writes_in_one_lane=True, overlap_from=8)


async def test_many_writes_leave_in_halves_and_what_gathers_behind_one_leaves_beside_it() -> None:
    gate = Gate()
    batcher = overlapping(gate)
    await turns()
    futures = [batcher.submit(Op(f"a{n}", n)) for n in range(8)]
    await turns()
    assert [len(batch) for batch in gate.batches] == [4], "a burst on an idle lane leaves in halves"
    gate.doors[0].set_result(None)
    await gate.arrived(2)
    futures += [batcher.submit(Op(f"b{n}", n)) for n in range(3)]
    await turns()
    assert len(gate.batches) == 2, "three had better wait for the batch under way"
    futures.append(batcher.submit(Op("b3", 3)))
    await gate.arrived(3)
    assert [len(batch) for batch in gate.batches] == [4, 4, 4]
    assert sorted(gate.lanes[1:]) == [0, 1]
    gate.doors[2].set_result(None)
    gate.doors[1].set_result(None)
    assert await asyncio.gather(*futures) == [*range(8), *range(4)]
    await batcher.close()


async def test_few_writes_and_reads_do_not_overlap() -> None:
    gate = Gate()
    batcher = overlapping(gate)
    await turns()
    futures = [batcher.submit(Op(f"a{n}", n)) for n in range(7)]
    await gate.arrived(1)
    futures += [batcher.submit(Op(f"b{n}", n)) for n in range(3)]
    reads = [batcher.submit(Read(f"k{n}", n)) for n in range(100)]
    await turns()
    assert sorted(len(batch) for batch in gate.batches if type(batch[0]) is Op) == [7]
    assert len(gate.batches) == 3, "reads take a batch in each of their lanes"
    gate.doors[0].set_result(None)
    await gate.arrived(4)
    for door in gate.doors[1:]:
        door.set_result(None)
    await asyncio.gather(*futures, *reads)
    await batcher.close()


async def test_a_key_that_is_under_way_is_never_in_the_other_line_and_keeps_its_order() -> None:
    gate = Gate()
    batcher = overlapping(gate)
    await turns()
    first = [batcher.submit(Op(key, 1)) for key in ("hot", "a", "b")]
    await gate.arrived(1)
    rest = [batcher.submit(Op(key, 2)) for key in ("c", "d", "e", "f", "hot", "g", "h", "i", "hot")]
    await gate.arrived(2)
    assert [op.key for op in gate.batches[1]] == ["c", "d", "e", "f"]
    rest += [batcher.submit(Op(f"j{n}", 3)) for n in range(20)]
    gate.doors[1].set_result(None)
    await turns()
    assert len(gate.batches) == 2, "what came after the key waits with it"
    gate.doors[0].set_result(None)
    await gate.arrived(3)
    assert [op.key for op in gate.batches[2]][:5] == ["hot", "g", "h", "i", "hot"]
    gate.doors[2].set_result(None)
    await asyncio.gather(*first, *rest)
    await batcher.close()


async def test_overlapping_keeps_every_keys_order_whatever_the_order_of_answers() -> None:
    applied: dict[str, list[int]] = {}
    under_way: set[str] = set()
    clashes: set[str] = set()
    beside = 0

    async def apply(batch: Sequence[Op], lane: int) -> list[Any]:
        nonlocal beside
        keys = {op.key for op in batch}
        clashes.update(keys & under_way)
        beside += bool(under_way)
        under_way.update(keys)
        for _ in range(1 + len(keys) % 7):
            await asyncio.sleep(0)
        for op in batch:
            applied.setdefault(op.key, []).append(op.number)
        under_way.difference_update(keys)
        return [op.number for op in batch]

    batcher: Batcher[Op] = Batcher(
        apply, name="fake", lanes=2, writes_in_one_lane=True, overlap_from=8, max_ops=9
    )
    batcher.start()
    futures = []
    for number in range(3000):
        futures.append(batcher.submit(Op(f"k{number * number % 211}", number)))
        if number % 17 == 0:
            futures[number // 2].cancel()
            await asyncio.sleep(0)
    await asyncio.gather(*futures, return_exceptions=True)
    await batcher.close()
    assert beside > 10
    assert not clashes
    assert all(numbers == sorted(numbers) for numbers in applied.values())


async def test_closing_finishes_what_waits_behind_both_lines() -> None:
    gate = Gate()
    batcher = overlapping(gate)
    await turns()
    futures = [batcher.submit(Op(f"a{n}", n)) for n in range(3)]
    await gate.arrived(1)
    futures += [batcher.submit(Op(f"b{n}", n)) for n in range(4)]
    await gate.arrived(2)
    futures += [batcher.submit(Op(f"c{n}", n)) for n in range(2)]
    closing = asyncio.create_task(batcher.close())
    await turns()
    assert not closing.done()
    gate.doors[0].set_result(None)
    await turns()
    gate.doors[1].set_result(None)
    await gate.arrived(3)
    gate.doors[2].set_result(None)
    await closing
    assert [future.result() for future in futures] == [0, 1, 2, 0, 1, 2, 3, 0, 1]


async def test_a_cancelled_close_settles_those_of_both_lines() -> None:
    gate = Gate()
    batcher = overlapping(gate)
    await turns()
    futures = [batcher.submit(Op(f"a{n}", n)) for n in range(3)]
    await gate.arrived(1)
    futures += [batcher.submit(Op(f"b{n}", n)) for n in range(4)]
    await gate.arrived(2)
    late = batcher.submit(Op("c"))
    closing = asyncio.create_task(batcher.close())
    await turns()
    closing.cancel()
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) and each.maybe_applied for each in answers)
    with pytest.raises(Closed):
        await late


async def test_reads_and_writes_leave_in_the_order_they_came_so_neither_starves() -> None:
    gate = Gate()
    batcher = serial(gate, max_ops=4)
    kinds = [Read if n % 3 else Op for n in range(12)]
    futures = [batcher.submit(kind("k", n)) for n, kind in enumerate(kinds)]
    for at in range(3):
        await gate.arrived(at + 1)
        assert [op.number for op in gate.batches[at]] == list(range(at * 4, at * 4 + 4))
        gate.doors[at].set_result(None)
    await asyncio.gather(*futures)
    await batcher.close()


async def test_one_operations_failure_is_its_own() -> None:
    gate = Gate()
    batcher = serial(gate)
    futures = [batcher.submit(Op("k", n)) for n in range(3)]
    await gate.arrived(1)
    gate.doors[0].set_result([0, ValueError("one"), 2])
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert outcomes[0] == 0
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 2
    await batcher.close()


async def test_a_failed_round_trip_gives_each_waiter_its_own_exception_object() -> None:
    gate = Gate()
    batcher = serial(gate)
    futures = [batcher.submit(Op("k", n)) for n in range(3)]
    await gate.arrived(1)
    gate.doors[0].set_exception(StoreUnavailable("gone", maybe_applied=True))
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) and each.maybe_applied for each in outcomes)
    assert len({id(each) for each in outcomes}) == 3
    await batcher.close()


@pytest.mark.parametrize("gate_class", [Gate, Wire])
async def test_reads_that_may_have_left_are_sent_once_more_and_writes_never(gate_class: type[Gate]) -> None:
    gate = gate_class()
    batcher = serial(gate, pipeline=4 if gate_class is Wire else 1)
    write, read = batcher.submit(Op("w", 1)), batcher.submit(Read("r", 2))
    await gate.arrived(1)
    gate.doors[0].set_exception(StoreUnavailable("lost", maybe_applied=True))
    await gate.arrived(2)
    assert [op.key for op in gate.batches[1]] == ["r"]
    gate.doors[1].set_exception(StoreUnavailable("lost again", maybe_applied=True))
    for future in (write, read):
        with pytest.raises(StoreUnavailable):
            await future
    await turns()
    assert len(gate.batches) == 2
    await batcher.close()


async def test_nothing_is_repeated_while_the_store_cannot_be_reached_at_all() -> None:
    gate = Gate()
    batcher = serial(gate)
    read = batcher.submit(Read("r", 2))
    await gate.arrived(1)
    gate.doors[0].set_exception(StoreUnavailable("no connection", maybe_applied=False))
    with pytest.raises(StoreUnavailable):
        await read
    assert len(gate.batches) == 1
    await batcher.close()


@pytest.mark.parametrize("answer", [[0], [0, 1, 2]])
async def test_too_few_or_too_many_outcomes_fail_every_waiter(answer: list[int]) -> None:
    gate = Gate()
    batcher = serial(gate)
    futures = [batcher.submit(Op("k", n)) for n in range(2)]
    await gate.arrived(1)
    gate.doors[0].set_result(answer)
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(each, StoreError) and "outcomes" in str(each) for each in outcomes)
    await batcher.close()


async def test_an_answer_that_is_no_list_fails_the_batch_and_the_lane_goes_on() -> None:
    answers: list[Any] = [None, [5]]

    async def apply(batch: Sequence[Op], lane: int) -> list[Any]:
        return answers.pop(0)  # type: ignore[no-any-return]

    batcher: Batcher[Op] = Batcher(apply, name="fake")
    batcher.start()
    with pytest.raises(StoreError, match="NoneType"):
        await batcher.submit(Op("k"))
    assert await batcher.submit(Op("k")) == 5
    await batcher.close()


@pytest.mark.parametrize("gate_class", [Gate, Wire])
async def test_cancelled_while_queued_is_never_sent(gate_class: type[Gate]) -> None:
    gate = gate_class()
    batcher = serial(gate, pipeline=2 if gate_class is Wire else 1)
    keep, drop = batcher.submit(Op("k", 1)), batcher.submit(Op("k", 2))
    drop.cancel()
    await gate.arrived(1)
    assert [op.number for op in gate.batches[0]] == [1]
    gate.doors[0].set_result([1])
    assert await keep == 1
    await batcher.close()


async def test_cancelled_in_flight_takes_nobody_along() -> None:
    gate = Gate()
    batcher = serial(gate)
    futures = [batcher.submit(Op("k", n)) for n in range(3)]
    await gate.arrived(1)
    futures[1].cancel()
    gate.doors[0].set_result(None)
    assert await futures[0] == 0
    assert await futures[2] == 2
    assert futures[1].cancelled()
    await batcher.close()


async def test_a_full_batch_of_cancelled_operations_does_not_hold_up_the_next() -> None:
    gate = Gate()
    batcher = serial(gate, max_ops=4)
    futures = [batcher.submit(Op("k", n)) for n in range(6)]
    for future in futures[:4]:
        future.cancel()
    await gate.arrived(1)
    assert [op.number for op in gate.batches[0]] == [4, 5]
    gate.doors[0].set_result(None)
    assert await asyncio.gather(*futures[4:]) == [4, 5]
    await batcher.close()


async def test_a_driver_whose_own_task_was_cancelled_fails_the_batch_and_the_lane_goes_on() -> None:
    gate = Gate()
    batcher = serial(gate)
    first = batcher.submit(Op("k", 1))
    await gate.arrived(1)
    gate.doors[0].cancel()
    with pytest.raises(StoreUnavailable) as raised:
        await first
    assert raised.value.maybe_applied
    second = batcher.submit(Op("k", 2))
    await gate.arrived(2)
    gate.doors[1].set_result(None)
    assert await second == 2
    await batcher.close()


@pytest.mark.parametrize("gate_class", [Gate, Wire])
async def test_close_finishes_what_was_taken_and_takes_nothing_more(gate_class: type[Gate]) -> None:
    gate = gate_class()
    batcher = serial(gate, max_ops=1, pipeline=2 if gate_class is Wire else 1)
    futures = [batcher.submit(Op("k", n)) for n in range(3)]
    closing = asyncio.create_task(batcher.close())
    await gate.arrived(1)
    with pytest.raises(Closed):
        batcher.submit(Op("k", 9))
    for at in range(3):
        await gate.arrived(at + 1)
        gate.doors[at].set_result([gate.batches[at][0].number])
    assert await asyncio.gather(*futures) == [0, 1, 2]
    await closing


@pytest.mark.parametrize("gate_class", [Gate, Wire])
async def test_a_cancelled_close_still_settles_everyone(gate_class: type[Gate]) -> None:
    gate = gate_class()
    batcher = serial(gate, max_ops=1, pipeline=2 if gate_class is Wire else 1)
    futures = [batcher.submit(Op("k", n)) for n in range(4)]
    await gate.arrived(1)
    closing = asyncio.create_task(batcher.close())
    await turns()
    closing.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 2)
    sent = {op.number for batch in gate.batches for op in batch}
    for number, outcome in enumerate(outcomes):
        if number in sent:
            assert isinstance(outcome, StoreUnavailable)
            assert outcome.maybe_applied
        else:
            assert isinstance(outcome, Closed)
    assert 0 < len(sent) < 4


async def test_a_pump_that_is_killed_leaves_no_waiter_behind() -> None:
    gate = Gate()
    batcher = serial(gate, max_ops=1)
    futures = [batcher.submit(Op("k", n)) for n in range(2)]
    await gate.arrived(1)
    (pump,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("holdfast fake")]
    pump.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 2)
    assert isinstance(outcomes[0], StoreUnavailable)
    assert isinstance(outcomes[1], Closed)
    with pytest.raises(Closed):
        batcher.submit(Op("k", 3))


async def test_the_queue_is_bounded_by_operations_and_by_bytes() -> None:
    gate = Gate()
    batcher = serial(gate, max_queued_ops=3, max_queued_bytes=1000)
    futures = [batcher.submit(Op("k", n)) for n in range(3)]
    with pytest.raises(Overloaded) as raised:
        batcher.submit(Op("k", 4))
    assert not raised.value.maybe_applied
    await gate.arrived(1)
    gate.doors[0].set_result(None)
    await asyncio.gather(*futures)
    big = batcher.submit(Op("k", 5), 1001)
    with pytest.raises(Overloaded):
        batcher.submit(Op("k", 6))
    await gate.arrived(2)
    gate.doors[1].set_result(None)
    assert await big == 5
    await batcher.close()


async def test_a_pipelined_lane_sends_behind_what_is_under_way_up_to_its_depth() -> None:
    wire = Wire()
    batcher = serial(wire, pipeline=2)
    futures = []
    for number in range(3):
        futures.append(batcher.submit(Op("k", number)))
        await turns()
    assert [len(batch) for batch in wire.batches] == [1, 1]
    wire.answer(0)
    await wire.arrived(3)
    wire.answer(1)
    wire.answer(2)
    assert await asyncio.gather(*futures) == [0, 1, 2]
    await batcher.close()


async def test_a_pipelined_lane_writes_before_the_turn_ends_once_enough_wait() -> None:
    wire = Wire()
    batcher = serial(wire, pipeline=16)
    futures = [batcher.submit(Op("k", n)) for n in range(30)]
    assert wire.batches, "nothing was written within the turn"
    assert [op.number for batch in wire.batches for op in batch] == list(range(16))
    await turns()
    for at in range(len(wire.batches)):
        wire.answer(at)
    assert await asyncio.gather(*futures) == list(range(30))
    await batcher.close()


async def test_an_apply_that_raises_at_once_fails_only_its_batch() -> None:
    def apply(batch: Sequence[Op], lane: int) -> Awaitable[list[Any]]:
        if batch[0].number == 0:
            raise StoreUnavailable("down")
        done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        done.set_result([op.number for op in batch])
        return done

    batcher: Batcher[Op] = Batcher(apply, name="fake", pipeline=4)
    batcher.start()
    with pytest.raises(StoreUnavailable):
        await batcher.submit(Op("k", 0))
    assert await batcher.submit(Op("k", 1)) == 1
    await batcher.close()


async def test_a_read_is_sent_once_more_where_apply_raises_at_once_that_it_may_have_left() -> None:
    tries: list[int] = []

    def apply(batch: Sequence[Op], lane: int) -> Awaitable[list[Any]]:
        tries.append(len(batch))
        raise StoreUnavailable("lost", maybe_applied=True)

    batcher: Batcher[Op] = Batcher(apply, name="fake", pipeline=4)
    batcher.start()
    futures = [batcher.submit(Read("r")), batcher.submit(Op("w"))]
    outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 2)
    assert all(isinstance(each, StoreUnavailable) for each in outcomes)
    assert tries == [2, 1]
    await batcher.close()


@pytest.mark.parametrize("gate_class", [Gate, Wire])
@pytest.mark.parametrize("first_is_cancelled", [False, True])
async def test_two_who_close_at_once_both_come_back(gate_class: type[Gate], first_is_cancelled: bool) -> None:
    gate = gate_class()
    batcher = serial(gate, pipeline=2 if gate_class is Wire else 1)
    future = batcher.submit(Op("k", 1))
    await gate.arrived(1)
    first, second = asyncio.create_task(batcher.close()), asyncio.create_task(batcher.close())
    await turns()
    if first_is_cancelled:
        first.cancel()
    else:
        gate.doors[0].set_result([1])
    await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 2)
    assert future.done()
    future.exception()


async def test_every_round_trip_is_an_event() -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    try:
        gate = Gate()
        batcher = serial(gate)
        futures = [batcher.submit(Op("k", 1)), batcher.submit(Read("k", 2))]
        await gate.arrived(1)
        gate.doors[0].set_result(None)
        await asyncio.gather(*futures)
        await batcher.close()
    finally:
        stop()
    (event,) = heard
    assert isinstance(event, events.BatchApplied)
    assert event.store == "fake"
    assert dict(event.operations) == {"op": 1, "read": 1}
    assert event.error is None


async def test_used_before_start_or_after_close_is_closed() -> None:
    batcher: Batcher[Op] = Batcher(Gate().apply, name="fake")
    with pytest.raises(Closed):
        batcher.submit(Op("k"))
    batcher.start()
    await batcher.close()
    await batcher.close()
    with pytest.raises(Closed):
        batcher.submit(Op("k"))
