"""The Batcher: what arrives while a round trip is under way leaves together in the next.

There is no timer and no window. An idle line sends at the end of the loop turn
in which something arrived, so a lone caller waits for nobody and the tasks that
one turn woke go out as one batch. While a batch is under way the next gathers;
the busier the line, the larger the batches, up to `max_ops` and `max_bytes`.

A lane is first in, first out, reads and writes alike: neither can starve the
other, and writes to one key, which always travel in one lane, keep their order.
Where many writes overlap (`overlap_from`) they have a queue of their own, beside
the reads of the same lanes; a key is in one batch under way at most.

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
from typing import Any, Generic

from holdfast.coalesce.lanes import Apply, Bounds, Lane, Op, PipelinedLane, SerialLane

__all__ = ["Batcher"]


class Batcher(Generic[Op]):
    """The queue in front of one driver: `submit` an operation, await its future.

    Args:
        apply: does one batch; its contract is the driver's `apply`.
        name: what events and errors call the store.
        capability: whose operations these are, for events.
        lanes: how many batches may be under way beside each other; an
            operation's lane follows from its key.
        writes_in_one_lane: what is not repeatable keeps to the first lane.
        pipeline: how many may be under way behind each other in one lane. Where
            more than 1, `apply` must return a future, its batch already written.
        overlap_from: with `writes_in_one_lane`, so many writes that wait leave by
            both of the first two lanes; `apply` then meets them beside the reads
            there. One key is never under way twice. 0: one lane does them all.
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
        capability: str = "persist",
        lanes: int = 1,
        writes_in_one_lane: bool = False,
        pipeline: int = 1,
        overlap_from: int = 0,
        max_ops: int = 512,
        max_bytes: int = 4 << 20,
        max_queued_ops: int = 1 << 16,
        max_queued_bytes: int = 256 << 20,
    ) -> None:
        kind: type[Lane[Op]] = SerialLane if pipeline == 1 else PipelinedLane
        bounds = Bounds(
            max_ops, max_bytes, max_queued_ops, max_queued_bytes, pipeline, overlap_from, capability
        )
        self._lanes = self._reads = tuple(kind(apply, name, number, bounds) for number in range(lanes))
        self._writes = self._lanes[0] if writes_in_one_lane else None
        if overlap_from and lanes > 1 and writes_in_one_lane:
            # Not one queue with reads, or many of those would leave by two lines as well: they have lanes for that.
            self._writes = SerialLane(apply, name, 0, bounds, lines=(0, 1))
            self._lanes = (*self._reads, self._writes)
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
        if self._writes is not None and not op.repeatable:
            return self._writes.submit(op, size)
        lanes = self._reads
        return lanes[hash(op.key) % len(lanes)].submit(op, size)

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
