"""The SQLite engine: one thread that commits groups, a loop that never waits for it, and files that misbehave."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import events
from holdfast.engines import lease
from holdfast.engines.sqlite import DiskFull, SqliteEngine
from holdfast.engines.sqlite import file as file_module
from holdfast.engines.sqlite import writer as writer_module
from holdfast.errors import (
    Closed,
    NotMigrated,
    Overloaded,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
)
from holdfast.store import Migration, StoreURL

OPTIONS = ("synchronous", "busy_timeout", "max_page_count")
TABLE = (Migration("test", 1, "a table", ("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)",)),)

Connection = sqlite3.Connection


def engine_at(path: Path, query: str = "") -> SqliteEngine:
    return SqliteEngine.from_url(StoreURL.parse(f"sqlite:///{path}{query}", own=OPTIONS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[SqliteEngine]:
    engine = engine_at(path, "?busy_timeout=0.1")
    await engine.open()
    await engine.migrate(TABLE)
    yield engine
    await engine.close()


@pytest.fixture
def other(engine: SqliteEngine, path: Path) -> Iterator[Connection]:
    """Somebody else's connection to the same file."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    yield connection
    connection.close()


def insert(n: int, text: str = "") -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?, ?)", (n, text))
        return n

    return work


def numbers(connection: Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]


class Held:
    """Keeps the writer thread busy, so that what is handed in meanwhile is one group."""

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self._release = threading.Event()

    async def __aenter__(self) -> None:
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work(connection: Connection) -> None:
            loop.call_soon_threadsafe(started.set)
            self._release.wait(10)

        self._job = self._engine.run(work)
        await started.wait()

    async def __aexit__(self, *exc: object) -> None:
        self._release.set()
        await self._job


async def traced(engine: SqliteEngine) -> list[str]:
    """The statements that the thread executes from now on."""
    statements: list[str] = []
    await engine.run(lambda connection: connection.set_trace_callback(statements.append))
    return statements


class Failing:
    """A connection that fails at one statement."""

    def __init__(self, real: Connection, statement: str, code: int, *, times: int = 1) -> None:
        self._real, self._statement, self._code, self._times = real, statement, code, times

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.startswith(self._statement) and self._times:
            self._times -= 1
            error = sqlite3.OperationalError("made up")
            error.sqlite_errorcode = self._code
            error.sqlite_errorname = "SQLITE_MADE_UP"
            raise error
        return self._real.execute(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def fail_at(engine: SqliteEngine, statement: str, code: int) -> None:
    writer: Any = engine._writer
    writer._connection = Failing(writer._connection, statement, code)


# --- the URL and the file ---


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///file:x?", "not a path"),
        ("sqlite://", "sqlite:///app.db"),
        ("sqlite:///", "sqlite:///app.db"),
        ("sqlite://app.db", "sqlite:///app.db"),
        ("sqlite:///a.db?synchronous=ful", "did you mean 'full'"),
        ("sqlite:///a.db?busy_timeout=soon", "not a number"),
    ],
)
def test_a_url_that_names_no_file_or_a_wrong_option_is_refused_before_any_io(url: str, says: str) -> None:
    with pytest.raises(StoreMisconfigured, match=says):
        SqliteEngine.from_url(StoreURL.parse(url, own=OPTIONS))


async def test_three_slashes_are_relative_to_where_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = SqliteEngine.from_url(StoreURL.parse("sqlite:///some%20app.db"))
    await engine.open()
    await engine.close()
    assert (tmp_path / "some app.db").exists()


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match=r"nowhere does not exist"):
        await engine_at(tmp_path / "nowhere" / "app.db").open()


async def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match="is not a file"):
        await engine_at(tmp_path).open()


async def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database, and long enough to be sure of it" * 40)
    before = path.read_bytes()
    with pytest.raises(StoreMisconfigured, match="not an SQLite database"):
        await engine_at(path).open()
    assert path.read_bytes() == before


async def test_an_engine_that_could_not_open_opens_later(path: Path) -> None:
    path.mkdir()
    engine = engine_at(path)
    with pytest.raises(StoreMisconfigured):
        await engine.open()
    with pytest.raises(Closed):
        engine.write(insert(1))
    path.rmdir()
    await engine.open()
    assert (await engine.health()).ok
    await engine.close()


async def test_only_its_owner_can_read_the_files_it_makes(engine: SqliteEngine, path: Path) -> None:
    await engine.write(insert(1))
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"app.db": 0o600, "app.db-wal": 0o600, "app.db-shm": 0o600}


async def test_a_file_that_exists_keeps_its_mode(path: Path) -> None:
    path.touch(0o640)
    path.chmod(0o640)
    engine = engine_at(path)
    await engine.open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    findings = {each.subject: each for each in await engine.describe()}
    assert findings["permissions"].level == "warning"
    await engine.close()


@pytest.mark.parametrize(("query", "level"), [("", 2), ("?synchronous=normal", 1), ("?synchronous=EXTRA", 3)])
async def test_synchronous_is_full_unless_asked_otherwise(path: Path, query: str, level: int) -> None:
    engine = engine_at(path, query)
    await engine.open()
    found = await engine.run(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert found == (level,)
    findings = {each.subject: each for each in await engine.describe()}
    assert findings["journal"].level == "ok"
    assert findings["durability"].text.startswith(f"synchronous={['OFF', 'NORMAL', 'FULL', 'EXTRA'][level]}")
    await engine.close()


# --- group commit ---


async def test_what_is_queued_is_one_transaction_and_one_call_to_the_loop(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = await traced(engine)
    async with Held(engine):
        statements.clear()
        jobs = [engine.write(insert(n)) for n in range(5)]
        loop = asyncio.get_running_loop()
        calls: list[object] = []
        real = loop.call_soon_threadsafe

        def counted(callback: Any, *arguments: Any, **named: Any) -> Any:
            calls.append(callback)
            return real(callback, *arguments, **named)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    assert await asyncio.gather(*jobs) == list(range(5))
    assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT") == 1
    assert len(calls) == 2  # for the held job, and for the group


async def test_nobody_is_told_before_the_commit(engine: SqliteEngine, other: Connection) -> None:
    job = engine.write(insert(1))
    job.add_done_callback(lambda _: seen.extend(numbers(other)))
    seen: list[int] = []
    await job
    assert seen == [1]


async def test_a_lone_job_that_fails_is_undone_and_says_what_it_raised(engine: SqliteEngine) -> None:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO t VALUES (1, '')")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await engine.write(work)
    assert await engine.run(numbers) == []


async def test_a_job_that_fails_in_company_is_undone_alone(engine: SqliteEngine) -> None:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO t VALUES (2, '')")
        connection.execute("INSERT INTO t VALUES (1, '')")  # is there already

    async with Held(engine):
        jobs = [engine.write(insert(1)), engine.write(work), engine.write(insert(3))]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert outcomes[0] == 1
    assert outcomes[2] == 3
    assert isinstance(outcomes[1], StoreError)
    assert "UNIQUE" in str(outcomes[1])
    assert isinstance(outcomes[1].__cause__, sqlite3.IntegrityError)
    assert await engine.run(numbers) == [1, 3]


async def test_jobs_take_effect_in_the_order_in_which_they_were_handed_in(engine: SqliteEngine) -> None:
    await engine.write(insert(1, "0"))

    def say(n: int) -> Callable[[Connection], object]:
        return lambda connection: connection.execute("UPDATE t SET text = text || ?", (str(n),))

    await asyncio.gather(*(engine.write(say(n)) for n in range(1, 10)))
    assert await engine.run(lambda connection: connection.execute("SELECT text FROM t").fetchone()) == (
        "0123456789",
    )


@pytest.mark.parametrize(
    ("code", "maybe_applied"),
    [(sqlite3.SQLITE_BUSY, False), (sqlite3.SQLITE_FULL, False), (sqlite3.SQLITE_IOERR_FSYNC, True)],
)
async def test_a_commit_that_fails_is_rolled_back_and_every_job_in_it_is_told(
    engine: SqliteEngine, code: int, maybe_applied: bool
) -> None:
    async with Held(engine):
        jobs = [engine.write(insert(n)) for n in range(3)]
        await fail_at(engine, "COMMIT", code)
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(each) for each in outcomes] == [
        DiskFull if code == sqlite3.SQLITE_FULL else StoreUnavailable
    ] * 3
    assert {each.maybe_applied for each in outcomes if isinstance(each, StoreUnavailable)} == {maybe_applied}
    assert len({id(each) for each in outcomes}) == 3
    assert await engine.run(numbers) == []
    assert await engine.write(insert(7)) == 7


async def test_an_io_error_in_one_job_fails_the_transaction_for_all(engine: SqliteEngine) -> None:
    async with Held(engine):
        jobs = [engine.write(insert(n)) for n in range(3)]
        await fail_at(engine, "INSERT", sqlite3.SQLITE_IOERR_WRITE)
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreUnavailable] * 3
    assert {each.maybe_applied for each in outcomes if isinstance(each, StoreUnavailable)} == {False}
    assert await engine.run(numbers) == []


async def test_a_missing_table_says_that_migrations_are_missing(engine: SqliteEngine) -> None:
    with pytest.raises(NotMigrated, match="holdfast migrate"):
        await engine.write(lambda connection: connection.execute("INSERT INTO missing VALUES (1)"))


async def test_what_is_handed_in_beyond_the_bound_is_overloaded(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_QUEUED_JOBS", 3)
    async with Held(engine):
        jobs = [engine.write(insert(n)) for n in range(3)]
        with pytest.raises(Overloaded):
            engine.write(insert(9))
    assert await asyncio.gather(*jobs) == [0, 1, 2]
    assert await engine.run(numbers) == [0, 1, 2]


async def test_more_jobs_than_a_transaction_holds_take_several(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_JOBS", 2)
    statements = await traced(engine)
    async with Held(engine):
        jobs = [engine.write(insert(n)) for n in range(5)]
    assert await asyncio.gather(*jobs) == list(range(5))
    assert statements.count("COMMIT") == 3


# --- cancellation and closing ---


async def test_a_job_cancelled_while_it_is_queued_is_not_begun(engine: SqliteEngine) -> None:
    async with Held(engine):
        kept, dropped = engine.write(insert(1)), engine.write(insert(2))
        dropped.cancel()
    assert await kept == 1
    assert await engine.run(numbers) == [1]


async def test_a_read_cancelled_while_it_is_queued_is_not_begun(engine: SqliteEngine) -> None:
    begun: list[Connection] = []
    async with Held(engine):
        engine.run(begun.append).cancel()
    await engine.run(numbers)
    assert begun == []


async def test_a_job_that_ends_the_transaction_fails_all_of_it_and_each_has_its_own_exception(
    engine: SqliteEngine,
) -> None:
    def work(connection: Connection) -> None:
        connection.execute("ROLLBACK")
        raise ValueError("mine")

    async with Held(engine):
        jobs = [engine.write(insert(1)), engine.write(work), engine.write(insert(2))]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(each) for each in outcomes] == [ValueError] * 3
    assert len({id(each) for each in outcomes}) == 3
    assert await engine.run(numbers) == []


async def test_a_job_cancelled_under_way_goes_on_and_harms_nobody(engine: SqliteEngine) -> None:
    started, release = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO t VALUES (1, '')")
        started.set()
        release.wait(10)

    job = engine.write(work)
    await asyncio.get_running_loop().run_in_executor(None, started.wait)
    job.cancel()
    release.set()
    assert await engine.write(insert(2)) == 2
    assert await engine.run(numbers) == [1, 2]


async def test_close_finishes_what_was_handed_in_and_takes_nothing_more(
    engine: SqliteEngine, path: Path
) -> None:
    async with Held(engine):
        jobs = [engine.write(insert(n)) for n in range(3)]
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        with pytest.raises(Closed):
            engine.write(insert(9))
    await closing
    assert all(job.done() for job in jobs)
    assert [job.result() for job in jobs] == [0, 1, 2]
    with pytest.raises(Closed):
        engine.look("SELECT 1", ())
    await engine.close()
    with sqlite3.connect(path) as connection:
        assert numbers(connection) == [0, 1, 2]
    connection.close()


async def test_closing_ends_the_thread_and_leaves_one_file(engine: SqliteEngine, path: Path) -> None:
    await engine.write(insert(1))
    await engine.close()
    assert [each.name for each in path.parent.iterdir()] == ["app.db"]
    assert not [each for each in threading.enumerate() if str(path) in each.name]


async def test_an_open_that_is_cancelled_leaves_no_thread_and_no_file_open(path: Path) -> None:
    engine = engine_at(path)
    opening = asyncio.create_task(engine.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not [each for each in threading.enumerate() if str(path) in each.name]
    with pytest.raises(Closed):
        engine.write(insert(1))


def test_a_loop_that_is_closed_over_the_thread_ends_it(path: Path) -> None:
    async def leave() -> SqliteEngine:
        engine = engine_at(path)
        await engine.open()
        await engine.migrate(TABLE)
        engine.write(insert(1))
        return engine

    loop = asyncio.new_event_loop()
    engine = loop.run_until_complete(leave())
    writer: Any = engine._writer
    reader: Any = engine._reader
    reader.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    writer._queue.put(writer_module._Job(insert(2), writer._ended, True))
    writer._thread.join(10)
    assert not writer._thread.is_alive()


async def test_a_thread_that_dies_settles_everybody(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def work(connection: Connection) -> None:
        raise SystemExit

    async with Held(engine):
        monkeypatch.setattr(writer_module, "MAX_JOBS", 2)
        jobs = [engine.write(each) for each in (insert(1), work, insert(2), insert(3))]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreUnavailable] * 4
    with pytest.raises(Closed):
        await engine.write(insert(4))
    await engine.close()


# --- other processes ---


async def test_a_writer_waits_for_another_process_while_reads_go_on_and_writes_join_it(path: Path) -> None:
    engine = engine_at(path, "?busy_timeout=20")
    await engine.open()
    await engine.migrate(TABLE)
    statements: list[str] = []
    begun = threading.Event()

    def hear(statement: str) -> None:
        statements.append(statement)
        begun.set()

    await engine.run(lambda connection: connection.set_trace_callback(hear))
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES (0, '')")
    jobs = [engine.write(insert(1))]
    await asyncio.get_running_loop().run_in_executor(None, begun.wait)
    assert await engine.run(numbers) == []
    jobs += [engine.write(insert(n)) for n in (2, 3)]
    dropped = engine.write(insert(4))
    assert await engine.run(numbers) == []
    dropped.cancel()
    assert not any(job.done() for job in jobs)
    other.execute("COMMIT")
    assert await asyncio.gather(*jobs) == [1, 2, 3]
    assert statements.count("COMMIT") == 1
    assert await engine.run(numbers) == [0, 1, 2, 3]
    other.close()
    await engine.close()


async def test_a_lock_held_for_longer_than_busy_timeout_is_unavailable_and_nothing_was_applied(
    engine: SqliteEngine, other: Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(*(engine.write(insert(n)) for n in range(3)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreUnavailable] * 3
    assert all("locked" in str(each) for each in outcomes)
    assert not any(each.maybe_applied for each in outcomes if isinstance(each, StoreUnavailable))
    other.execute("ROLLBACK")
    assert await engine.write(insert(5)) == 5
    assert await engine.run(numbers) == [5]


async def test_each_job_has_its_own_patience(
    engine: SqliteEngine, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Time:
        now = 0.0
        sleep = staticmethod(time.sleep)

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    monkeypatch.setattr(writer_module, "time", Time)
    other.execute("BEGIN IMMEDIATE")
    first = engine.write(insert(1))
    await engine.run(numbers)  # so it was taken, and waits
    Time.now = 0.09
    second = engine.write(insert(2))
    await engine.run(numbers)
    Time.now = 0.11
    with pytest.raises(StoreUnavailable, match="locked"):
        await first
    other.execute("ROLLBACK")
    assert await second == 2


async def test_reads_need_no_lock(engine: SqliteEngine, other: Connection) -> None:
    await engine.write(insert(1))
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES (2, '')")
    assert engine.look("SELECT count(*) FROM t", ()).fetchone() == (1,)
    assert await engine.run(numbers) == [1]
    other.execute("ROLLBACK")


async def test_a_look_that_would_have_to_wait_says_so_and_other_errors_are_translated(
    engine: SqliteEngine, other: Connection, path: Path
) -> None:
    other.execute("BEGIN IMMEDIATE")
    third = sqlite3.connect(path, timeout=0, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError) as busy:
        third.execute("BEGIN IMMEDIATE")
    third.close()
    other.execute("ROLLBACK")
    assert engine.must_wait(busy.value)
    with pytest.raises(sqlite3.OperationalError) as missing:
        engine.look("SELECT * FROM missing", ())
    with pytest.raises(NotMigrated):
        engine.must_wait(missing.value)


async def test_a_look_leaves_no_read_open_that_would_keep_the_log_from_starting_anew(
    engine: SqliteEngine, other: Connection
) -> None:
    await engine.write(insert(1, "text"))
    assert engine.look("SELECT text FROM t WHERE n = ?", (1,)).fetchone() == (b"text",)
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


async def test_the_reading_connection_cannot_write(engine: SqliteEngine) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        engine.look("INSERT INTO t VALUES (1, '')", ())


async def test_of_many_that_migrate_at_once_one_applies_and_all_go_on(path: Path) -> None:
    engines = [engine_at(path) for _ in range(4)]
    await asyncio.gather(*(each.open() for each in engines))
    assert await engines[0].pending(TABLE) == list(TABLE)
    applied = await asyncio.gather(*(each.migrate(TABLE) for each in engines))
    assert sorted(map(len, applied)) == [0, 0, 0, 1]
    assert [await each.pending(TABLE) for each in engines] == [[]] * 4
    rows = await engines[0].run(
        lambda connection: connection.execute(
            "SELECT capability, version FROM holdfast_migrations"
        ).fetchall()
    )
    assert rows == [("test", 1)]
    await asyncio.gather(*(each.close() for each in engines))


async def test_a_migration_that_fails_leaves_nothing_of_itself(engine: SqliteEngine) -> None:
    broken = Migration("test", 2, "broken", ("CREATE TABLE u (n INTEGER)", "CREATE TABLE t (n INTEGER)"))
    with pytest.raises(StoreError, match="already exists"):
        await engine.migrate([*TABLE, broken])
    assert await engine.pending([*TABLE, broken]) == [broken]
    fixed = Migration("test", 2, "fixed", ("CREATE TABLE u (n INTEGER)",))
    assert await engine.migrate([*TABLE, fixed]) == [fixed]


# --- space, checkpoints, a file that goes away ---


async def test_a_full_file_is_unavailable_until_there_is_room_and_nothing_is_torn(path: Path) -> None:
    engine = engine_at(path, "?max_page_count=30")
    await engine.open()
    await engine.migrate(TABLE)
    kept: list[int] = []
    with pytest.raises(DiskFull) as full:
        for n in range(100):
            kept.append(await engine.write(insert(n, "x" * 2000)))  # noqa: PERF401 - keeps what there was before
    assert not full.value.maybe_applied
    assert "max_page_count" in str(full.value)
    assert await engine.run(numbers) == kept
    assert {each.subject: each.level for each in await engine.describe()}["size"] == "warning"
    await engine.write(lambda connection: connection.execute("DELETE FROM t WHERE n < 10"))
    assert await engine.write(insert(1000, "x" * 2000)) == 1000
    check = await engine.run(lambda connection: connection.execute("PRAGMA integrity_check").fetchall())
    assert check == [("ok",)]
    await engine.close()


def short_log(monkeypatch: pytest.MonkeyPatch) -> int:
    """A bound on the log that a test reaches, and no waiting for a quiet moment."""
    bound = 64 << 10
    monkeypatch.setattr(writer_module, "RESTART_MS", 0)
    for module, name in (
        (file_module, "WAL_BYTES"),
        (writer_module, "WAL_BYTES"),
        (writer_module, "WAL_BOUND"),
    ):
        monkeypatch.setattr(module, name, bound)
    return bound


async def test_the_log_stays_bounded_and_no_commit_makes_a_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = short_log(monkeypatch)
    engine = engine_at(path)
    await engine.open()
    await engine.migrate(TABLE)
    statements = await traced(engine)
    largest = 0
    for n in range(100):
        await engine.write(insert(n, "x" * 3000))
        largest = max(largest, os.stat(f"{path}-wal").st_size)
    await engine.run(lambda connection: None)
    assert largest < 2 * bound
    assert 2 < sum("wal_checkpoint" in each for each in statements) < 40
    assert await engine.run(
        lambda connection: connection.execute("PRAGMA wal_autocheckpoint").fetchone()
    ) == (0,)
    await engine.close()


async def test_a_reader_that_holds_the_log_open_does_not_bring_a_checkpoint_to_every_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_log(monkeypatch)
    engine = engine_at(path)
    await engine.open()
    await engine.migrate(TABLE)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    numbers(other)
    statements = await traced(engine)
    for n in range(100):
        await engine.write(insert(n, "x" * 3000))
    await engine.run(lambda connection: None)
    assert 2 < sum("wal_checkpoint" in each for each in statements) < 60
    other.close()
    await engine.close()


async def test_a_checkpoint_waits_for_other_processes_only_when_the_log_is_far_too_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = short_log(monkeypatch)
    monkeypatch.setattr(writer_module, "WAL_BOUND", 4 * bound)
    engine = engine_at(path)
    await engine.open()
    await engine.migrate(TABLE)
    statements = await traced(engine)
    await engine.write(insert(1, "x" * 2 * bound))
    await engine.run(lambda connection: None)
    assert not any("RESTART" in each for each in statements)
    await engine.write(insert(2, "x" * 8 * bound))
    await engine.run(lambda connection: None)
    assert any("RESTART" in each for each in statements)
    await engine.write(insert(3))
    assert os.stat(f"{path}-wal").st_size == bound
    timeout = await engine.run(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone())
    assert timeout == (0,)
    await engine.close()


async def test_a_file_that_was_moved_away_takes_no_writes_and_answers_no_reads_until_it_is_back(
    engine: SqliteEngine, path: Path
) -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    await engine.write(insert(1))
    away = path.with_name("away.db")
    path.rename(away)
    with pytest.raises(StoreUnavailable, match="moved, deleted or replaced") as gone:
        await engine.write(insert(2))
    assert not gone.value.maybe_applied
    with pytest.raises(StoreUnavailable):
        engine.look("SELECT 1", ())
    health = await engine.health()
    assert not health.ok
    assert "moved" in health.detail
    away.rename(path)
    assert await engine.write(insert(3)) == 3
    assert engine.look("SELECT count(*) FROM t", ()).fetchone() == (2,)
    assert (await engine.health()).ok
    assert [type(each) for each in heard] == [events.Disconnected, events.Connected]
    stop()


async def test_another_file_at_the_same_path_is_not_taken_for_the_one_that_was_opened(
    engine: SqliteEngine, path: Path
) -> None:
    path.unlink()
    path.touch()
    with pytest.raises(StoreUnavailable, match="replaced"):
        await engine.write(insert(1))


async def test_health_of_a_thread_that_does_not_answer_is_bounded_in_time(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.engines.sqlite.engine.HEALTH_SECONDS", 0.01)
    async with Held(engine):
        health = await engine.health()
    assert not health.ok
    assert "no answer" in health.detail


async def test_leases_of_one_url_share_the_engine(path: Path) -> None:
    url = StoreURL.parse(f"sqlite:///{path}")
    first, second = await lease(SqliteEngine, url), await lease(SqliteEngine, url)
    assert first.engine is second.engine
    await first.release()
    assert (await second.engine.health()).ok
    await second.release()
    with pytest.raises(Closed):
        second.engine.write(insert(1))
