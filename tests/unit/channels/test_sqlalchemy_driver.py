"""What is the SQLAlchemy driver's own, beside the suite that every driver passes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.dialects.sqlite.base import SQLiteTypeCompiler
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from holdfast.channels.driver import (
    Append,
    Clear,
    Driver,
    Edit,
    Erase,
    Find,
    Operation,
    Read,
    Send,
    Topics,
    Trim,
)
from holdfast.channels.drivers import sqlalchemy_poll
from holdfast.channels.drivers.sqlalchemy import SQLAlchemyDriver
from holdfast.channels.drivers.sqlalchemy_reads import Reads, bound
from holdfast.channels.drivers.sqlalchemy_replay import CHECK_EVERY, Line, TopicLog, replay
from holdfast.channels.drivers.sqlalchemy_tables import statements_for
from holdfast.channels.registry import driver_for
from holdfast.engines.sqlalchemy import StatementRefused
from holdfast.errors import Closed, NotMigrated, StoreMisconfigured, StoreUnavailable
from holdfast.persist.drivers.sqlalchemy import SQLAlchemyDriver as PersistDriver
from holdfast.store import StoreURL
from holdfast.testing import ChannelsSuite
from holdfast.testing.channels.ear import Ear

PAYLOAD = b'{"message":"hi"}'


class Whole(SQLiteTypeCompiler):
    """SQLite counts up in no column that is called BIGINT."""

    def visit_BIGINT(self, type_: Any, **rest: Any) -> str:
        return "INTEGER"


class Faraway(SQLiteDialect_aiosqlite):
    """A database that Holdfast has never heard of: no layout, no upsert, no clock of its own."""

    name = "faraway"
    supports_statement_cache = True
    type_compiler_cls = Whole

    def do_begin(self, dbapi_connection: Any) -> None:
        """SQLite has no FOR UPDATE; this holds all rows instead, from the beginning."""
        dbapi_connection.execute("BEGIN IMMEDIATE")


dialects.register("faraway.aiosqlite", __name__, "Faraway")


class TestFaraway(ChannelsSuite):
    """The portable statements pass the suite too."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlalchemy+faraway+aiosqlite:///{tmp_path / 'app.db'}?poll=0.02"

    async def make_driver(self) -> Driver:
        return driver_for(self.url)


class TestOverAnEngineOfOnesOwn(ChannelsSuite):
    """So does an engine that somebody else made, with a pool that connects anew every time."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"

    async def make_driver(self) -> Driver:
        # Without write-ahead logging readers keep writers waiting, and every commit syncs thrice: where the disk is
        # busy, that takes longer than the 5 seconds which SQLite waits unless it is told otherwise.
        engine = create_async_engine(self.url, poolclass=NullPool, connect_args={"timeout": 9})
        event.listen(engine.sync_engine, "connect", _unsynced)
        return SQLAlchemyDriver(engine=engine, poll=0.02)


def _unsynced(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=off").close()


@asynccontextmanager
async def opened(driver: SQLAlchemyDriver) -> AsyncIterator[SQLAlchemyDriver]:
    await driver.open()
    await driver.migrate()
    try:
        yield driver
    finally:
        await driver.close()


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One of SQLAlchemy's, to a database of each dialect that is tested."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    if request.param == "mysql":
        return str(request.getfixturevalue("mysql_url"))
    return over_asyncpg(request.getfixturevalue("postgres_url"))


def over_asyncpg(postgres_url: str) -> str:
    return postgres_url.replace("postgresql://", "postgresql+asyncpg://")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(url)
    yield made
    await made.dispose()


@pytest.fixture
async def driver(engine: AsyncEngine) -> AsyncIterator[SQLAlchemyDriver]:
    async with opened(SQLAlchemyDriver(engine=engine, poll=0.01)) as made:
        yield made


@pytest.fixture
def ns() -> str:
    return f"{secrets.token_hex(6)}:c:"


@pytest.fixture
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Every statement that goes to the DBAPI module."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", note)


async def kept(driver: SQLAlchemyDriver, key: str) -> list[int]:
    (log,) = await driver.apply([Read(key, 1000)])
    return [entry.offset for entry in log.entries]


# --- round trips ---


async def test_a_batch_of_writes_is_one_transaction_of_a_handful_of_statements(
    driver: SQLAlchemyDriver, statements: list[str], ns: str
) -> None:
    rooms = [f"{ns}{number}" for number in range(50)]
    batches: list[tuple[int, Sequence[Operation]]] = [
        (8, [Append(rooms[0], "said", PAYLOAD, max_messages=1000) for _ in range(256)]),
        (8, [Append(room, "said", PAYLOAD, max_messages=1000) for room in rooms * 5]),
        (8, [Append(rooms[0], "said", PAYLOAD, id=f"{number}") for number in range(256)]),
        (8, [Edit(rooms[0], PAYLOAD, id=f"{number}") for number in range(64)]),
        (10, [Append(room, "said", PAYLOAD, id="x") for room in rooms]),
        (4, [Send(room, PAYLOAD) for room in rooms]),
        (
            14,
            [
                op
                for room in rooms
                for op in (Append(room, "a", PAYLOAD), Erase(room, id="x"), Send(room, b""))
            ],
        ),
        (1, [Read(rooms[0], 10) for _ in range(100)]),
        (6, [Read(room, 10) for room in rooms]),
        (6, [Read(room, 10, changes_after=1) for room in rooms]),
    ]
    for most, ops in batches:
        statements.clear()
        outcomes = await driver.apply(ops)
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert len(statements) <= most, (type(ops[0]).__name__, statements)


async def test_a_stretch_of_a_long_log_is_read_off_an_index(
    driver: SQLAlchemyDriver, engine: AsyncEngine, ns: str
) -> None:
    """Ten of 4,000 messages cost ten, also where the average log is short."""
    if engine.dialect.name != "postgresql":
        pytest.skip("only Postgres tells how many rows it touched")
    await driver.apply([Append(f"{ns}{number}", "said", PAYLOAD) for number in range(2000)])
    await driver.apply([Append(f"{ns}long", "said", PAYLOAD) for _ in range(4000)])
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE holdfast_messages"))

    async def touched() -> int:
        counted = (
            "SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_xact_user_tables"
            " WHERE relname = 'holdfast_messages'"
        )
        return int((await connection.execute(text(counted))).scalar_one())

    async with engine.connect() as connection:
        reads = Reads(statements_for("postgresql"), connection)
        for op in (
            Read(f"{ns}long", 10),
            Read(f"{ns}long", 10, before=2000),
            Read(f"{ns}long", 10, after=2000),
            Read(f"{ns}long", 10, changes_after=3990),
        ):
            before = await touched()
            (log,) = await reads.all([op])
            assert len(log.entries) == 10
            assert await touched() - before <= 50, op


# --- one layout ---


@pytest.mark.parametrize("scheme", ["sqlite", "postgresql"])
async def test_holdfasts_own_driver_and_this_one_read_and_continue_each_others_logs(
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
    one: Any = driver_for(own)
    two: Any = driver_for(through)
    async with opened(one), opened(two):
        assert list(await two.migrate()) == []
        for writer, reader in ((one, two), (two, one)):
            name = f"von {type(writer).__name__} ä"
            (said,) = await writer.apply([Append(key, "sagt ü", '{"ä":"🧀"}'.encode(), id=name)])
            (found, log) = await reader.apply([Find(key, id=name), Read(key, 1)])
            assert (found.epoch, found.entry.offset, found.entry.event) == (said.epoch, said.offset, "sagt ü")
            stored = found.entry.payload
            assert (stored if isinstance(stored, str) else bytes(stored).decode()) == '{"ä":"🧀"}'
            assert (log.last, log.entries[0].id) == (said.offset, name)
            (repeated,) = await reader.apply([Append(key, "sagt", b"{}", id=name)])
            assert (repeated.repeated, repeated.offset, repeated.at) == (True, said.offset, said.at)
            (changed,) = await reader.apply([Erase(key, id=name)])
            assert changed.entry.changed == said.offset + 1
        (page,) = await one.apply([Topics(ns, None, 10)])
        assert [(topic.key, topic.last, topic.kept) for topic in page.topics] == [(key, 4, 2)]
        assert (await two.apply([Topics(ns, None, 10)]))[0] == page


async def test_on_a_dialect_without_a_layout_the_tables_are_sqlalchemys(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+faraway+aiosqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    pending = await driver.pending()
    assert [(each.capability, each.version) for each in pending] == [("notes", 1), ("channels", 1)]
    made = [statement for each in pending for statement in each.statements]
    assert [each for each in made if "UNIQUE INDEX" in each] == [], "NULLs may be equal to each other there"
    assert sum("CREATE INDEX" in each for each in made) == 2
    assert list(await driver.migrate()) == list(pending)
    assert list(await driver.pending()) == []
    found = {finding.subject: finding for finding in await driver.describe()}
    assert found["dialect"].level == "warning"
    assert driver.traits.clock == "process"
    await driver.close()


async def test_before_the_tables_are_there_an_operation_says_how_to_make_them(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    for op in (Append("k", "e", b"{}"), Read("k", 1), Send("k", b""), Clear("k"), Topics("", None, 1)):
        with pytest.raises(NotMigrated):
            await driver.apply([op])
    subscription = await driver.subscribe(Ear())
    with pytest.raises(NotMigrated):
        await subscription.follow("k")
    await driver.close()


@pytest.fixture
async def empty(url: str) -> AsyncIterator[Callable[[], AsyncEngine]]:
    """Makes engines to one place that has no tables."""
    if not url.startswith("postgresql"):
        pytest.skip("a schema of its own shows it")
    name = f"holdfast_{secrets.token_hex(6)}"
    plain = create_async_engine(url)
    async with plain.begin() as connection:
        try:
            await connection.execute(text(f"CREATE SCHEMA {name}"))
        except DBAPIError as refused:
            pytest.skip(f"may not make a schema of its own: {type(refused.orig).__name__}")
    yield lambda: create_async_engine(url, connect_args={"server_settings": {"search_path": name}})
    async with plain.begin() as connection:
        await connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    await plain.dispose()


async def test_of_those_that_migrate_at_once_one_does_and_the_others_wait(
    empty: Callable[[], AsyncEngine],
) -> None:
    engines = [empty() for _ in range(4)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    done = await asyncio.gather(*(driver.migrate() for driver in drivers))
    assert sorted(len(each) for each in done) == [0, 0, 0, 2]
    await asyncio.gather(*(driver.close() for driver in drivers))
    for each in engines:
        await each.dispose()


# --- writers beside each other ---


async def test_writers_of_the_same_topics_neither_deadlock_for_good_nor_leave_holes(
    url: str, ns: str
) -> None:
    """Made, written and forgotten by three at once."""
    engines = [create_async_engine(url) for _ in range(3)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    await drivers[0].migrate()

    async def work(driver: SQLAlchemyDriver, shift: int) -> None:
        for turn in range(10):
            rooms = [f"{ns}{(number * 7 + shift + turn) % 10}" for number in range(6)]
            batch: list[Operation] = [Append(f"{ns}all", "said", PAYLOAD, id=f"{turn}")]
            batch += [Append(room, "said", PAYLOAD) for room in rooms]
            outcomes = await driver.apply([*batch, Clear(f"{ns}{turn}")])
            assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    await asyncio.gather(*(work(driver, at) for at, driver in enumerate(drivers)))
    (log, page) = await drivers[0].apply([Read(f"{ns}all", 100), Topics(ns, None, 100)])
    assert [entry.offset for entry in log.entries] == list(range(1, 11)), "an id was kept twice"
    for topic in page.topics:
        (log,) = await drivers[1].apply([Read(topic.key, 100)])
        assert [entry.offset for entry in log.entries] == list(range(1, topic.last + 1)), topic
        assert topic.kept == topic.last
    await drivers[0].apply([Clear(topic.key) for topic in page.topics])
    await asyncio.gather(*(driver.close() for driver in drivers))
    for each in engines:
        await each.dispose()


@pytest.mark.parametrize("url", ["postgresql", "mysql"], indirect=True)
async def test_writers_wait_for_each_others_topics_and_never_have_to_start_again(
    url: str, ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [create_async_engine(url) for _ in range(3)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    await drivers[0].migrate()
    rooms = [f"{ns}{number}" for number in range(8)]
    if url.startswith("postgresql"):  # made by all of them at once, too
        monkeypatch.setattr("holdfast.engines.sqlalchemy.engine.ATTEMPTS", 1)
        for room in rooms:
            made = await asyncio.gather(*(each.apply([Append(room, "said", PAYLOAD)]) for each in drivers))
            assert sorted(said.offset for (said,) in made) == [1, 2, 3]
    await drivers[0].apply([Append(room, "said", PAYLOAD) for room in rooms])
    monkeypatch.setattr("holdfast.engines.sqlalchemy.engine.ATTEMPTS", 1)

    async def work(driver: SQLAlchemyDriver, shift: int) -> None:
        for turn in range(10):
            chosen = [rooms[(number * 3 + shift + turn) % 8] for number in range(5)]
            await driver.apply([Append(room, "said", PAYLOAD) for room in chosen])

    await asyncio.gather(*(work(driver, at) for at, driver in enumerate(drivers)))
    await asyncio.gather(*(driver.close() for driver in drivers))
    for each in engines:
        await each.dispose()


async def test_a_topic_that_is_forgotten_leaves_no_rows(
    driver: SQLAlchemyDriver, engine: AsyncEngine, ns: str
) -> None:
    await driver.apply([Append(f"{ns}room", "said", PAYLOAD) for _ in range(5)])
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        topic = bound(statements_for(engine.dialect.name), f"{ns}room")
        found = text("SELECT number FROM holdfast_topics WHERE topic = :topic")
        number = (await connection.execute(found, {"topic": topic})).scalar_one()
        count = text("SELECT count(*) FROM holdfast_messages WHERE number = :number").bindparams(
            number=number
        )
        assert (await connection.execute(count)).scalar_one() == 5
        assert await driver.apply([Clear(f"{ns}room")]) == [True]
        assert (await connection.execute(count)).scalar_one() == 0


async def test_what_finds_nothing_leaves_nothing(driver: SQLAlchemyDriver, ns: str) -> None:
    key = f"{ns}absent"
    ops: list[Operation] = [
        Edit(key, b"{}", id="x"),
        Erase(key, offset=1, epoch="e"),
        Trim(key, 1, 1),
        Clear(key),
        Find(key, id="x"),
    ]
    assert await driver.apply(ops) == [None, None, 0, False, None]
    assert (await driver.apply([Topics(ns, None, 10)]))[0].topics == []


# --- retention ---


async def test_what_grew_too_old_goes_within_sixteen_messages(driver: SQLAlchemyDriver, ns: str) -> None:
    key = f"{ns}room"
    await driver.apply([Append(key, "said", PAYLOAD, at=1000 + number) for number in range(20)])
    for _ in range(CHECK_EVERY):
        await driver.apply([Append(key, "said", PAYLOAD, max_age=60_000)])
    offsets = await kept(driver, key)
    assert offsets == list(range(21, 21 + CHECK_EVERY))
    (log,) = await driver.apply([Read(key, 0)])
    assert log.trimmed == 20


async def test_a_trim_takes_what_is_too_old_wherever_it_stands(driver: SQLAlchemyDriver, ns: str) -> None:
    key = f"{ns}room"
    times = [None, 5, None, 6, None]
    await driver.apply([Append(key, "said", PAYLOAD, at=at) for at in times])
    assert await driver.apply([Trim(key, None, 60_000)]) == [2]
    assert await kept(driver, key) == [1, 3, 5]
    assert await driver.apply([Trim(key, None, 60_000), Trim(key, 3, None)]) == [0, 0]
    (page,) = await driver.apply([Topics(key, None, 1)])
    assert page.topics[0].kept == 3


# --- one operation's failure ---


async def test_what_the_database_refuses_fails_alone(postgres_url: str, ns: str) -> None:
    """Postgres holds no NUL, which `api` never lets through."""
    driver: Any = driver_for(f"sqlalchemy+{over_asyncpg(postgres_url)}")
    async with opened(driver):
        ops: list[Operation] = [Append(f"{ns}a", f"said{number}", PAYLOAD) for number in range(7)]
        ops[4] = Append(f"{ns}a", "\0", PAYLOAD)
        outcomes = await driver.apply([*ops, Read(f"{ns}\0", 1), Read(f"{ns}none", 1)])
        assert isinstance(outcomes[4], StatementRefused)
        assert ns not in str(outcomes[4])
        assert isinstance(outcomes[7], StatementRefused)
        assert outcomes[8].last == 0
        assert [outcomes[at].offset for at in (0, 1, 2, 3, 5, 6)] == [1, 2, 3, 4, 5, 6]
        (alone,) = await driver.apply([ops[4]])
        assert isinstance(alone, StatementRefused)


async def test_reads_are_answered_where_the_writes_beside_them_fail(tmp_path: Path) -> None:
    driver: Any = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}?timeout=0.01")
    async with opened(driver):
        await driver.apply([Append("k", "said", PAYLOAD)])
        other = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path / 'app.db'}", isolation_level="AUTOCOMMIT"
        )
        async with other.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            log, failed, again = await driver.apply([Read("k", 1), Append("k", "said", PAYLOAD), Clear("k")])
            with pytest.raises(StoreUnavailable):
                await driver.apply([Append("k", "said", PAYLOAD)])
            await connection.exec_driver_sql("ROLLBACK")
        await other.dispose()
        assert log.last == 1
        assert isinstance(failed, StoreUnavailable)
        assert isinstance(again, StoreUnavailable)
        assert not failed.maybe_applied
        assert await kept(driver, "k") == [1]


# --- hearing ---


@asynccontextmanager
async def hearing(driver: SQLAlchemyDriver, *keys: str) -> AsyncIterator[tuple[Ear, Any]]:
    ear = Ear()
    subscription = await driver.subscribe(ear)
    for key in keys:
        await subscription.follow(key)
    yield ear, subscription
    await subscription.close()


async def test_only_what_is_followed_is_polled_for_and_only_while_something_is(
    driver: SQLAlchemyDriver, statements: list[str], ns: str
) -> None:
    async with hearing(driver) as (ear, subscription):
        await subscription.follow(f"{ns}a")
        await subscription.follow(f"{ns}b")
        await subscription.unfollow(f"{ns}b")
        await driver.apply([Append(f"{ns}b", "said", PAYLOAD), Append(f"{ns}a", "said", PAYLOAD)])
        await driver.apply([Send(f"{ns}b", b"1"), Send(f"{ns}a", b"2")])
        await ear.until(lambda: bool(ear.sends) and ear.reach(f"{ns}a") == 1, 10, "the followed topic")
        assert (ear.reach(f"{ns}b"), ear.sends) == (0, [(f"{ns}a", b"2")])
        await subscription.unfollow(f"{ns}a")
        async with subscription._turn:  # the look that was under way has ended
            statements.clear()
        for _ in range(5):  # of its periods
            await asyncio.sleep(0.01)
        assert statements == []
        await driver.apply([Append(f"{ns}a", "said", PAYLOAD), Send(f"{ns}a", b"3")])
        await subscription.follow(f"{ns}a")
        await driver.apply([Append(f"{ns}a", "said", PAYLOAD), Send(f"{ns}a", b"4")])
        await ear.until(lambda: len(ear.sends) == 2, 10, "what came after it was followed again")
        assert [heard.last for heard in ear.about(f"{ns}a")] == [1, 3]
        assert ear.sends == [(f"{ns}a", b"2"), (f"{ns}a", b"4")]
    assert ear.losses == 0


async def test_a_topic_that_is_forgotten_and_begins_again_is_announced_in_its_new_epoch(
    driver: SQLAlchemyDriver, ns: str
) -> None:
    key = f"{ns}room"
    (first,) = await driver.apply([Append(key, "said", PAYLOAD)])
    async with hearing(driver, key) as (ear, _):
        await driver.apply([Clear(key)])
        (second,) = await driver.apply([Append(key, "said", PAYLOAD)])
        assert (first.offset, first.epoch != second.epoch) == (second.offset, True)
        await ear.until(lambda: bool(ear.heard), 10, "the new log")
        assert ear.heard[-1].epoch == second.epoch


async def test_after_a_failure_the_listener_is_told_once_that_it_may_have_missed_something(
    driver: SQLAlchemyDriver, ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlalchemy_poll, "LONGEST_REST", 0.02)
    async with hearing(driver, f"{ns}room") as (ear, subscription):
        working, failures = driver._engine.read, 0
        failed_twice = asyncio.Event()

        async def away(work: Any) -> Any:
            nonlocal failures
            failures += 1
            if failures >= 2:
                failed_twice.set()
            raise StoreUnavailable("away")

        monkeypatch.setattr(driver._engine, "read", away)
        await failed_twice.wait()
        with pytest.raises(StoreUnavailable):
            await subscription.follow(f"{ns}other")
        await driver.apply([Append(f"{ns}room", "said", PAYLOAD), Send(f"{ns}room", b"1")])
        assert ear.losses == 0
        monkeypatch.setattr(driver._engine, "read", working)
        await ear.until(lambda: bool(ear.sends), 10, "what was said meanwhile")
        assert (ear.losses, ear.reach(f"{ns}room"), ear.sends) == (1, 1, [(f"{ns}room", b"1")])
        await driver.apply([Append(f"{ns}other", "said", PAYLOAD), Send(f"{ns}room", b"2")])
        await ear.until(lambda: len(ear.sends) == 2, 10, "what came later")
        assert (ear.losses, ear.reach(f"{ns}other")) == (1, 0)


async def test_who_looks_so_late_that_notes_may_have_been_swept_is_told(
    driver: SQLAlchemyDriver, ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlalchemy_poll, "LIFE_MS", 1)
    async with hearing(driver, f"{ns}room") as (ear, _):
        await ear.until(lambda: ear.losses > 0, 10, "a loss")


async def test_closing_the_driver_ends_its_subscriptions(engine: AsyncEngine, ns: str) -> None:
    driver = SQLAlchemyDriver(engine=engine, poll=0.01)
    async with opened(driver):
        subscription = await driver.subscribe(Ear())
        await subscription.follow(f"{ns}room")
        task = subscription._task  # type: ignore[attr-defined]
    assert task.done()
    with pytest.raises(Closed):
        await subscription.follow(f"{ns}room")
    await subscription.unfollow(f"{ns}room")
    await subscription.close()
    async with engine.connect() as connection:  # is its owner's
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    async with opened(driver), hearing(driver, f"{ns}room") as (ear, _):
        await driver.apply([Append(f"{ns}room", "said", PAYLOAD)])
        await ear.until(lambda: bool(ear.heard), 10, "opened again, it polls again")


async def test_a_sweep_takes_notes_that_have_outlived_their_minute(
    driver: SQLAlchemyDriver, engine: AsyncEngine, ns: str
) -> None:
    await driver.apply([Send(f"{ns}room", b"old"), Send(f"{ns}room", b"older")])
    channel = f"{ns}room" if engine.dialect.name != "mysql" else f"{ns}room".encode()
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE holdfast_notes SET at = at - 61000 WHERE channel = :channel"), {"channel": channel}
        )
    await driver.apply([Send(f"{ns}room", b"new")])
    assert await driver.sweep() >= 2
    async with engine.connect() as connection:
        left = text("SELECT count(*) FROM holdfast_notes WHERE channel = :channel")
        assert (await connection.execute(left, {"channel": channel})).scalar() == 1


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
    assert (traits.notifies, traits.latency) == ("poll", 0.25)
    assert traits.auto_migrate == (shared == "machine")


async def test_how_often_it_looks_is_an_option_and_the_engine_is_still_shared_with_persist(
    tmp_path: Path,
) -> None:
    plain = f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    driver: Any = driver_for(f"{plain}?timeout=3&poll=0.05")
    assert driver.traits.latency == 0.05
    persist = PersistDriver.from_url(StoreURL.parse(f"{plain}?timeout=3", own=("timeout",)))
    async with opened(driver):
        await persist.open()
        assert persist._engine is driver._engine
        await persist.close()
    with pytest.raises(StoreMisconfigured, match="poll"):
        driver_for(f"{plain}?poll=often")


async def test_a_closed_driver_says_so_and_is_not_healthy(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    assert not (await driver.health()).ok
    for asked in (driver.apply([Read("k", 1)]), driver.subscribe(Ear()), driver.sweep()):
        with pytest.raises(Closed):
            await asked


async def test_the_doctor_says_how_long_others_take_to_hear(driver: SQLAlchemyDriver) -> None:
    found = {finding.subject: finding for finding in await driver.describe()}
    assert "every 0.01 s" in found["announcements"].text
    assert "stamps messages" in found["clock"].text
    assert found["durability"].text
    assert "transactions" not in found, "a table of ours has none"
    assert (await driver.health()).ok


# --- the replay, without a database ---


def log_of(last: int, *lines: Line) -> TopicLog:
    return TopicLog(
        "k",
        1,
        "epoch",
        last,
        0,
        last,
        5,
        by_id={line.id: line for line in lines if line.id is not None},
        by_position={line.position: line for line in lines},
    )


def test_a_replay_writes_only_what_changed() -> None:
    log = log_of(
        9, Line(3, "a", "said", 30, True), Line(4, "b", "said", 40, False), Line(5, None, "said", 50, True)
    )
    ops: list[Operation] = [
        Append("k", "said", b"1", id="a"),  # said before
        Append("k", "said", b"2", id="b"),  # said before, and erased since
        Append("k", "said", b"3", id="c", at=7),
        Edit("k", b"4", id="c"),
        Edit("k", b"5", id="b"),  # erased
        Edit("k", b"6", offset=5, epoch="epoch"),
        Edit("k", b"7", offset=5, epoch="another"),
        Edit("k", b"8", offset=5),
        Erase("k", id="a"),
        Erase("k", id="a"),
        Append("k", "said", b"9", id="c"),
        Send("k", b""),
        Edit("elsewhere", b"", id="a"),
    ]
    outcomes = replay(ops, {"k": log}, 100)
    assert [(each.offset, each.at, each.repeated) for each in (*outcomes[:3], outcomes[10])] == [
        (3, 30, True),
        (4, 40, True),
        (10, 7, False),
        (10, 7, True),
    ]
    changed = {at: outcomes[at].entry.changed for at in (3, 5, 8)}
    assert changed == {3: 11, 5: 12, 8: 13}
    assert [outcomes[at] for at in (4, 6, 7, 9, 11, 12)] == [None] * 6
    assert [(line.position, line.payload, line.changed) for line in log.added] == [(10, b"4", 11)]
    assert {at: (line.payload, line.changed) for at, line in log.changed.items()} == {
        5: (b"6", 12),
        3: (None, 13),
    }
    assert (log.last, log.kept, log.at) == (13, 10, 7)


@pytest.mark.parametrize(
    ("most", "kept", "overfull"), [(8, 24, False), (8, 25, True), (800, 900, False), (800, 901, True)]
)
def test_a_log_is_trimmed_when_it_is_an_eighth_or_sixteen_above(most: int, kept: int, overfull: bool) -> None:
    log = log_of(kept - 1)
    replay([Append("k", "said", b"1", max_messages=most)], {"k": log}, 100)
    assert log.overfull == overfull
