"""Drivers that are right alone and wrong together: two of a kind share one store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from holdfast.errors import StoreUnavailable
from holdfast.persist.driver import Create, Get, Increment, Operation, Outcome, Set
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.testing import ManualClock
from holdfast.testing.faults import Passing


class Paired(Passing):
    """One of several over the store that hangs on the clock, which the drivers of one test have in common."""

    def __init__(self, clock: ManualClock) -> None:
        store = clock.__dict__.setdefault("store", MemoryDriver(now_ms=clock))
        super().__init__(store)
        self.traits = msgspec.structs.replace(self.traits, shared="machine")
        self.busy: dict[str, asyncio.Lock] = clock.__dict__.setdefault("busy", {})

    async def close(self) -> None:
        """The other one may still be at work."""


class LooksBeforeItCreates(Paired):
    """SELECT, then INSERT, in two round trips."""

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        seen = await self.driver.apply([Get(op.key) for op in batch])
        await asyncio.sleep(0)
        asked: list[Operation] = []
        for op, text in zip(batch, seen, strict=True):
            mistaken = isinstance(op, Create) and text is None
            asked.append(Set(op.key, op.value, op.ttl) if mistaken else op)  # type: ignore[union-attr]
        outcomes = await self.driver.apply(asked)
        return [
            True if asked[at] is not op else outcome
            for at, (op, outcome) in enumerate(zip(batch, outcomes, strict=True))
        ]


class ReadsBeforeItIncrements(Paired):
    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for op in batch:
            if isinstance(op, Increment):
                (text,) = await self.driver.apply([Get(op.key)])
                await asyncio.sleep(0)
                total = int(text or 0) + op.by
                await self.driver.apply([Set(op.key, b"%d" % total, op.ttl)])
                outcomes.append(total)
            else:
                outcomes += await self.driver.apply([op])
        return outcomes


class RemembersWhatItRead(Paired):
    """A read cache in the process, which nobody invalidates."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.cache: dict[Operation, Outcome] = {}

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        outcomes = await self.driver.apply(batch)
        for at, op in enumerate(batch):
            if isinstance(op, Get) and outcomes[at] is not None:
                outcomes[at] = self.cache.setdefault(op, outcomes[at])
            elif not isinstance(op, Get):
                self.cache.pop(Get(op.key), None)
        return outcomes


class LocksRowsInTheOrderOfTheBatch(Paired):
    """A transaction over a batch whose keys are not sorted: two of them deadlock."""

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        held: list[asyncio.Lock] = []
        try:
            for key in dict.fromkeys(op.key for op in batch):
                lock = self.busy.setdefault(key, asyncio.Lock())
                try:
                    async with asyncio.timeout(0.02):
                        await lock.acquire()
                except TimeoutError:
                    raise StoreUnavailable("deadlock detected") from None
                held.append(lock)
                await asyncio.sleep(0)
            return await self.driver.apply(batch)
        finally:
            for lock in held:
                lock.release()
