"""What is the SQLAlchemy webmention driver's own, beside the suite that every driver passes."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.dialects.sqlite.base import SQLiteTypeCompiler
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from holdfast.errors import Closed, NotMigrated, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.persist.drivers.sqlalchemy import SQLAlchemyDriver as PersistDriver
from holdfast.store import StoreURL
from holdfast.testing.webmention_suite import WebmentionSuite
from holdfast.webmention.driver import Driver, Drop, Put
from holdfast.webmention.drivers.sqlalchemy import SQLAlchemyDriver
from holdfast.webmention.drivers.sqlalchemy_rows import Rows
from holdfast.webmention.drivers.sqlalchemy_statements import Statements
from holdfast.webmention.registry import driver_for


class Whole(SQLiteTypeCompiler):
    """SQLite counts up in no column that is called BIGINT."""

    def visit_BIGINT(self, type_: Any, **rest: Any) -> str:
        return "INTEGER"


class Remote(SQLiteDialect_aiosqlite):
    """A database that Holdfast has never heard of: no layout, nothing but portable statements, no clock of its own."""

    name = "remote"
    supports_statement_cache = True
    type_compiler_cls = Whole

    def do_begin(self, dbapi_connection: Any) -> None:
        """SQLite has no FOR UPDATE; this holds all rows instead, from the beginning."""
        dbapi_connection.execute("BEGIN IMMEDIATE")

    def on_connect(self) -> Any:
        """Without syncing: on a busy disk that takes longer than the leases of the suite last."""
        usual: Any = super().on_connect()

        def connected(connection: Any) -> None:
            usual(connection)
            _unsynced(connection, None)

        return connected


dialects.register("remote.aiosqlite", __name__, "Remote")


class TestRemote(WebmentionSuite):
    """The portable statements pass the suite too."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlalchemy+remote+aiosqlite:///{tmp_path / 'app.db'}"

    async def make_driver(self) -> Driver:
        return driver_for(self.url)

    def test_traits_are_sane(self) -> None:
        """Whose clock it is that a database of an unknown kind has, nobody knows."""
        assert driver_for(self.url).traits.clock == "process"


class TestOverAnEngineOfOnesOwn(WebmentionSuite):
    """So does an engine that somebody else made, with a pool that connects anew every time."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"

    async def make_driver(self) -> Driver:
        # Without write-ahead logging readers keep writers waiting, and every commit syncs thrice.
        engine = create_async_engine(self.url, poolclass=NullPool, connect_args={"timeout": 9})
        event.listen(engine.sync_engine, "connect", _unsynced)
        return SQLAlchemyDriver(engine=engine)


class TestMySQL(WebmentionSuite):
    """Where there is one."""

    @pytest.fixture(autouse=True)
    def _place(self, mysql_url: str) -> None:
        self.url = f"sqlalchemy+{mysql_url}"

    async def make_driver(self) -> Driver:
        return driver_for(self.url)


def _unsynced(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=off").close()


@asynccontextmanager
async def opened(driver: Any) -> AsyncIterator[Any]:
    await driver.open()
    try:
        await driver.migrate()
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
    return str(request.getfixturevalue("postgres_url")).replace("postgresql://", "postgresql+asyncpg://")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(url)
    yield made
    await made.dispose()


@pytest.fixture
async def driver(engine: AsyncEngine) -> AsyncIterator[SQLAlchemyDriver]:
    async with opened(SQLAlchemyDriver(engine=engine)) as made:
        yield made


@pytest.fixture
def kind() -> str:
    return f"test{secrets.token_hex(6)}:m:o"


@pytest.fixture
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Every statement that goes to the DBAPI module."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", note)


# --- round trips ---


async def test_a_write_is_a_handful_of_statements_and_a_read_is_one(
    driver: SQLAlchemyDriver, engine: AsyncEngine, statements: list[str], kind: str
) -> None:
    ids = [f"{n}" for n in range(50)]
    by_row = 50 if engine.dialect.name in ("mysql", "mariadb") else 0
    asked: list[tuple[int, Any]] = [
        (7, lambda: driver.write([Put(kind, id, b"{}", ("a", "b"), wait=0) for id in ids])),
        (7, lambda: driver.write([Put(kind, id, b"1", ("b", "c"), wait=0) for id in ids])),
        (1, lambda: driver.get(kind, ids)),
        (1, lambda: driver.page(kind, "b")),
        (1, lambda: driver.page(kind, newest=True)),
        (1, lambda: driver.count(kind, ["", "a", "b"])),
        (1, lambda: driver.next_due(kind)),
        (6 + by_row, lambda: driver.claim(kind, lease=60_000, limit=50, tag="c")),
        (1, lambda: driver.claim(kind, lease=60_000)),
        (5, lambda: driver.write([Drop(kind, id) for id in ids])),
    ]
    for most, ask in asked:
        statements.clear()
        assert await ask() is not False
        assert len(statements) <= most, statements


async def test_a_page_of_a_long_list_is_read_off_an_index(
    driver: SQLAlchemyDriver, engine: AsyncEngine, kind: str
) -> None:
    """Three of 20,000 cost three, and not 20,000."""
    if engine.dialect.name != "postgresql":
        pytest.skip("only Postgres tells how many rows it touched")
    fill = (
        "INSERT INTO holdfast_mentions (kind, id, revision, due, data) SELECT :kind || n % 2, n::text, 1,"
        " CASE WHEN n % 40 < 2 THEN n END, '{}' FROM generate_series(1, 20000) AS n",
        "INSERT INTO holdfast_mention_tags SELECT kind, 't', number FROM holdfast_mentions"
        " WHERE kind LIKE :kind || '_'",
        "INSERT INTO holdfast_mention_tags SELECT kind, id, number FROM holdfast_mentions"
        " WHERE kind LIKE :kind || '_'",
    )
    async with engine.begin() as connection:
        for statement in fill:
            await connection.execute(text(statement), {"kind": kind})
        await connection.execute(text("ANALYZE holdfast_mentions, holdfast_mention_tags"))
    mine = f"{kind}1"
    middle = (await driver.page(mine, limit=1))[0].number + 9000
    counted = text(
        "SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_xact_user_tables"
        " WHERE relname LIKE 'holdfast_mention%'"
    )
    asked: list[Any] = [
        lambda rows: rows.page(mine, "", middle, 10, False),
        lambda rows: rows.page(mine, "t", middle, 10, True),
        lambda rows: rows.get(mine, ["7", "9"]),
        lambda rows: rows.next_due(mine),
        lambda rows: rows.claim(mine, 60_000, 3, "t"),
        lambda rows: rows.write([Put(mine, "7", b"{}", ("t",)), Drop(mine, "9")]),
    ]
    for at, ask in enumerate(asked):
        async with engine.connect() as connection:
            before = int((await connection.execute(counted)).scalar_one())
            assert await ask(Rows(connection, Statements("postgresql"))) is not None
            assert int((await connection.execute(counted)).scalar_one()) - before <= 150, at
    async with engine.begin() as connection:
        for table in ("holdfast_mention_tags", "holdfast_mentions"):
            await connection.execute(
                text(f"DELETE FROM {table} WHERE kind LIKE :kind || '_'"), {"kind": kind}
            )


# --- one layout ---


@pytest.mark.parametrize("scheme", ["sqlite", "postgresql"])
async def test_holdfasts_own_driver_and_this_one_read_and_continue_each_others_documents(
    scheme: str, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    own = (
        f"sqlite:///{tmp_path / 'app.db'}"
        if scheme == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    through = own.replace("sqlite:", "sqlalchemy+sqlite+aiosqlite:").replace(
        "postgresql:", "sqlalchemy+postgresql+asyncpg:"
    )
    data = '{"ä":"🧀"}'.encode()
    async with opened(driver_for(own)) as one, opened(driver_for(through)) as two:
        assert list(await two.migrate()) == []
        for name, writer, reader in (("a", one, two), ("b", two, one)):
            assert await writer.write([Put(kind, name, data, ("t", f"only {name}"), wait=0, expect="")])
            (there,) = await reader.get(kind, [name])
            assert (there.data, there.tags) == (data, (f"only {name}", "t"))
            assert [there] == await writer.get(kind, [name]) == await reader.page(kind, f"only {name}")
            assert not await reader.write([Put(kind, name, data, expect="")])
            (leased,) = await reader.claim(kind, lease=60_000)
            assert (leased.number, leased.tags, leased.data) == (there.number, there.tags, data)
            assert await writer.claim(kind, lease=60_000) == []
            assert not await writer.write([Drop(kind, name, expect=there.version)])
            assert await writer.write([Put(kind, name, data, ("t",), expect=leased.version)])
        assert await one.page(kind, "t") == await two.page(kind, "t") == await one.page(kind)
        assert [each.id for each in await two.page(kind)] == ["a", "b"]
        assert (
            await one.count(kind, ["", "t", "only a"])
            == await two.count(kind, ["", "t", "only a"])
            == [2, 2, 0]
        )
        await two.write([Drop(kind, "a"), Drop(kind, "b")])
        assert await one.page(kind) == []


async def test_on_a_dialect_without_a_layout_the_tables_are_sqlalchemys(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+remote+aiosqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    pending = await driver.pending()
    assert [(each.capability, each.version) for each in pending] == [("webmention", 1)]
    assert sum("CREATE INDEX" in each for step in pending for each in step.statements) == 3
    assert list(await driver.migrate()) == list(pending)
    assert list(await driver.pending()) == []
    found = {finding.subject: finding for finding in await driver.describe()}
    assert found["dialect"].level == "warning"
    await driver.close()


async def test_before_the_tables_are_there_a_call_says_how_to_make_them(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    for ask in (driver.get("k", ["x"]), driver.write([Drop("k", "x")]), driver.claim("k", lease=1)):
        with pytest.raises(NotMigrated, match="holdfast migrate"):
            await ask
    await driver.close()


# --- writers beside each other ---


async def test_writers_of_the_same_documents_in_any_order_all_succeed(url: str, kind: str) -> None:
    """Made, replaced, dropped and claimed by three at once, from all ends."""
    engines = [create_async_engine(url) for _ in range(3)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    await drivers[0].migrate()

    async def work(driver: SQLAlchemyDriver, seed: int) -> None:
        chance = random.Random(seed)
        for turn in range(15):
            ids = chance.sample([f"{n}" for n in range(9)], 6)
            drops = [Drop(kind, id) for id in ids[:2]]
            puts = [Put(kind, id, b"%d" % turn, (id, "t"), wait=0) for id in ids[2:]]
            assert await driver.write([*drops, *puts]) is True
            await driver.claim(kind, lease=1, limit=3, tag="t")

    await asyncio.gather(*(work(driver, at) for at, driver in enumerate(drivers)))
    there = await drivers[0].page(kind)
    assert all(each.tags == (each.id, "t") for each in there)
    assert await drivers[1].count(kind, ["", "t"]) == [len(there), len(there)]
    async with engines[0].connect() as connection:
        rows = await connection.execute(
            text("SELECT count(*) FROM holdfast_mention_tags WHERE kind = :kind"),
            {"kind": kind if engines[0].dialect.name != "mysql" else kind.encode()},
        )
        assert rows.scalar_one() == 2 * len(there)
    await drivers[0].write([Drop(kind, each.id) for each in there])
    for driver, engine in zip(drivers, engines, strict=True):
        await driver.close()
        await engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("there", [False, True])
async def test_who_makes_or_replaces_several_waits_for_who_does_in_another_order(
    url: str, driver: SQLAlchemyDriver, engine: AsyncEngine, kind: str, there: bool
) -> None:
    """One is held up after its first, the other would have its last by then."""
    if there:
        await driver.write([Put(kind, id, b"0") for id in "amz"])
    refused: list[Any] = []
    event.listen(
        engine.sync_engine,
        "handle_error",
        lambda context: refused.append(getattr(context.original_exception, "sqlstate", None)),
    )
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    async def until_waiting(connection: Any, count: int) -> None:
        async with asyncio.timeout(20):
            while (await connection.execute(waiting)).scalar_one() < count:  # noqa: ASYNC110 - another process says it
                await asyncio.sleep(0.005)

    held = "SELECT number FROM holdfast_mentions WHERE kind = :kind AND id = 'm' FOR UPDATE"
    made = "INSERT INTO holdfast_mentions (kind, id, revision, data) VALUES (:kind, 'm', 1, '1')"
    async with engine.connect() as looking, engine.connect() as slow:
        await slow.execute(text(held if there else made), {"kind": kind})
        one_way = asyncio.ensure_future(driver.write([Put(kind, id, b"1") for id in "amz"]))
        await until_waiting(looking, 1)
        other_way = asyncio.ensure_future(driver.write([Put(kind, id, b"2") for id in "za"]))
        await until_waiting(looking, 2)
        await slow.rollback()
        assert await one_way
        assert await other_way
    assert set(refused) == (set() if there else {"23505"}), "a deadlock"
    assert [each.data for each in await driver.page(kind)] == [b"2", b"1", b"2"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_writers_of_what_is_there_wait_for_each_other_and_never_have_to_start_again(
    url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.engines.sqlalchemy.engine.ATTEMPTS", 1)
    engines = [create_async_engine(url) for _ in range(3)]
    drivers = [SQLAlchemyDriver(engine=each) for each in engines]
    await asyncio.gather(*(driver.open() for driver in drivers))
    await drivers[0].migrate()
    ids = [f"{n}" for n in range(8)]
    await drivers[0].write([Put(kind, id, b"{}", ("t",)) for id in ids])
    for turn in range(10):
        orders = [ids, ids[::-1], ids[4:] + ids[:4]]
        writes = (
            driver.write([Put(kind, id, b"%d" % turn, ("t", id)) for id in order])
            for driver, order in zip(drivers, orders, strict=True)
        )
        assert all(await asyncio.gather(*writes))
    assert {each.version.partition(".")[2] for each in await drivers[0].page(kind)} == {"31"}
    await drivers[0].write([Drop(kind, id) for id in ids])
    for driver, engine in zip(drivers, engines, strict=True):
        await driver.close()
        await engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_claim_passes_over_what_another_holds(
    driver: SQLAlchemyDriver, engine: AsyncEngine, kind: str
) -> None:
    await driver.write([Put(kind, f"{n}", b"{}", wait=0) for n in range(4)])
    async with engine.connect() as slow:
        held = "SELECT number FROM holdfast_mentions WHERE kind = :kind AND id IN ('0', '2') FOR UPDATE"
        await slow.execute(text(held), {"kind": kind})
        assert [each.id for each in await driver.claim(kind, lease=60_000, limit=9)] == ["1", "3"]
    assert [each.id for each in await driver.claim(kind, lease=60_000, limit=9)] == ["0", "2"]


async def test_who_was_slower_with_all_that_it_saw_looks_again(tmp_path: Path) -> None:
    """Where rows are not locked: another claims between the look and the lease."""
    driver: Any = driver_for(f"sqlalchemy+remote+aiosqlite:///{tmp_path / 'app.db'}")
    async with opened(driver):
        await driver.write([Put("n:m:o", f"{n}", b"{}", wait=0) for n in range(4)])

        class Slow(Rows):
            late = 2

            async def _lease(self, found: Any, due: int) -> set[int]:
                if self.late:
                    self.late -= 1
                    first = text(
                        "UPDATE holdfast_mentions SET revision = revision + 1, due = :due WHERE number = :n"
                    )
                    await self._connection.execute(first, {"due": due, "n": found[0].number})
                return await super()._lease(found, due)

        claimed = await driver._engine.transact(
            lambda connection: Slow(connection, driver._sql).claim("n:m:o", 60_000, 2, "")
        )
        assert [each.id for each in claimed] == ["1", "3"]
        assert await driver.get("n:m:o", ["1", "3"]) == claimed
        assert await driver.claim("n:m:o", lease=60_000, limit=9) == []


# --- refusals and losses ---


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_what_the_database_refuses_names_the_call_and_no_value(
    driver: SQLAlchemyDriver, kind: str
) -> None:
    with pytest.raises(StoreError, match=f"write to '{kind}'") as caught:
        await driver.write([Put(kind, "good", b"{}"), Put(kind, "bad", b'"secret\0"')])
    assert "secret" not in str(caught.value)
    assert await driver.get(kind, ["good", "bad"]) == [None, None]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("committing", [False, True])
async def test_a_write_that_lost_its_connection_may_have_been_applied_only_if_its_commit_was_sent(
    engine: AsyncEngine, driver: SQLAlchemyDriver, kind: str, committing: bool
) -> None:
    await driver.write([Put(kind, "x", b"1")])

    async def ended(connection: Any) -> None:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with engine.connect() as other:
            await other.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))

    async def work(connection: Any) -> bool:
        rows = Rows(connection, driver._sql)
        if not committing:
            await ended(connection)
        done = await rows.write([Put(kind, "x", b"2", ("t",))])
        if committing:
            await ended(connection)
        return done

    with pytest.raises(StoreUnavailable) as caught:
        await driver._engine.transact(work)
    assert caught.value.maybe_applied is committing
    (there,) = await driver.get(kind, ["x"])
    assert there is not None
    assert (there.data, there.tags) == (b"1", ())
    await driver.write([Drop(kind, "x")])


# --- the driver ---


def test_it_takes_a_url_or_an_engine_and_no_plain_one() -> None:
    with pytest.raises(TypeError):
        SQLAlchemyDriver()
    with pytest.raises(TypeError):
        SQLAlchemyDriver(engine=object())  # type: ignore[arg-type]
    with pytest.raises(StoreMisconfigured, match="memory://"):
        SQLAlchemyDriver(engine=create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool))


@pytest.mark.parametrize(
    ("url", "clock", "shared", "durable"),
    [
        ("sqlalchemy+sqlite+aiosqlite:///app.db", "machine", "machine", "yes"),
        ("sqlalchemy+postgresql+asyncpg://localhost/app", "server", "network", "yes"),
        ("sqlalchemy+mysql+asyncmy://localhost/app", "server", "network", "server"),
        ("sqlalchemy+mariadb+asyncmy://localhost/app", "server", "network", "server"),
    ],
)
def test_what_it_promises_depends_on_the_dialect(url: str, clock: str, shared: str, durable: str) -> None:
    traits = driver_for(url).traits
    assert (traits.clock, traits.shared, traits.durable) == (clock, shared, durable)
    assert traits.auto_migrate == (shared == "machine")


async def test_the_engine_is_shared_with_persist_also_where_others_poll(tmp_path: Path) -> None:
    plain = f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    driver: Any = driver_for(f"{plain}?timeout=3&poll=0.05")
    persist = PersistDriver.from_url(StoreURL.parse(f"{plain}?timeout=3", own=("timeout",)))
    async with opened(driver):
        await persist.open()
        assert persist._engine is driver._engine
        await persist.close()


async def test_a_closed_driver_says_so_and_is_not_healthy(tmp_path: Path) -> None:
    driver = driver_for(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    assert not (await driver.health()).ok
    for asked in (driver.get("k", ["x"]), driver.write([Drop("k", "x")]), driver.claim("k", lease=1)):
        with pytest.raises(Closed):
            await asked


async def test_the_doctor_says_whose_clock_decides(driver: SQLAlchemyDriver) -> None:
    found = {finding.subject: finding for finding in await driver.describe()}
    assert "decides what is due" in found["clock"].text
    assert found["durability"].text
    assert "transactions" not in found, "a table of ours has none"
    assert (await driver.health()).ok
