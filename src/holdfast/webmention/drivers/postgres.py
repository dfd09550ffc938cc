"""Documents in Postgres: a row a document, a row a tag.

Guarantees: what is acknowledged is as durable as the server's
`synchronous_commit` makes a commit. The server's clock decides what is due.
Rows are locked in sorted order, so that writers wait for each other and not in a
circle. `claim` passes over what another holds.

Cost: each call is one statement and one round trip. A write is sent once more
where the statement answered that it had seen an older state than it locked, or
met a row that appeared meanwhile: nothing of it was applied.

A number is given when the row is made and seen when its transaction commits, so
a slow commit may show a number below one that was seen already.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from holdfast.engines import Lease, lease
from holdfast.engines.postgres import PostgresEngine, StatementRefused
from holdfast.errors import Closed, StoreError, StoreUnavailable
from holdfast.store import Finding, Health, Migration, StoreURL
from holdfast.webmention.driver import Change, Document, Put, Traits
from holdfast.webmention.drivers import postgres_statements as sql
from holdfast.webmention.migrations import LEDGER, MIGRATIONS

__all__ = ["PostgresDriver"]

TABLES: Final = ("holdfast_mentions", "holdfast_mention_tags")
ATTEMPTS: Final = 20
"""At a statement that did nothing because somebody else was faster: each time one of them got further."""
LONGEST_REST: Final = 0.1
"""Seconds between two attempts, at most."""
_MET: Final = "23505"
"""The row was made by somebody else between the look and the insert: the next look finds it."""
_END: Final = (1 << 63) - 1


class PostgresDriver:
    """`PostgresDriver.from_url(url)`; `?lanes=`, `?timeout=`, `?pgbouncer=true` and `?listen=` are the engine's."""

    traits = Traits(name="postgres", durable="yes", shared="network", clock="server")

    OPTIONS = ("pgbouncer", "lanes", "listen", "timeout")

    def __init__(self, url: StoreURL) -> None:
        PostgresEngine.from_url(url)  # what is wrong with an option is told here, before any I/O
        self._url = url
        self._lease: Lease[PostgresEngine] | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> PostgresDriver:
        return cls(url)

    # --- life ---

    async def open(self) -> None:
        if self._lease is None:
            self._lease = await lease(PostgresEngine, self._url)

    async def close(self) -> None:
        held, self._lease = self._lease, None
        if held is not None:
            await held.release()

    @property
    def _engine(self) -> PostgresEngine:
        if self._lease is None:
            raise Closed("postgres: not open")
        return self._lease.engine

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(MIGRATIONS["postgresql"], table=LEDGER)

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(MIGRATIONS["postgresql"], table=LEDGER)

    async def health(self) -> Health:
        if self._lease is None:
            return Health(False, "postgres", 0.0, "closed")
        return await self._lease.engine.health()

    async def describe(self) -> Sequence[Finding]:
        return await self._engine.describe(*TABLES)

    # --- documents ---

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        rows = await self._read(f"get of {kind!r}", sql.GET, kind, list(ids))
        found = {row[0]: _document(kind, row) for row in rows}
        return [found.get(id) for id in ids]

    async def write(self, changes: Sequence[Change]) -> bool:
        if not changes:
            return True
        puts = [(place, each) for place, each in enumerate(changes, 1) if isinstance(each, Put)]
        tags = [(place, tag) for place, put in puts for tag in set(put.tags)]
        arguments = (
            [change.kind for change in changes],
            [change.id for change in changes],
            [change.data.decode() if isinstance(change, Put) else None for change in changes],
            [change.wait if isinstance(change, Put) else None for change in changes],
            [change.expect for change in changes],
            [place for place, _ in tags],
            [tag for _, tag in tags],
        )
        what = f"write to {changes[0].kind!r}"
        for attempt in range(ATTEMPTS):
            if attempt > 1:  # two that meet again and again must fall out of step
                await asyncio.sleep(random.uniform(0, min(LONGEST_REST, 0.002 * 2**attempt)))
            try:
                ((expected, fresh),) = await self._engine.fetch(0, sql.WRITE, *arguments)
            except StatementRefused as exc:
                if not exc.passing and exc.code != _MET:
                    raise StoreError(f"{what}: {exc}") from exc
                continue
            if fresh or not expected:
                return bool(expected)
        raise StoreUnavailable(f"{what}: postgres: others were faster {ATTEMPTS} times; nothing was changed")

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        if after is None:
            after = _END if newest else 0
        what = f"page of {kind!r}"
        if tag:
            rows = await self._read(what, sql.TAGGED[newest], kind, after, limit, tag)
        else:
            rows = await self._read(what, sql.PAGE[newest], kind, after, limit)
        return [_document(kind, row) for row in rows]

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        rows = await self._read(f"count of {kind!r}", sql.COUNT, kind, list(tags))
        return [row[0] for row in rows]

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        rows = await self._fetch(0, f"claim of {kind!r}", sql.CLAIM, kind, tag, limit, lease)
        return [_document(kind, row) for row in rows]

    async def next_due(self, kind: str) -> int | None:
        rows = await self._read(f"next due of {kind!r}", sql.NEXT, kind)
        return rows[0][0] if rows else None

    # --- round trips ---

    async def _read(self, what: str, statement: str, *arguments: Any) -> list[Any]:
        """Beside what is being written: down the last lane."""
        return await self._fetch(self._engine.lanes - 1, what, statement, *arguments)

    async def _fetch(self, lane: int, what: str, statement: str, *arguments: Any) -> list[Any]:
        try:
            return await self._engine.fetch(lane, statement, *arguments)
        except StatementRefused as exc:
            kind = StoreUnavailable if exc.passing else StoreError
            raise kind(f"{what}: {exc}") from exc


def _document(kind: str, row: Any) -> Document:
    id, number, revision, data, tags, due = row
    return Document(kind, id, number, f"{number}.{revision}", data.encode(), tuple(sorted(tags)), due)
