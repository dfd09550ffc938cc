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
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from holdfast.engines import Lease, lease
from holdfast.engines.sqlalchemy import OPTIONS, SQLAlchemyEngine, StatementRefused, engine_for
from holdfast.errors import Closed, StoreError, StoreUnavailable, again
from holdfast.persist.driver import (
    KEEP,
    LATER,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    Keys,
    Operation,
    Outcome,
    Page,
    Set,
    Stored,
    Sweep,
    Traits,
    prefix_end,
)
from holdfast.persist.drivers.sqlalchemy_found import findings
from holdfast.persist.drivers.sqlalchemy_rows import Changes, Row, draw_version, replay
from holdfast.persist.drivers.sqlalchemy_schema import apply_pending, pending_on, record_migrations
from holdfast.persist.drivers.sqlalchemy_tables import Statements, ledger, metadata, statements_for, table
from holdfast.persist.waves import Wave, waves
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["SQLAlchemyDriver", "ledger", "metadata", "record_migrations", "table"]

NAME: Final = "sqlalchemy"


def _traits_of(dialect: str, *, owned: bool) -> Traits:
    local = dialect == "sqlite"
    served = dialect in ("postgresql", "mysql", "mariadb")
    return Traits(
        name=NAME,
        durable="yes" if local and owned else "as configured",
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
        return await findings(self._engine, self._sql)

    def now(self, op: Operation) -> Outcome:
        return LATER

    # --- batches ---

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        engine = self._engine
        outcomes: list[Outcome] = [None] * len(batch)
        reads = [place for place, op in enumerate(batch) if type(op) is Get or type(op) is GetEntry]
        if reads:
            await self._read(engine, batch, reads, outcomes)
            if len(reads) == len(batch):
                return outcomes
        begun = False
        for places in _parts(batch):
            ops = [batch[place] for place in places]
            try:
                answers = await self._part(engine, ops)
            except StoreError as exc:
                if not begun:
                    raise  # nothing of the batch stands: the round trip as a whole has failed
                answers = [again(exc) for _ in ops]
            else:
                begun = begun or type(ops[0]) is not Keys
            for place, answer in zip(places, answers, strict=True):
                outcomes[place] = answer
        return outcomes

    async def _part(self, engine: SQLAlchemyEngine, ops: Sequence[Operation]) -> list[Outcome]:
        op = ops[0]
        if type(op) is Keys:
            return [await self._keys(engine, op)]
        if type(op) is Clear:
            return [await self._clear(engine, op)]
        return await self._write(engine, ops)

    async def _read(
        self,
        engine: SQLAlchemyEngine,
        batch: Sequence[Operation],
        places: Sequence[int],
        outcomes: list[Outcome],
    ) -> None:
        keys = self._padded({batch[place].key for place in places})

        async def work(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(self._sql.read, self._timed({"keys": keys}))).all()

        found = {self._key(row[0]): row for row in await engine.read(work)}
        for place in places:
            op = batch[place]
            row = found.get(op.key)
            if row is not None:
                outcomes[place] = row[1] if type(op) is Get else Stored(row[1], row[2], str(row[3]))

    async def _write(self, engine: SQLAlchemyEngine, ops: Sequence[Operation]) -> list[Outcome]:
        """The outcomes of operations that change named keys; halved until the refused one stands alone."""
        try:
            single = self._single(ops)
            return await (self._replayed(engine, ops) if single is None else single(engine))
        except StatementRefused as exc:
            if len(ops) == 1:
                return [exc]
        middle = len(ops) // 2
        outcomes: list[Outcome] = []
        for half in (ops[:middle], ops[middle:]):
            try:
                outcomes += await self._write(engine, half)
            except StoreError as exc:
                outcomes += [again(exc) for _ in half]
        return outcomes

    # --- one statement ---

    def _single(self, ops: Sequence[Operation]) -> Callable[[SQLAlchemyEngine], Any] | None:
        """How the operations are done in one statement, if they can be."""
        sent = waves(ops)
        if len(sent) > 1:
            return None
        wave = sent[0]
        if wave.kind is Set:
            kept = sum(op.ttl is KEEP for op in wave.ops if type(op) is Set)
            statement = self._sql.set_ if kept == 0 else self._sql.set_keep if kept == len(wave.ops) else None
            if statement is not None:
                return lambda engine: self._set(engine, statement, wave, len(ops))
        elif wave.kind is Create and self._sql.create is not None:
            create = self._sql.create
            return lambda engine: self._create(engine, create, wave, ops)
        return None

    async def _set(self, engine: SQLAlchemyEngine, statement: Any, wave: Wave, count: int) -> list[Outcome]:
        async def work(connection: AsyncConnection) -> None:
            now = 0 if self._sql.reads_clock or not _reckons(wave.ops) else await self._now(connection)
            await connection.execute(statement, [self._row(op, now) for op in wave.ops])

        # Without a transaction of theirs, SQLite would sync after each of many rows.
        if len(wave.ops) > 1 and self._dialect == "sqlite":
            await engine.transact(work)
        else:
            await engine.write(work)
        return [None] * count

    async def _create(
        self, engine: SQLAlchemyEngine, statement: Any, wave: Wave, ops: Sequence[Operation]
    ) -> list[Outcome]:
        async def work(connection: AsyncConnection) -> set[str]:
            rows = [self._row(op, 0) for op in wave.ops]
            return {self._key(row[0]) for row in await connection.execute(statement, rows)}

        created = await engine.write(work)
        outcomes: list[Outcome] = []
        for op in ops:
            outcomes.append(op.key in created)
            created.discard(op.key)  # by the second there is a live value
        return outcomes

    def _row(self, op: Any, now: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "key": self._bound(op.key),
            "value": self._bound(op.value),
            "version": draw_version(),
        }
        ttl = None if op.ttl is KEEP else op.ttl
        if self._sql.reads_clock:
            row["ttl"] = ttl
        else:
            row["expires_at"] = None if ttl is None else now + ttl
        return self._timed(row)

    # --- one transaction ---

    async def _replayed(self, engine: SQLAlchemyEngine, ops: Sequence[Operation]) -> list[Outcome]:
        keys = {op.key for op in ops}

        async def work(connection: AsyncConnection) -> list[Outcome]:
            rows = await connection.execute(self._sql.lock, {"keys": self._padded(keys)})
            before = {self._key(row[0]): Row(row[1], row[2], row[3]) for row in rows}
            timed = _reckons(ops) or any(row.expires_at is not None for row in before.values())
            outcomes, changes = replay(ops, before, await self._now(connection) if timed else 0)
            await self._write_changes(connection, changes)
            return outcomes

        return await engine.transact(work)

    async def _write_changes(self, connection: AsyncConnection, changes: Changes) -> None:
        if changes.inserted:
            rows = [{"key": self._bound(key), **self._columns(row)} for key, row in changes.inserted]
            await connection.execute(self._sql.insert, rows)
        if changes.updated and self._sql.set_ is not None and not self._sql.reads_clock:
            # By the upsert, which clients of MySQL send as one statement, where they send updates row by row.
            rows = [{"key": self._bound(key), **self._columns(row)} for key, row in changes.updated]
            await connection.execute(self._sql.set_, rows)
        elif changes.updated:
            rows = [{"at": self._bound(key), **self._columns(row)} for key, row in changes.updated]
            await connection.execute(self._sql.update, rows)
        if changes.renewed:
            rows = [{"at": self._bound(key), "expires_at": row.expires_at} for key, row in changes.renewed]
            await connection.execute(self._sql.renew, rows)
        if changes.deleted:
            await connection.execute(self._sql.delete, {"keys": self._padded(set(changes.deleted))})

    def _columns(self, row: Row) -> dict[str, Any]:
        return {"value": self._bound(row.value), "expires_at": row.expires_at, "version": row.version}

    # --- walks ---

    async def _keys(self, engine: SQLAlchemyEngine, op: Keys) -> Page:
        statement, bounds = self._walk(op.key, op.cursor, op.limit, live=True)

        async def work(connection: AsyncConnection) -> list[str]:
            return [self._key(row[0]) for row in await connection.execute(statement, bounds)]

        keys = await engine.read(work)
        return Page(keys, keys[-1] if len(keys) >= op.limit else None)

    async def _clear(self, engine: SQLAlchemyEngine, op: Clear) -> Cleared:
        statement, bounds = self._walk(op.key, op.cursor, op.limit, locked=True)

        async def work(connection: AsyncConnection) -> Cleared:
            rows = (await connection.execute(statement, bounds)).all()
            if rows:
                keys = self._padded({self._key(row[0]) for row in rows})
                await connection.execute(self._sql.delete, {"keys": keys})
            cursor = self._key(rows[-1][0]) if len(rows) >= op.limit else None
            return Cleared(sum(row[1] for row in rows), cursor)

        return await engine.transact(work)

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        statement, bounds = self._walk("", cursor, limit)

        async def look(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(statement, bounds)).all()

        rows = await self._engine.read(look)
        lapsed = {self._key(row[0]) for row in rows if not row[1]}

        async def drop(connection: AsyncConnection) -> int:
            chosen = self._timed({"keys": self._padded(lapsed)})
            return (await connection.execute(self._sql.delete_lapsed, chosen)).rowcount

        removed = await self._engine.write(drop) if lapsed else 0
        return Sweep(removed, self._key(rows[-1][0]) if len(rows) >= limit else None)

    def _walk(
        self, prefix: str, cursor: str | None, limit: int, *, live: bool = False, locked: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        end = prefix_end(prefix)
        bounds = {"start": self._bound(prefix if cursor is None else cursor), "rows": limit}
        if end is not None:
            bounds["end"] = self._bound(end)
        statement = self._sql.walk(after=cursor is not None, end=end is not None, live=live, locked=locked)
        return statement, self._timed(bounds)

    # --- what the database is given, and what it gives back ---

    def _bound(self, content: str | bytes) -> str | bytes:
        if self._sql.text:
            return content if isinstance(content, str) else content.decode()
        return content.encode() if isinstance(content, str) else content

    def _key(self, stored: Any) -> str:
        return stored if isinstance(stored, str) else bytes(stored).decode()

    def _padded(self, keys: set[str]) -> list[str | bytes]:
        """The keys for an IN, the last one repeated up to a power of two: few texts of a statement, all prepared."""
        bound = [self._bound(key) for key in sorted(keys)]
        return bound + bound[-1:] * ((1 << (len(bound) - 1).bit_length()) - len(bound))

    def _timed(self, parameters: dict[str, Any]) -> dict[str, Any]:
        if self._sql.clock is None:
            parameters["now"] = _process_ms()
        return parameters

    async def _now(self, connection: AsyncConnection) -> int:
        """The deciding clock, read while the rows are locked."""
        if self._sql.clock is None:
            return _process_ms()
        return int((await connection.execute(self._sql.clock)).scalar_one())


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


def _reckons(ops: Sequence[Any]) -> bool:
    """Whether any operation gives a lifetime that must be added to the time."""
    return any(type(getattr(op, "ttl", None)) is int for op in ops)


def _process_ms() -> int:
    return time.time_ns() // 1_000_000
