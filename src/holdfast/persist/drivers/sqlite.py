"""Values in an SQLite file: durable without a server, for the processes of one machine.

Guarantees: with `synchronous=full` (the default) a write is acknowledged after
it was synced to disk. Expiry is by the machine's clock (`now_ms`), read inside
the transaction. Versions are random.

Schema: `holdfast_persist`, see `persist.migrations`; a row a key.

Cost: `Get` and `GetEntry` run on the loop's own connection, without a future or
a turn of the loop. Everything else is one job for the engine's writer thread, a
batch of any size one transaction and one sync, shared with whatever else is
queued there. A file on a slow disk holds the loop up for as long as a page
takes to read.

Announcements are one row of `holdfast_notes` (see `engines.notes`) for all that
a batch changed, in its transaction; they are heard by polling, within
`traits.latency`. Only who announces needs the table.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Self

from holdfast.engines import Lease, lease
from holdfast.engines import notes as notes_table
from holdfast.engines.sqlite import DiskFull, SqliteEngine, notes
from holdfast.engines.sqlite.polling import POLL_SECONDS
from holdfast.errors import Closed
from holdfast.persist.announcing import announcement
from holdfast.persist.driver import (
    LATER,
    Get,
    GetEntry,
    Keys,
    Listener,
    Operation,
    Outcome,
    Subscription,
    Sweep,
    Traits,
)
from holdfast.persist.drivers.sqlite_rows import READ, READ_ENTRY, perform, stored, sweep
from holdfast.persist.drivers.sqlite_watch import Hearing
from holdfast.persist.migrations import MIGRATIONS
from holdfast.persist.waves import INT64_MIN
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["SqliteDriver"]

_READS = frozenset({Get, GetEntry, Keys})
_NOTES = "notes"
"""The cursor of a sweep that is done with the values."""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteDriver:
    """One SQLite file. `now_ms` is the clock, in milliseconds since 1970; processes on one file should agree on it."""

    traits = Traits(
        name="sqlite",
        durable="yes",
        shared="machine",
        clock="machine",
        version_from_content=False,
        immediate=frozenset({Get, GetEntry}),
        sweeps=True,
        notifies=True,
        latency=POLL_SECONDS,
        auto_migrate=True,
    )

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """The driver for a URL, without I/O.

        Raises:
            StoreMisconfigured: the URL names no file, or an option is wrong.
        """
        return cls(url)

    def __init__(self, url: StoreURL, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self._url = url
        self._now_ms = now_ms
        self._channel: str | None = None  # where changes are announced
        self._hearings: set[Hearing] = set()
        self._lease: Lease[SqliteEngine] | None = None
        self._engine = SqliteEngine.from_url(
            url
        )  # stands in until `open`: says what is wrong, and that it is closed

    async def open(self) -> None:
        if self._lease is None:
            self._lease = await lease(SqliteEngine, self._url)
            self._engine = self._lease.engine

    async def close(self) -> None:
        held, self._lease = self._lease, None
        if held is not None:
            for each in list(self._hearings):
                await each.close()
            self._engine = SqliteEngine.from_url(self._url)
            await held.release()

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(self._known)

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(self._known)

    @property
    def _known(self) -> Sequence[Migration]:
        values = MIGRATIONS["sqlite"]
        return values if self._channel is None else (*notes_table.MIGRATIONS["sqlite"], *values)

    async def health(self) -> Health:
        try:
            return await self._engine.health()
        except Closed as exc:
            return Health(False, self.traits.name, 0.0, str(exc))

    async def describe(self) -> Sequence[Finding]:
        return await self._engine.describe()

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        """One transaction; where it meets something that one operation alone may be to blame for, smaller ones."""
        now_ms, channel = self._now_ms, self._channel

        def work(connection: sqlite3.Connection) -> list[Outcome]:
            if channel is None:
                return perform(connection, batch, now_ms())
            return _announced(connection, batch, now_ms(), channel)

        try:
            if all(type(op) in _READS for op in batch):
                return await self._engine.run(work)  # needs no lock, and must not wait for one
            return await self._engine.write(work)
        except (DiskFull, ValueError, OverflowError) as exc:
            # Nothing was applied. A smaller write may still find room, and a
            # removal makes some; text that is not UTF-8 is one operation's fault.
            if len(batch) == 1:
                return [exc]
        middle = len(batch) // 2
        return [*await self.apply(batch[:middle]), *await self.apply(batch[middle:])]

    def now(self, op: Operation) -> Outcome:
        try:
            if type(op) is Get:
                row = self._engine.look(READ, (op.key,)).fetchone()
                if row is None or (row[1] is not None and row[1] <= self._now_ms()):
                    return None
                return row[0]
            row = self._engine.look(READ_ENTRY, (op.key,)).fetchone()
        except sqlite3.Error as exc:
            if self._engine.must_wait(exc):
                return LATER
            raise
        return None if row is None else stored(row, self._now_ms())

    def announce(self, channel: str) -> None:
        self._channel = channel

    async def subscribe(self, listener: Listener) -> Subscription:
        if self._lease is None or self._channel is None:
            raise Closed(f"sqlite {self._engine.name}: not open")
        hearing = Hearing(self._engine.poller, self._channel, listener, self._hearings.discard)
        self._hearings.add(hearing)
        try:
            await hearing.begin()
        except BaseException:
            await hearing.close()
            raise
        return hearing

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        if cursor == _NOTES:
            return await self._sweep_notes()
        after = INT64_MIN if cursor is None else int(cursor)
        now_ms = self._now_ms
        swept = await self._engine.write(lambda connection: sweep(connection, after, limit, now_ms()))
        if self._channel is not None and swept.cursor is None:
            return Sweep(swept.removed, _NOTES)
        return swept

    async def _sweep_notes(self) -> Sweep:
        oldest = await self._engine.run(lambda connection: connection.execute(notes.OLDEST).fetchone())
        before = self._now_ms() - notes_table.LIFE_MS
        if oldest is None or oldest[0] >= before:
            return Sweep(0, None)  # without asking for the lock
        swept = await self._engine.write(lambda connection: notes.sweep(connection, before))
        return Sweep(0, _NOTES if swept else None)


def _announced(
    connection: sqlite3.Connection, batch: Sequence[Operation], now: int, channel: str
) -> list[Outcome]:
    """Do the batch, and note what it changed."""
    cleared: dict[int, Sequence[str]] = {}
    outcomes = perform(connection, batch, now, cleared)
    told = announcement(batch, outcomes, cleared)
    if told:
        notes.note(connection, [(channel, told, now)])
    return outcomes
