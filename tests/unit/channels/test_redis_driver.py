"""What the channels driver for Redis does beyond the suite that every driver runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from holdfast.channels.driver import (
    Append,
    Appended,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Operation,
    Read,
    Send,
    Subscription,
    Topics,
    Trim,
)
from holdfast.channels.drivers.redis import RedisDriver
from holdfast.channels.drivers.redis.doctor import buffers, eviction
from holdfast.channels.drivers.redis.replies import announced
from holdfast.channels.registry import driver_for
from holdfast.errors import InvalidConversion, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.testing.channels.ear import Ear
from holdfast.testing.servers import RedisServer

SECONDS = 20.0


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
def key() -> str:
    return f"{uuid.uuid4().hex}:c:room"


@pytest.fixture
def server() -> Any:
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def following(driver: RedisDriver, *keys: str) -> AsyncIterator[tuple[Ear, Subscription]]:
    ear = Ear()
    subscription = await driver.subscribe(ear)
    try:
        for key in keys:
            await subscription.follow(key)
        yield ear, subscription
    finally:
        await subscription.close()


def beside(url: str) -> str:
    """The same database, through an engine of its own."""
    return f"{url}?client_name=beside"


def said(key: str, text: str = "hi", **rest: Any) -> Append:
    return Append(key, "new_message", b'{"message":"%b"}' % text.encode(), **rest)


async def do(driver: RedisDriver, op: Operation) -> Any:
    (outcome,) = await driver.apply([op])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def raw(driver: RedisDriver, *command: str | int) -> Any:
    return await driver._opened()[0].call(*command)


async def members(driver: RedisDriver, key: str) -> list[tuple[str, int]]:
    found = await raw(driver, "ZRANGE", key, 0, -1, "WITHSCORES")
    return [(found[at].decode(), int(found[at + 1])) for at in range(0, len(found), 2)]


# --- what is stored ---


async def test_a_topic_is_one_sorted_set_that_people_can_read(driver: RedisDriver, key: str) -> None:
    first: Appended = await do(driver, Append(key, "new_message", b'{"message":"h\xc3\xa9"}', at=7, id='a"b'))
    await driver.apply([said(key, "2", at=8), said(key, "3", at=9), Edit(key, b"{}", id='a"b')])
    await driver.apply([Erase(key, offset=2, epoch=first.epoch)])
    assert await members(driver, key) == [
        (':a"b', -1),
        (f"={first.epoch} 5 0 3 9", 0),
        ('*[1,7,4,"a\\"b","new_message"]\n{}', 1),
        ('![2,8,5,null,"new_message"]', 2),
        ('[3,9,null,null,"new_message"]\n{"message":"3"}', 3),
        (">1", 4),
        (">2", 5),
    ]
    space = key.partition(":")[0]
    assert set(await raw(driver, "KEYS", f"{space}*")) == {key.encode(), f"{space}:c".encode()}
    assert await do(driver, Clear(key)) is True
    assert await raw(driver, "KEYS", f"{space}*") == []


async def test_however_often_a_message_is_edited_the_log_does_not_grow(driver: RedisDriver, key: str) -> None:
    await driver.apply([said(key, str(number), id=str(number)) for number in range(3)])
    for _ in range(4):
        await driver.apply([Edit(key, b'{"n":%d}' % number, id=str(number % 3)) for number in range(500)])
    assert await raw(driver, "ZCARD", key) == 3 + 1 + 3 + 3
    log = await do(driver, Read(key, 10))
    assert [entry.offset for entry in log.entries] == [1, 2, 3]
    assert log.last == 2003
    log = await do(driver, Read(key, 2, changes_after=5))
    assert [entry.changed for entry in log.entries] == [2001, 2002]


async def test_retention_takes_everything_of_a_message_along(driver: RedisDriver, key: str) -> None:
    await driver.apply([said(key, id=str(number)) for number in range(200)])
    await driver.apply([Edit(key, b"{}", id=str(number)) for number in range(150)])
    await driver.apply([Erase(key, id=str(number)) for number in range(100, 200)])
    assert await do(driver, Trim(key, 120, None)) == 80
    left = await members(driver, key)
    assert [score for text, score in left if text.startswith(":")] == list(range(-200, -80))
    assert sorted(text for text, _ in left if text.startswith(">")) == sorted(f">{n}" for n in range(81, 201))
    assert await do(driver, Trim(key, 0, None)) == 120
    assert len(await members(driver, key)) == 1, "something stayed beside the state"
    assert (await do(driver, said(key, id="0"))).offset == 451


async def test_an_append_trims_from_the_oldest_when_it_is_worth_it(driver: RedisDriver, key: str) -> None:
    for _ in range(4):
        await driver.apply([said(key, max_messages=40) for _ in range(50)])
        log = await do(driver, Read(key, 1000))
        assert 40 <= len(log.entries) <= 56
        assert log.trimmed == log.entries[0].offset - 1
        (page,) = await driver.apply([Topics(key, None, 10)])
        assert page.topics[0].kept == len(log.entries)


async def test_an_append_takes_away_what_is_too_old(driver: RedisDriver, key: str) -> None:
    await driver.apply([said(key, at=1000 + number) for number in range(40)])
    await driver.apply([said(key, max_age=60_000) for _ in range(16)])
    log = await do(driver, Read(key, 1000))
    assert log.trimmed == 40
    assert 41 <= log.entries[0].offset <= 48


async def test_what_was_said_before_1970_is_kept_like_all_else(driver: RedisDriver, key: str) -> None:
    assert (await do(driver, said(key, at=-5, id="x"))).at == -5
    assert (await do(driver, said(key, id="x"))).at == -5
    assert (await do(driver, Edit(key, b"{}", id="x"))).entry.at == -5
    assert await do(driver, Trim(key, None, 1000)) == 1


async def test_batches_under_way_behind_each_other_keep_their_order(driver: RedisDriver, key: str) -> None:
    batches = [driver.apply([said(key, f"{number}-{at}") for at in range(20)]) for number in range(30)]
    offsets = [each.offset for batch in await asyncio.gather(*batches) for each in batch]
    assert offsets == list(range(1, 601))


async def test_epochs_within_one_batch_differ(driver: RedisDriver, key: str) -> None:
    outcomes = await driver.apply([said(key), Clear(key), said(key), Clear(key), said(key, id="x")])
    epochs = {each.epoch for each in outcomes[::2]}
    assert len(epochs) == 3
    assert all(epoch.isalnum() and len(epoch) <= 16 for epoch in epochs)


async def test_scripts_that_were_flushed_are_sent_again(driver: RedisDriver, key: str) -> None:
    first = await do(driver, said(key, id="x"))
    await raw(driver, "SCRIPT", "FLUSH")
    batch: list[Operation] = [
        said(key, "2"),
        Send(key, b"\0"),
        Edit(key, b"{}", id="x"),
        Find(key, id="x"),
        said(f"{key}2"),
        said(f"{key}3"),
        Erase(key, offset=2, epoch=first.epoch),
        Topics(key, None, 10),
        Read(key, 10),
        Trim(key, 1, None),
        Clear(key),
    ]
    outcomes = await driver.apply(batch)
    assert [type(each).__name__ for each in outcomes] == [
        *("Appended", "NoneType", "Changed", "Found", "Appended", "Appended", "Changed", "TopicPage", "Log"),
        *("int", "bool"),
    ]
    assert len({outcomes[at].epoch for at in (0, 4, 5)}) == 3
    assert (await do(driver, Read(key, 1))).epoch is None


# --- topics ---


async def test_topics_are_found_by_a_prefix_that_ends_within_the_namespace(driver: RedisDriver) -> None:
    """Which no index knows: every key is looked at, a thousand at a time."""
    space = uuid.uuid4().hex
    names = [f"{space}{tail}:c:{room}" for tail in ("", "*", "a", "[b]", "é") for room in ("1", "2:c", "3")]
    await driver.apply([said(name) for name in names])
    for at in range(0, 5000, 500):  # more keys than one look takes in
        await raw(driver, "MSET", *(word for n in range(500) for word in (f"{space}:p:{at + n}", "1")))
    for limit in (1, 3, 4, 100):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await do(driver, Topics(space, cursor, limit))
            assert len(page.topics) <= limit
            found += [topic.key for topic in page.topics]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == sorted(names, key=str.encode), f"in pages of {limit}"
    assert [topic.key for topic in (await do(driver, Topics(f"{space}*", None, 9))).topics] == names[3:6]
    assert (await do(driver, Topics(f"{space}nobody", None, 9))).topics == []


# --- refusals ---


async def test_a_key_of_another_kind_is_refused_alone(driver: RedisDriver, key: str) -> None:
    await raw(driver, "SET", f"{key}2", "x")
    outcomes = await driver.apply(
        [said(key), said(f"{key}2"), Read(f"{key}2", 1), Clear(f"{key}3"), said(key)]
    )
    assert [type(each) for each in outcomes[1:3]] == [InvalidConversion, InvalidConversion]
    assert f"append '{key}2'" in str(outcomes[1])
    assert outcomes[3] is False
    assert outcomes[4].offset == 2
    assert [topic.key for topic in (await do(driver, Topics(key, None, 9))).topics] == [key]


async def test_when_memory_is_full_nothing_is_kept_or_announced_and_erasing_is_possible(
    server: RedisServer,
) -> None:
    async with opened(server.url) as driver, opened(beside(server.url)) as other:
        await driver.apply([said("n:c:room", id="x"), said("n:c:end")])
        async with following(other, "n:c:room", "n:c:new", "n:c:end") as (ear, _):
            await raw(driver, "CONFIG", "SET", "maxmemory", "1")
            for op in (said("n:c:room"), said("n:c:new"), Edit("n:c:room", b"{}", id="x")):
                with pytest.raises(StoreUnavailable) as caught:
                    await do(driver, op)
                assert caught.value.maybe_applied is False
            changed = await do(driver, Erase("n:c:room", id="x"))
            await raw(driver, "CONFIG", "SET", "maxmemory", "0")
            assert changed.entry.changed == 2
            await do(driver, said("n:c:end"))
            await ear.until(lambda: ear.reach("n:c:end") == 2, SECONDS, "the end")
            assert [(each.key, each.last) for each in ear.heard] == [("n:c:room", 2), ("n:c:end", 2)]
        log = await do(driver, Read("n:c:room", 9, changes_after=0))
        assert (log.last, [entry.payload for entry in log.entries]) == (2, [None])
        assert (await do(driver, Read("n:c:new", 9))).epoch is None


async def test_a_replica_refuses_and_nothing_was_applied(server: RedisServer) -> None:
    async with opened(server.url) as driver:
        await do(driver, said("n:c:room"))
        await asyncio.to_thread(server.command, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable) as caught:
            await do(driver, said("n:c:room"))
        assert caught.value.maybe_applied is False
        await asyncio.to_thread(server.command, "REPLICAOF", "NO", "ONE")
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    assert (await do(driver, said("n:c:room"))).offset == 2
                except StoreUnavailable:
                    continue
                break


async def test_where_announcing_is_forbidden_no_log_begins(server: RedisServer) -> None:
    await asyncio.to_thread(server.command, "ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "resetchannels")
    async with opened(server.url.replace("redis://", "redis://u:p@")) as driver:
        for op in (said("n:c:room"), Send("n:c:room", b"x")):
            with pytest.raises(StoreError):
                await do(driver, op)
        async with following(driver) as (_, subscription):
            with pytest.raises(StoreMisconfigured):
                await subscription.follow("n:c:room")
        assert await raw(driver, "DBSIZE") == 0


# --- announcements ---


@pytest.mark.parametrize("protocol", [2, 3])
async def test_announcements_carry_the_message_as_it_is_now(redis_url: str, key: str, protocol: int) -> None:
    async with (
        opened(f"{redis_url}?protocol={protocol}") as driver,
        opened(beside(redis_url)) as other,
        following(driver, key) as (ear, _),
    ):
        wide = Append(key, "événement\n", '{"m":"é\\n🦑"}'.encode(), id='"\n')
        first = await do(other, wide)
        await do(other, said(key, at=5))
        await do(other, Edit(key, b'{"e":1}', id='"\n'))
        await do(other, Erase(key, offset=2, epoch=first.epoch))
        await do(other, Edit(key, b'{"e":2}', id='"\n'))
        await ear.until(lambda: ear.reach(key) == 5, SECONDS, "five")
        assert [(each.key, each.epoch) for each in ear.heard] == [(key, first.epoch)] * 5
        assert [each.last for each in ear.heard] == [1, 2, 3, 4, 5]
        assert [each.entry for each in ear.heard] == [
            Entry(1, wide.id, wide.event, wide.payload, first.at),
            Entry(2, None, "new_message", b'{"message":"hi"}', 5),
            Entry(1, wide.id, wide.event, b'{"e":1}', first.at, 3),
            Entry(2, None, "new_message", None, 5, 4),
            Entry(1, wide.id, wide.event, b'{"e":2}', first.at, 5),
        ]


async def test_what_is_sent_arrives_byte_for_byte(redis_url: str, driver: RedisDriver, key: str) -> None:
    async with opened(beside(redis_url)) as other, following(driver, key) as (ear, _):
        datas = [b"", bytes(range(256)), b"s\r\n", b"x" * (1 << 20)]
        await other.apply([Send(key, data) for data in datas])
        await ear.until(lambda: len(ear.sends) == 4, SECONDS, "four")
        assert ear.sends == [(key, data) for data in datas]


async def test_a_driver_does_not_hear_itself(redis_url: str, driver: RedisDriver, key: str) -> None:
    async with opened(beside(redis_url)) as other, following(driver, key) as (ear, _):
        first = await do(driver, said(key, id="x"))
        await driver.apply([Edit(key, b"{}", id="x"), Send(key, b"own"), Erase(key, id="x")])
        await other.apply([said(key), Send(key, b"other's")])
        await ear.until(lambda: bool(ear.sends), SECONDS, "the other's")
        assert [(each.epoch, each.last) for each in ear.heard] == [(first.epoch, 4)]
        assert ear.sends == [(key, b"other's")]


async def test_one_topic_in_two_databases_is_two(server: RedisServer) -> None:
    async with (
        opened(server.url) as zero,
        opened(server.url[:-1] + "3") as three,
        following(zero, "n:c:room") as (ear, _),
    ):
        await three.apply([said("n:c:room"), Send("n:c:room", b"three")])
        async with opened(beside(server.url)) as other:
            await do(other, Send("n:c:room", b"zero"))
        await ear.until(lambda: bool(ear.sends), SECONDS, "zero's")
        assert ear.sends == [("n:c:room", b"zero")]
        assert ear.heard == []


async def test_an_outcome_that_was_lost_is_told_as_a_loss_and_its_announcement_is_heard(
    server: RedisServer,
) -> None:
    """A stalled server is given up, and does what it was asked when it wakes."""
    async with (
        opened(f"{server.url}?timeout=0.3") as driver,
        following(driver, "n:c:room") as (ear, _),
        opened(beside(server.url)) as other,
        following(other, "n:c:room") as (witness, _),
    ):
        first = await do(driver, said("n:c:room", "1"))
        await asyncio.to_thread(server.pause)
        with pytest.raises(StoreUnavailable) as caught:
            await do(driver, said("n:c:room", "2"))
        assert caught.value.maybe_applied is True
        await ear.until(lambda: ear.losses >= 1, SECONDS, "the loss of the outcome")
        await asyncio.to_thread(server.resume)
        await witness.until(lambda: witness.reach("n:c:room") == 2, SECONDS, "the second message")
        # The subscribing connection outlived the stall, and what is announced under the former name is
        # heard; or it did not, and that is told.
        await ear.until(
            lambda: ear.reach("n:c:room") == 2 or ear.losses >= 2, SECONDS, "the message or its loss"
        )
        log = await _again(driver, Read("n:c:room", 9))
        assert (log.epoch, log.last) == (first.epoch, 2)


async def test_who_gave_up_waiting_for_an_outcome_hears_of_it(driver: RedisDriver, key: str) -> None:
    async with following(driver, key) as (ear, _):
        driver.apply([said(key)]).cancel()
        await ear.until(lambda: ear.losses == 1, SECONDS, "the loss of the outcome")
        assert (await do(driver, Read(key, 1))).last == 1
        await do(driver, said(key))
        assert [each.last for each in ear.heard] in ([], [1])


async def _again(driver: RedisDriver, op: Operation) -> Any:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await do(driver, op)
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_after_a_restart_nothing_is_missing_and_nothing_comes_twice(protocol: int) -> None:
    """One process writes all the while, another follows and reads what it missed."""
    with RedisServer(appendonly=True, appendfsync="always") as server:
        async with (
            opened(f"{server.url}?protocol={protocol}") as driver,
            opened(beside(server.url)) as other,
            following(driver, "n:c:room") as (ear, subscription),
        ):
            sure: list[Appended] = []
            for round in range(3):
                sure += [await _again(other, said("n:c:room", f"{round}-{number}")) for number in range(40)]
                await asyncio.to_thread(server.kill)
                with pytest.raises(StoreUnavailable):
                    await subscription.follow("n:c:other")
                await asyncio.to_thread(server.start)
                await ear.until(lambda: ear.losses > round, SECONDS, "the loss")  # noqa: B023 - awaited here
            await subscription.follow("n:c:other")
            sure.append(await _again(other, said("n:c:room", "last")))
            await ear.until(lambda: ear.reach("n:c:room") == sure[-1].offset, SECONDS, "the last")
            log = await _again(driver, Read("n:c:room", 1000, changes_after=0))
        assert [entry.offset for entry in log.entries] == list(range(1, log.last + 1))
        assert {each.offset for each in sure} <= {entry.offset for entry in log.entries}
        assert len({each.offset for each in sure}) == len(sure)
        heard = [each.last for each in ear.heard]
        assert heard == sorted(set(heard)), "out of order, or twice"
        assert ear.losses == 3


# --- what it is made of ---


def test_an_announcement_is_taken_apart() -> None:
    epoch, last, entry = announced(b'["e1",3,5,null,null,"said"]\n{"a":"\n"}')
    assert (epoch, last, entry) == ("e1", 3, Entry(3, None, "said", b'{"a":"\n"}', 5))
    epoch, last, entry = announced(b'["e1",3,5,9,"x","said"]')
    assert (epoch, last, entry) == ("e1", 9, Entry(3, "x", "said", None, 5, 9))


async def test_closing_ends_every_subscription(server: RedisServer) -> None:
    async with opened(server.url) as driver:
        for _ in range(2):
            subscription = await driver.subscribe(Ear())
            await subscription.follow("n:c:room")
        await driver.close()
        assert len(asyncio.all_tasks()) == 1
        await subscription.close()
        await driver.open()
        async with following(driver, "n:c:room") as (ear, _), opened(beside(server.url)) as other:
            await do(other, said("n:c:room"))
            await ear.until(lambda: ear.reach("n:c:room") == 1, SECONDS, "the message")


async def test_a_client_that_was_passed_in_serves_and_stays_open(redis_url: str, key: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    driver = RedisDriver(client=client)
    await driver.open()
    async with following(driver, key) as (ear, _), opened(redis_url) as other:
        await do(other, said(key))
        await ear.until(lambda: ear.reach(key) == 1, SECONDS, "the message")
    await driver.close()
    assert await client.zcard(key) == 2
    await client.aclose()
    with pytest.raises(TypeError, match="pass a client"):
        RedisDriver()
    with pytest.raises(StoreMisconfigured, match="did you mean 'protocol'"):
        driver_for("redis://localhost?protokol=3")


async def test_doctor_says_what_the_server_is(driver: RedisDriver) -> None:
    findings = {each.subject: each for each in await driver.describe()}
    assert findings["version"].text.startswith("redis ")
    assert findings["clock"].level == "ok"
    assert findings["eviction"].level == "ok"
    assert "32 MiB" in findings["buffers"].text
    assert findings["durability"].level == "warning"


@pytest.mark.parametrize(
    ("policy", "level", "says"),
    [
        ("noeviction", "ok", "no topic vanishes"),
        ("volatile-ttl", "ok", "no topic vanishes"),
        ("allkeys-lru", "warning", "topics vanish"),
    ],
)
def test_doctor_says_what_full_memory_loses(policy: str, level: str, says: str) -> None:
    finding = eviction({"maxmemory-policy": policy, "maxmemory": "1000"})
    assert (finding.level, says in finding.text) == (level, True)


@pytest.mark.parametrize(
    ("limit", "level"),
    [("normal 0 0 0 pubsub 33554432 8388608 60", "ok"), ("pubsub 0 0 0", "warning"), ("", "warning")],
)
def test_doctor_says_what_a_slow_reader_costs(limit: str, level: str) -> None:
    assert buffers({"client-output-buffer-limit": limit}).level == level
