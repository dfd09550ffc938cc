"""The persist driver for Redis Cluster on two primaries: slots that move, walks over both, a primary that dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.persist.driver import KEEP, Clear, Create, Get, GetEntry, Increment, Keys, Set
from holdfast.persist.drivers.redis import RedisClusterDriver
from holdfast.persist.registry import driver_for
from holdfast.testing.servers import RedisServer


class Empty(RedisServer):
    """A node that has no slot yet, and of no cluster."""

    def __init__(self) -> None:
        super().__init__(cluster=True)

    def _ready(self) -> bool:
        return self.command("PING").startswith(b"+PONG")


class Nodes:
    """A primary with every slot and one with none, which know each other."""

    def __init__(self, first: RedisServer, second: RedisServer) -> None:
        self.first, self.second = first, second
        self.names = {
            each: each.command("CLUSTER", "MYID").split(b"\r\n")[1].decode() for each in (first, second)
        }

    def give(self, *slots: int) -> None:
        """Let the second have these slots, which must be empty."""
        for node in (self.second, self.first):
            for slot in slots:
                assert (
                    node.command("CLUSTER", "SETSLOT", str(slot), "NODE", self.names[self.second])
                    == b"+OK\r\n"
                )

    def begin_to_give(self, slot: int) -> None:
        """Leave a slot between the two: what is there is at the first, what is new at the second."""
        for node, word, other in (
            (self.second, "IMPORTING", self.first),
            (self.first, "MIGRATING", self.second),
        ):
            assert node.command("CLUSTER", "SETSLOT", str(slot), word, self.names[other]) == b"+OK\r\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with RedisServer(cluster=True, cluster_require_full_coverage=False) as first, Empty() as second:
        second.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        second.command("CLUSTER", "MEET", "127.0.0.1", str(first.port))
        for node in (first, second):
            for word in (b"cluster_known_nodes:2", b"cluster_state:ok"):
                while word not in node.command("CLUSTER", "INFO"):
                    time.sleep(0.02)
        yield Nodes(first, second)


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """The two, empty; a slot that was given stays given."""
    for node in (cluster.first, cluster.second):
        node.command("FLUSHALL")
    return cluster


async def opened(url: str) -> RedisClusterDriver:
    driver = driver_for(url)
    assert isinstance(driver, RedisClusterDriver)
    await driver.open()
    return driver


async def clear(driver: RedisClusterDriver, prefix: str) -> int:
    removed, cursor = 0, None
    while True:
        (page,) = await driver.apply([Clear(prefix, cursor, 10)])
        removed += page.removed
        if (cursor := page.cursor) is None:
            return removed


KEYS = [f"app:p:{number}" for number in range(60)]


async def test_operations_follow_a_slot_that_has_moved(nodes: Nodes) -> None:
    driver = await opened(nodes.first.url)
    moved = KEYS[:30]
    await asyncio.to_thread(nodes.give, *{key_slot(key.encode()) for key in moved})
    assert await driver.apply([Set(key, b"1", None) for key in KEYS]) == [None] * 60
    counts = await driver.apply([Increment(key, 1, 60_000) for key in KEYS for _ in range(2)])
    assert counts == [2, 3] * 60
    assert await driver.apply([Get(key) for key in KEYS]) == [b"3"] * 60
    for number, key in enumerate(KEYS[:30]):
        assert b"3" in await asyncio.to_thread(nodes.second.command, "GET", key), number
    health = await driver.health()
    assert (health.ok, health.detail) == (True, "a cluster of 2 primaries")
    assert len([each for each in await driver.describe() if each.subject == "durability"]) == 2
    await driver.close()


async def test_a_walk_and_a_clear_meet_the_keys_of_every_primary_once(nodes: Nodes) -> None:
    await asyncio.to_thread(nodes.give, *{key_slot(key.encode()) for key in KEYS[::2]})
    driver = await opened(f"{nodes.first.url},127.0.0.1:1")
    await driver.apply([Set(key, b"1", None) for key in [*KEYS, "other"]])
    found: list[str] = []
    cursor = None
    while True:
        (page,) = await driver.apply([Keys("app:p:", cursor, 10)])
        found += page.keys
        if (cursor := page.cursor) is None:
            break
    assert sorted(set(found)) == sorted(KEYS)
    assert await clear(driver, "app:p:") == 60
    assert await driver.apply([Get("other"), *map(Get, KEYS)]) == [b"1"] + [None] * 60
    await driver.close()


async def test_a_slot_on_its_way_is_served_by_both(nodes: Nodes) -> None:
    driver = await opened(nodes.first.url)
    old, new = "{x}old", "{x}new"
    await driver.apply([Set(old, b"1", None), Set("elsewhere", b"1", None)])
    await asyncio.to_thread(nodes.give, key_slot(b"elsewhere2"))
    await driver.apply([Get("elsewhere2")])  # the second is known now
    await asyncio.to_thread(nodes.begin_to_give, key_slot(b"x"))
    assert await driver.apply([Create(new, b"2", 60_000), Increment(old, 1, None), Get(old)]) == [
        True,
        2,
        b"2",
    ]
    assert await driver.apply([Create(new, b"3", None), Get(new)]) == [False, b"2"]
    (entry,) = await driver.apply([GetEntry(new)])
    assert entry.ttl <= 60_000
    await driver.close()


async def test_scripts_that_were_flushed_are_sent_again(nodes: Nodes) -> None:
    def flush() -> None:
        for node in (nodes.first, nodes.second):
            node.command("SCRIPT", "FLUSH")

    driver = await opened(nodes.first.url)
    await asyncio.to_thread(flush)
    assert await driver.apply([Increment("n", 1, 60_000), Set("k", b"1", KEEP)]) == [1, None]
    await asyncio.to_thread(flush)
    assert await clear(driver, "n") == 1
    await driver.close()


async def test_a_primary_that_is_gone_is_unavailable_for_its_keys_alone_and_found_again(nodes: Nodes) -> None:
    await asyncio.to_thread(nodes.give, key_slot(b"there"))
    driver = await opened(f"{nodes.first.url}?timeout=2")
    assert await driver.apply([Set("there", b"1", None), Set("here", b"1", None)]) == [None, None]
    await asyncio.to_thread(nodes.second.kill)
    gone, here = await driver.apply([Set("there", b"2", None), Set("here", b"2", None)])
    assert isinstance(gone, StoreUnavailable)
    assert here is None
    with pytest.raises(StoreUnavailable):
        await driver.apply([Get("there")])
    await asyncio.to_thread(nodes.second.start)
    async with asyncio.timeout(30):
        while True:
            try:
                await driver.apply([Set("there", b"3", None)])
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                break
    await driver.close()


async def test_a_server_that_is_no_cluster_is_a_misconfiguration(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis+cluster://")
    with pytest.raises(StoreMisconfigured, match="no node of a cluster"):
        await opened(url)
    with pytest.raises(StoreMisconfigured, match="one database"):
        driver_for("redis+cluster://localhost/3")


async def test_a_cluster_of_which_no_node_answers_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        await opened("redis+cluster://127.0.0.1:1,127.0.0.1:2")
