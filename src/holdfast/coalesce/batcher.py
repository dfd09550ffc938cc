"""The Batcher: what arrives while a round trip is under way leaves together in the next.

There is no timer and no window. An idle line sends at the end of the loop turn
in which something arrived, so a lone caller waits for nobody and the tasks that
one turn woke go out as one batch. While a batch is under way the next gathers;
the busier the line, the larger the batches, up to `max_ops` and `max_bytes`.

A lane is first in, first out, reads and writes alike: neither can starve the
other, and writes to one key, which always travel in one lane, keep their order.

Every waiter is settled exactly once, whatever happens: an outcome, its own
exception object, or the cancellation it asked for itself.

=============================  ==========================================================
a caller is cancelled          before its batch left: never sent; after: may have happened
the round trip fails           each waiter gets its own copy of the exception; operations
                               that are `repeatable` and may have left are sent once more
one operation fails            its waiter alone gets that exception
the driver misbehaves          too few or too many outcomes: every waiter of the batch fails
`close()`                      nothing new is taken, what was taken is finished
`close()` is cancelled         queued: never sent; under way: `maybe_applied`
more than `max_queued_ops`     `Overloaded`, nothing sent
=============================  ==========================================================
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from holdfast import events
from holdfast.errors import Closed, Overloaded, StoreError, StoreUnavailable, again

__all__ = ["Batcher"]


class Batchable(Protocol):
    """All that the Batcher knows of an operation."""

    @property
    def key(self) -> str: ...

    repeatable: ClassVar[bool]


Op = TypeVar("Op", bound=Batchable)
Apply: TypeAlias = Callable[[Sequence[Op], int], Awaitable[list[Any]]]

EARLY_OPS = 16
"""On a pipelined lane: write before the turn ends once this many wait and they are as many as those under way ..."""
EARLY_FULL = 128
"""... or once this many wait at all. One write a turn would keep client and server in lock-step, each idle in turn."""


class Batcher(Generic[Op]):
    """The queue in front of one driver: `submit` an operation, await its future.

    Args:
        apply: does one batch; its contract is the driver's `apply`.
        name: what events and errors call the store.
        lanes: how many batches may be under way beside each other; an
            operation's lane follows from its key.
        writes_in_one_lane: what is not repeatable keeps to the first lane.
        pipeline: how many may be under way behind each other in one lane. Where
            more than 1, `apply` must return a future, its batch already written.
        max_ops: operations in one batch.
        max_bytes: bytes in one batch, as told to `submit`; a larger operation
            goes alone.
        max_queued_ops, max_queued_bytes: what may wait in all, per lane.
    """

    def __init__(
        self,
        apply: Apply[Op],
        *,
        name: str,
        lanes: int = 1,
        writes_in_one_lane: bool = False,
        pipeline: int = 1,
        max_ops: int = 512,
        max_bytes: int = 4 << 20,
        max_queued_ops: int = 1 << 16,
        max_queued_bytes: int = 256 << 20,
    ) -> None:
        kind: type[_Lane[Op]] = _SerialLane if pipeline == 1 else _PipelinedLane
        bounds = _Bounds(max_ops, max_bytes, max_queued_ops, max_queued_bytes, pipeline)
        self._writes_in_one_lane = writes_in_one_lane
        self._lanes = tuple(kind(apply, name, number, bounds) for number in range(lanes))
        if lanes == 1:
            self.submit = self._lanes[0].submit  # type: ignore[method-assign] # one call less for each operation

    def start(self) -> None:
        """Begin to take operations, on the running loop."""
        for lane in self._lanes:
            lane.start()

    def submit(self, op: Op, size: int = 0) -> asyncio.Future[Any]:
        """The future of this operation's outcome. `size` is its bytes on the wire, roughly.

        Raises:
            Overloaded: too much waits already; nothing was sent.
            Closed: before `start` or after `close`.
        """
        lanes = self._lanes
        lane = (
            lanes[0] if self._writes_in_one_lane and not op.repeatable else lanes[hash(op.key) % len(lanes)]
        )
        return lane.submit(op, size)

    async def close(self) -> None:
        """Take nothing more, finish what was taken. Twice is once."""
        try:
            for lane in self._lanes:
                lane.closing = True
            for lane in self._lanes:
                await lane.drained()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Take and send nothing more, and settle whoever still waits. After a finished `close`: nothing."""
        for lane in self._lanes:
            lane.abandon()


class _Bounds:
    __slots__ = ("max_bytes", "max_ops", "max_queued_bytes", "max_queued_ops", "pipeline")

    def __init__(
        self, max_ops: int, max_bytes: int, max_queued_ops: int, max_queued_bytes: int, pipeline: int
    ) -> None:
        self.max_ops = max_ops
        self.max_bytes = max_bytes
        self.max_queued_ops = max_queued_ops
        self.max_queued_bytes = max_queued_bytes
        self.pipeline = pipeline


class _Batch(Generic[Op]):
    """Operations that left together, and who waits for them."""

    __slots__ = ("futures", "ops", "repeated", "started")

    def __init__(self, ops: list[Op], futures: list[asyncio.Future[Any]], *, repeated: bool = False) -> None:
        self.ops = ops
        self.futures = futures
        self.repeated = repeated
        self.started = time.perf_counter()


class _Lane(Generic[Op]):
    """A first-in-first-out queue, and how its batches are settled."""

    def __init__(self, apply: Apply[Op], name: str, number: int, bounds: _Bounds) -> None:
        self._apply = apply
        self._name = name
        self._number = number
        self._bounds = bounds
        # INVARIANT: the three lists run in parallel; `_bytes` is the sum of `_sizes`.
        self._ops: list[Op] = []
        self._futures: list[asyncio.Future[Any]] = []
        self._sizes: list[int] = []
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closing = True

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.closing = False

    def submit(self, op: Op, size: int = 0) -> asyncio.Future[Any]:
        if self.closing or self._loop is None:
            raise Closed(f"{self._name}: not open")
        if len(self._ops) >= self._bounds.max_queued_ops or self._bytes > self._bounds.max_queued_bytes:
            raise Overloaded(f"{self._name}: {len(self._ops)} operations ({self._bytes} bytes) wait already")
        future = self._loop.create_future()
        self._ops.append(op)
        self._futures.append(future)
        self._sizes.append(size)
        self._bytes += size
        self._arrived()
        return future

    def _arrived(self) -> None:
        """Something was queued: see that it leaves."""
        raise NotImplementedError

    async def drained(self) -> None:
        """Wait until nothing is queued and nothing under way."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Settle whoever still waits; nothing more is sent."""
        self.closing = True
        futures, self._futures = self._futures, []
        self._ops, self._sizes, self._bytes = [], [], 0
        for future in futures:
            if not future.done():
                future.set_exception(Closed(f"{self._name}: closed before the operation was sent"))

    def _take(self) -> _Batch[Op] | None:
        """The next batch, within bounds, without those whose callers have gone; None: nothing is left."""
        bounds = self._bounds
        ops, futures = self._ops, self._futures
        if len(ops) <= bounds.max_ops and self._bytes <= bounds.max_bytes:
            self._ops, self._futures, self._sizes, self._bytes = [], [], [], 0
        else:
            cut, total = 0, 0
            for size in self._sizes[: bounds.max_ops]:
                if cut and total + size > bounds.max_bytes:
                    break
                total += size
                cut += 1
            self._ops, self._futures = ops[cut:], futures[cut:]
            ops, futures = ops[:cut], futures[:cut]
            self._sizes, self._bytes = self._sizes[cut:], self._bytes - total
        waiting = [future for future in futures if not future.done()]
        if len(waiting) != len(futures):
            ops = [op for op, future in zip(ops, futures, strict=True) if not future.done()]
        return _Batch(ops, waiting) if waiting else None

    def _settle(self, batch: _Batch[Op], outcomes: list[Any]) -> None:
        if events.listeners:
            self._tell(batch, None)
        if not isinstance(outcomes, list) or len(outcomes) != len(batch.futures):
            told = f"{len(outcomes)} outcomes" if isinstance(outcomes, list) else type(outcomes).__name__
            error = StoreError(f"{self._name}: the driver answered {told} for {len(batch.ops)} operations")
            self._fail(batch.futures, error)
            return
        for future, outcome in zip(batch.futures, outcomes, strict=True):
            if future.done():
                continue  # cancelled in flight
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _failed(self, batch: _Batch[Op], error: BaseException) -> _Batch[Op] | None:
        """The whole round trip failed: tell everyone but those that may go once more, and answer those."""
        if events.listeners:
            self._tell(batch, error)
        once_more: list[Op] = []
        waiting: list[asyncio.Future[Any]] = []
        lost: list[asyncio.Future[Any]] = []
        left = isinstance(error, StoreUnavailable) and error.maybe_applied
        for op, future in zip(batch.ops, batch.futures, strict=True):
            if left and op.repeatable and not batch.repeated and not future.done():
                once_more.append(op)
                waiting.append(future)
            else:
                lost.append(future)
        self._fail(lost, error)
        return _Batch(once_more, waiting, repeated=True) if once_more else None

    def _fail(self, futures: list[asyncio.Future[Any]], error: BaseException) -> None:
        for future in futures:
            if future.done():
                continue
            if isinstance(error, Exception):
                future.set_exception(again(error))
            else:  # cancelled from outside, or worse: the fate of the batch is unknown
                future.set_exception(
                    StoreUnavailable(f"{self._name}: stopped during the round trip", maybe_applied=True)
                )

    def _tell(self, batch: _Batch[Op], error: BaseException | None) -> None:
        kinds = Counter(type(op).__name__.lower() for op in batch.ops)
        seconds = time.perf_counter() - batch.started
        events.publish(
            events.BatchApplied(self._name, kinds, seconds, None if error is None else type(error).__name__)
        )


class _SerialLane(_Lane[Op]):
    """One batch at a time, by one task that lives as long as the lane.

    A task a batch would cost every lone operation one more turn of the loop.
    """

    _pump_task: asyncio.Task[None] | None = None
    _wake: asyncio.Future[None] | None = None  # the pump waits here while the lane is idle
    _under_way: _Batch[Op] | None = None

    def start(self) -> None:
        super().start()
        self._pump_task = asyncio.create_task(self._pump(), name=f"holdfast {self._name} lane {self._number}")

    def _arrived(self) -> None:
        wake = self._wake
        if wake is not None:
            self._wake = None
            if not wake.done():
                wake.set_result(None)

    async def _pump(self) -> None:
        try:
            await self._run()
        finally:  # also where the loop itself is being torn down: nobody may wait for a dead pump
            if self._under_way is not None:
                self._fail(self._under_way.futures, asyncio.CancelledError())
            super().abandon()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._take()
            if batch is None:
                if self._ops:
                    continue  # all of a full batch were cancelled; there is more
                if self.closing:
                    return
                self._wake = loop.create_future()
                await self._wake
                continue
            while batch is not None:
                self._under_way = batch
                try:
                    outcomes = await self._apply(batch.ops, self._number)
                except Exception as error:  # noqa: BLE001 - every waiter is told, nothing is swallowed
                    batch = self._failed(batch, error)
                except asyncio.CancelledError as error:
                    if _cancelling():
                        raise
                    batch = self._failed(batch, error)  # the driver's own inner task was cancelled
                else:
                    self._settle(batch, outcomes)
                    batch = None
            self._under_way = None

    async def drained(self) -> None:
        self._arrived()  # wakes the pump to see that the lane is closing
        if self._pump_task is not None:
            await asyncio.wait({self._pump_task})

    def abandon(self) -> None:
        super().abandon()
        if self._pump_task is not None:
            self._pump_task.cancel()


class _PipelinedLane(_Lane[Op]):
    """Batches behind each other on one wire: written at the end of a turn, or earlier when enough wait."""

    def __init__(self, apply: Apply[Op], name: str, number: int, bounds: _Bounds) -> None:
        super().__init__(apply, name, number, bounds)
        self._scheduled = False
        self._flying_ops = 0
        self._flying: dict[asyncio.Future[list[Any]], _Batch[Op]] = {}
        self._empty: asyncio.Future[None] | None = None  # whoever waits for the lane to drain

    def _arrived(self) -> None:
        waiting = len(self._ops)
        if waiting >= EARLY_OPS and (waiting >= EARLY_FULL or waiting >= self._flying_ops):
            self._send()
        elif not self._scheduled:
            assert self._loop is not None
            self._scheduled = True
            self._loop.call_soon(self._turn_ended)

    def _turn_ended(self) -> None:
        self._scheduled = False
        self._send()

    def _send(self) -> None:
        while self._ops and len(self._flying) < self._bounds.pipeline:
            batch = self._take()
            if batch is not None:
                self._launch(batch)
        if not self._ops and not self._flying and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _launch(self, batch: _Batch[Op]) -> None:
        try:
            under_way = asyncio.ensure_future(self._apply(batch.ops, self._number))
        except Exception as error:  # noqa: BLE001 - every waiter is told, nothing is swallowed
            once_more = self._failed(batch, error)
            if once_more is not None:
                self._launch(once_more)
            return
        self._flying[under_way] = batch
        self._flying_ops += len(batch.ops)
        under_way.add_done_callback(self._landed)

    def _landed(self, under_way: asyncio.Future[list[Any]]) -> None:
        batch = self._flying.pop(under_way, None)
        if batch is None:  # abandoned, its waiters told
            if not under_way.cancelled():
                under_way.exception()
            return
        self._flying_ops -= len(batch.ops)
        error = asyncio.CancelledError() if under_way.cancelled() else under_way.exception()
        if error is None:
            self._settle(batch, under_way.result())
        else:
            once_more = self._failed(batch, error)
            if once_more is not None:
                self._launch(once_more)
        if self._ops or self._empty is not None:
            self._send()

    async def drained(self) -> None:
        if self._loop is None or not (self._ops or self._flying):
            return
        if self._empty is None:
            self._empty = self._loop.create_future()
        self._send()
        await asyncio.wait({self._empty})  # not itself: a second closer waits for the same

    def abandon(self) -> None:
        super().abandon()
        flying, self._flying, self._flying_ops = self._flying, {}, 0
        for under_way, batch in flying.items():
            under_way.cancel()
            self._fail(batch.futures, asyncio.CancelledError())
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
