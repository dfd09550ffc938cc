"""Logs in an SQLite file: durable without a server, for the processes of one machine.

Guarantees: with `synchronous=full` (the default) a message is acknowledged after
it was synced to disk. Offsets are taken under SQLite's one write lock, so a
reader that has seen one has seen all below. Messages are stamped, and grow old,
by the machine's clock (`now_ms`), read inside the transaction.

Schema: `holdfast_topics` and `holdfast_messages`, see `channels.migrations`, and
`holdfast_notes`, see `engines.notes`.

Cost: `Find`, and `Read` up to `MAX_LOOK` messages, run on the loop's own
connection, without a future or a turn of the loop. Everything else is one job
for the engine's writer thread, a batch of any size one transaction and one
sync, shared with whatever else is queued there.

Other processes are heard by polling, see `engines.sqlite.polling`: within
`traits.latency`, content never carried along. What this process appends is
announced to it only where several drivers of it have the file open.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

from holdfast.channels.driver import (
    LATER,
    Find,
    Listener,
    Operation,
    Outcome,
    Read,
    Subscription,
    Traits,
)
from holdfast.channels.drivers.sqlite_following import Following
from holdfast.channels.drivers.sqlite_log import READS, look_up, perform
from holdfast.channels.migrations import MIGRATIONS
from holdfast.engines import Lease, lease
from holdfast.engines import notes as notes_table
from holdfast.engines.sqlite import DiskFull, SqliteEngine, notes
from holdfast.engines.sqlite.polling import POLL_SECONDS
from holdfast.errors import Closed
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["SqliteDriver"]

MAX_LOOK: Final = 512
"""Messages that are read on the loop: about a millisecond's worth."""

_TABLES: Final = (*notes_table.MIGRATIONS["sqlite"], *MIGRATIONS["sqlite"])


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteDriver:
    """One SQLite file. `now_ms` is the clock, in milliseconds since 1970; processes on one file should agree on it."""

    traits = Traits(
        name="sqlite",
        durable="yes",
        shared="machine",
        clock="machine",
        notifies="poll",
        latency=POLL_SECONDS,
        immediate=frozenset({Read, Find}),
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
        self._lease: Lease[SqliteEngine] | None = None
        self._following: set[Following] = set()
        self._engine = SqliteEngine.from_url(
            url
        )  # stands in until `open`: says what is wrong, and that it is closed

    async def open(self) -> None:
        if self._lease is None:
            self._lease = await lease(SqliteEngine, self._url)
            self._engine = self._lease.engine
            self._engine.poller.voices.add(self)

    async def close(self) -> None:
        held, self._lease = self._lease, None
        if held is not None:
            held.engine.poller.voices.discard(self)
            for each in list(self._following):
                await each.close()
            self._engine = SqliteEngine.from_url(self._url)
            await held.release()

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(_TABLES)

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(_TABLES)

    async def health(self) -> Health:
        try:
            return await self._engine.health()
        except Closed as exc:
            return Health(False, self.traits.name, 0.0, str(exc))

    async def describe(self) -> Sequence[Finding]:
        return await self._engine.describe()

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        """One transaction; where it meets something that one operation alone may be to blame for, smaller ones."""
        now_ms = self._now_ms
        try:
            if all(type(op) in READS for op in batch):  # needs no lock, and must not wait for one
                return await self._engine.run(lambda connection: look_up(connection, batch))
            return await self._engine.write(lambda connection: perform(connection, batch, now_ms()))
        except (DiskFull, ValueError, OverflowError) as exc:
            # Nothing was applied. A smaller write may still find room, and a
            # removal makes some; text that is not UTF-8 is one operation's fault.
            if len(batch) == 1:
                return [exc]
        middle = len(batch) // 2
        return [*await self.apply(batch[:middle]), *await self.apply(batch[middle:])]

    def now(self, op: Operation) -> Outcome:
        if type(op) is Read and op.limit > MAX_LOOK:
            return LATER
        try:
            return READS[type(op)](self._engine.look, op)
        except sqlite3.Error as exc:
            if self._engine.must_wait(exc):
                return LATER
            raise

    async def subscribe(self, listener: Listener) -> Subscription:
        if self._lease is None:
            raise Closed(f"sqlite {self._engine.name}: not open")
        following = Following(self._engine, listener, self._following.discard)
        self._following.add(following)
        return following

    async def sweep(self) -> int:
        oldest = await self._engine.run(lambda connection: connection.execute(notes.OLDEST).fetchone())
        before = self._now_ms() - notes_table.LIFE_MS
        if oldest is None or oldest[0] >= before:
            return 0  # without asking for the lock
        return await self._engine.write(lambda connection: notes.sweep(connection, before))
