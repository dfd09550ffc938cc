"""The two kinds of lane that a Batcher has, and how a batch's waiters are settled.

A serial lane has one batch under way; a pipelined one sends behind what is
under way. Both are a queue, first in, first out.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from holdfast import events
from holdfast.errors import Closed, Overloaded, StoreError, StoreUnavailable, again

__all__ = ["Apply", "Batchable", "Bounds", "Lane", "Op", "PipelinedLane", "SerialLane"]


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


@dataclass(slots=True)
class Bounds:
    """What one batch, one lane's queue and one lane's wire may hold; see `Batcher`."""

    max_ops: int
    max_bytes: int
    max_queued_ops: int
    max_queued_bytes: int
    pipeline: int
    overlap_from: int
    capability: str  # whose operations they are, for events


class _Batch(Generic[Op]):
    """Operations that left together, and who waits for them."""

    __slots__ = ("futures", "ops", "repeated", "started")

    def __init__(self, ops: list[Op], futures: list[asyncio.Future[Any]], *, repeated: bool = False) -> None:
        self.ops = ops
        self.futures = futures
        self.repeated = repeated
        self.started = time.perf_counter()


class Lane(Generic[Op]):
    """A first-in-first-out queue, and how its batches are settled."""

    def __init__(self, apply: Apply[Op], name: str, number: int, bounds: Bounds) -> None:
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

    def _take(self, most: int) -> _Batch[Op] | None:
        """The next batch, within bounds, without those whose callers have gone; None: nothing is left."""
        bounds = self._bounds
        ops, futures = self._ops, self._futures
        if len(ops) <= most and self._bytes <= bounds.max_bytes:
            self._ops, self._futures, self._sizes, self._bytes = [], [], [], 0
        else:
            cut, total = 0, 0
            for size in self._sizes[:most]:
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
        failed = None if error is None else type(error).__name__
        events.publish(events.BatchApplied(self._name, kinds, seconds, failed, self._bounds.capability))


class SerialLane(Lane[Op]):
    """One batch at a time on each of its lines, each by a task that lives as long as the lane.

    A task a batch would cost every lone operation one more turn of the loop.

    With one line, all tasks that a large batch woke ask again together, for ever:
    the engine rests while they run, and they while it works. A second line ends
    that. What waits for an idle lane leaves in two halves; what then gathers
    behind a batch leaves beside it, if it is enough. A key that is under way
    holds back whatever came after it, so that its operations keep their order.
    """

    def __init__(
        self, apply: Apply[Op], name: str, number: int, bounds: Bounds, *, lines: Sequence[int] = ()
    ) -> None:
        super().__init__(apply, name, number, bounds)
        self._lines = lines or (number,)
        self._beside = len(self._lines) > 1
        self._pumps: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []  # the pump of an idle line waits here
        self._under_way: dict[int, _Batch[Op]] = {}  # by line

    def start(self) -> None:
        super().start()
        name = f"holdfast {self._name} lane {self._number}"
        self._pumps = {asyncio.create_task(self._pump(line), name=name) for line in self._lines}

    def _arrived(self) -> None:
        idle = self._idle
        if idle and (len(idle) == len(self._lines) or (self._under_way and self._enough(len(self._ops)))):
            _wake(idle.pop())

    def _enough(self, count: int) -> bool:
        """Whether so many had better leave now than wait for the batch under way."""
        return 2 * count >= self._bounds.overlap_from

    async def _pump(self, line: int) -> None:
        try:
            await self._run(line)
        finally:  # also where the loop itself is being torn down: nobody may wait for a dead pump
            batch = self._under_way.pop(line, None)
            if batch is not None:
                self._fail(batch.futures, asyncio.CancelledError())
            self.closing = True
            if not self._under_way:  # else the other line does what is left
                super().abandon()

    async def _run(self, line: int) -> None:
        loop, was_idle = asyncio.get_running_loop(), False
        while True:
            most = self._most(was_idle) if self._beside else self._bounds.max_ops
            was_idle = False
            batch = self._take(most) if most else None
            if batch is None:
                if self._ops and not self._under_way:
                    continue  # all of a full batch were cancelled; there is more
                if self.closing:
                    return  # what may still wait is left to the batch under way
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
                was_idle = True
                continue
            while batch is not None:
                self._under_way[line] = batch
                try:
                    outcomes = await self._apply(batch.ops, line)
                except Exception as error:  # noqa: BLE001 - every waiter is told, nothing is swallowed
                    batch = self._failed(batch, error)
                except asyncio.CancelledError as error:
                    if _cancelling():
                        raise
                    batch = self._failed(batch, error)  # the driver's own inner task was cancelled
                else:
                    self._settle(batch, outcomes)
                    batch = None
            del self._under_way[line]

    def _most(self, was_idle: bool) -> int:
        """How many from the front of the queue may leave now."""
        most, waiting = self._bounds.max_ops, len(self._ops)
        if not self._under_way:
            return min(most, -(-waiting // 2)) if was_idle and waiting >= self._bounds.overlap_from else most
        if not self._enough(waiting):
            return 0
        keys = {op.key for batch in self._under_way.values() for op in batch.ops}
        if not keys.isdisjoint([op.key for op in self._ops]):
            most = min(most, next(at for at, op in enumerate(self._ops) if op.key in keys))
        return most if self._enough(most) else 0

    async def drained(self) -> None:
        while self._idle:  # to see that the lane is closing
            _wake(self._idle.pop())
        if self._pumps:
            await asyncio.wait(self._pumps)

    def abandon(self) -> None:
        super().abandon()
        for pump in self._pumps:
            pump.cancel()


class PipelinedLane(Lane[Op]):
    """Batches behind each other on one wire: written at the end of a turn, or earlier when enough wait."""

    def __init__(self, apply: Apply[Op], name: str, number: int, bounds: Bounds) -> None:
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
            batch = self._take(self._bounds.max_ops)
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


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
