"""Documents in any database that SQLAlchemy can await.

Guarantees: those of the database. A write is one transaction, which locks the
rows of its documents in sorted order and holds them to its commit; on SQLite it
begins IMMEDIATE. A read is one statement, so that what it tells is of one
moment. In a transaction nothing is lost but the whole: until its COMMIT was
sent, a lost connection has changed nothing.

Tested: SQLite and Postgres always, MariaDB and MySQL where `TEST_MYSQL_URL`
says where one is. On other dialects the same code runs with portable statements
that no test of ours has run there; what is due is so by the process's clock.

Cost in round trips: one for a read; three to ten for a write, of 1 document or
of 50, on MySQL one more for each that is replaced; four for a claim.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import StaticPool

from holdfast.engines import Lease, lease
from holdfast.engines.sqlalchemy import OPTIONS, SQLAlchemyEngine, StatementRefused, engine_for
from holdfast.engines.sqlalchemy.findings import findings
from holdfast.engines.sqlalchemy.ledger import Layout, migrate, pending, record
from holdfast.engines.sqlalchemy.tables import mention_tags, mentions, metadata
from holdfast.errors import Closed, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.store import Finding, Health, Migration, StoreURL
from holdfast.webmention.driver import Change, Document, Traits
from holdfast.webmention.drivers.sqlalchemy_rows import Rows
from holdfast.webmention.drivers.sqlalchemy_statements import statements_for
from holdfast.webmention.migrations import MIGRATIONS

__all__ = ["SQLAlchemyDriver", "metadata", "record_migrations"]

NAME: Final = "sqlalchemy"
LAYOUTS: Final = (Layout(MIGRATIONS, (mentions, mention_tags)),)

_T = TypeVar("_T")


def record_migrations(connection: Connection) -> None:
    """Write into the ledger that the tables are there, for those who made them otherwise (Alembic: `op.get_bind()`)."""
    record(connection, LAYOUTS)


def _traits_of(dialect: str, *, owned: bool) -> Traits:
    local = dialect == "sqlite"
    served = dialect in ("postgresql", "mysql", "mariadb")
    return Traits(
        name=NAME,
        durable="yes" if owned and dialect in ("sqlite", "postgresql") else "server",
        shared="machine" if local else "network",
        clock="server" if served else "machine" if local else "process",
        auto_migrate=local,
    )


class SQLAlchemyDriver:
    """Made from a URL (`sqlalchemy+` before SQLAlchemy's own), or over an `AsyncEngine` of one's own.

    An engine that is passed in stays open, and as it is.
    """

    traits = _traits_of("postgresql", owned=True)
    """Of the class, for those who ask before there is a database; an instance has its dialect's."""

    OPTIONS = (*OPTIONS, "poll")
    """`poll` is the other capabilities', which may share the URL: here nobody looks for anything."""

    def __init__(self, url: StoreURL | None = None, *, engine: AsyncEngine | None = None) -> None:
        if (url is None) == (engine is None):
            raise TypeError("SQLAlchemyDriver: either a URL or engine=")
        if engine is None:
            assert url is not None
            engine = engine_for(url)  # connects nothing: to refuse at once what can never work
        elif not isinstance(engine, AsyncEngine):
            raise TypeError(f"SQLAlchemyDriver: engine is an AsyncEngine, not {type(engine).__name__}")
        if isinstance(engine.pool, StaticPool):
            raise StoreMisconfigured(
                f"{NAME}: this engine has one connection for all its users, whose transactions would mix; use memory://"
            )
        self._url = None if url is None else _shared(url)
        self._given = engine if url is None else None
        self._dialect = engine.dialect.name
        self._sql = statements_for(self._dialect)
        self.traits = _traits_of(self._dialect, owned=url is not None)
        self._lease: Lease[SQLAlchemyEngine] | None = None
        self._opened: SQLAlchemyEngine | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> SQLAlchemyDriver:
        rest = StoreURL.parse(url.text, own=cls.OPTIONS, foreign=True)
        return cls(msgspec.structs.replace(rest, options={**rest.options, **url.options}))

    # --- life ---

    async def open(self) -> None:
        if self._opened is not None:
            return
        if self._given is not None:
            engine = SQLAlchemyEngine(self._given)
            await engine.open()
            self._opened = engine
        else:
            assert self._url is not None
            self._lease = await lease(SQLAlchemyEngine, self._url)
            self._opened = self._lease.engine

    async def close(self) -> None:
        engine, self._opened = self._opened, None
        taken, self._lease = self._lease, None
        if taken is not None:
            await taken.release()
        elif engine is not None:
            await engine.close()

    @property
    def _engine(self) -> SQLAlchemyEngine:
        if self._opened is None:
            raise Closed(f"{NAME}: not open")
        return self._opened

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.read(_pending)

    async def migrate(self) -> Sequence[Migration]:
        if not await self.pending():
            return ()
        try:
            return await self._engine.exclusively(_migrate)
        except StatementRefused:
            if await self.pending():
                raise
            return ()  # where there is no lock, somebody else has made the tables meanwhile

    async def health(self) -> Health:
        if self._opened is None:
            return Health(False, NAME, 0.0, "not open")
        started = time.perf_counter()
        try:
            return Health(True, NAME, await self._opened.ping(), f"{self._dialect}+{self._opened.driver}")
        except StoreUnavailable as exc:
            return Health(False, NAME, time.perf_counter() - started, str(exc))

    async def describe(self) -> Sequence[Finding]:
        return await findings(self._engine, "decides what is due", (mentions.name, mention_tags.name))

    # --- documents ---

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        return await self._read(f"get of {kind!r}", lambda rows: rows.get(kind, ids))

    async def write(self, changes: Sequence[Change]) -> bool:
        if not changes:
            return True
        return await self._transact(f"write to {changes[0].kind!r}", lambda rows: rows.write(changes))

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        return await self._read(f"page of {kind!r}", lambda rows: rows.page(kind, tag, after, limit, newest))

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        return await self._read(f"count of {kind!r}", lambda rows: rows.count(kind, tags))

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        if await self.next_due(kind) != 0:
            return []  # without asking for a lock
        return await self._transact(f"claim of {kind!r}", lambda rows: rows.claim(kind, lease, limit, tag))

    async def next_due(self, kind: str) -> int | None:
        return await self._read(f"next due of {kind!r}", lambda rows: rows.next_due(kind))

    # --- round trips ---

    async def _read(self, what: str, work: Callable[[Rows], Awaitable[_T]]) -> _T:
        return await self._named(what, self._engine.read, work)

    async def _transact(self, what: str, work: Callable[[Rows], Awaitable[_T]]) -> _T:
        return await self._named(what, self._engine.transact, work)

    async def _named(
        self,
        what: str,
        do: Callable[[Callable[[AsyncConnection], Awaitable[_T]]], Awaitable[_T]],
        work: Callable[[Rows], Awaitable[_T]],
    ) -> _T:
        try:
            return await do(lambda connection: work(Rows(connection, self._sql)))
        except StatementRefused as exc:
            raise StoreError(f"{what}: {exc}") from exc


async def _pending(connection: AsyncConnection) -> Sequence[Migration]:
    return await pending(connection, LAYOUTS)


async def _migrate(connection: AsyncConnection) -> Sequence[Migration]:
    return await migrate(connection, LAYOUTS)


def _shared(url: StoreURL) -> StoreURL:
    """The URL without what is other capabilities' own: they lease the same engine."""
    options = {name: value for name, value in url.options.items() if name in OPTIONS}
    return msgspec.structs.replace(url, options=options)
