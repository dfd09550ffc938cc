"""Documents in an SQLite file: durable without a server, for the processes of one machine.

Guarantees: with `synchronous=full` (the default) a write is acknowledged after
it was synced to disk. Versions are compared, numbers given and leases taken
under SQLite's one write lock. What is due is so by the machine's clock
(`now_ms`), read inside the transaction.

Schema: `holdfast_mentions` and `holdfast_mention_tags`, see
`webmention.migrations`.

Cost: each call is one job for the engine's writer thread, a read one statement
outside of any transaction, a `write` of any length one transaction and one
sync, shared with whatever else is queued there. A `claim` looks first, and asks
for the lock only where something is due.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from holdfast.engines import Lease, lease
from holdfast.engines.sqlite import SqliteEngine
from holdfast.errors import Closed
from holdfast.store import Finding, Health, Migration, StoreURL
from holdfast.webmention.driver import Change, Document, Traits
from holdfast.webmention.drivers import sqlite_reads as reads
from holdfast.webmention.drivers import sqlite_writes as writes
from holdfast.webmention.migrations import MIGRATIONS

__all__ = ["SqliteDriver"]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteDriver:
    """One SQLite file. `now_ms` is the clock, in milliseconds since 1970; processes on one file should agree on it."""

    traits = Traits(name="sqlite", durable="yes", shared="machine", clock="machine", auto_migrate=True)

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
            self._engine = SqliteEngine.from_url(self._url)
            await held.release()

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(MIGRATIONS["sqlite"])

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(MIGRATIONS["sqlite"])

    async def health(self) -> Health:
        try:
            return await self._engine.health()
        except Closed as exc:
            return Health(False, self.traits.name, 0.0, str(exc))

    async def describe(self) -> Sequence[Finding]:
        return await self._engine.describe()

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        found = await self._engine.run(lambda connection: reads.named(connection, kind, ids))
        return [found.get(id) for id in ids]

    async def write(self, changes: Sequence[Change]) -> bool:
        now_ms = self._now_ms
        return await self._engine.write(lambda connection: writes.write(connection, changes, now_ms()))

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        return await self._engine.run(
            lambda connection: reads.page(connection, kind, tag, after, limit, newest)
        )

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        return await self._engine.run(lambda connection: reads.count(connection, kind, tags))

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        if await self.next_due(kind) != 0:
            return []
        now_ms = self._now_ms
        return await self._engine.write(
            lambda connection: writes.claim(connection, kind, tag, limit, now_ms(), lease)
        )

    async def next_due(self, kind: str) -> int | None:
        def look(connection: Any) -> int | None:
            due = reads.first_due(connection, kind)
            return None if due is None else max(0, due - self._now_ms())

        return await self._engine.run(look)
