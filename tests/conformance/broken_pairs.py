"""Drivers that are right alone and wrong together: two of a kind share one store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from holdfast.errors import StoreUnavailable
from holdfast.persist.announcing import REMOVED, announced, is_value
from holdfast.persist.driver import (
    Clear,
    Create,
    Get,
    Increment,
    Keys,
    Listener,
    Operation,
    Outcome,
    Set,
    Subscription,
)
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
        self.ears: list[Listener] = clock.__dict__.setdefault("ears", [])
        self.mine: list[Listener] = []
        self.announces = False

    async def close(self) -> None:
        """The other one may still be at work."""
        for listener in self.mine:
            self.ears.remove(listener)
        self.mine.clear()

    def announce(self, channel: str) -> None:
        self.announces = True

    async def subscribe(self, listener: Listener) -> Subscription:
        self.ears.append(listener)
        self.mine.append(listener)
        return _Hearing(self, listener)

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        if not self.announces:
            return await super().apply(batch, lane)
        outcomes: list[Outcome] = []
        for op in batch:
            gone = (await self.driver.apply([Keys(op.key, None, 1)]))[0].keys if type(op) is Clear else ()
            (outcome,) = await super().apply([op], lane)
            outcomes.append(outcome)
            for key, removed in self.says(op, outcome, gone):
                self.tell(key, removed)
        return outcomes

    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> list[tuple[str, bool]]:
        """What is announced of an operation: keys, and whether they were removed."""
        letter = announced(op, outcome)
        told = [] if letter is None else [(op.key, letter == REMOVED)]
        return told + [(key, True) for key in gone if is_value(key)]

    def tell(self, key: str, removed: bool) -> None:
        for listener in tuple(self.ears):
            listener.changed(key, removed)


class _Hearing:
    def __init__(self, owner: Paired, listener: Listener) -> None:
        self._owner = owner
        self._listener = listener

    async def close(self) -> None:
        if self._listener in self._owner.mine:
            self._owner.mine.remove(self._listener)
            self._owner.ears.remove(self._listener)


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
