"""What the persist driver for Redis does beyond the suite that every driver runs."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from holdfast import events
from holdfast.coalesce import Batcher
from holdfast.errors import InvalidConversion, StoreMisconfigured, StoreUnavailable
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
)
from holdfast.persist.drivers.redis import RedisDriver
from holdfast.persist.drivers.redis.commands import packed
from holdfast.persist.drivers.redis.doctor import durability, eviction, role
from holdfast.persist.registry import driver_for
from holdfast.testing.servers import RedisServer


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisDriver]:
    driver = driver_for(url)
    assert isinstance(driver, RedisDriver)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


@pytest.fixture
async def driver(redis_url: str) -> AsyncIterator[RedisDriver]:
    async with opened(redis_url) as driver:
        yield driver


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}:p:"


@asynccontextmanager
async def line(driver: RedisDriver) -> AsyncIterator[Batcher[Any]]:
    traits = driver.traits
    batcher: Batcher[Any] = Batcher(
        driver.apply,
        name="redis",
        pipeline=traits.pipeline,
        max_ops=traits.max_ops,
        max_bytes=traits.max_bytes,
    )
    batcher.start()
    try:
        yield batcher
    finally:
        await batcher.close()


async def raw(driver: RedisDriver, *command: str | int) -> Any:
    return await driver._opened().call(*command)


# --- what is stored ---


async def test_a_value_is_a_plain_string_with_the_expiry_of_redis(driver: RedisDriver, prefix: str) -> None:
    key = f"{prefix}é"
    assert await driver.apply([Set(key, '{"é":1}'.encode(), 5000)]) == [None]
    assert (await raw(driver, "GET", key)).decode() == '{"é":1}'
    assert 4000 < await raw(driver, "PTTL", key) <= 5000


async def test_the_version_is_the_sha1_of_the_value_as_redis_computes_it(
    driver: RedisDriver, prefix: str
) -> None:
    key = f"{prefix}k"
    await driver.apply([Set(key, b"[1,2]", None)])
    (entry,) = await driver.apply([GetEntry(key)])
    assert entry.version == hashlib.sha1(b"[1,2]").hexdigest()
    assert entry.version == (await raw(driver, "EVAL", "return redis.sha1hex('[1,2]')", 0)).decode()
    (version,) = await driver.apply([Replace(key, b"[3]", entry.version, KEEP)])
    assert version == (await driver.apply([GetEntry(key)]))[0].version


@pytest.mark.parametrize("ttl", [None, 60_000])
async def test_a_counter_is_exact_beyond_the_numbers_of_lua(
    driver: RedisDriver, prefix: str, ttl: int | None
) -> None:
    key = f"{prefix}n"
    top = 2**63 - 1
    assert await driver.apply([Increment(key, 2**53 + 1, ttl), Increment(key, 2, ttl)]) == [
        2**53 + 1,
        2**53 + 3,
    ]
    answers = await driver.apply(
        [Set(key, b"%d" % (top - 1), KEEP), Increment(key, 1, ttl), Increment(key, 1, ttl)]
    )
    assert answers[1] == top
    assert isinstance(answers[2], ValueError)
    assert await driver.apply([Get(key)]) == [b"%d" % top]


async def test_a_page_of_many_reads_is_answered_by_position(driver: RedisDriver, prefix: str) -> None:
    count = 300
    await driver.apply([Set(f"{prefix}{number}", b"%d" % number, None) for number in range(0, count, 2)])
    expected = [None if number % 2 else b"%d" % number for number in range(count)]
    assert await driver.apply([Get(f"{prefix}{number}") for number in range(count)]) == expected
    entries = await driver.apply([GetEntry(f"{prefix}{number}") for number in range(count)])
    assert [entry and entry.value for entry in entries] == expected


async def test_reads_among_writes_are_answered_by_position(driver: RedisDriver, prefix: str) -> None:
    batch: list[Any] = []
    expected: list[Any] = []
    for number in range(40):
        batch += [Set(f"{prefix}{number}", b"%d" % number, None), Get(f"{prefix}none{number}")]
        batch += [Create(f"{prefix}{number}", b"0", None), Remove(f"{prefix}none{number}")]
        expected += [None, None, False, False]
    assert await driver.apply(batch) == expected


async def test_a_batch_of_plain_operations_is_one_command_each_and_reads_share_one(
    driver: RedisDriver, prefix: str
) -> None:
    async def commands_of(batch: list[Any]) -> int:
        before = await total()
        await driver.apply(batch)
        return await total() - before - 1

    async def total() -> int:
        text = (await raw(driver, "INFO", "commandstats")).decode()
        return sum(
            int(line.split("calls=")[1].split(",")[0]) for line in text.splitlines() if "calls=" in line
        )

    assert await commands_of([Set(f"{prefix}{number}", b"1", KEEP) for number in range(20)]) == 20
    assert await commands_of([Get(f"{prefix}{number}") for number in range(128)]) == 1
    assert await commands_of([Get(f"{prefix}{number}") for number in range(129)]) == 2


def test_every_command_is_what_the_client_library_would_have_packed() -> None:
    from holdfast.engines.redis import pack

    def as_redis(*words: str | bytes | int) -> bytes:
        return pack(words)

    value = b'"\xc3\xa9"'
    assert packed([Get("ké")]) == as_redis("GET", "ké")
    assert packed([Set("ké", value, None)]) == as_redis("SET", "ké", value)
    assert packed([Set("k", value, KEEP)]) == as_redis("SET", "k", value, "KEEPTTL")
    assert packed([Create("k", value, None)]) == as_redis("SET", "k", value, "NX")
    for ttl in (1, 999, 3_600_000, 10**13):
        assert packed([Set("ké", value, ttl)]) == as_redis("SET", "ké", value, "PX", ttl)
        assert packed([Create("ké", value, ttl)]) == as_redis("SET", "ké", value, "NX", "PX", ttl)
    many = [Set("k", b"1", ttl) for ttl in range(1, 3000)]
    assert packed(many) == b"".join(as_redis("SET", "k", b"1", "PX", op.ttl) for op in many)  # type: ignore[arg-type]
    kept = [Set("ké", value * size, KEEP) for size in (0, 1, 2_000, 5_000)]
    assert packed(kept) == b"".join(as_redis("SET", "ké", op.value, "KEEPTTL") for op in kept)
    fresh = [Create("k", value, None), Create("ké", value, 60_000)]
    assert packed(fresh) == as_redis("SET", "k", value, "NX") + as_redis(
        "SET", "ké", value, "NX", "PX", 60_000
    )
    mixed = [Set("k", value, None), Create("k", value, 60_000), Get("k")]
    assert packed(mixed) == b"".join(packed([op]) for op in mixed)


# --- walking ---


async def test_a_prefix_is_plain_text_to_a_walk(driver: RedisDriver, prefix: str) -> None:
    odd = [f"{prefix}{text}" for text in ("a*b", "a?b", "a[b]", "a\\b", "a^b", "a-b")]
    await driver.apply([Set(key, b"1", None) for key in [*odd, f"{prefix}axb", f"{prefix}ab"]])
    for key in odd:
        assert await walk(driver, key) == {key}
    assert await clear(driver, f"{prefix}a*") == 1
    assert await walk(driver, f"{prefix}a") == {*odd[1:], f"{prefix}axb", f"{prefix}ab"}


async def test_a_walk_meets_every_key_and_a_clear_counts_each_once(driver: RedisDriver, prefix: str) -> None:
    keys = {f"{prefix}{number}" for number in range(1500)}
    await driver.apply([Set(key, b"1", None) for key in keys])
    await driver.apply([Set(f"x{prefix}", b"1", None)])
    assert await walk(driver, prefix) == keys
    assert await clear(driver, prefix) == 1500
    assert await walk(driver, prefix) == set()
    assert await driver.apply([Remove(f"x{prefix}")]) == [True]


async def test_what_others_put_under_the_prefix_is_neither_listed_nor_cleared(
    driver: RedisDriver, prefix: str
) -> None:
    await raw(driver, "LPUSH", f"{prefix}list", "1")
    await driver._opened().send(packed([Set(f"{prefix}ok", b"1", None)]), 1)
    key = prefix.encode() + b"\xff"
    await driver._opened().send(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\n1\r\n" % (len(key), key), 1)
    assert await walk(driver, prefix) == {f"{prefix}ok"}
    await clear(driver, prefix)
    assert await raw(driver, "EXISTS", f"{prefix}list") == 1
    await raw(driver, "DEL", f"{prefix}list")


async def walk(driver: Any, prefix: str) -> set[str]:
    found: set[str] = set()
    cursor = None
    while True:
        (page,) = await driver.apply([Keys(prefix, cursor, 100)])
        found |= set(page.keys)
        cursor = page.cursor
        if cursor is None:
            return found


async def clear(driver: Any, prefix: str) -> int:
    removed, cursor = 0, None
    while True:
        (page,) = await driver.apply([Clear(prefix, cursor, 100)])
        removed += page.removed
        cursor = page.cursor
        if cursor is None:
            return removed


# --- refusals ---


async def test_another_type_under_a_key_is_its_own_operations_trouble(
    driver: RedisDriver, prefix: str
) -> None:
    key, other = f"{prefix}list", f"{prefix}k"
    await raw(driver, "LPUSH", key, "1")
    ops = [
        GetEntry(key),
        GetRenew(key, 5),
        Increment(key, 1, None),
        Increment(key, 1, 5),
        Replace(key, b"1", "v", None),
    ]
    for batch in ([op] for op in ops), [[*ops, Set(other, b"1", None)]]:
        for each in batch:
            for op, outcome in zip(each, await driver.apply(each), strict=True):
                if op.key == key:
                    assert isinstance(outcome, InvalidConversion), op
                    assert repr(key) in str(outcome)
    (first, second) = await driver.apply([GetEntry(key), GetEntry(other)])
    assert isinstance(first, InvalidConversion)
    assert isinstance(second, Stored)
    assert isinstance((await driver.apply([Get(key)]))[0], InvalidConversion)
    assert await driver.apply([Get(key), Get(other)]) == [None, b"1"]  # MGET does not tell
    assert await driver.apply([Set(key, b"2", KEEP), Get(key)]) == [None, b"2"]


async def test_full_memory_refuses_writes_one_by_one_and_serves_reads() -> None:
    with RedisServer() as server:
        async with opened(server.url) as driver:
            await driver.apply([Set("k", b"1", None)])
            await raw(driver, "CONFIG", "SET", "maxmemory", "1")
            ops = [Set("k", b"2", None), Get("k"), Create("new", b"1", None), Increment("k", 1, 60_000)]
            ops += [Remove("none"), Touch("k", 60_000)]
            refused, text, create, increment, removed, touched = await driver.apply(ops)
            for outcome in (refused, create, increment):
                assert isinstance(outcome, StoreUnavailable), outcome
                assert outcome.maybe_applied is False
                assert "OOM" in str(outcome)
            assert (text, removed, touched) == (b"1", False, True)
            outcomes = await driver.apply([Set(f"k{number}", b"2", None) for number in range(3)])
            assert len({id(outcome) for outcome in outcomes}) == 3
            created = await driver.apply([Create("k", b"2", None), Create("new", b"2", 60_000)])
            assert [type(outcome) for outcome in created] == [StoreUnavailable, StoreUnavailable]
            await raw(driver, "CONFIG", "SET", "maxmemory", "0")
            assert await driver.apply([Set("k", b"2", None)]) == [None]


async def test_a_replica_is_unavailable_for_writes_alone_and_found_again_as_a_master() -> None:
    with RedisServer() as server:
        heard: list[events.Event] = []
        stop = events.subscribe(heard.append)
        async with opened(server.url) as driver:
            await driver.apply([Set("k", b"1", None)])
            await asyncio.to_thread(server.command, "REPLICAOF", "127.0.0.1", "1")
            write, text = await driver.apply([Set("k", b"2", None), Get("k")])
            assert isinstance(write, StoreUnavailable)
            assert write.maybe_applied is False
            assert text == b"1"
            (warning,) = [each for each in await driver.describe() if each.subject == "replication"]
            assert warning.level == "warning"
            await asyncio.to_thread(server.command, "REPLICAOF", "NO", "ONE")
            assert await driver.apply([Set("k", b"3", None)]) == [None]
        stop()
        assert events.Disconnected("redis", "the server answers READONLY") in heard


async def test_a_user_who_may_not_is_told_so() -> None:
    with RedisServer() as server:
        server.command(
            "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+get", "+mget", "+hello", "+ping", "+time"
        )
        async with opened(server.url.replace("redis://", "redis://reader:pw@")) as driver:
            outcomes = await driver.apply([Set("k", b"1", None), Get("k"), Increment("k", 1, 5000)])
            assert isinstance(outcomes[0], StoreMisconfigured)
            assert outcomes[1] is None
            assert isinstance(outcomes[2], StoreMisconfigured)
            assert (await driver.health()).ok
            levels = {each.subject: each.level for each in await driver.describe()}
            assert levels["durability"] == levels["eviction"] == "note"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_scripts_that_were_flushed_are_sent_again_and_nothing_is_applied_twice(
    redis_url: str, prefix: str, protocol: int
) -> None:
    async with opened(f"{redis_url}?protocol={protocol}") as driver:
        key = f"{prefix}n"
        await raw(driver, "SCRIPT", "FLUSH")
        batch = [
            Set(f"{prefix}k", b"1", None),
            Increment(key, 1, 60_000),
            Get(f"{prefix}k"),
            Increment(key, 1, 60_000),
        ]
        assert await driver.apply(batch) == [None, 1, b"1", 2]
        await raw(driver, "SCRIPT", "FLUSH")
        entries = await driver.apply([GetEntry(key), GetEntry(f"{prefix}none"), GetEntry(key)])
        assert [entry and entry.value for entry in entries] == [b"2", None, b"2"]
        await raw(driver, "SCRIPT", "FLUSH")
        assert await clear(driver, prefix) == 2


# --- under load ---


async def test_callers_cancelled_in_flight_leave_everybody_else_with_their_own_answer(
    driver: RedisDriver, prefix: str
) -> None:
    await driver.apply([Set(f"{prefix}{number}", b"%d" % number, None) for number in range(100)])
    async with line(driver) as queue:

        async def read(number: int) -> bytes:
            return await queue.submit(Get(f"{prefix}{number}"), 50)  # type: ignore[no-any-return]

        for turn in range(20):
            tasks = [asyncio.ensure_future(read(number)) for number in range(100)]
            for _ in range(turn % 4):
                await asyncio.sleep(0)  # queued, or in flight, when they are cancelled
            for task in tasks[turn % 10 :: 10]:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for number, answer in enumerate(answers):
                if not isinstance(answer, asyncio.CancelledError):
                    assert answer == b"%d" % number


async def test_a_server_killed_under_load_applies_nothing_twice_and_forgets_nothing_acknowledged() -> None:
    tasks, kills = 32, 2
    with RedisServer(appendonly=True, appendfsync="always") as server:
        async with opened(f"{server.url}?timeout=2") as driver, line(driver) as queue:
            acknowledged, unknown, refused = [0] * tasks, [0] * tasks, 0
            stopping = False

            async def count(task: int) -> None:
                nonlocal refused
                while not stopping:
                    try:
                        await queue.submit(Increment(f"n{task}", 1, 600_000 if task % 2 else None), 50)
                    except StoreUnavailable as exc:
                        if exc.maybe_applied:
                            unknown[task] += 1
                        else:
                            refused += 1
                            await asyncio.sleep(0.005)
                    else:
                        acknowledged[task] += 1

            async def progress(most: int) -> None:
                target = sum(acknowledged) + most
                while sum(acknowledged) < target:  # noqa: ASYNC110 - counted by the tasks under test
                    await asyncio.sleep(0.01)

            running = [asyncio.ensure_future(count(task)) for task in range(tasks)]
            async with asyncio.timeout(60):
                for _ in range(kills):
                    await progress(1500)
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                await progress(1500)
                stopping = True
                await asyncio.gather(*running)
                stored = [
                    int(text) for text in await driver.apply([Get(f"n{task}") for task in range(tasks)])
                ]
        for task in range(tasks):
            assert acknowledged[task] <= stored[task] <= acknowledged[task] + unknown[task]
        assert sum(unknown) <= kills * tasks


async def test_a_stalled_server_fails_its_callers_in_time_and_serves_again() -> None:
    with RedisServer() as server:
        async with opened(f"{server.url}?timeout=0.3") as driver, line(driver) as queue:
            await queue.submit(Set("k", b"1", None), 50)
            await asyncio.to_thread(server.pause)
            began = asyncio.get_running_loop().time()
            waiting = [
                queue.submit(op, 50) for op in (Set("k", b"2", None), Get("k"), Increment("n", 1, None))
            ]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert asyncio.get_running_loop().time() - began < 3
            assert all(isinstance(answer, StoreUnavailable) for answer in answers)
            health = await driver.health()
            assert not health.ok
            assert health.detail
            await asyncio.to_thread(server.resume)
            async with asyncio.timeout(20):
                while not (await driver.health()).ok:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.02)
            assert await queue.submit(Get("k"), 50) in (b"1", b"2")


# --- clients and doctor ---


async def test_a_client_that_was_passed_in_serves_and_stays_open(redis_url: str, prefix: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    driver = RedisDriver(client=client)
    await driver.open()
    await driver.apply([Set(f"{prefix}k", b"1", 5000)])
    await driver.close()
    await driver.close()
    assert await client.get(f"{prefix}k") == "1"
    await client.aclose()


async def test_two_drivers_of_one_url_share_a_connection(redis_url: str) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        assert one._engine is other._engine
        await one.close()
        assert await other.apply([Get("none")]) == [None]


def test_an_unknown_option_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(StoreMisconfigured, match="did you mean 'protocol'"):
        driver_for("redis://localhost?protokol=3")
    with pytest.raises(TypeError, match="pass a client"):
        RedisDriver()


async def test_health_and_doctor_say_what_the_server_is(driver: RedisDriver) -> None:
    health = await driver.health()
    assert health.ok
    assert health.seconds < 2
    assert "master" in health.detail
    findings = {each.subject: each for each in await driver.describe()}
    assert findings["version"].text.startswith("redis ")
    assert findings["clock"].level == "ok"
    assert findings["eviction"].level == "ok"


@pytest.mark.parametrize(
    ("config", "level", "says"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, "ok", "nothing is lost"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "note", "about a second"),
        ({"appendonly": "yes", "appendfsync": "no"}, "note", "tens of seconds"),
        ({"appendonly": "no", "save": "3600 1"}, "warning", "since the last"),
        ({"appendonly": "no", "save": ""}, "warning", "loses everything"),
    ],
)
def test_doctor_says_what_a_crash_loses(config: dict[str, str], level: str, says: str) -> None:
    finding = durability(config)
    assert (finding.level, says in finding.text) == (level, True)


@pytest.mark.parametrize(
    ("policy", "level", "says"),
    [
        ("noeviction", "ok", "no value vanishes"),
        ("allkeys-lru", "warning", "values vanish"),
        ("volatile-ttl", "warning", "have an expiry vanish before it"),
    ],
)
def test_doctor_says_what_full_memory_loses(policy: str, level: str, says: str) -> None:
    finding = eviction({"maxmemory-policy": policy, "maxmemory": "1000"})
    assert (finding.level, says in finding.text) == (level, True)
    assert role("slave").level == "warning"
