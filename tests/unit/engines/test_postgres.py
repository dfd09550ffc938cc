"""The Postgres engine against a server of its own, which is stopped, killed and paused under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import uvloop

from holdfast import events
from holdfast.engines.postgres import PostgresEngine, StatementRefused
from holdfast.engines.postgres.doctor import findings
from holdfast.engines.postgres.failures import of_statement
from holdfast.engines.postgres.lane import LONGEST_PAUSE, Lane
from holdfast.errors import Closed, NotMigrated, StoreMisconfigured, StoreUnavailable
from holdfast.store import Migration, StoreURL
from holdfast.testing.servers import PostgresServer, ServerMissing

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
OWN = ("lanes", "timeout", "pgbouncer", "listen")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    try:
        started = PostgresServer(fsync="off", deadlock_timeout="50ms").start()
    except ServerMissing as exc:
        pytest.skip(str(exc))
    with started:
        yield started


@pytest.fixture
async def other(server: PostgresServer) -> AsyncIterator[Any]:
    """A plain connection beside the engine, that looks and meddles."""
    connection = await asyncpg.connect(server.url)
    yield connection
    connection.terminate()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresEngine]:
    engine = PostgresEngine.from_url(StoreURL.parse(url, own=OWN, foreign=True))
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            answer = true()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.005)


async def busy(other: Any, what: str) -> Any:
    """The pid of the backend that sleeps in this statement, once it does."""
    query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE $1"
    found: list[int] = []

    async def seen() -> bool:
        found[:] = [row[0] for row in await other.fetch(query, f"%{what}%")]
        return bool(found)

    await until(seen)
    return found[0]


# --- statements ---


async def test_statements_of_one_lane_wait_for_each_other(server: PostgresServer) -> None:
    async with opened(server.url) as engine:
        answers = await asyncio.gather(
            *(engine.fetch(0, "SELECT $1::int, pg_backend_pid()", n) for n in range(20))
        )
        assert [rows[0][0] for rows in answers] == list(range(20))
        assert len({rows[0][1] for rows in answers}) == 1


async def test_lanes_are_connections_of_their_own(server: PostgresServer) -> None:
    async with opened(f"{server.url}?lanes=3") as engine:
        pids = {(await engine.fetch(lane, "SELECT pg_backend_pid()"))[0][0] for lane in range(3)}
        assert len(pids) == 3


async def test_what_the_query_says_beside_our_options_reaches_the_server(server: PostgresServer) -> None:
    async with opened(f"{server.url}?lanes=1&application_name=seen") as engine:
        assert (await engine.fetch(0, "SHOW application_name"))[0][0] == "seen"
        assert (await engine.fetch(0, "SHOW plan_cache_mode"))[0][0] == "force_generic_plan"


async def test_a_refused_statement_says_its_code_and_no_value(server: PostgresServer) -> None:
    async with opened(server.url) as engine:
        with pytest.raises(StatementRefused) as caught:
            await engine.fetch(0, "SELECT $1::text::int", "secret")
        assert caught.value.code == "22P02"
        assert "secret" not in str(caught.value)
        assert not caught.value.passing
        assert (await engine.fetch(0, "SELECT 1"))[0][0] == 1


async def test_a_missing_table_is_not_migrated(server: PostgresServer) -> None:
    async with opened(server.url) as engine:
        with pytest.raises(NotMigrated, match="holdfast migrate"):
            await engine.fetch(0, "SELECT * FROM nowhere")


async def test_an_argument_that_cannot_be_sent_leaves_no_lock_behind(
    server: PostgresServer, other: Any
) -> None:
    await other.execute("CREATE TABLE IF NOT EXISTS locked (n int)")
    async with opened(server.url) as engine:
        with pytest.raises(StatementRefused):
            await engine.fetch(0, "SELECT * FROM locked WHERE n = $1", "no number")
        await other.execute("SET lock_timeout = '3s'; ALTER TABLE locked ADD COLUMN IF NOT EXISTS m int")


async def test_a_table_that_changed_under_a_prepared_statement_is_no_failure(
    server: PostgresServer, other: Any
) -> None:
    await other.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (n int)")
    await other.execute("INSERT INTO changing VALUES (1)")
    async with opened(server.url) as engine:
        assert [tuple(row) for row in await engine.fetch(0, "SELECT * FROM changing")] == [(1,)]
        await other.execute("ALTER TABLE changing ADD COLUMN m int")
        assert [tuple(row) for row in await engine.fetch(0, "SELECT * FROM changing")] == [(1, None)]


async def test_a_cancelled_caller_leaves_the_lane_usable(server: PostgresServer, other: Any) -> None:
    async with opened(server.url) as engine:
        sleeping = asyncio.create_task(engine.fetch(0, "SELECT pg_sleep(60)"))
        await busy(other, "pg_sleep(60)")
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert (await engine.fetch(0, "SELECT 1"))[0][0] == 1


async def test_what_waits_for_its_turn_can_be_cancelled(server: PostgresServer, other: Any) -> None:
    async with opened(server.url) as engine:
        sleeping = asyncio.create_task(engine.fetch(0, "SELECT pg_sleep(0.3)"))
        await busy(other, "pg_sleep(0.3)")
        waiting = asyncio.create_task(engine.fetch(0, "SELECT 2"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await sleeping


# --- losing connections ---


async def test_a_connection_that_ended_while_idle_is_replaced_before_anyone_notices(
    server: PostgresServer, other: Any
) -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    try:
        async with opened(f"{server.url}?lanes=1") as engine:
            ((pid,),) = await engine.fetch(0, "SELECT pg_backend_pid()")
            await other.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await until(lambda: any(isinstance(each, events.Disconnected) for each in heard))
            ((now,),) = await engine.fetch(0, "SELECT pg_backend_pid()")
            assert now != pid
    finally:
        stop()
    assert [type(each) for each in heard] == [events.Connected, events.Disconnected, events.Connected]


async def test_a_connection_lost_under_a_statement_may_have_applied_it(
    server: PostgresServer, other: Any
) -> None:
    async with opened(server.url) as engine:
        sleeping = asyncio.create_task(engine.fetch(0, "SELECT pg_sleep(61)"))
        await other.execute("SELECT pg_terminate_backend($1)", await busy(other, "pg_sleep(61)"))
        with pytest.raises(StoreUnavailable) as caught:
            await sleeping
        assert caught.value.maybe_applied
        assert (await engine.fetch(0, "SELECT 1"))[0][0] == 1


async def test_a_stopped_server_is_unavailable_at_once_and_comes_back_by_itself(
    server: PostgresServer,
) -> None:
    async with opened(server.url) as engine:
        await asyncio.to_thread(server.stop)
        try:
            for _ in range(3):
                started = time.monotonic()
                with pytest.raises(StoreUnavailable) as caught:
                    await engine.fetch(0, "SELECT 1")
                assert not caught.value.maybe_applied
                assert time.monotonic() - started < 1
            assert not (await engine.health()).ok
        finally:
            await asyncio.to_thread(server.start)

        async def healthy() -> bool:
            return (await engine.health()).ok

        await until(healthy)


async def test_a_server_that_does_not_answer_is_given_up_after_the_timeout(server: PostgresServer) -> None:
    async with opened(f"{server.url}?timeout=0.4&lanes=1") as engine:
        await engine.fetch(0, "SELECT 1")
        server.pause()
        try:
            started = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                await engine.fetch(0, "SELECT 1")
            assert caught.value.maybe_applied
            with pytest.raises(StoreUnavailable) as caught:
                await engine.fetch(0, "SELECT 1")
            assert not caught.value.maybe_applied
            assert not (await engine.health()).ok
            assert time.monotonic() - started < 4
        finally:
            server.resume()

        async def healthy() -> bool:
            return (await engine.health()).ok

        await until(healthy)


async def test_a_server_that_takes_no_writes_is_left_for_another(server: PostgresServer, other: Any) -> None:
    await other.execute("CREATE TABLE IF NOT EXISTS written (n int)")
    async with opened(server.url) as engine:
        await engine.fetch(0, "SET default_transaction_read_only = on")
        with pytest.raises(StoreUnavailable) as caught:
            await engine.fetch(0, "INSERT INTO written VALUES (1)")
        assert not caught.value.maybe_applied
        await until(lambda: wrote(engine))


async def wrote(engine: PostgresEngine) -> bool:
    try:
        await engine.fetch(0, "INSERT INTO written VALUES (1)")
    except StoreUnavailable:
        return False
    return True


async def test_closing_while_a_statement_runs_fails_it_and_leaves_nothing(
    server: PostgresServer, other: Any
) -> None:
    async with opened(server.url) as engine:
        sleeping = asyncio.create_task(engine.fetch(0, "SELECT pg_sleep(62)"))
        await busy(other, "pg_sleep(62)")
        await engine.close()
        with pytest.raises(StoreUnavailable):
            await sleeping
        with pytest.raises(Closed):
            await engine.fetch(0, "SELECT 1")
        await engine.close()


async def test_tries_to_connect_come_slower_and_slower_up_to_a_bound() -> None:
    pauses: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            enough.set()
            await asyncio.Event().wait()

    connections = [Gone()]

    async def connect() -> Any:
        if not connections:
            raise StoreUnavailable("down")
        return connections.pop()

    lane = Lane(connect, timeout=1, named=True, sleep=sleep)
    await lane.open()
    with pytest.raises(StoreUnavailable, match="down"):
        await lane.fetch("SELECT 1", ())
    await enough.wait()
    await lane.close()
    assert pauses[0] <= 0.05
    assert all(0.5 * LONGEST_PAUSE <= pause <= LONGEST_PAUSE for pause in pauses[-4:])


async def test_a_connection_that_never_works_is_made_again_after_a_pause_and_nobody_waits_for_that() -> None:
    pausing = asyncio.Event()
    go_on = asyncio.Event()
    made: list[Gone] = []

    async def sleep(seconds: float) -> None:
        pausing.set()
        await go_on.wait()

    async def connect() -> Any:
        made.append(Gone())
        return made[-1]

    lane = Lane(connect, timeout=60, named=True, sleep=sleep)
    await lane.open()
    with pytest.raises(StoreUnavailable):
        await lane.fetch("SELECT 1", ())
    await pausing.wait()
    assert len(made) == 2  # the first, and one at once
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(lane.fetch("SELECT 1", ()), 5)
    assert len(made) == 2
    go_on.set()
    await until(lambda: len(made) == 3)
    await lane.close()


async def test_a_lane_that_is_back_hurries_the_others() -> None:
    pausing = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pausing.set()
        await asyncio.Event().wait()  # a pause that only being hurried ends

    down = True
    tries = 0

    async def connect() -> Any:
        nonlocal tries
        tries += 1
        if down and tries > 1:
            raise StoreUnavailable("down")
        return Gone()

    mended: list[int] = []
    lane = Lane(connect, timeout=60, named=True, mended=lambda: mended.append(tries), sleep=sleep)
    await lane.open()
    with pytest.raises(StoreUnavailable):
        await lane.fetch("SELECT 1", ())
    await pausing.wait()
    down = False
    lane.hurry()
    await until(lambda: mended == [3])
    await lane.close()
    lane.hurry()  # closed: nothing to hurry


class Gone:
    """A connection that has ended by the time it is used."""

    def is_closed(self) -> bool:
        return True

    def add_termination_listener(self, listener: object) -> None:
        pass

    async def prepare(self, *args: object, **options: object) -> None:
        raise asyncpg.ConnectionDoesNotExistError("gone")

    def terminate(self) -> None:
        pass


# --- opening ---


async def test_an_unknown_database_or_user_is_a_misconfiguration(server: PostgresServer) -> None:
    for url in (f"{server.url}x", server.url.replace("holdfast@", "nobody-here@")):
        with pytest.raises(StoreMisconfigured):
            async with opened(url):
                pass


async def test_a_setting_that_the_server_does_not_know_is_a_misconfiguration(server: PostgresServer) -> None:
    with pytest.raises(StoreMisconfigured, match="no_such_setting"):
        async with opened(f"{server.url}?no_such_setting=1"):
            pass


async def test_nobody_listening_is_unavailable_and_the_password_is_not_told() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        async with opened("postgresql://u:hidden@127.0.0.1:1/db?timeout=1"):
            pass
    assert "hidden" not in str(caught.value)


async def test_too_many_connections_is_unavailable_and_none_is_kept(
    server: PostgresServer, other: Any
) -> None:
    await other.execute("DROP ROLE IF EXISTS limited; CREATE ROLE limited LOGIN CONNECTION LIMIT 1")
    with pytest.raises(StoreUnavailable):
        async with opened(server.url.replace("holdfast@", "limited@") + "?lanes=2"):
            pass

    async def none_left() -> bool:
        count = await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = 'limited'")
        return bool(count == 0)

    await until(none_left)


@pytest.mark.parametrize("option", ["lanes=0", "lanes=1.5", "lanes=65", "timeout=0", "pgbouncer=maybe"])
def test_options_out_of_range_are_refused_without_io(option: str) -> None:
    with pytest.raises(StoreMisconfigured):
        PostgresEngine.from_url(StoreURL.parse(f"postgresql://h/db?{option}", own=OWN))


# --- what errors mean ---


@pytest.mark.parametrize(
    ("raised", "kind", "maybe_applied", "good"),
    [
        (asyncpg.DiskFullError("x"), StoreUnavailable, False, True),
        (asyncpg.TooManyConnectionsError("x"), StoreUnavailable, False, True),
        (asyncpg.QueryCanceledError("x"), StoreUnavailable, False, True),
        (asyncpg.LockNotAvailableError("x"), StoreUnavailable, False, True),
        (asyncpg.ReadOnlySQLTransactionError("x"), StoreUnavailable, False, False),
        (asyncpg.AdminShutdownError("x"), StoreUnavailable, True, False),
        (asyncpg.CrashShutdownError("x"), StoreUnavailable, True, False),
        (asyncpg.StatementCompletionUnknownError("x"), StoreUnavailable, True, False),
        (asyncpg.ConnectionDoesNotExistError("x"), StoreUnavailable, True, False),
        (ConnectionResetError("x"), StoreUnavailable, True, False),
        (asyncpg.InterfaceError("x"), StoreUnavailable, False, False),
        (asyncpg.UndefinedColumnError("x"), NotMigrated, None, True),
        (asyncpg.InsufficientPrivilegeError("x"), StoreMisconfigured, None, True),
        (asyncpg.DuplicatePreparedStatementError("x"), StoreMisconfigured, None, False),
        (asyncpg.DeadlockDetectedError("x"), StatementRefused, None, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_failure_says_what_may_have_been_applied_and_whether_to_reconnect(
    raised: Exception, kind: type[Exception], maybe_applied: bool | None, good: bool
) -> None:
    error, usable = of_statement(raised, sent=True)
    assert type(error) is kind
    assert getattr(error, "maybe_applied", None) is maybe_applied
    assert usable is good
    unsent, _ = of_statement(raised, sent=False)
    assert not getattr(unsent, "maybe_applied", False)


# --- migrations ---

FIRST = Migration("test", 1, "one", ("CREATE TABLE migrated (n int)",))
SECOND = Migration("test", 2, "two", ("ALTER TABLE migrated ADD COLUMN m int",))
LEDGER = "test_migrations"


async def test_two_processes_that_migrate_at_once_apply_each_step_once(
    server: PostgresServer, other: Any
) -> None:
    await other.execute(f"DROP TABLE IF EXISTS migrated, {LEDGER}")
    async with opened(server.url) as one, opened(server.url) as two:
        assert await one.pending([FIRST, SECOND], table=LEDGER) == [FIRST, SECOND]
        applied = await asyncio.gather(
            *(engine.migrate([FIRST, SECOND], table=LEDGER) for engine in (one, two) for _ in range(2))
        )
        assert sorted(applied, key=len) == [[], [], [], [FIRST, SECOND]]
        assert await one.pending([FIRST, SECOND], table=LEDGER) == []


async def test_a_migration_that_fails_leaves_nothing_behind(server: PostgresServer, other: Any) -> None:
    await other.execute(f"DROP TABLE IF EXISTS migrated, {LEDGER}")
    broken = Migration("test", 2, "broken", ("ALTER TABLE migrated ADD COLUMN m int", "SELECT 1/0"))
    async with opened(server.url) as engine:
        with pytest.raises(StatementRefused):
            await engine.migrate([FIRST, broken], table=LEDGER)
        assert await engine.pending([FIRST], table=LEDGER) == [FIRST]
        assert await other.fetchval("SELECT to_regclass('migrated')") is None


# --- doctor ---

FACTS = {
    "version": "18.1",
    "synchronous_commit": "on",
    "standbys": "",
    "fsync": "on",
    "full_page_writes": "on",
    "in_recovery": False,
    "read_only": "off",
    "clock": 100.0,
    "missing": [],
    "unlogged": [],
}


def test_doctor_finds_nothing_wrong_with_the_defaults() -> None:
    assert {each.level for each in findings(FACTS, local=100.0, pgbouncer=False)} == {"ok"}


@pytest.mark.parametrize(
    ("fact", "word"),
    [
        ({"synchronous_commit": "off"}, "may lose"),
        ({"fsync": "off"}, "fsync"),
        ({"full_page_writes": "off"}, "tear"),
        ({"in_recovery": True}, "recovery"),
        ({"read_only": "on"}, "read only"),
        ({"missing": ["t"]}, "missing: t"),
        ({"unlogged": ["t"]}, "unlogged"),
    ],
)
def test_doctor_warns(fact: dict[str, Any], word: str) -> None:
    warnings = [
        each for each in findings({**FACTS, **fact}, local=100.0, pgbouncer=False) if each.level == "warning"
    ]
    assert len(warnings) == 1
    assert word in warnings[0].text


def test_doctor_notes_a_clock_that_differs() -> None:
    (note,) = [each for each in findings(FACTS, local=110.0, pgbouncer=False) if each.level == "note"]
    assert "10.0 s behind" in note.text


async def test_doctor_reads_its_facts_from_a_real_server(server: PostgresServer, other: Any) -> None:
    await other.execute("CREATE UNLOGGED TABLE IF NOT EXISTS forgetful (n int)")
    async with opened(server.url) as engine:
        found = {each.subject: each.text for each in await engine.describe("forgetful", "nowhere")}
        said = [each.text for each in await engine.describe("forgetful", "nowhere")]
    assert "synchronous_commit=on" in found["durability"]
    assert "fsync" in found
    assert any("missing: nowhere" in text for text in said)
    assert any("unlogged" in text and "forgetful" in text for text in said)
