"""What is the SQLAlchemy driver's own, beside the suite that every driver passes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.dialects.sqlite.base import SQLiteTypeCompiler
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from holdfast.engines.sqlalchemy import StatementRefused
from holdfast.errors import Closed, InvalidConversion, NotMigrated, StoreMisconfigured, StoreUnavailable
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Create,
    Driver,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Remove,
    Replace,
    Set,
    Touch,
)
from holdfast.persist.drivers.sqlalchemy import SQLAlchemyDriver
from holdfast.persist.drivers.sqlalchemy_replay import Row, replay
from holdfast.persist.registry import driver_for
from holdfast.testing import PersistSuite


class Whole(SQLiteTypeCompiler):
    """SQLite counts up in no column that is called BIGINT."""

    def visit_BIGINT(self, type_: Any, **rest: Any) -> str:
        return "INTEGER"


class Elsewhere(SQLiteDialect_aiosqlite):
    """A database that Holdfast has never heard of: no layout, no upsert, no clock of its own."""

    name = "elsewhere"
    supports_statement_cache = True
    type_compiler_cls = Whole

    def do_begin(self, dbapi_connection: Any) -> None:
        """SQLite has no FOR UPDATE; this holds all rows instead, from the beginning."""
        dbapi_connection.execute("BEGIN IMMEDIATE")


dialects.register("elsewhere.aiosqlite", __name__, "Elsewhere")


class TestElsewhere(PersistSuite):
    """The portable statements pass the suite too."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlalchemy+elsewhere+aiosqlite:///{tmp_path / 'app.db'}?poll=0.02"

    async def make_driver(self) -> Driver:
        return driver_for(self.url)


class TestOverAnEngineOfOnesOwn(PersistSuite):
    """So does an engine that somebody else made, with a pool that connects anew every time."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"

    async def make_driver(self) -> Driver:
        return SQLAlchemyDriver(engine=create_async_engine(self.url, poolclass=NullPool), poll=0.02)


@asynccontextmanager
async def opened(driver: Driver) -> AsyncIterator[Driver]:
    await driver.open()
    await driver.migrate()
    try:
        yield driver
    finally:
        await driver.close()


def over_asyncpg(postgres_url: str) -> str:
    return postgres_url.replace("postgresql://", "postgresql+asyncpg://")


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One of SQLAlchemy's, to a database of each dialect that is tested."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    if request.param == "mysql":
        return str(request.getfixturevalue("mysql_url"))
    return over_asyncpg(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(url)
    yield made
    await made.dispose()


@pytest.fixture
async def empty(url: str) -> AsyncIterator[Callable[[], AsyncEngine]]:
    """Makes engines to one place that has no tables: a new file, schema or database."""
    name = f"holdfast_{secrets.token_hex(6)}"
    plain = create_async_engine(url)
    kind = {"postgresql": "SCHEMA", "mysql": "DATABASE"}.get(plain.dialect.name)
    if kind is None:
        yield lambda: create_async_engine(url)
    else:
        async with plain.begin() as connection:
            try:
                await connection.execute(text(f"CREATE {kind} {name}"))
            except DBAPIError as refused:
                pytest.skip(f"may not make a {kind.lower()} of its own: {type(refused.orig).__name__}")
        if kind == "SCHEMA":
            yield lambda: create_async_engine(url, connect_args={"server_settings": {"search_path": name}})
        else:
            yield lambda: create_async_engine(make_url(url).set(database=name))
        async with plain.begin() as connection:
            await connection.execute(text(f"DROP {kind} {name}" + (" CASCADE" if kind == "SCHEMA" else "")))
    await plain.dispose()


@pytest.fixture
def ns() -> str:
    return f"{secrets.token_hex(6)}:"


@pytest.fixture
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Every statement that goes to the DBAPI module."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", note)


async def count(engine: AsyncEngine, key: str) -> int:
    """The rows of one key, live or not."""
    column = '"key"' if engine.dialect.name in ("sqlite", "postgresql") else "`key`"
    bound = key if engine.dialect.name in ("sqlite", "postgresql") else key.encode()
    async with engine.connect() as connection:
        query = text(f"SELECT count(*) FROM holdfast_persist WHERE {column} = :key")
        return int((await connection.execute(query, {"key": bound})).scalar_one())


# --- round trips ---


async def test_a_batch_of_one_kind_is_one_statement_or_one_transaction(
    engine: AsyncEngine, statements: list[str], ns: str
) -> None:
    keys = [f"{ns}{number}" for number in range(256)]
    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        for ops in (
            [Set(key, b"1", 60_000) for key in keys],
            [Set(key, b"2", KEEP) for key in keys],
            [Get(key) for key in keys],
            [Create(key, b"2", None) for key in keys],
            [Increment(key, 1, None) for key in keys],
            [Touch(key, 60_000) for key in keys],
            [Remove(key) for key in keys],
            [Create(key, b"2", 60_000) for key in keys],
            [Clear(ns, None, 256)],
        ):
            statements.clear()
            await driver.apply(ops)
            assert len(statements) <= 5, (type(ops[0]).__name__, statements)


async def test_a_mixed_batch_of_256_is_a_handful_of_statements(
    engine: AsyncEngine, statements: list[str], ns: str
) -> None:
    ops: list[Operation] = []
    for number in range(32):
        key = f"{ns}{number}"
        ops += [Set(key, b"1", 60_000), Increment(key, 2, None), Get(key), Touch(key, None)]
        ops += [Remove(key), Create(key, b"7", None), GetRenew(key, 5_000), Increment(key, 1, None)]
    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        statements.clear()
        outcomes = await driver.apply(ops)
        assert [outcomes[at] for at in (1, 4, 5, 7)] == [3, True, True, 8]
        assert len(statements) <= 9, statements


async def test_mysql_is_asked_a_handful_of_questions_for_256_rows(mysql_url: str, ns: str) -> None:
    """A statement of many rows is one only where the client makes it one."""
    engine = create_async_engine(mysql_url, pool_size=1, max_overflow=0)

    async def questions() -> int:
        async with engine.connect() as connection:
            row = (await connection.execute(text("SHOW SESSION STATUS LIKE 'Questions'"))).one()
            return int(row[1])

    keys = [f"{ns}{number}" for number in range(256)]
    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        for ops in (
            [Set(key, b"1", 60_000) for key in keys],
            [Touch(key, number + 60_000) for number, key in enumerate(keys)],
            [Increment(key, 1, None) for key in keys],
            [Remove(key) for key in keys],
            [Create(key, b"2", 60_000) for key in keys],
        ):
            before = await questions()
            await driver.apply(ops)
            assert await questions() - before < 20, type(ops[0]).__name__
    await engine.dispose()


# --- one layout ---


@pytest.mark.parametrize("scheme", ["sqlite", "postgresql"])
async def test_holdfasts_own_driver_and_this_one_read_each_others_rows(
    scheme: str, tmp_path: Path, request: pytest.FixtureRequest, ns: str
) -> None:
    own = (
        f"sqlite:///{tmp_path / 'app.db'}"
        if scheme == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    through = own.replace("sqlite:", "sqlalchemy+sqlite+aiosqlite:").replace(
        "postgresql:", "sqlalchemy+postgresql+asyncpg:"
    )
    key = f"{ns}käse 🧀"
    async with opened(driver_for(own)) as one, opened(driver_for(through)) as other:
        assert list(await other.migrate()) == []
        for writer, reader in ((one, other), (other, one)):
            await writer.apply([Set(key, '{"ä": "🧀"}'.encode(), 60_000), Increment(f"{ns}n", 2, None)])
            (entry,) = await reader.apply([GetEntry(key)])
            stored = entry.value if isinstance(entry.value, str) else bytes(entry.value).decode()
            assert stored == '{"ä": "🧀"}'
            assert 0 < entry.ttl <= 60_000
            (again,) = await writer.apply([GetEntry(key)])
            assert again.version == entry.version
            (version,) = await reader.apply([Replace(key, b"2", entry.version, KEEP)])
            assert (await writer.apply([GetEntry(key)]))[0].version == version
        assert await one.apply([Increment(f"{ns}n", 1, None)]) == [5]
        assert list((await one.apply([Keys(ns, None, 10)]))[0].keys) == sorted([key, f"{ns}n"])
        await other.apply([Clear(ns, None, 10)])
        assert await one.apply([Get(key), Get(f"{ns}n")]) == [None, None]


async def test_on_a_dialect_without_a_layout_the_tables_are_sqlalchemys(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+elsewhere+aiosqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    (migration,) = await driver.pending()
    assert "CREATE TABLE holdfast_persist" in migration.statements[0]
    assert "BLOB NOT NULL" in migration.statements[0]
    assert list(await driver.migrate()) == [migration]
    assert list(await driver.pending()) == []
    assert {finding.subject: finding.level for finding in await driver.describe()}["dialect"] == "warning"
    assert driver.traits.clock == "process"
    await driver.close()


async def test_before_the_tables_are_there_an_operation_says_how_to_make_them(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    for op in (Get("k"), Set("k", b"1", None), Remove("k"), Keys("", None, 1)):
        with pytest.raises(NotMigrated):
            await driver.apply([op])
    await driver.close()


async def test_of_those_that_migrate_at_once_one_does_and_the_others_wait(
    empty: Callable[[], AsyncEngine],
) -> None:
    engines = [empty() for _ in range(4)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    done = await asyncio.gather(*(driver.migrate() for driver in drivers))
    assert sorted(len(each) for each in done) == [0, 0, 0, 1]
    assert [list(await driver.pending()) for driver in drivers] == [[], [], [], []]
    await asyncio.gather(*(driver.close() for driver in drivers))
    for each in engines:
        await each.dispose()


@pytest.mark.parametrize("url", ["mysql"], indirect=True)
async def test_a_migration_that_died_before_its_ledger_can_be_done_again(
    empty: Callable[[], AsyncEngine],
) -> None:
    engine = empty()
    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM holdfast_migrations"))
        assert len(await driver.migrate()) == 1
    await engine.dispose()


# --- writers beside each other ---


async def test_writers_of_the_same_keys_neither_deadlock_for_good_nor_lose_a_count(
    url: str, ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith("postgresql"):
        # There is something to lock also where there was no row: nobody has to start again.
        monkeypatch.setattr("holdfast.engines.sqlalchemy.engine.ATTEMPTS", 1)
    engines = [create_async_engine(url) for _ in range(3)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    await drivers[0].migrate()

    async def work(driver: SQLAlchemyDriver, shift: int) -> list[Any]:
        outcomes: list[Any] = []
        for turn in range(12):
            keys = [f"{ns}{(number * 7 + shift + turn) % 20}" for number in range(10)]
            batch: list[Operation] = [Increment(f"{ns}n", 1, None), Create(f"{ns}c{turn}", b"1", None)]
            for number, key in enumerate(keys):
                batch += [Create(key, b"1", 60_000), Touch(key, 50)] if number % 2 else [Remove(key)]
            outcomes += (await driver.apply(batch))[:2]
        return outcomes

    told = await asyncio.gather(*(work(driver, at) for at, driver in enumerate(drivers)))
    outcomes = [outcome for each in told for outcome in each]
    assert sorted(outcomes[0::2]) == list(range(1, 37))
    assert sum(outcomes[1::2]) == 12
    await drivers[0].apply([Clear(ns, None, 1000)])
    await asyncio.gather(*(driver.close() for driver in drivers))
    for each in engines:
        await each.dispose()


async def test_what_finds_nothing_leaves_nothing(engine: AsyncEngine, ns: str) -> None:
    key = f"{ns}absent"
    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        ops: list[Operation] = [Remove(key), Touch(key, 5), GetRenew(key, 5), Replace(key, b"1", "1", None)]
        assert await driver.apply(ops) == [False, False, None, None]
        assert await count(engine, key) == 0


# --- one operation's failure ---


async def test_what_the_database_refuses_fails_alone(postgres_url: str, ns: str) -> None:
    """Postgres holds no NUL, which `api` never lets through."""
    keys = [f"{ns}{number}" for number in range(7)]
    keys[4] = f"{ns}\0"
    async with opened(driver_for(f"sqlalchemy+{over_asyncpg(postgres_url)}")) as driver:
        ops: list[Operation]
        for ops in (
            [Set(key, b"1", None) for key in keys],
            [Create(f"{key}c", b"1", None) for key in keys],
            [Increment(f"{key}i", 1, None) for key in keys],
        ):
            outcomes = await driver.apply(ops)
            assert isinstance(outcomes[4], StatementRefused)
            assert ns not in str(outcomes[4])
            del outcomes[4]
            assert len(set(outcomes)) == 1
            assert not isinstance(outcomes[0], Exception)
        (alone,) = await driver.apply([Set(keys[4], b"1", None)])
        assert isinstance(alone, StatementRefused)


async def test_a_counter_that_is_none_fails_alone_beside_others(engine: AsyncEngine, ns: str) -> None:
    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        await driver.apply([Set(f"{ns}word", b'"x"', None), Set(f"{ns}full", b"9223372036854775807", None)])
        outcomes = await driver.apply([Increment(f"{ns}{key}", 1, None) for key in ("word", "full", "new")])
        assert isinstance(outcomes[0], InvalidConversion)
        assert isinstance(outcomes[1], ValueError)
        assert outcomes[2] == 1


async def test_reads_are_answered_where_the_writes_beside_them_fail(tmp_path: Path) -> None:
    async with opened(
        driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}?timeout=0.01")
    ) as driver:
        await driver.apply([Set("k", b"1", None)])
        other = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path / 'app.db'}", isolation_level="AUTOCOMMIT"
        )
        async with other.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            got, failed = await driver.apply([Get("k"), Set("k", b"2", None)])
            with pytest.raises(StoreUnavailable):
                await driver.apply([Set("k", b"2", None)])
            await connection.exec_driver_sql("ROLLBACK")
        await other.dispose()
        assert got == "1"
        assert isinstance(failed, StoreUnavailable)
        assert not failed.maybe_applied
        assert await driver.apply([Get("k")]) == ["1"]


# --- the driver ---


def test_it_takes_a_url_or_an_engine_and_no_plain_one() -> None:
    with pytest.raises(TypeError):
        SQLAlchemyDriver()
    with pytest.raises(TypeError):
        SQLAlchemyDriver(engine=object())  # type: ignore[arg-type]
    with pytest.raises(StoreMisconfigured, match="memory://"):
        SQLAlchemyDriver(engine=create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool))


@pytest.mark.parametrize(
    ("url", "clock", "shared", "lanes"),
    [
        ("sqlalchemy+sqlite+aiosqlite:///app.db", "machine", "machine", 1),
        ("sqlalchemy+postgresql+asyncpg://localhost/app", "server", "network", 2),
        ("sqlalchemy+mysql+asyncmy://localhost/app", "server", "network", 2),
        ("sqlalchemy+mariadb+asyncmy://localhost/app", "server", "network", 2),
    ],
)
def test_what_it_promises_depends_on_the_dialect(url: str, clock: str, shared: str, lanes: int) -> None:
    traits = driver_for(url).traits
    assert (traits.clock, traits.shared, traits.lanes) == (clock, shared, lanes)
    assert traits.auto_migrate == (shared == "machine")


async def test_a_closed_driver_says_so_and_is_not_healthy(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    assert not (await driver.health()).ok
    with pytest.raises(Closed):
        await driver.apply([Get("k")])


async def test_the_doctor_sees_that_an_engine_of_ones_own_does_not_sync(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}")

    @event.listens_for(engine.sync_engine, "connect")
    def hurry(connection: Any, record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    async with opened(SQLAlchemyDriver(engine=engine)) as driver:
        found = {finding.subject: finding for finding in await driver.describe()}
        assert found["durability"].level == "warning"
        assert driver.traits.durable == "as configured"
    async with opened(driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")) as driver:
        found = {finding.subject: finding for finding in await driver.describe()}
        assert found["durability"].level == "ok"
        assert driver.traits.durable == "yes"
    await engine.dispose()


# --- the replay, without a database ---


def test_a_replay_writes_only_what_changed() -> None:
    before = {
        "expired": Row(b"1", 90, 1),
        "live": Row(b"2", 110, 2),
        "forever": Row(b"3", None, 3),
        "claimed": Row(b"", 0, 0),
        "claimed and used": Row(b"", 0, 0),
    }
    ops: list[Operation] = [
        Remove("expired"),
        Touch("live", 50),
        Get("forever"),
        Replace("forever", b"4", "4", None),
        Touch("claimed", 50),
        Create("claimed and used", b"5", None),
        Create("new", b"6", 7),
        Set("fleeting", b"8", None),
        Remove("fleeting"),
    ]
    writes = [op for op in ops if type(op) is not Get]
    outcomes, changes = replay(writes, before, 100)
    assert outcomes == [False, True, None, False, True, True, None, True]
    assert [(key, row.expires_at) for key, row in changes.renewed] == [("live", 150)]
    assert [key for key, _ in changes.updated] == ["claimed and used"]
    assert [(key, row.expires_at) for key, row in changes.inserted] == [("new", 107)]
    assert changes.deleted == ["claimed"]
