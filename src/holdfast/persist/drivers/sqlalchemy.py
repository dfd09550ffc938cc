"""Values in any database that SQLAlchemy can await.

Guarantees: those of the database. A batch is at most one reading statement, one
statement for writes of one kind (`Set` on SQLite, Postgres and MySQL, `Create`
on Postgres), and else one transaction: lock the rows that are named, replay the
operations over them, write what has changed. In a transaction nothing is lost
but the whole: until its COMMIT was sent, a lost connection has changed nothing.

Tested: SQLite and Postgres always, MariaDB and MySQL where `TEST_MYSQL_URL`
says where one is. On other dialects (SQL Server, Oracle) the same code runs
with portable statements that no test of ours has run there; their expiry goes
by this process's clock.

Cost in round trips: one for reads and for a write of one kind; four to seven
for a mixed batch, whether of 2 operations or of 512. SQLite pays in turns of
aiosqlite's thread instead. Holdfast's own drivers for SQLite and Postgres read
and write the same rows, several times as fast.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import StaticPool

from holdfast.engines import Lease, lease
from holdfast.engines.sqlalchemy import OPTIONS, SQLAlchemyEngine, StatementRefused, engine_for
from holdfast.engines.sqlalchemy.findings import findings
from holdfast.errors import Closed, StoreError, StoreMisconfigured, StoreUnavailable, again
from holdfast.persist.driver import (
    LATER,
    Clear,
    Get,
    GetEntry,
    Keys,
    Operation,
    Outcome,
    Sweep,
    Traits,
)
from holdfast.persist.drivers.sqlalchemy_rows import Rows
from holdfast.persist.drivers.sqlalchemy_schema import apply_pending, pending_on, record_migrations
from holdfast.persist.drivers.sqlalchemy_tables import Statements, ledger, metadata, statements_for, table
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["SQLAlchemyDriver", "ledger", "metadata", "record_migrations", "table"]

NAME: Final = "sqlalchemy"


def _traits_of(dialect: str, *, owned: bool) -> Traits:
    local = dialect == "sqlite"
    served = dialect in ("postgresql", "mysql", "mariadb")
    return Traits(
        name=NAME,
        durable="yes" if owned and dialect in ("sqlite", "postgresql") else "as configured",
        shared="machine" if local else "network",
        clock="server" if served else "machine" if local else "process",
        version_from_content=False,
        lanes=1 if local else 2,
        sweeps=True,
        auto_migrate=local,
    )


class SQLAlchemyDriver:
    """Made from a URL (`sqlalchemy+` before SQLAlchemy's own), or over an `AsyncEngine` of one's own.

    An engine that is passed in stays open, and as it is: on SQLite its journal
    mode and `synchronous` are its owner's choice, and `holdfast doctor` tells
    what they promise.
    """

    traits = _traits_of("postgresql", owned=True)
    """Of the class, for those who ask before there is a database; an instance has its dialect's."""

    OPTIONS = OPTIONS

    def __init__(self, url: StoreURL | None = None, *, engine: AsyncEngine | None = None) -> None:
        if (url is None) == (engine is None):
            raise TypeError("SQLAlchemyDriver: either a URL or engine=")
        if engine is None:
            assert url is not None
            engine = engine_for(
                url
            )  # to refuse at once what can never work; connects nothing, and is dropped
        elif not isinstance(engine, AsyncEngine):
            raise TypeError(f"SQLAlchemyDriver: engine is an AsyncEngine, not {type(engine).__name__}")
        if isinstance(engine.pool, StaticPool):
            raise StoreMisconfigured(
                f"{NAME}: this engine has one connection for all its users, whose transactions would mix; use memory://"
            )
        self._url = url
        self._given = engine if url is None else None
        self._dialect = engine.dialect.name
        self._sql: Statements = statements_for(self._dialect)
        self.traits = _traits_of(self._dialect, owned=url is not None)
        self._lease: Lease[SQLAlchemyEngine] | None = None
        self._opened: SQLAlchemyEngine | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> SQLAlchemyDriver:
        return cls(StoreURL.parse(url.text, own=OPTIONS, foreign=True) if not url.options else url)

    # --- life ---

    async def open(self) -> None:
        if self._opened is not None:
            raise StoreError(f"{NAME}: already open")
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
    def _rows(self) -> Rows:
        return Rows(self._engine, self._sql)

    @property
    def _engine(self) -> SQLAlchemyEngine:
        if self._opened is None:
            raise Closed(f"{NAME}: not open")
        return self._opened

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.read(pending_on)

    async def migrate(self) -> Sequence[Migration]:
        if not await self.pending():
            return ()
        try:
            return await self._engine.exclusively(apply_pending)
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
        return await findings(self._engine, "decides about expiry", (table.name,))

    def now(self, op: Operation) -> Outcome:
        return LATER

    # --- batches ---

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        rows = self._rows
        outcomes: list[Outcome] = [None] * len(batch)
        reads = [place for place, op in enumerate(batch) if type(op) is Get or type(op) is GetEntry]
        if reads:
            await rows.read(batch, reads, outcomes)
            if len(reads) == len(batch):
                return outcomes
        begun = bool(reads)
        for places in _parts(batch):
            ops = [batch[place] for place in places]
            try:
                answers = await _part(rows, ops)
            except StoreError as exc:
                if not begun:
                    raise  # nothing of the batch was answered: the round trip as a whole has failed
                answers = [again(exc) for _ in ops]
            begun = True
            for place, answer in zip(places, answers, strict=True):
                outcomes[place] = answer
        return outcomes

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        return await self._rows.sweep(cursor, limit)


async def _part(rows: Rows, ops: Sequence[Operation]) -> list[Outcome]:
    op = ops[0]
    if type(op) is Keys:
        return [await rows.keys(op)]
    if type(op) is Clear:
        return [await rows.clear(op)]
    return await rows.write(ops)


def _parts(batch: Sequence[Operation]) -> Iterator[list[int]]:
    """The places of what is no `Get`: each `Keys`, each `Clear`, and what stands between two of those that clear."""
    gathered: list[int] = []
    for place, op in enumerate(batch):
        kind = type(op)
        if kind is Keys:
            yield [place]
        elif kind is Clear:
            if gathered:
                yield gathered
                gathered = []
            yield [place]
        elif kind is not Get and kind is not GetEntry:
            gathered.append(place)
    if gathered:
        yield gathered
