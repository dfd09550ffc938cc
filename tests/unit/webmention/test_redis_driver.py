"""What the webmention driver for Redis does beyond the suite that every driver runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import redis.asyncio

from holdfast.errors import Closed, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.store import StoreURL
from holdfast.testing.servers import RedisServer
from holdfast.webmention.driver import Document, Drop, Put
from holdfast.webmention.drivers.redis import RedisDriver, eviction

SECONDS = 20.0
T = TypeVar("T")


def made(url: str) -> RedisDriver:
    return RedisDriver.from_url(StoreURL.parse(url, own=RedisDriver.OPTIONS, foreign=True))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisDriver]:
    driver = made(url)
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
def kind() -> str:
    return f"{uuid.uuid4().hex}:m:o"


@pytest.fixture
def server() -> Any:
    with RedisServer() as server:
        yield server


async def raw(driver: RedisDriver, *command: str | int) -> Any:
    return await driver._engine.call(*command)


async def one(driver: RedisDriver, kind: str, id: str) -> Document:
    (document,) = await driver.get(kind, [id])
    assert document is not None
    return document


async def until_it_answers(ask: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


# --- what is stored ---


async def test_a_document_is_a_hash_that_people_can_read_and_leaves_nothing_behind(
    driver: RedisDriver, kind: str
) -> None:
    space = kind.partition(":")[0]
    await driver.write([Put(kind, "x", b'{"a": "\xc3\xa4"}', ("to:b", "to:a", "to:b"), wait=60_000)])
    found = await raw(driver, "HGETALL", f"{kind}:d:x")
    fields = dict(zip(found[::2], found[1::2], strict=True))
    due = int(fields.pop(b"w"))
    assert fields == {b"n": b"1", b"r": b"1", b"t": b'["to:a","to:b"]', b"b": b'{"a": "\xc3\xa4"}'}
    assert await raw(driver, "ZRANGE", f"{kind}:w", 0, -1, "WITHSCORES") == [
        b"0000000000000001x", str(due).encode()
    ]  # fmt: skip
    keys = {f"{space}:m", *(f"{kind}:{rest}" for rest in ("d:x", "a", "t:to:a", "t:to:b", "w"))}
    assert {key.decode() for key in await raw(driver, "KEYS", f"{space}*")} == keys
    await driver.write([Put(kind, "x", b"{}", ("to:c",))])
    assert {key.decode() for key in await raw(driver, "KEYS", f"{space}*")} == {
        f"{space}:m", f"{kind}:d:x", f"{kind}:a", f"{kind}:t:to:c"
    }  # fmt: skip
    await driver.write([Drop(kind, "x")])
    assert await raw(driver, "KEYS", f"{space}*") == [f"{space}:m".encode()]


async def test_kinds_of_one_namespace_count_together_and_namespaces_each_for_itself(
    driver: RedisDriver, kind: str
) -> None:
    sibling, stranger = kind[:-1] + "i", f"{uuid.uuid4().hex}:m:o"
    await driver.write([Put(each, "x", b"{}") for each in (kind, sibling, stranger)])
    assert [(await one(driver, each, "x")).number for each in (kind, sibling, stranger)] == [1, 2, 1]
    await raw(driver, "SET", f"{kind.partition(':')[0]}:m", str(2**53 - 2))
    await driver.write([Put(kind, "y", b"{}", ("t",), wait=0)])
    assert (await one(driver, kind, "y")).number == 2**53 - 1
    (claimed,) = await driver.claim(kind, lease=1000, tag="t")
    assert (claimed.number, claimed.version) == (2**53 - 1, f"{2**53 - 1}.2")


async def test_what_is_due_at_once_comes_in_the_order_of_its_numbers(driver: RedisDriver, kind: str) -> None:
    ids = [str(n) for n in range(12)]  # "10" is below "9"
    await driver.write([Put(kind, id, b"{}", wait=0) for id in ids])
    assert [each.id for each in await driver.claim(kind, lease=60_000, limit=12)] == ids


async def test_a_claim_by_tag_looks_behind_a_page_of_others(driver: RedisDriver, kind: str) -> None:
    puts = [Put(kind, str(n), b"{}", ("late",) if n > 110 else (), wait=0) for n in range(120)]
    await driver.write(puts)
    claimed = await driver.claim(kind, lease=60_000, limit=4, tag="late")
    assert [each.id for each in claimed] == ["111", "112", "113", "114"]
    claimed = await driver.claim(kind, lease=60_000, limit=100, tag="late")
    assert [each.id for each in claimed] == [str(n) for n in range(115, 120)]


async def test_a_call_is_one_round_trip(driver: RedisDriver, kind: str) -> None:
    sent: list[int] = []
    send = driver._engine.send

    def counting(data: bytes, replies: int, read: Any = None) -> Any:
        sent.append(replies)
        return send(data, replies, read)

    driver._engine.send = counting  # type: ignore[method-assign]
    await driver.write([Put(kind, str(n), b"{}", ("a", "b"), wait=0) for n in range(50)])
    await driver.claim(kind, lease=1, limit=50, tag="a")
    await driver.page(kind, "a", limit=50)
    await driver.next_due(kind)
    assert sent == [1, 1, 1, 1]
    await driver.get(kind, ["1", "2", "3"])
    await driver.count(kind, ["", "a"])
    assert sent[4:] == [3, 2]
    assert (await driver.get(kind, []), await driver.count(kind, []), await driver.write([])) == (
        [],
        [],
        True,
    )
    assert len(sent) == 6


# --- refusals ---


async def test_when_memory_is_full_nothing_of_a_write_is_kept_and_dropping_is_possible(
    server: RedisServer,
) -> None:
    async with opened(server.url) as driver:
        await driver.write([Put("n:m:o", id, b"{}", ("t",), wait=0) for id in ("a", "b")])
        before = await driver.page("n:m:o")
        await raw(driver, "CONFIG", "SET", "maxmemory", "1")
        for ask in (
            lambda: driver.write([Drop("n:m:o", "a"), Put("n:m:o", "b", b"1"), Put("n:m:o", "c", b"1")]),
            lambda: driver.write([Put("n:m:o", "c", b"1"), Drop("n:m:o", "a")]),
            lambda: driver.claim("n:m:o", lease=1000),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await ask()
            assert caught.value.maybe_applied is False
        assert await driver.page("n:m:o") == before
        assert await driver.count("n:m:o", ["", "t"]) == [2, 2]
        assert await driver.write([Drop("n:m:o", "a")]) is True
        assert await driver.count("n:m:o", ["", "t"]) == [1, 1]
        await raw(driver, "CONFIG", "SET", "maxmemory", "0")


async def test_a_replica_refuses_and_is_left_and_nothing_was_applied(server: RedisServer) -> None:
    async with opened(server.url) as driver:
        await driver.write([Put("n:m:o", "a", b"1")])
        connection = await raw(driver, "CLIENT", "ID")
        await asyncio.to_thread(server.command, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable) as caught:
            await driver.write([Put("n:m:o", "a", b"2")])
        assert caught.value.maybe_applied is False
        await asyncio.to_thread(server.command, "REPLICAOF", "NO", "ONE")
        assert await until_it_answers(lambda: driver.write([Put("n:m:o", "a", b"3")]))
        document = await one(driver, "n:m:o", "a")
        assert (document.data, document.version) == (b"3", "1.2")
        assert await raw(driver, "CLIENT", "ID") != connection, "elsewhere there may be a master"


async def test_a_key_of_another_type_is_an_error_that_shows_no_value(driver: RedisDriver, kind: str) -> None:
    await raw(driver, "SET", f"{kind}:d:x", "secret")
    for ask in (
        lambda: driver.write([Put(kind, "a", b"{}"), Put(kind, "x", b"{}")]),
        lambda: driver.get(kind, ["a", "x"]),
    ):
        with pytest.raises(StoreError, match="another type") as caught:
            await ask()
        assert kind in str(caught.value)
        assert "secret" not in str(caught.value)
    assert await driver.get(kind, ["a"]) == [None]


async def test_scripts_that_were_flushed_are_sent_along(driver: RedisDriver, kind: str) -> None:
    for ask, answer in (
        (lambda: driver.write([Put(kind, "x", b"{}", wait=0)]), True),
        (lambda: driver.next_due(kind), 0),
        (lambda: driver.page(kind, limit=0), []),
        (lambda: driver.claim(kind, lease=1, tag="none"), []),
    ):
        await raw(driver, "SCRIPT", "FLUSH")
        assert await ask() == answer


async def test_what_was_evicted_is_passed_over(driver: RedisDriver, kind: str) -> None:
    await driver.write([Put(kind, str(n), b"{}", ("t",), wait=0) for n in range(9)])
    for n in (0, 1, 2, 5):
        await raw(driver, "DEL", f"{kind}:d:{n}")
    for tag in ("", "t"):
        found = [each.id for each in await driver.page(kind, tag, limit=2)]
        assert found == ["3", "4"], "a short page would say that there are no more"
        assert [each.id for each in await driver.page(kind, tag, limit=4, newest=True)] == [
            "8",
            "7",
            "6",
            "4",
        ]
    assert [each.id for each in await driver.claim(kind, lease=60_000, limit=3)] == ["3", "4", "6"]
    await driver.write([Put(kind, "0", b"{}", wait=60_000)])
    assert [each.id for each in await driver.claim(kind, lease=60_000, limit=9)] == ["7", "8"]


# --- losses ---


async def test_a_write_whose_answer_was_lost_may_have_been_applied_and_is_not_repeated(
    server: RedisServer,
) -> None:
    """A stalled server is given up, and does what it was asked when it wakes."""
    async with opened(f"{server.url}?timeout=0.3") as driver:
        await driver.write([Put("n:m:o", "a", b"1", wait=0)])
        await asyncio.to_thread(server.pause)
        with pytest.raises(StoreUnavailable) as caught:
            await driver.write([Put("n:m:o", "a", b"2", wait=0)])
        assert caught.value.maybe_applied is True
        await asyncio.to_thread(server.resume)
        document = await until_it_answers(lambda: one(driver, "n:m:o", "a"))
        assert (document.data, document.version) == (b"2", "1.2")


async def test_after_a_restart_it_goes_on_with_what_was_acknowledged() -> None:
    with RedisServer(appendonly=True, appendfsync="always") as server:
        async with opened(server.url) as driver:
            await driver.write([Put("n:m:o", "a", b"1", ("t",), wait=0)])
            (claimed,) = await driver.claim("n:m:o", lease=60_000)
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable) as caught:
                await driver.write([Put("n:m:o", "b", b"1")])
            assert not (await driver.health()).ok
            await asyncio.to_thread(server.start)
            assert await until_it_answers(lambda: driver.claim("n:m:o", lease=60_000)) == [], (
                "a lease outlives it"
            )
            assert await driver.page("n:m:o", "t") == [claimed]
            assert await driver.write([Put("n:m:o", "a", b"2", expect=claimed.version)])
            assert (await driver.health()).ok
            assert isinstance(caught.value, StoreUnavailable)


# --- the driver ---


async def test_a_client_that_was_passed_in_serves_and_stays_open(redis_url: str, kind: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    driver = RedisDriver(client=client)
    await driver.open()
    await driver.write([Put(kind, "x", b'"\xc3\xa4"', ("t",))])
    assert (await driver.page(kind, "t"))[0].data == b'"\xc3\xa4"'
    await driver.close()
    assert await client.hget(f"{kind}:d:x", "b") == '"ä"'
    await client.aclose()
    with pytest.raises(TypeError, match="pass a client"):
        RedisDriver()
    with pytest.raises(StoreMisconfigured, match="did you mean 'protocol'"):
        made("redis://localhost?protokol=3")


@pytest.mark.parametrize("protocol", [2, 3])
async def test_it_speaks_both_protocols(redis_url: str, kind: str, protocol: int) -> None:
    async with opened(f"{redis_url}?protocol={protocol}") as driver:
        assert await driver.write([Put(kind, "x", b"{}", ("t",), wait=0)])
        assert await driver.next_due(kind) == 0
        (claimed,) = await driver.claim(kind, lease=60_000, tag="t")
        assert await driver.page(kind, "t") == [claimed] == await driver.get(kind, ["x"])
        assert 0 < (await driver.next_due(kind) or 0) <= 60_000
        assert await driver.next_due(f"{kind}o") is None


async def test_a_cluster_is_refused(redis_cluster_url: str) -> None:
    driver = made(redis_cluster_url.replace("redis+cluster:", "redis:"))
    with pytest.raises(StoreMisconfigured, match="cluster"):
        await driver.open()


async def test_a_closed_driver_says_so(redis_url: str, kind: str) -> None:
    driver = made(redis_url)
    assert not (await driver.health()).ok
    await driver.open()
    await driver.close()
    await driver.close()
    for asked in (driver.get(kind, ["x"]), driver.write([Drop(kind, "x")]), driver.claim(kind, lease=1)):
        with pytest.raises(Closed):
            await asked


async def test_doctor_says_what_the_server_is(driver: RedisDriver) -> None:
    findings = {each.subject: each for each in await driver.describe()}
    assert findings["clock"].level == "ok"
    assert "what is due" in findings["clock"].text
    assert findings["eviction"].level == "ok"
    assert findings["durability"].level == "warning"


@pytest.mark.parametrize(
    ("policy", "level", "says"),
    [
        ("noeviction", "ok", "no mention vanishes"),
        ("volatile-ttl", "ok", "no mention vanishes"),
        ("allkeys-lru", "warning", "mentions vanish"),
    ],
)
def test_doctor_says_what_full_memory_loses(policy: str, level: str, says: str) -> None:
    finding = eviction({"maxmemory-policy": policy, "maxmemory": "1000"})
    assert (finding.level, says in finding.text) == (level, True)
