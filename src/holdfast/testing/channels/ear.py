"""A listener that remembers what it heard, and lets a case wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from holdfast.channels.driver import Entry

__all__ = ["Ear", "Heard"]


class Heard(msgspec.Struct, frozen=True):
    """One call of `kept`."""

    key: str
    epoch: str
    last: int
    entry: Entry | None


class Ear:
    """What one subscription told, in the order in which it came."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.sends: list[tuple[str, bytes]] = []
        self.losses = 0
        self._rung = asyncio.Event()

    # --- the listener ---

    def kept(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        self.heard.append(Heard(key, epoch, last, entry))
        self._rung.set()

    def sent(self, key: str, data: bytes) -> None:
        self.sends.append((key, bytes(data)))
        self._rung.set()

    def lost(self) -> None:
        self.losses += 1
        self._rung.set()

    # --- for the case ---

    def about(self, key: str) -> list[Heard]:
        """What was heard of this topic."""
        return [each for each in self.heard if each.key == key]

    def reach(self, key: str) -> int:
        """How far the topic's log goes, as far as was heard."""
        return max((each.last for each in self.about(key)), default=0)

    def forget(self) -> None:
        self.heard.clear()
        self.sends.clear()

    async def until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Return when it is so. Looks again each time something is heard.

        Raises:
            AssertionError: it is not so after that many seconds.
        """
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    self._rung.clear()
                    await self._rung.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: not heard within {seconds:g} s") from None

    async def more(self, seconds: float) -> None:
        """Return when something more is heard, or after that many seconds."""
        self._rung.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            pass  # the caller looks at what there is, and at its own deadline
