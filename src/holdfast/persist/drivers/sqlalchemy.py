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

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import StaticPool

from holdfast.engines import Lease, lease
from holdfast.engines import notes as note_layouts
from holdfast.engines.sqlalchemy import OPTIONS, SQLAlchemyEngine, StatementRefused, engine_for
from holdfast.engines.sqlalchemy.findings import findings
from holdfast.engines.sqlalchemy.ledger import migrate, pending
from holdfast.engines.sqlalchemy.notes import sweep as sweep_notes
from holdfast.errors import Closed, StoreError, StoreMisconfigured, StoreUnavailable, again
from holdfast.persist.driver import (
    LATER,
    Clear,
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
from holdfast.persist.drivers.sqlalchemy_rows import Rows
from holdfast.persist.drivers.sqlalchemy_schema import layouts, record_migrations
from holdfast.persist.drivers.sqlalchemy_tables import Statements, ledger, metadata, statements_for, table
from holdfast.persist.drivers.sqlalchemy_watch import Hearing
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["SQLAlchemyDriver", "ledger", "metadata", "record_migrations", "table"]

NAME: Final = "sqlalchemy"
POLL: Final = 0.25
_NOTES: Final = "notes"
"""The cursor of a sweep that is done with the values; a key has a colon."""


def _traits_of(dialect: str, poll: float, *, owned: bool) -> Traits:
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
        notifies=True,
        latency=poll,
        auto_migrate=local,
    )


class SQLAlchemyDriver:
    """Made from a URL (`sqlalchemy+` before SQLAlchemy's own), or over an `AsyncEngine` of one's own.

    An engine that is passed in stays open, and as it is: on SQLite its journal
    mode and `synchronous` are its owner's choice, and `holdfast doctor` tells
    what they promise.

    Args:
        poll: seconds between two looks for what is announced, where something watches.
    """

    traits = _traits_of("postgresql", POLL, owned=True)
    """Of the class, for those who ask before there is a database; an instance has its dialect's."""

    OPTIONS = (*OPTIONS, "poll")

    def __init__(
        self, url: StoreURL | None = None, *, engine: AsyncEngine | None = None, poll: float | None = None
    ) -> None:
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
        if poll is None:
            poll = POLL if url is None else url.number("poll", POLL, least=0.01)
        self._url = None if url is None else _shared(url)
        self._given = engine if url is None else None
        self._dialect = engine.dialect.name
        self._sql: Statements = statements_for(self._dialect)
        self.traits = _traits_of(self._dialect, poll, owned=url is not None)
        self._lease: Lease[SQLAlchemyEngine] | None = None
        self._opened: SQLAlchemyEngine | None = None
        self._channel: str | None = None  # where changes are announced
        self._hearings: set[Hearing] = set()

    @classmethod
    def from_url(cls, url: StoreURL) -> SQLAlchemyDriver:
        return cls(StoreURL.parse(url.text, own=cls.OPTIONS, foreign=True) if not url.options else url)

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
        try:
            for hearing in tuple(self._hearings):
                await hearing.close()
        finally:
            if taken is not None:
                await taken.release()
            elif engine is not None:
                await engine.close()

    @property
    def _rows(self) -> Rows:
        return Rows(self._engine, self._sql, self._channel)

    @property
    def _engine(self) -> SQLAlchemyEngine:
        if self._opened is None:
            raise Closed(f"{NAME}: not open")
        return self._opened

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.read(self._pending)

    async def _pending(self, connection: AsyncConnection) -> Sequence[Migration]:
        return await pending(connection, layouts(watch=self._channel is not None))

    async def _migrate(self, connection: AsyncConnection) -> Sequence[Migration]:
        return await migrate(connection, layouts(watch=self._channel is not None))

    async def migrate(self) -> Sequence[Migration]:
        if not await self.pending():
            return ()
        try:
            return await self._engine.exclusively(self._migrate)
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
        if cursor == _NOTES:
            return Sweep(0, _NOTES if await self._engine.write(_sweep_notes) else None)
        swept = await self._rows.sweep(cursor, limit)
        if self._channel is not None and swept.cursor is None:
            return Sweep(swept.removed, _NOTES)
        return swept

    # --- announcing ---

    def announce(self, channel: str) -> None:
        self._channel = channel

    async def subscribe(self, listener: Listener) -> Subscription:
        engine = self._engine
        if self._channel is None:
            raise Closed(f"{NAME}: nothing is announced")
        hearing = Hearing(engine, self._channel, listener, self.traits.latency, closed=self._hearings.discard)
        await hearing.begin()
        self._hearings.add(hearing)
        return hearing


async def _sweep_notes(connection: AsyncConnection) -> int:
    return await sweep_notes(connection, note_layouts.LIFE_MS)


def _shared(url: StoreURL) -> StoreURL:
    """The URL without what is this driver's own: `channels` leases the same engine."""
    options = {name: value for name, value in url.options.items() if name in OPTIONS}
    return msgspec.structs.replace(url, options=options)


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
