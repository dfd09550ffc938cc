"""A memory driver whose round trips wait until a test lets them go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from holdfast.channels.driver import Operation, Outcome
from holdfast.channels.drivers.memory import MemoryDriver
from holdfast.errors import StoreUnavailable


class GatedDriver(MemoryDriver):
    """Operations that `gate` names wait for `open_gate`; those that `fail` names fail as a lost connection does."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = msgspec.structs.replace(
            self.traits, immediate=frozenset(), lanes=2, writes_in_one_lane=True
        )
        self.gate: Callable[[Operation], bool] = lambda op: False
        self.fail: Callable[[Operation], bool] = lambda op: False
        self.applied_but_lost = False
        self.batches: list[list[Operation]] = []
        self.waiting = asyncio.Event()
        self._opened = asyncio.Event()

    def open_gate(self) -> None:
        self.gate = lambda op: False
        self._opened.set()

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        self.batches.append(list(batch))
        if any(map(self.fail, batch)):
            if self.applied_but_lost:
                await super().apply(batch, lane)
            raise StoreUnavailable("gated: lost", maybe_applied=self.applied_but_lost)
        outcomes = await super().apply(batch, lane)  # what it reads is of before the wait
        if any(map(self.gate, batch)):
            self._opened.clear()
            self.waiting.set()
            await self._opened.wait()
        return outcomes

    async def apply_now(self, batch: Sequence[Operation]) -> list[Outcome]:
        """As another process would: behind the hub's back, and past the gate."""
        return await super().apply(batch)
