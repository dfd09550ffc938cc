"""How a process hears of others through a database that wakes nobody: it looks, again and again.

One look is one loan of a connection and two statements: how far the followed
topics go, and which notes are new (a third where some are for it). A topic
whose epoch or last offset is another than at the look before has moved. How
notes that become visible late are found is told in `engines.sqlalchemy.notes`.

Nothing is looked at while nothing is followed. A look that fails is tried again
after twice the time, up to `LONGEST_REST`; whoever listens is told `lost` by
the first that succeeds, and by one that comes so late that notes may have been
swept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.channels.driver import Listener
from holdfast.channels.drivers.sqlalchemy_reads import bound
from holdfast.channels.drivers.sqlalchemy_tables import Statements
from holdfast.engines.notes import LIFE_MS
from holdfast.engines.sqlalchemy import SQLAlchemyEngine
from holdfast.engines.sqlalchemy.notes import Note, NoteReader, padded
from holdfast.engines.sqlalchemy.tables import as_text
from holdfast.errors import Closed, StoreError

__all__ = ["PollingSubscription"]

LONGEST_REST: Final = 2.0
TOGETHER: Final = 1024
"""Topics asked about in one statement."""

Reach = tuple[str, int] | None
"""Epoch and last offset; None: there is no log."""


class PollingSubscription:
    """What one listener follows, and the task that looks for it.

    Args:
        period: seconds between two looks.
        closed: called once, by `close`.
    """

    def __init__(
        self,
        engine: SQLAlchemyEngine,
        sql: Statements,
        listener: Listener,
        period: float,
        *,
        closed: Callable[[PollingSubscription], None] = lambda subscription: None,
    ) -> None:
        self._engine = engine
        self._sql = sql
        self._listener = listener
        self._period = period
        self._closed: Callable[[PollingSubscription], None] | None = closed
        self._reached: dict[str, Reach] = {}
        self._notes = NoteReader(LIFE_MS)
        self._turn = asyncio.Lock()  # looks, and the first look of a new topic, one at a time
        # INVARIANT: set exactly while something is followed.
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def follow(self, key: str) -> None:
        async with self._turn:
            if self._closed is None:
                raise Closed("follow: the subscription is closed")
            if key in self._reached:
                return
            first = not self._reached

            async def work(connection: AsyncConnection) -> dict[str, Reach]:
                if first:  # nobody has looked for a while, or ever
                    await self._notes.start(connection)
                return await self._reach(connection, [key])

            reached = await self._engine.read(work)
            if self._closed is None:
                raise Closed("follow: the subscription was closed")
            self._reached[key] = reached.get(key)
            self._wanted.set()
            if self._task is None:
                self._task = asyncio.create_task(self._look_out(), name="holdfast sqlalchemy channels poll")

    async def unfollow(self, key: str) -> None:
        self._reached.pop(key, None)
        if not self._reached:
            self._wanted.clear()

    async def close(self) -> None:
        closed, self._closed = self._closed, None
        task, self._task = self._task, None
        self._reached.clear()
        if closed is not None:
            closed(self)
        if task is not None and not task.done():  # done: with its event loop, which ended before
            task.cancel()
            await asyncio.wait({task})

    # --- looking ---

    async def _look_out(self) -> None:
        rest, failed = self._period, False
        while True:
            await self._wanted.wait()
            await asyncio.sleep(rest)
            if not self._reached:
                continue
            try:
                await self._look(failed)
            except StoreError:  # who calls the store hears of it; here the listener will, when it is over
                rest, failed = min(2 * rest, max(LONGEST_REST, self._period)), True
            else:
                rest, failed = self._period, False

    async def _look(self, failed: bool) -> None:
        async with self._turn:
            keys = sorted(self._reached)

            async def work(connection: AsyncConnection) -> tuple[dict[str, Reach], list[Note]]:
                if failed:
                    await self._notes.resume(connection)
                return await self._reach(connection, keys), await self._notes.read(connection, self._reached)

            lost = failed or self._notes.overslept()
            reached, notes = await self._engine.read(work)
            if lost:
                self._listener.lost()
            for key in keys:
                self._tell(key, reached.get(key))
            for note in notes:
                if note.channel in self._reached:
                    self._listener.sent(note.channel, note.data)

    def _tell(self, key: str, now: Reach) -> None:
        if key not in self._reached or now == self._reached[key]:
            return  # unfollowed meanwhile, or nothing new
        self._reached[key] = now
        if now is not None:
            self._listener.kept(key, *now, None)

    async def _reach(self, connection: AsyncConnection, keys: Sequence[str]) -> dict[str, Reach]:
        found: dict[str, Reach] = {}
        for at in range(0, len(keys), TOGETHER):
            some: list[Any] = padded([bound(self._sql, key) for key in keys[at : at + TOGETHER]])
            for topic, epoch, last in await connection.execute(self._sql.reach, {"keys": some}):
                found[as_text(topic)] = (epoch, last)
        return found
