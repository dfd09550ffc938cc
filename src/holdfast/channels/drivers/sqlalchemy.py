"""Rooms in any database that SQLAlchemy can await.

Guarantees: those of the database. Appends, edits, removals and sends of a batch
are one transaction, which locks the rows of its topics in sorted order and
holds them to its commit; on SQLite it begins IMMEDIATE. A read is one statement,
so that what it tells is of one moment. In a transaction nothing is lost but the
whole: until its COMMIT was sent, a lost connection has changed nothing.

Other processes hear by polling, `traits.latency` seconds apart (`sqlalchemy_poll`);
processes that use Holdfast's own drivers on the same database read the same
history, but hear what is sent only from their like.

Tested: SQLite and Postgres always, MariaDB and MySQL where `TEST_MYSQL_URL`
says where one is. On other dialects the same code runs with portable statements
that no test of ours has run there; messages are stamped by the process's clock.

Cost in round trips: one for up to sixteen reads, five to seven for a batch of
writes, whether of 2 or of 512, three more for a topic that is trimmed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import StaticPool

from holdfast.channels.driver import LATER, Clear, Listener, Operation, Outcome, Subscription, Traits, Trim
from holdfast.channels.drivers.sqlalchemy_poll import PollingSubscription
from holdfast.channels.drivers.sqlalchemy_reads import READS
from holdfast.channels.drivers.sqlalchemy_rows import Rows
from holdfast.channels.drivers.sqlalchemy_tables import Statements, statements_for
from holdfast.channels.migrations import MIGRATIONS
from holdfast.engines import Lease, lease
from holdfast.engines import notes as note_layouts
from holdfast.engines.sqlalchemy import OPTIONS, SQLAlchemyEngine, StatementRefused, engine_for
from holdfast.engines.sqlalchemy.findings import findings
from holdfast.engines.sqlalchemy.ledger import Layout, migrate, pending, record
from holdfast.engines.sqlalchemy.notes import sweep
from holdfast.engines.sqlalchemy.tables import messages, metadata, notes, topics
from holdfast.errors import Closed, StoreError, StoreMisconfigured, StoreUnavailable, again
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["SQLAlchemyDriver", "metadata", "record_migrations"]

NAME: Final = "sqlalchemy"
POLL: Final = 0.25
LAYOUTS: Final = (Layout(note_layouts.MIGRATIONS, (notes,)), Layout(MIGRATIONS, (topics, messages)))


def record_migrations(connection: Connection) -> None:
    """Write into the ledger that the tables are there, for those who made them otherwise (Alembic: `op.get_bind()`)."""
    record(connection, LAYOUTS)


def _traits_of(dialect: str, poll: float, *, owned: bool) -> Traits:
    local = dialect == "sqlite"
    served = dialect in ("postgresql", "mysql", "mariadb")
    return Traits(
        name=NAME,
        durable="yes" if owned and dialect in ("sqlite", "postgresql") else "as configured",
        shared="machine" if local else "network",
        clock="server" if served else "machine" if local else "process",
        notifies="poll",
        latency=poll,
        lanes=1 if local else 2,
        auto_migrate=local,
    )


class SQLAlchemyDriver:
    """Made from a URL (`sqlalchemy+` before SQLAlchemy's own), or over an `AsyncEngine` of one's own.

    An engine that is passed in stays open, and as it is.

    Args:
        poll: seconds between two looks for what other processes say.
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
            engine = engine_for(url)  # connects nothing: to refuse at once what can never work
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
        self._subscriptions: set[PollingSubscription] = set()

    @classmethod
    def from_url(cls, url: StoreURL) -> SQLAlchemyDriver:
        rest = StoreURL.parse(url.text, own=cls.OPTIONS, foreign=True)
        return cls(msgspec.structs.replace(rest, options={**rest.options, **url.options}))

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
            for subscription in tuple(self._subscriptions):
                await subscription.close()
        finally:
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
        said = f"other processes hear of a message by polling, every {self.traits.latency:g} s"
        found = await findings(self._engine, "stamps messages", (topics.name, messages.name, notes.name))
        return [*found, Finding("note", "announcements", said)]

    def now(self, op: Operation) -> Outcome:
        return LATER

    # --- batches ---

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        rows = Rows(self._engine, self._sql)
        outcomes: list[Outcome] = [None] * len(batch)
        begun = False
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

    async def subscribe(self, listener: Listener) -> Subscription:
        engine, period = self._engine, self.traits.latency
        made = PollingSubscription(engine, self._sql, listener, period, closed=self._subscriptions.discard)
        self._subscriptions.add(made)
        return made

    async def sweep(self) -> int:
        return await self._engine.write(_sweep)


async def _pending(connection: AsyncConnection) -> Sequence[Migration]:
    return await pending(connection, LAYOUTS)


async def _migrate(connection: AsyncConnection) -> Sequence[Migration]:
    return await migrate(connection, LAYOUTS)


async def _sweep(connection: AsyncConnection) -> int:
    return await sweep(connection, note_layouts.LIFE_MS)


def _shared(url: StoreURL) -> StoreURL:
    """The URL without what is this driver's own: `persist` leases the same engine."""
    options = {name: value for name, value in url.options.items() if name in OPTIONS}
    return msgspec.structs.replace(url, options=options)


async def _part(rows: Rows, ops: Sequence[Operation]) -> list[Outcome]:
    """The outcomes of one part; halved until what the database refuses stands alone."""
    op = ops[0]
    try:
        if type(op) is Trim:
            return [await rows.trim(op)]
        if type(op) is Clear:
            return [await rows.clear(op)]
        return await (rows.read(ops) if type(op) in READS else rows.write(ops))
    except StatementRefused as exc:
        if len(ops) == 1:
            return [exc]
    outcomes: list[Outcome] = []
    middle = len(ops) // 2
    for half in (ops[:middle], ops[middle:]):
        try:
            outcomes += await _part(rows, half)
        except StoreError as exc:
            outcomes += [again(exc) for _ in half]
    return outcomes


def _parts(batch: Sequence[Operation]) -> Iterator[list[int]]:
    """The places of all reads; then of the writes, each `Trim` and `Clear` by itself, in their order."""
    reads = [place for place, op in enumerate(batch) if type(op) in READS]
    if reads:
        yield reads
    gathered: list[int] = []
    for place, op in enumerate(batch):
        kind = type(op)
        if kind is Trim or kind is Clear:
            if gathered:
                yield gathered
                gathered = []
            yield [place]
        elif kind not in READS:
            gathered.append(place)
    if gathered:
        yield gathered
