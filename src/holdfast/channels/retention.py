"""What nobody's writing takes away: old messages of quiet topics, and announcements that everybody has heard.

An `Append` trims its own topic. A topic in which nobody speaks keeps what is too
old until somebody looks: so every process does, now and then, at the topics of
those classes that say `max_age`, a page at a time, with a rest after each that
is as long as the page took at least, so that retention is never more than half
of what a store does. Several processes do the same work twice, and none of it
does harm twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from holdfast.channels.driver import Log, Operation, Read, TopicPage, Topics, Trim
from holdfast.channels.room import Room
from holdfast.channels.routing import Route, Routes
from holdfast.errors import StoreError

__all__ = ["Retention"]

Run: TypeAlias = Callable[[Operation], Awaitable[Any]]
REST: Final = 30.0
"""Seconds between two rounds; each is between three quarters and five quarters of it, or processes would go in step."""
PAGE: Final = 200
"""Topics that are looked at, and perhaps trimmed, at a time."""
BREATH: Final = 0.02
"""Seconds between two pages, at least: 10,000 topics a second at most."""
SWEEPS: Final = 100
"""Chunks of announcements that one round deletes at most."""
PAUSE: Final = 0.1
"""Seconds between two chunks, for those who write."""


class Retention:
    """One hub's.

    Args:
        run: performs an operation on the store.
        sweep: the driver's.
        rooms: those of this process, by key: what they have at hand goes too.
    """

    def __init__(
        self,
        run: Run,
        sweep: Callable[[], Awaitable[int]],
        routes: Routes,
        rooms: Mapping[str, Room],
        prefix: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        time: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._run = run
        self._sweep = sweep
        self._routes = routes
        self._rooms = rooms
        self._prefix = prefix
        self._sleep = sleep
        self._time = time
        self._jitter = jitter
        self._aging = [route for route in routes.all if route.max_age_ms is not None]

    async def work(self) -> None:
        """Round after round, until it is cancelled. A store that is away is asked again the next time."""
        while True:
            await self._sleep(REST * self._jitter(0.75, 1.25))
            for part in (self.sweep, self.trim):
                try:
                    await part()
                except StoreError:
                    pass  # whoever uses the store is told; the next round may find it back
                except Exception as exc:  # noqa: BLE001 - told to the loop's handler; retention goes on
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "channels: retention failed", "exception": exc}
                    )

    async def sweep(self) -> int:
        """Delete announcements that nobody needs any more; how many."""
        gone = 0
        for _ in range(SWEEPS):
            found = await self._sweep()
            gone += found
            if not found:
                break
            await self._sleep(PAUSE)
        return gone

    async def trim(self) -> int:
        """One round through all topics that grow old; how many messages went."""
        gone = 0
        for route in self._aging:
            cursor: str | None = None
            while True:
                began = self._time()
                page: TopicPage = await self._run(
                    Topics(self._prefix + (route.prefix or route.pattern), cursor, PAGE)
                )
                keys = [each.key for each in page.topics if each.kept and self._is(route, each.key)]
                gone += sum(await asyncio.gather(*(self._trim(route, key) for key in keys)))
                cursor = page.cursor
                if cursor is None:
                    break
                await self._sleep(max(BREATH, self._time() - began))
        return gone

    def _is(self, route: Route, key: str) -> bool:
        return self._routes.find(key[len(self._prefix) :]) is route

    async def _trim(self, route: Route, key: str) -> int:
        gone: int = await self._run(Trim(key, route.max_messages, route.max_age_ms))
        room = self._rooms.get(key)
        if room is not None:  # whoever it was that took it away
            log: Log = await self._run(Read(key, 1))
            if log.epoch == room.epoch:
                room.cut(log.trimmed)
        return gone
