"""Who may go to the network now: so many at once in all, so many of them at one host.

Whoever waits for a busy host keeps nobody else waiting: a place is given to the
first in line whose host has room, and hosts take turns. So a thousand mentions
for a host that never answers cost four places, and the rest go by.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Turn", "Turns"]


class _Host:
    __slots__ = ("line", "there")

    def __init__(self) -> None:
        self.there = 0
        self.line: deque[Turn] = deque()


class Turns:
    """Places for everything that one process sends.

    INVARIANT: `_ready` names, in the order in which they are served, the hosts
    that have somebody in line and room for one more.
    """

    def __init__(self, *, at_once: int = 256, per_host: int = 4) -> None:
        if at_once < 1 or per_host < 1:
            raise ValueError("turns: at_once and per_host are at least 1")
        self.at_once = at_once
        self._free = at_once
        self._per_host = per_host
        self._hosts: dict[str, _Host] = {}
        self._ready: dict[str, None] = {}

    @property
    def free(self) -> int:
        """Places that nobody wants at the moment."""
        return self._free

    def take(self, host: str) -> Turn:
        """A place in line; had at once where there is room. Whoever takes it leaves it."""
        turn = Turn(self, host)
        there = self._hosts.get(host)
        if there is None:
            there = self._hosts[host] = _Host()
        there.line.append(turn)
        if there.there < self._per_host:
            self._ready[host] = None
        self._serve()
        return turn

    def _serve(self) -> None:
        while self._free and self._ready:
            name = next(iter(self._ready))
            del self._ready[name]  # to the end, where it comes back
            host = self._hosts[name]
            turn = host.line.popleft()
            host.there += 1
            self._free -= 1
            turn.grant()
            if host.line and host.there < self._per_host:
                self._ready[name] = None

    def leave(self, turn: Turn) -> None:
        host = self._hosts[turn.host]
        if turn.granted:
            host.there -= 1
            self._free += 1
        else:
            host.line.remove(turn)
        if host.line and host.there < self._per_host:
            self._ready.setdefault(turn.host)
        else:
            self._ready.pop(turn.host, None)
        if not host.line and not host.there:
            del self._hosts[turn.host]
        self._serve()


class Turn:
    """One place, waited for or had. Leaving it twice is leaving it once."""

    __slots__ = ("_come", "_left", "_turns", "granted", "host")

    def __init__(self, turns: Turns, host: str) -> None:
        self._turns = turns
        self.host = host
        self.granted = False
        self._left = False
        self._come: asyncio.Event | None = None

    def grant(self) -> None:
        self.granted = True
        if self._come is not None:
            self._come.set()

    async def come(self) -> None:
        """Wait until it is had."""
        if not self.granted:
            self._come = asyncio.Event()
            await self._come.wait()

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._turns.leave(self)
