"""Announcing changes through the table of notes, and hearing of them by looking there again and again.

A batch's changes are one row, written in its transaction. Nothing is looked at
while nobody listens. A look that fails is tried again after twice the time, up
to `LONGEST_REST`; the first that succeeds tells the listener `lost`, and so
does one that comes so late that notes may have been swept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.engines.notes import LIFE_MS
from holdfast.engines.sqlalchemy import SQLAlchemyEngine
from holdfast.engines.sqlalchemy.clock import now_ms
from holdfast.engines.sqlalchemy.notes import Note, NoteReader, post
from holdfast.errors import StoreError
from holdfast.persist.announcing import announcement, tell
from holdfast.persist.driver import Listener, Operation, Outcome

__all__ = ["Hearing", "announce"]

LONGEST_REST: Final = 2.0


async def announce(
    connection: AsyncConnection,
    channel: str,
    ops: Sequence[Operation],
    outcomes: Sequence[Outcome],
    cleared: Mapping[int, Sequence[str]] = {},
) -> None:
    """Note what the operations did; in their transaction, behind them."""
    told = announcement(ops, outcomes, cleared)
    if told:
        await post(connection, [Note(channel, told)], await now_ms(connection))


class Hearing:
    """One `Subscription`, and the task that looks for it.

    Args:
        period: seconds between two looks.
        closed: told by `close`.
    """

    def __init__(
        self,
        engine: SQLAlchemyEngine,
        channel: str,
        listener: Listener,
        period: float,
        *,
        closed: Callable[[Hearing], None] = lambda hearing: None,
    ) -> None:
        self._engine = engine
        self._channels = frozenset((channel,))
        self._listener = listener
        self._period = period
        self._tell_closed = closed
        self._notes = NoteReader(LIFE_MS)
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Hear what is committed from the return on; raises what the engine raises."""
        await self._engine.read(self._notes.start)
        self._task = asyncio.create_task(self._look_out(), name="holdfast sqlalchemy watch")

    async def close(self) -> None:
        self._tell_closed(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _look_out(self) -> None:
        rest, failed = self._period, False
        while True:
            await asyncio.sleep(rest)
            try:
                await self._look(failed)
            except StoreError:  # who calls the store hears of it; here the listener will, when it is over
                rest, failed = min(2 * rest, max(LONGEST_REST, self._period)), True
            else:
                rest, failed = self._period, False

    async def _look(self, failed: bool) -> None:
        async def work(connection: AsyncConnection) -> list[Note]:
            if failed:
                await self._notes.resume(connection)
            return await self._notes.read(connection, self._channels)

        lost = failed or self._notes.overslept()
        found = await self._engine.read(work)
        if lost:
            self._listener.lost()
        for note in found:
            tell(self._listener, note.data)
