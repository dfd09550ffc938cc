"""Drivers that fail on purpose, around any driver that works.

    driver = Failing(MemoryDriver(), on={2})         # the second round trip fails, nothing applied
    driver = Dropping(RedisDriver(client=r))         # the first is done, but its answer is lost
    driver = DyingMidBatch(driver, after=3)          # three operations are done, then the connection is gone
    driver = Delayed(driver, 0.2)                    # every round trip takes 200 ms longer
    driver = Held(driver)                            # every round trip waits for `release`

`on` says which round trips: anything that `in` works on, counted from 1
(`{1}`, `range(3, 6)`, `EVERY`). The wrapped driver takes one batch at a time and
answers nothing immediately, so that every operation passes through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any, Final, cast

import msgspec

from holdfast.errors import StoreUnavailable
from holdfast.persist.driver import (
    Driver,
    Listener,
    Notifying,
    Operation,
    Outcome,
    Subscription,
    Sweep,
    Traits,
)
from holdfast.store import Finding, Health, Migration

__all__ = ["EVERY", "Delayed", "Dropping", "DyingMidBatch", "Failing", "Held", "Passing"]


class _Every:
    def __contains__(self, number: object) -> bool:
        return True


EVERY: Final[Container[int]] = _Every()
"""`on=EVERY`: all round trips."""


class Passing:
    """Hands everything on unchanged: what the others build on, and a place to count from.

    `calls` is how many batches were handed to `apply` so far, `batches` what was in them.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.traits: Traits = msgspec.structs.replace(driver.traits, immediate=frozenset(), pipeline=1)
        self.calls = 0
        self.batches: list[Sequence[Operation]] = []

    async def open(self) -> None:
        await self.driver.open()

    async def close(self) -> None:
        await self.driver.close()

    async def pending(self) -> Sequence[Migration]:
        return await self.driver.pending()

    async def migrate(self) -> Sequence[Migration]:
        return await self.driver.migrate()

    async def health(self) -> Health:
        return await self.driver.health()

    async def describe(self) -> Sequence[Finding]:
        return await self.driver.describe()

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        return await self.driver.sweep(cursor, limit)

    def announce(self, channel: str) -> None:
        cast("Notifying", self.driver).announce(channel)

    async def subscribe(self, listener: Listener) -> Subscription:
        return await cast("Notifying", self.driver).subscribe(listener)

    def now(self, op: Operation) -> Outcome:
        return self.driver.now(op)

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        self.calls += 1
        self.batches.append(batch)
        return await self._pass(batch, lane, self.calls)

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        return await self.driver.apply(batch, lane)


class _Sometimes(Passing):
    def __init__(self, driver: Driver, *, on: Container[int] = (1,)) -> None:
        super().__init__(driver)
        self.on = on

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        if number in self.on:
            return await self._fault(batch, lane)
        return await self.driver.apply(batch, lane)

    async def _fault(self, batch: Sequence[Operation], lane: int) -> list[Outcome]:
        raise NotImplementedError


class Failing(_Sometimes):
    """The round trip raises before anything was sent: `StoreUnavailable`, or the `error` given."""

    def __init__(
        self, driver: Driver, *, on: Container[int] = (1,), error: Callable[[], Exception] | None = None
    ) -> None:
        super().__init__(driver, on=on)
        self._error = error or (lambda: StoreUnavailable("failing: refused on purpose"))

    async def _fault(self, batch: Sequence[Operation], lane: int) -> list[Outcome]:
        raise self._error()


class Dropping(_Sometimes):
    """The store does all of it, and the answer is lost on the way back."""

    async def _fault(self, batch: Sequence[Operation], lane: int) -> list[Outcome]:
        await self.driver.apply(batch, lane)
        raise StoreUnavailable("dropping: the answer was lost on purpose", maybe_applied=True)


class DyingMidBatch(_Sometimes):
    """The store does the first `after` operations of the batch, and then the connection is gone."""

    def __init__(self, driver: Driver, *, after: int = 1, on: Container[int] = (1,)) -> None:
        super().__init__(driver, on=on)
        self._after = after

    async def _fault(self, batch: Sequence[Operation], lane: int) -> list[Outcome]:
        if self._after:
            await self.driver.apply(batch[: self._after], lane)
        raise StoreUnavailable("dying mid-batch: the connection is gone on purpose", maybe_applied=True)


class Delayed(Passing):
    """Every round trip takes `seconds` longer, before anything is sent."""

    def __init__(
        self, driver: Driver, seconds: float, *, sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    ) -> None:
        super().__init__(driver)
        self._seconds = seconds
        self._sleep = sleep

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        await self._sleep(self._seconds)
        return await self.driver.apply(batch, lane)


class Held(Passing):
    """Every round trip waits until it is let go: what is under way stays under way."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._arrived = asyncio.Condition()
        self._gate = asyncio.Event()

    async def arrived(self, calls: int = 1) -> None:
        """Return when this many round trips have been handed over in all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.calls >= calls)

    def release(self) -> None:
        """Let go what is held, and all that comes."""
        self._gate.set()

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        async with self._arrived:
            self._arrived.notify_all()
        await self._gate.wait()
        return await self.driver.apply(batch, lane)
