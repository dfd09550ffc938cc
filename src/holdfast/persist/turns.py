"""One after another within this process, by name: who waits here does not race in the store."""

from __future__ import annotations

import asyncio

__all__ = ["Turns"]


class Turns:
    """First come, first served, for each name; a name that nobody uses takes no memory."""

    def __init__(self) -> None:
        # INVARIANT: a name is here while someone holds or awaits its turn, with how many do.
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    def taken(self, name: str) -> bool:
        return name in self._turns

    async def take(self, name: str) -> None:
        lock, users = self._turns.get(name) or (asyncio.Lock(), 0)
        self._turns[name] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave(name)
            raise

    def give(self, name: str) -> None:
        self._turns[name][0].release()
        self._leave(name)

    def _leave(self, name: str) -> None:
        lock, users = self._turns[name]
        if users == 1:
            del self._turns[name]
        else:
            self._turns[name] = (lock, users - 1)
