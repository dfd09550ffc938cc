"""What is particular to Redis in announcing: a script is the write and its PUBLISH, and one connection listens."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
import redis.asyncio

from holdfast.errors import InvalidConversion, StoreMisconfigured
from holdfast.persist import Change, Persist
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
    Touch,
)
from holdfast.persist.drivers.redis import RedisDriver
from holdfast.persist.drivers.redis.announcing import Announcer, Plain
from holdfast.testing.servers import RedisServer


@pytest.fixture
def space() -> str:
    return f"watch{secrets.token_hex(5)}"


async def asked(persist: Persist, *command: str | int) -> Any:
    driver = persist._core.driver
    assert isinstance(driver, RedisDriver)
    return await driver._opened().call(*command)


async def following(changes: Any) -> Change:
    async with asyncio.timeout(20):
        change = await anext(changes)
    assert isinstance(change, Change)
    return change


OPS = (
    Set("a:p:k", b"1", KEEP),
    Set("a:p:k", b"1", 5),
    Create("a:p:k", b"1", None),
    Replace("a:p:k", b"1", "v", 5),
    Remove("a:p:k"),
    Remove("a:p:k", "v"),
    Increment("a:p:k", 1, None),
    Increment("a:p:k", 1, 5),
    Clear("a:p:", None, 5),
)
SILENT = (
    *(type(op)(**{**{name: getattr(op, name) for name in op.__struct_fields__}, "key": "a:l:k"}) for op in OPS[:-1]),
    Get("a:p:k"),
    GetEntry("a:p:k"),
    GetRenew("a:p:k", 5),
    Touch("a:p:k", None),
    Touch("a:p:k", 5),
    Keys("a:p:", None, 5),
)  # fmt: skip


@pytest.mark.parametrize("op", SILENT)
def test_what_is_not_announced_is_the_command_it_always_was(op: Any) -> None:
    announcer, plain = Announcer("a:w:@0"), Plain()
    assert announcer.packed([op]) == plain.packed([op]) == plain.command(op)


@pytest.mark.parametrize("op", OPS)
def test_what_is_announced_is_one_command_that_publishes(op: Any) -> None:
    announcer = Announcer("a:w:@0")
    for command, name in ((announcer.command(op), b"EVALSHA"), (announcer.resent(op), b"EVAL")):
        assert command.split(b"\r\n")[2] == name
        assert command.count(b"a:w:@0") == 1
    assert b"PUBLISH" in announcer.resent(op)


async def test_without_watch_nothing_is_published_and_no_script_is_run(space: str) -> None:
    with RedisServer() as server:
        async with Persist(server.url, namespace=space) as persist:
            before = (await asked(persist, "INFO", "clients")).split(b"\r\n")[1]
            await asyncio.gather(*(persist.set(f"k{number}", 1) for number in range(20)))
            await persist.create("c", 1)
            await persist.remove("c")
            stats = await asked(persist, "INFO", "commandstats")
            assert b"cmdstat_publish" not in stats
            assert b"cmdstat_eval" not in stats
            assert (
                (await asked(persist, "INFO", "clients")).split(b"\r\n")[1]
                == before
                == b"connected_clients:1"
            )


async def test_announcing_takes_no_connection_of_its_own_and_watching_one(space: str) -> None:
    with RedisServer() as server:
        async with Persist(server.url, namespace=space, watch=True) as persist:
            await persist.set("k", 1)
            assert b"connected_clients:1\r\n" in await asked(persist, "INFO", "clients")
            async with persist.watch(), persist.watch(), persist.namespace("n").watch():
                assert b"connected_clients:2\r\n" in await asked(persist, "INFO", "clients")


async def test_databases_of_one_server_do_not_hear_each_other(redis_url: str, space: str) -> None:
    other_url = redis_url.rpartition("/")[0] + "/1"
    async with (
        Persist(redis_url, namespace=space, watch=True) as one,
        Persist(other_url, namespace=space, watch=True) as other,
        one.watch() as changes,
    ):
        await other.set("k", 1)
        await other.clear()
        await one.set("l", 1, expires=60)
        assert await following(changes) == Change("set", "l")


async def test_a_lost_connection_is_told_and_watching_goes_on(space: str) -> None:
    with RedisServer() as server:
        async with Persist(server.url, namespace=space, watch=True) as persist, persist.watch() as changes:
            assert await asked(persist, "CLIENT", "KILL", "TYPE", "pubsub") == 1
            assert await following(changes) == Change("lost", None)
            await persist.set("k", 1)
            assert await following(changes) == Change("set", "k")


async def test_flushed_scripts_are_sent_again_and_announce_once(redis_url: str, space: str) -> None:
    async with Persist(redis_url, namespace=space, watch=True) as persist, persist.watch() as changes:
        await asked(persist, "SCRIPT", "FLUSH")
        await asyncio.gather(*(persist.increment(f"k{number}") for number in range(5)))
        await persist.set("k0", 9)
        assert await persist.clear() == 5
        assert [await following(changes) for _ in range(6)] == [
            *(Change("set", f"k{number}") for number in range(5)),
            Change("set", "k0"),
        ]
        assert {(await following(changes)).kind for _ in range(5)} == {"removed"}


async def test_what_the_server_refuses_is_worded_as_without_announcements(redis_url: str, space: str) -> None:
    async with Persist(redis_url, namespace=space, watch=True) as persist, persist.watch() as changes:
        await asked(persist, "RPUSH", f"{space}:p:list", "x")
        with pytest.raises(InvalidConversion, match="another Redis type"):
            await persist.increment("list")
        await persist.set("text", "x", expires=60)
        with pytest.raises(InvalidConversion, match="not an integer"):
            await persist.increment("text")
        await persist.increment("most", by=2**63 - 1, expires=60)
        for expires in (None, 60):
            with pytest.raises(ValueError, match="64 bits"):
                await persist.increment("most", expires=expires)
        assert [await following(changes) for _ in range(2)] == [Change("set", "text"), Change("set", "most")]
        assert await persist.remove("list")
        assert await following(changes) == Change("removed", "list")


async def test_full_memory_refuses_and_announces_nothing(space: str) -> None:
    with RedisServer() as server:
        async with Persist(server.url, namespace=space, watch=True) as persist, persist.watch() as changes:
            await persist.set("before", 1)
            await asked(persist, "CONFIG", "SET", "maxmemory", 1)
            outcomes = await asyncio.gather(
                persist.set("k", 1), persist.create("l", 1), persist.increment("m"), return_exceptions=True
            )
            assert [type(each).__name__ for each in outcomes] == ["StoreUnavailable"] * 3
            await asked(persist, "CONFIG", "SET", "maxmemory", 0)
            await persist.set("after", 1)
            assert [await following(changes), await following(changes)] == [
                Change("set", "before"),
                Change("set", "after"),
            ]


async def test_a_user_who_may_not_publish_is_told_before_anything_is_written(space: str) -> None:
    with RedisServer() as server:
        admin = redis.asyncio.Redis.from_url(server.url)
        await admin.acl_setuser(
            "app", enabled=True, nopass=True, categories=["+@all"], keys=["*"], reset_channels=True
        )
        await admin.aclose()
        url = server.url.replace("://", "://app:x@")
        with pytest.raises(StoreMisconfigured, match=f"publish.*{space}:w:"):
            await Persist(url, namespace=space, watch=True).open()
        async with Persist(url, namespace=space) as persist:
            await persist.set("k", 1)


async def test_a_client_that_was_passed_in_can_be_watched_through(redis_url: str, space: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    store = RedisDriver(client=client)
    async with Persist(store, namespace=space, watch=True) as persist, persist.watch() as changes:
        await persist.set("k", 1, expires=60)
        assert await following(changes) == Change("set", "k")
    assert await client.ping()
    await client.aclose()
