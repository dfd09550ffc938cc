"""The SQLAlchemy engine: what a URL may be, what a loss means, and how connections come back."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from holdfast import events
from holdfast.engines.sqlalchemy import SQLAlchemyEngine, StatementRefused
from holdfast.engines.sqlalchemy.engine import ATTEMPTS
from holdfast.errors import Closed, MissingExtra, NotMigrated, StoreMisconfigured, StoreUnavailable
from holdfast.store import StoreURL
from holdfast.testing.servers import PostgresServer, ServerMissing

RAISE = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}'; END $$"


def from_url(url: str) -> SQLAlchemyEngine:
    return SQLAlchemyEngine.from_url(StoreURL.parse(url, own=("timeout",), foreign=True))


def over_asyncpg(postgres_url: str, options: str = "") -> str:
    return postgres_url.replace("postgresql://", "sqlalchemy+postgresql+asyncpg://") + options


@asynccontextmanager
async def opened(engine: SQLAlchemyEngine) -> AsyncIterator[SQLAlchemyEngine]:
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SQLAlchemyEngine]:
    async with opened(
        from_url(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}?timeout=0.05")
    ) as engine:
        yield engine


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[SQLAlchemyEngine]:
    async with opened(from_url(over_asyncpg(postgres_url))) as engine:
        yield engine


async def backend(connection: AsyncConnection) -> int:
    return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def terminate(postgres_url: str, pid: int) -> None:
    """End one server process, and return when it is gone."""
    other = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with other.connect() as connection:
            await connection.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))
    finally:
        await other.dispose()


# --- URLs ---


@pytest.mark.parametrize(
    ("url", "way_out"),
    [
        ("sqlalchemy+sqlite:///app.db", "sqlalchemy+sqlite+aiosqlite://"),
        ("sqlalchemy+postgresql+psycopg2://localhost/app", "sqlalchemy+postgresql+asyncpg://"),
        ("sqlalchemy+mysql://localhost/app", "sqlalchemy+mysql+asyncmy://"),
        ("sqlalchemy+mssql+pyodbc://localhost/app", "sqlalchemy+mssql+aioodbc://"),
        ("sqlalchemy+postgresql+asyncpgg://localhost/app", "did you mean 'postgresql+asyncpg'"),
        ("sqlalchemy+nosuch://localhost/app", "known: "),
        ("sqlalchemy+sqlite+aiosqlite://", "memory://"),
        ("sqlalchemy+sqlite+aiosqlite:///:memory:", "memory://"),
        (
            "sqlalchemy+postgresql+asyncpg://localhost:port/app",
            "sqlalchemy+postgresql+asyncpg://user@host/app",
        ),
        ("sqlalchemy+sqlite+aiosqlite:///app.db?timeout=soon", "not a number"),
    ],
)
def test_a_url_that_can_never_work_is_refused_with_the_way_out(url: str, way_out: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        from_url(url)
    assert way_out in str(caught.value)


def test_a_missing_dbapi_module_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "asyncmy", None)
    with pytest.raises(MissingExtra, match="asyncmy is not installed; pip install asyncmy"):
        from_url("sqlalchemy+mysql+asyncmy://root:geheim@localhost/app")


def test_no_refusal_shows_a_password() -> None:
    for url in (
        "sqlalchemy+mysql://root:geheim@localhost/app",
        "sqlalchemy+nosuch://root:geheim@localhost/app",
    ):
        with pytest.raises(StoreMisconfigured) as caught:
            from_url(url)
        assert "geheim" not in str(caught.value)


async def test_making_an_engine_connects_to_nothing() -> None:
    engine = from_url("sqlalchemy+postgresql+asyncpg://user:geheim@127.0.0.1:1/app")
    with pytest.raises(StoreUnavailable) as caught:
        await engine.open()
    assert not caught.value.maybe_applied
    assert "127.0.0.1:1/app" in str(caught.value)
    assert "geheim" not in str(caught.value)


async def test_a_database_that_is_not_there_is_a_wrong_set_up(postgres_url: str) -> None:
    engine = from_url(over_asyncpg(postgres_url).rpartition("/")[0] + "/nosuchdatabase")
    with pytest.raises(StoreMisconfigured, match="3D000"):
        await engine.open()


async def test_an_option_that_the_dbapi_module_does_not_know_is_a_wrong_set_up(postgres_url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="TypeError"):
        await from_url(over_asyncpg(postgres_url, "?nosuchoption=1")).open()


async def test_a_directory_that_is_not_there_is_a_wrong_set_up(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match="no directory"):
        await from_url(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'no' / 'app.db'}").open()


async def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = from_url(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    async with opened(engine):
        pass
    await engine.close()
    with pytest.raises(Closed):
        await engine.read(backend)


# --- SQLite ---


async def test_an_own_sqlite_file_has_a_log_that_is_synced(file: SQLAlchemyEngine) -> None:
    async def work(connection: AsyncConnection) -> tuple[Any, Any]:
        mode = await connection.exec_driver_sql("PRAGMA journal_mode")
        level = await connection.exec_driver_sql("PRAGMA synchronous")
        return mode.scalar(), level.scalar()

    assert await file.read(work) == ("wal", 2)
    assert await file.transact(work) == ("wal", 2)


async def test_somebody_elses_engine_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    theirs = create_async_engine(f"sqlite+aiosqlite:///{path}")

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE things (name text)"))

    async with opened(SQLAlchemyEngine(theirs)) as engine:
        await engine.transact(work)
        async with theirs.connect() as connection:
            await connection.execute(text("INSERT INTO things VALUES ('not committed')"))
            await connection.rollback()
    async with theirs.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "delete"
        assert (await connection.execute(text("SELECT count(*) FROM things"))).scalar() == 0
    await theirs.dispose()


async def test_a_file_that_another_process_writes_to_is_unavailable_and_nothing_was_changed(
    file: SQLAlchemyEngine, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY") as caught:
            await file.transact(backend)
        assert not caught.value.maybe_applied
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert await file.ping() > 0


async def test_a_transaction_that_fails_leaves_nothing_behind(file: SQLAlchemyEngine) -> None:
    async def make(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE things (name text NOT NULL)"))

    async def half(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO things VALUES ('one')"))
        await connection.execute(text("INSERT INTO things VALUES (nothing_of_this_name)"))

    async def count(connection: AsyncConnection) -> Any:
        return (await connection.execute(text("SELECT count(*) FROM things"))).scalar()

    await file.transact(make)
    with pytest.raises((StatementRefused, NotMigrated)):
        await file.transact(half)
    assert await file.transact(count) == 0


async def test_reading_a_table_that_is_not_there_says_how_to_make_it(file: SQLAlchemyEngine) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT * FROM holdfast_persist"))

    with pytest.raises(NotMigrated, match="holdfast migrate"):
        await file.read(work)


# --- what is done again, and what is not ---


async def test_what_was_rolled_back_because_of_others_is_done_again(server: SQLAlchemyEngine) -> None:
    calls = 0

    async def work(connection: AsyncConnection) -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            await connection.execute(text(RAISE.format("40001" if calls == 1 else "40P01")))
        return "done"

    assert await server.transact(work) == "done"
    assert calls == 3


async def test_it_is_not_done_again_for_ever(server: SQLAlchemyEngine) -> None:
    calls = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal calls
        calls += 1
        await connection.execute(text(RAISE.format("40001")))

    with pytest.raises(StoreUnavailable, match="40001") as caught:
        await server.transact(work)
    assert not caught.value.maybe_applied
    assert calls == ATTEMPTS


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreUnavailable),  # disk full
        ("25006", StoreUnavailable),  # read-only
        ("42P01", NotMigrated),
        ("22003", StatementRefused),
        ("P0001", StatementRefused),
    ],
)
async def test_a_refusal_is_told_apart_by_its_code_and_changes_nothing(
    server: SQLAlchemyEngine, state: str, kind: type[Exception]
) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(RAISE.format(state)))

    with pytest.raises(kind) as caught:
        await server.write(work)
    assert not getattr(caught.value, "maybe_applied", False)
    assert await server.read(backend) > 0


async def test_a_refusal_does_not_repeat_what_the_database_said(server: SQLAlchemyEngine) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT CAST(:value AS integer)"), {"value": "geheim"})

    with pytest.raises(StatementRefused) as caught:
        await server.read(work)
    assert "geheim" not in str(caught.value)


# --- losses ---


async def test_lost_before_the_commit_nothing_has_happened(
    server: SQLAlchemyEngine, postgres_url: str
) -> None:
    async def work(connection: AsyncConnection) -> None:
        await terminate(postgres_url, await backend(connection))
        await connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable) as caught:
        await server.transact(work)
    assert not caught.value.maybe_applied
    assert await server.read(backend) > 0


async def test_lost_in_the_commit_nobody_knows(server: SQLAlchemyEngine, postgres_url: str) -> None:
    async def work(connection: AsyncConnection) -> None:
        await terminate(postgres_url, await backend(connection))

    with pytest.raises(StoreUnavailable) as caught:
        await server.transact(work)
    assert caught.value.maybe_applied


async def test_lost_in_a_statement_that_commits_by_itself_nobody_knows(
    server: SQLAlchemyEngine, postgres_url: str
) -> None:
    async def work(connection: AsyncConnection) -> None:
        await terminate(postgres_url, await backend(connection))
        await connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable) as caught:
        await server.write(work)
    assert caught.value.maybe_applied


async def test_a_connection_that_died_in_the_pool_is_not_used(
    server: SQLAlchemyEngine, postgres_url: str, heard: list[events.Event]
) -> None:
    pid = await server.read(backend)
    await terminate(postgres_url, pid)
    assert await server.transact(backend) != pid
    assert not heard


async def test_a_loss_and_the_return_are_told(
    server: SQLAlchemyEngine, postgres_url: str, heard: list[events.Event]
) -> None:
    async def work(connection: AsyncConnection) -> None:
        await terminate(postgres_url, await backend(connection))
        await connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        await server.write(work)
    await server.read(backend)  # waits for the first attempt to reconnect
    assert [type(event) for event in heard] == [events.Disconnected, events.Connected]


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A Postgres of this test's own, to be killed and paused."""
    try:
        server = PostgresServer(fsync="off").start()
    except ServerMissing as reason:
        pytest.skip(str(reason))
    with server:
        yield server


async def test_a_server_that_stops_fails_everybody_at_once_and_is_found_again(
    database: PostgresServer, heard: list[events.Event]
) -> None:
    async with opened(from_url(over_asyncpg(database.url))) as engine:
        await engine.read(backend)
        await asyncio.to_thread(database.kill)
        errors = await asyncio.gather(*(engine.read(backend) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(error, StoreUnavailable) for error in errors), errors
        with pytest.raises(StoreUnavailable, match="reconnecting"):
            await engine.read(backend)
        connected = asyncio.Event()
        stop = events.subscribe(lambda event: connected.set())
        await asyncio.to_thread(database.start)
        await asyncio.wait_for(connected.wait(), 20)
        stop()
        assert await engine.read(backend) > 0
    assert [type(event) for event in heard] == [events.Connected, events.Disconnected, events.Connected]


async def test_a_server_that_hangs_leaves_nobody_hanging(database: PostgresServer) -> None:
    async with opened(from_url(over_asyncpg(database.url, "?timeout=0.3"))) as engine:
        await asyncio.gather(*(engine.read(backend) for _ in range(5)))
        database.pause()
        async with asyncio.timeout(15):
            works = [
                engine.read(backend),
                engine.write(backend),
                engine.transact(backend),
                *map(engine.read, [backend] * 10),
            ]
            errors = await asyncio.gather(*works, return_exceptions=True)
            assert all(isinstance(error, StoreUnavailable) for error in errors), errors
            with pytest.raises(StoreUnavailable):
                await engine.write(backend)
        back = asyncio.Event()
        stop = events.subscribe(lambda event: back.set())
        database.resume()
        await asyncio.wait_for(back.wait(), 20)
        stop()
        assert await engine.transact(backend) > 0


async def test_a_server_that_is_silent_costs_the_time_that_the_url_allows(postgres_url: str) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_sleep(60)"))

    async with opened(from_url(over_asyncpg(postgres_url, "?timeout=0.2"))) as engine:
        started = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable) as caught:
            await engine.write(work)
        assert caught.value.maybe_applied
        with pytest.raises(StoreUnavailable) as caught:
            await engine.transact(work)
        assert not caught.value.maybe_applied
        assert asyncio.get_running_loop().time() - started < 10
        assert await engine.read(backend) > 0


async def test_cancelled_in_flight_the_connection_is_dropped_and_the_next_one_works(
    server: SQLAlchemyEngine,
) -> None:
    begun = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        begun.set()
        await connection.execute(text("SELECT pg_sleep(60)"))

    tasks = [asyncio.create_task(server.transact(work)) for _ in range(8)]
    await begun.wait()
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in done)
    assert await asyncio.gather(*(server.read(backend) for _ in range(8)))


async def test_a_full_pool_of_somebody_elses_is_unavailable_and_nothing_was_sent(postgres_url: str) -> None:
    theirs = create_async_engine(
        postgres_url.replace("postgresql://", "postgresql+asyncpg://"),
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.05,
    )
    async with opened(SQLAlchemyEngine(theirs)) as engine, theirs.connect():
        with pytest.raises(StoreUnavailable) as caught:
            await engine.write(backend)
        assert not caught.value.maybe_applied
    await theirs.dispose()


async def test_closing_waits_for_what_is_under_way_and_takes_nothing_more(server: SQLAlchemyEngine) -> None:
    begun = asyncio.Event()

    async def work(connection: AsyncConnection) -> int:
        begun.set()
        await connection.execute(text("SELECT pg_sleep(0.1)"))
        return await backend(connection)

    under_way = asyncio.create_task(server.transact(work))
    await begun.wait()
    await server.close()
    assert under_way.done()
    assert await under_way > 0
    with pytest.raises(Closed):
        await server.transact(work)


async def test_closing_leaves_somebody_elses_engine_open(postgres_url: str) -> None:
    theirs: AsyncEngine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with opened(SQLAlchemyEngine(theirs)) as engine:
        pid = await engine.read(backend)
    async with theirs.connect() as connection:
        assert await backend(connection) == pid
        assert (await connection.execute(text("SHOW transaction_isolation"))).scalar() == "read committed"
        assert await connection.run_sync(lambda plain: plain.get_isolation_level()) != "AUTOCOMMIT"
    await theirs.dispose()


async def test_two_migrations_at_once_are_one_after_the_other(postgres_url: str) -> None:
    inside = 0

    async def work(connection: AsyncConnection) -> int:
        nonlocal inside
        inside += 1
        await connection.execute(text("SELECT pg_sleep(0.02)"))
        most = inside
        inside -= 1
        return most

    engines = [from_url(over_asyncpg(postgres_url)) for _ in range(3)]
    async with opened(engines[0]), opened(engines[1]), opened(engines[2]):
        assert await asyncio.gather(*(engine.exclusively(work) for engine in engines)) == [1, 1, 1]
