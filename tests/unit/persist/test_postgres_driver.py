"""What is particular to the Postgres driver; what all drivers promise is in the suite."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast.coalesce import Batcher
from holdfast.engines.postgres import StatementRefused
from holdfast.errors import InvalidConversion, StoreError, StoreUnavailable
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    Increment,
    Keys,
    Operation,
    Remove,
    Replace,
    Set,
    Touch,
)
from holdfast.persist.drivers.postgres import PostgresDriver
from holdfast.persist.drivers.postgres import statements as sql
from holdfast.persist.drivers.postgres.batches import applied
from holdfast.store import StoreURL
from holdfast.testing.processes import free_port
from holdfast.testing.servers import PostgresServer, ServerMissing

OWN = ("lanes", "timeout", "pgbouncer", "listen")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresDriver]:
    driver = PostgresDriver.from_url(StoreURL.parse(url, own=OWN, foreign=True))
    await driver.open()
    try:
        await driver.migrate()
        yield driver
    finally:
        await driver.close()


@pytest.fixture
async def driver(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    async with opened(postgres_url) as driver:
        yield driver


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of this test alone: the server may be everybody's."""
    return f"test:{request.node.name}:{random.getrandbits(48):x}:"


def ascending(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n:04d}" for n in range(count)]


# --- what one statement carries ---


async def test_one_operation_that_the_server_refuses_fails_alone(driver: PostgresDriver, prefix: str) -> None:
    bad = f"{prefix}0010\0"  # Postgres has no U+0000 in text
    keys = [*ascending(prefix, 30), bad, f"{prefix}\ud800"]  # and no encoding has half a surrogate pair
    outcomes = await driver.apply([Set(key, b'"secret"', 60_000) for key in keys])
    assert outcomes[:30] == [None] * 30
    for refused in outcomes[30:]:
        assert isinstance(refused, StoreError)
        assert not isinstance(refused, StoreUnavailable)
        assert "secret" not in str(refused)
    assert repr(bad) in str(outcomes[30])
    assert await driver.apply([Get(key) for key in keys[:30]]) == ['"secret"'] * 30
    (alone,) = await driver.apply([Get(bad)])
    assert isinstance(alone, StoreError)


async def test_counters_and_what_is_none_share_a_batch_without_harm(
    driver: PostgresDriver, prefix: str
) -> None:
    stored = [b'"text"', b"1.5", b"9223372036854775807", b"-5", b"9223372036854775808", b"[1]", b"x" * 5000]
    keys = ascending(prefix, len(stored))
    await driver.apply([Set(key, value, None) for key, value in zip(keys, stored, strict=True)])
    before = await driver.apply([GetEntry(key) for key in keys])
    outcomes = await driver.apply([Increment(key, 1, None) for key in keys])
    kinds = [type(outcome) for outcome in outcomes]
    wrong = InvalidConversion
    assert kinds == [wrong, wrong, ValueError, int, wrong, wrong, wrong]
    assert outcomes[3] == -4
    after = await driver.apply([GetEntry(key) for key in keys])
    assert [was == now for was, now in zip(before, after, strict=True)] == [kind is not int for kind in kinds]


async def test_256_increments_of_one_counter_are_one_statement(driver: PostgresDriver, prefix: str) -> None:
    sent = counted(driver)
    outcomes = await driver.apply([Increment(f"{prefix}hits", 1, 60_000) for _ in range(256)])
    assert outcomes == list(range(1, 257))
    assert len(sent) == 1


async def test_increments_near_the_end_of_the_range_are_answered_as_one_by_one(
    driver: PostgresDriver, prefix: str
) -> None:
    near, far = f"{prefix}near", f"{prefix}other"
    await driver.apply([Set(near, b"9223372036854775805", None), Set(far, b"9223372036854775800", None)])
    ups = [1, 1, 1, -2, 1]  # the sum of all fits, the sum of the first three does not
    batch: list[Operation] = [Increment(near, by, None) for by in ups]
    batch.insert(2, Increment(far, 3, None))  # refused with its neighbours' slack, though it fits alone
    outcomes = await driver.apply(batch)
    top = 2**63 - 1
    assert outcomes.pop(2) == 9223372036854775803
    assert [type(outcome) for outcome in outcomes] == [int, int, ValueError, int, int]
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [top - 1, top, top - 2, top - 1]
    assert await driver.apply([Get(near)]) == [str(top - 1)]


async def test_any_character_may_stand_in_a_key(driver: PostgresDriver, prefix: str) -> None:
    keys = [
        f"{prefix}{char}{n}" for n, char in enumerate(["\x1f", "\x01", "\x02", "'", "\\", "\U0010ffff", "é"])
    ]
    await driver.apply([Set(key, b"%d" % n, KEEP) for n, key in enumerate(keys)])
    assert await driver.apply([Get(key) for key in [*keys, f"{prefix}\x1f"]]) == [*"0123456", None]


async def test_lifetimes_of_every_kind_share_a_batch(driver: PostgresDriver, prefix: str) -> None:
    a, b, c, d = ascending(prefix, 4)
    await driver.apply([Set(b, b"1", 50_000), Set(c, b"1", 50_000), Set(d, b"1", None)])
    await driver.apply([Set(a, b"2", 90_000), Set(b, b"2", KEEP), Set(c, b"2", None), Set(d, b"2", 70_000)])
    ttls = [entry.ttl for entry in await driver.apply([GetEntry(key) for key in (a, b, c, d)])]
    assert ttls[2] is None
    assert [None if ttl is None else round(ttl, -4) for ttl in ttls] == [90_000, 50_000, None, 70_000]


async def test_a_version_that_is_none_of_ours_matches_nothing(driver: PostgresDriver, prefix: str) -> None:
    key = f"{prefix}k"
    await driver.apply([Set(key, b"1", None)])
    (entry,) = await driver.apply([GetEntry(key)])
    for version in ("", "x", f" {entry.version}", f"0{entry.version}", "9" * 60):
        assert await driver.apply([Replace(key, b"2", version, KEEP)]) == [None]
        assert await driver.apply([Remove(key, version)]) == [False]
    assert await driver.apply([Remove(key, entry.version)]) == [True]


async def test_keys_that_have_expired_make_pages_empty_and_not_long(
    driver: PostgresDriver, prefix: str
) -> None:
    keys = ascending(prefix, 25)
    await driver.apply([Set(key, b"1", 1 if key < keys[20] else None) for key in keys])
    await gone(driver, keys[:20])
    page, pages, found = None, 0, []
    while pages == 0 or page is not None:
        (answer,) = await driver.apply([Keys(prefix, page, 10)])
        found += answer.keys
        page, pages = answer.cursor, pages + 1
    assert found == keys[20:]
    assert pages == 3
    assert await driver.apply([Clear(prefix, None, 100)]) == [Cleared(5, None)]


async def test_a_sweep_deletes_what_expired_and_leaves_what_a_writer_holds(
    driver: PostgresDriver, postgres_url: str, prefix: str
) -> None:
    keys = ascending(prefix, 10)
    await driver.apply([Set(key, b"1", 1 if key != keys[3] else None) for key in keys])
    await gone(driver, [key for key in keys if key != keys[3]])
    writer = await asyncpg.connect(postgres_url)
    try:
        async with writer.transaction():
            await writer.execute("SELECT 1 FROM holdfast_persist WHERE key = $1 FOR UPDATE", keys[7])
            swept = await driver.sweep(keys[0][:-1], 10)
            assert swept.removed == 8
        assert swept.cursor is not None
        left = await writer.fetch("SELECT key FROM holdfast_persist WHERE key LIKE $1 || '%'", prefix)
        assert [row[0] for row in left] == [keys[3], keys[7]]
    finally:
        writer.terminate()


async def gone(driver: PostgresDriver, keys: Sequence[str]) -> None:
    """Return when the server's clock has passed the end of what was stored for a millisecond."""
    async with asyncio.timeout(10):
        while any(await driver.apply([Get(key) for key in keys])):
            pass


def counted(driver: PostgresDriver) -> list[str]:
    """The statements that the driver sends from now on."""
    sent: list[str] = []
    assert driver._lease is not None
    engine: Any = driver._lease.engine
    fetch = engine.fetch

    def telling(lane: int, statement: str, *args: Any) -> Any:
        sent.append(statement)
        return fetch(lane, statement, *args)

    engine.fetch = telling
    return sent


# --- failures, told by a lane that fails as it is told ---


class Failing:
    """A lane that raises what it was given, in turn, and otherwise answers as if nothing were stored."""

    def __init__(self, *failures: Exception | None) -> None:
        self.failures = list(failures)
        self.sent: list[str] = []

    async def __call__(self, statement: str, *args: Any) -> list[Any]:
        self.sent.append(statement)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if statement == sql.GET:
            return [(None,)] * (args[0].count(args[1]) + 1)
        return []


def deadlock() -> StatementRefused:
    return StatementRefused("deadlock", code="40P01")


async def test_a_deadlock_is_tried_again() -> None:
    lane = Failing(deadlock(), deadlock())
    assert await applied(lane, [Set("a", b"1", None), Set("b", b"1", None)]) == [None, None]
    assert lane.sent == [sql.SET] * 3


async def test_deadlocks_without_end_are_unavailable_and_nothing_was_applied() -> None:
    lane = Failing(*[deadlock() for _ in range(100)])
    outcomes = await applied(lane, [Set("a", b"1", None), Set("b", b"1", None)])
    assert all(isinstance(each, StoreUnavailable) and not each.maybe_applied for each in outcomes)
    assert len(lane.sent) < 20


async def test_what_was_lost_before_any_answer_fails_the_whole_batch() -> None:
    lost = StoreUnavailable("lost", maybe_applied=True)
    with pytest.raises(StoreUnavailable) as caught:
        await applied(Failing(lost), [Set("a", b"1", None), Remove("b")])
    assert caught.value.maybe_applied


async def test_what_was_answered_before_the_loss_stays_answered_and_the_rest_was_not_sent() -> None:
    lost = StoreUnavailable("lost", maybe_applied=True)
    batch: list[Operation] = [Get("r"), Set("a", b"1", None), Set("c", b"1", None), Remove("b")]
    lane = Failing(None, lost)
    outcomes = await applied(lane, batch)
    assert outcomes[0] is None
    assert [each.maybe_applied for each in outcomes[1:]] == [True, True, False]
    assert outcomes[1] is not outcomes[2]
    assert lane.sent == [sql.GET, sql.SET]


async def test_a_loss_while_looking_for_the_refused_one_tells_each_half_what_happened_to_it() -> None:
    lane = Failing(StatementRefused("no", code="22021"), None, StoreUnavailable("lost", maybe_applied=True))
    outcomes = await applied(lane, [Set(key, b"1", None) for key in "abcd"])
    assert outcomes[:2] == [None, None]
    assert [each.maybe_applied for each in outcomes[2:]] == [True, True]


# --- several at once ---


@pytest.mark.parametrize("planned", ["by key", "as the server likes"])
async def test_two_drivers_that_meet_on_the_same_keys_in_any_order_never_deadlock(
    postgres_url: str, prefix: str, planned: str
) -> None:
    # The option leaves the planner its hash joins and sequential scans, which meet rows in any order.
    option = "" if planned == "by key" else "&pgbouncer=true"
    keys = ascending(prefix, 24)
    watcher = await asyncpg.connect(postgres_url)
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await watcher.fetchval(query)
    # Drivers of one URL would share their engine.
    async with (
        opened(f"{postgres_url}?lanes=2&application_name=one{option}") as one,
        opened(f"{postgres_url}?lanes=2&application_name=two{option}") as two,
    ):
        await asyncio.gather(
            *(hammer(each, lane, keys) for each in (one, two) for lane in range(each.traits.lanes))
        )
    await watcher.execute("SELECT pg_stat_force_next_flush()")
    try:
        assert await watcher.fetchval(query) == before
    finally:
        watcher.terminate()


async def hammer(driver: PostgresDriver, lane: int, keys: list[str]) -> None:
    chance = random.Random(lane)
    for _ in range(60):
        batch: list[Operation] = []
        for key in chance.sample(keys, len(keys)):
            kinds: list[Operation] = [
                Set(key, b"1", 60_000), Set(key, b"1", KEEP), Create(key, b"1", None), Touch(key, 9_000),
                Increment(key, 1, None), Remove(key), Replace(key, b"1", "5", KEEP),
            ]  # fmt: skip
            batch.append(chance.choice(kinds))
        if chance.random() < 0.2:
            batch.append(Clear(keys[0][:-2], None, 5))
        outcomes = await driver.apply(batch, lane)
        assert not [each for each in outcomes if isinstance(each, Exception)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own, to be killed."""
    try:
        started = PostgresServer().start()
    except ServerMissing as exc:
        pytest.skip(str(exc))
    with started:
        yield started


async def test_counters_survive_kills_of_the_server_with_nothing_lost_and_nothing_twice(
    server: PostgresServer,
) -> None:
    acknowledged: dict[str, int] = {}
    uncertain: dict[str, int] = {}
    done = asyncio.Event()

    async def count(batcher: Batcher[Operation], key: str) -> None:
        while not done.is_set():
            try:
                await batcher.submit(Increment(key, 1, None))
            except StoreUnavailable as exc:
                uncertain[key] = uncertain.get(key, 0) + exc.maybe_applied
                await asyncio.sleep(0.002)  # a caller that tries again, as callers do
            else:
                acknowledged[key] = acknowledged.get(key, 0) + 1

    async with opened(f"{server.url}?lanes=2") as driver:
        batcher: Batcher[Operation] = Batcher(driver.apply, name="postgres", lanes=driver.traits.lanes)
        batcher.start()
        keys = [f"kill:{n % 8}" for n in range(48)]
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for key in keys:
                tasks.create_task(count(batcher, key))
            for _ in range(3):
                await more(acknowledged, 400)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await more(acknowledged, 400)
            done.set()
        await batcher.close()
        await until(lambda: every_lane_answers(driver))
        stored = {key: int((await driver.apply([Get(key)]))[0]) for key in set(keys)}
    assert uncertain  # somebody was refused, so the kills came under load
    for key, value in stored.items():
        assert acknowledged[key] <= value <= acknowledged[key] + uncertain.get(key, 0)


async def every_lane_answers(driver: PostgresDriver) -> bool:
    try:
        for lane in range(driver.traits.lanes):
            await driver.apply([Get("kill:0")], lane)
    except StoreUnavailable:
        return False
    return True


async def more(acknowledged: dict[str, int], count: int) -> None:
    target = sum(acknowledged.values()) + count

    async def reached() -> bool:
        return sum(acknowledged.values()) >= target

    await until(reached)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await true():
                return
            await asyncio.sleep(0.005)


async def test_a_paused_server_fails_everybody_in_time_and_serves_them_again(server: PostgresServer) -> None:
    async with opened(f"{server.url}?timeout=0.5") as driver:
        await driver.apply([Set("paused", b"1", None)])
        server.pause()
        try:
            async with asyncio.timeout(5):
                with pytest.raises(StoreUnavailable) as caught:
                    await driver.apply([Set("paused", b"1", None)])
            assert caught.value.maybe_applied
        finally:
            server.resume()
        await until(lambda: every_lane_answers(driver))
        assert await driver.apply([Set("paused", b"3", None)]) == [None]
        assert await driver.apply([Get("paused")]) == ["3"]


async def test_a_batch_cancelled_in_flight_leaves_the_lane_usable(
    driver: PostgresDriver, postgres_url: str, prefix: str
) -> None:
    key = f"{prefix}k"
    await driver.apply([Set(key, b"1", None)])
    holder = await asyncpg.connect(postgres_url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM holdfast_persist WHERE key = $1 FOR UPDATE", key)
            task = asyncio.ensure_future(driver.apply([Set(key, b"2", None), Set(f"{key}2", b"2", None)]))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            watcher = await asyncpg.connect(postgres_url)
            while not await watcher.fetchval(waiting):
                pass
            watcher.terminate()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await driver.apply([Set(key, b"3", None)]) == [None]
        assert await driver.apply([Get(key)]) == ["3"]
    finally:
        holder.terminate()


# --- behind pgbouncer ---


@pytest.fixture
def bouncer_url(server: PostgresServer) -> Iterator[str]:
    """A pgbouncer that pools transactions over one server connection."""
    binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="holdfast-pgbouncer-") as name:
        folder = Path(name)
        (folder / "users.txt").write_text('"holdfast" ""\n')
        (folder / "bouncer.ini").write_text(BOUNCER.format(server=server.port, port=port, folder=folder))
        folder.chmod(0o755)  # as root it must become another user, who reads these
        user = "nobody" if os.geteuid() == 0 else None
        with (folder / "log").open("wb") as log:
            command = [binary, str(folder / "bouncer.ini")]
            process = subprocess.Popen(command, user=user, cwd="/", stdout=log, stderr=log)
        try:
            wait_for(port, folder / "log")
            yield f"postgresql://holdfast@127.0.0.1:{port}/postgres?pgbouncer=true"
        finally:
            process.terminate()
            process.wait()


BOUNCER = """
[databases]
postgres = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 1
unix_socket_dir =
"""


def wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(f"pgbouncer does not start: {log.read_text()}")


async def test_two_lanes_share_one_server_connection_behind_pgbouncer(bouncer_url: str) -> None:
    async with opened(f"{bouncer_url}&lanes=2") as driver:
        await driver.apply([Remove(key) for key in ascending("bounced:", 20)])

        async def one(lane: int) -> None:
            for n in range(20):
                key = f"bounced:{n:04d}"
                batch: list[Operation] = [Increment(key, 1, 60_000), Set(f"{key}:{lane}", b"1", KEEP)]
                assert isinstance((await driver.apply(batch, lane))[0], int)
                assert await driver.apply([Get(f"{key}:{lane}")], lane) == ["1"]

        await asyncio.gather(one(0), one(1))
        counts = await driver.apply([Get(key) for key in ascending("bounced:", 20)])
        assert counts == ["2"] * 20
        outcomes = await driver.apply([Set("bounced:\ud800", b"1", None), Set("bounced:good", b"1", None)])
        assert isinstance(outcomes[0], StoreError)
        assert outcomes[1] is None


async def test_nothing_stays_in_a_pooled_session(bouncer_url: str, server: PostgresServer) -> None:
    async with opened(bouncer_url) as driver:
        await driver.apply([Set("bounced:k", b"1", KEEP), Get("bounced:k")])
        beside = await asyncpg.connect(bouncer_url.partition("?")[0], statement_cache_size=0)
        try:
            assert await beside.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
            assert await beside.fetchval("SHOW enable_seqscan") == "on"
        finally:
            await beside.close()


async def test_pgbouncer_without_the_option_is_told_what_to_add(bouncer_url: str) -> None:
    with pytest.raises(StoreError, match="pgbouncer=true"):
        async with opened(bouncer_url.partition("?")[0]):
            pass
