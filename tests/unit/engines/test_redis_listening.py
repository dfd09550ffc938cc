"""The subscribing connection: who hears what, and what is told when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.engines.redis_lab import LOOPS as LOOPS
from tests.unit.engines.redis_lab import (
    SentinelServer,
    connected,
    fake,
    opened,
    parsed,
    replicas_of,
    with_query,
)

from holdfast import events
from holdfast.engines.redis import Ear, RedisEngine
from holdfast.errors import Closed, StoreMisconfigured, StoreUnavailable
from holdfast.testing.servers import RedisServer

DATA = bytes(range(256))


class Listener:
    """What one ear was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.losses = 0
        self._rung = asyncio.Event()

    def hear(self, channel: bytes, data: bytes) -> None:
        self.heard.append((channel, data))
        self._rung.set()

    def lose(self) -> None:
        self.losses += 1
        self._rung.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                self._rung.clear()
                await self._rung.wait()


@asynccontextmanager
async def listening(engine: RedisEngine, *channels: bytes) -> AsyncIterator[tuple[Listener, Ear]]:
    listener = Listener()
    ear = engine.listen(listener.hear, listener.lose)
    for channel in channels:
        await ear.follow(channel)
    try:
        yield listener, ear
    finally:
        await ear.close()


async def subscribers(engine: RedisEngine) -> int:
    """How many connections subscribe, as the server sees it."""
    clients: bytes = await engine.call("CLIENT", "LIST", "TYPE", "pubsub")
    return len(clients.split()) and clients.count(b"\n")


async def gone(engine: RedisEngine, channel: str) -> None:
    """Until nobody subscribes to it; an UNSUBSCRIBE takes a way of its own."""
    async with asyncio.timeout(10):
        while await subscribed(engine, channel):
            pass


async def subscribed(engine: RedisEngine, channel: str) -> int:
    return int((await engine.call("PUBSUB", "NUMSUB", channel))[1])


# --- hearing ---


@pytest.mark.parametrize("protocol", [2, 3])
async def test_an_ear_hears_what_it_follows_byte_for_byte_and_once(redis_url: str, protocol: int) -> None:
    async with (
        opened(with_query(redis_url, f"protocol={protocol}")) as engine,
        listening(engine, b"l:a", "l:é".encode()) as (one, _),
        listening(engine, b"l:a", b"l:b") as (other, _),
    ):
        for channel in ("l:a", "l:b", "l:é", "l:nobody"):
            for data in (DATA, b"", b"\r\n"):
                await engine.call("PUBLISH", channel, data)
        everything = [DATA, b"", b"\r\n"]
        await one.until(lambda: len(one.heard) >= 6)
        await other.until(lambda: len(other.heard) >= 6)
        assert one.heard == [(name, data) for name in (b"l:a", "l:é".encode()) for data in everything]
        assert other.heard == [(name, data) for name in (b"l:a", b"l:b") for data in everything]
        assert (one.losses, other.losses) == (0, 0)


async def test_all_ears_of_an_engine_share_one_connection_which_ends_with_the_last(
    server: RedisServer,
) -> None:
    async with opened(server.url) as engine:
        assert await subscribers(engine) == 0
        async with listening(engine, b"a"):
            async with listening(engine, b"a", b"b"):
                assert await subscribers(engine) == 1
            await gone(engine, "b")
            assert await subscribed(engine, "a") == 1
        async with asyncio.timeout(10):
            while await subscribers(engine):
                pass
        async with listening(engine, b"a") as (again, _):
            await engine.call("PUBLISH", "a", "x")
            await again.until(lambda: again.heard == [(b"a", b"x")])


async def test_twice_followed_is_once_heard_and_once_unfollowed(server: RedisServer) -> None:
    async with opened(server.url) as engine, listening(engine, b"end") as (listener, ear):
        await asyncio.gather(ear.follow(b"a"), ear.follow(b"a"))
        await ear.follow(b"a")
        await engine.call("PUBLISH", "a", "1")
        ear.unfollow(b"a")
        ear.unfollow(b"a")
        ear.unfollow(b"never followed")
        await gone(engine, "a")
        await engine.call("PUBLISH", "a", "2")
        await engine.call("PUBLISH", "end", "")
        await listener.until(lambda: (b"end", b"") in listener.heard)
        assert listener.heard == [(b"a", b"1"), (b"end", b"")]


async def test_what_is_followed_again_at_once_is_heard_from_then_on(server: RedisServer) -> None:
    """The confirmation that comes back first is that of the first SUBSCRIBE, which the UNSUBSCRIBE undoes."""
    async with opened(server.url) as engine, listening(engine, b"other") as (listener, ear):
        for number in range(50):
            first = asyncio.ensure_future(ear.follow(b"a"))
            await asyncio.sleep(0)
            ear.unfollow(b"a")
            await ear.follow(b"a")
            await asyncio.gather(first, return_exceptions=True)
            await engine.call("PUBLISH", "a", str(number))
            await listener.until(lambda: len(listener.heard) > number)  # noqa: B023 - awaited here
            ear.unfollow(b"a")
        assert [data for _, data in listener.heard] == [b"%d" % number for number in range(50)]


async def test_who_follows_again_waits_for_its_own_confirmation() -> None:
    second = asyncio.Event()
    subscribed = 0

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        nonlocal subscribed
        if command[0] == b"SUBSCRIBE":
            subscribed += 1
            if subscribed == 2:
                await second.wait()
            send(_confirmation(command[1]))
        elif command[0] == b"UNSUBSCRIBE":
            send(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n")

    async with fake(answer) as url, opened(url) as engine, listening(engine) as (_, ear):
        first = asyncio.ensure_future(ear.follow(b"a"))
        while engine._listening is None or engine._listening._wire is None:  # noqa: ASYNC110 - until it was asked
            await asyncio.sleep(0)
        ear.unfollow(b"a")
        again = asyncio.ensure_future(ear.follow(b"a"))
        with pytest.raises(StoreUnavailable, match="unfollowed"):
            await first
        while subscribed < 2:  # noqa: ASYNC110 - the fake server's doing
            await asyncio.sleep(0)
        await engine.call("PING")  # the first confirmation has come by now
        assert not again.done()
        second.set()
        await again


async def test_a_listener_that_fails_takes_nothing_from_the_others(server: RedisServer) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    def fail(*told: bytes) -> None:
        raise ZeroDivisionError

    async with opened(server.url) as engine:
        broken = engine.listen(fail, fail)
        await broken.follow(b"a")
        async with listening(engine, b"a") as (listener, _):
            for data in "12":
                await engine.call("PUBLISH", "a", data)
            await listener.until(lambda: len(listener.heard) == 2)
            await engine.call("CLIENT", "KILL", "TYPE", "pubsub")
            await listener.until(lambda: listener.losses == 1)
        await broken.close()
    assert [type(each["exception"]) for each in complaints] == [ZeroDivisionError] * 3


# --- losses ---


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_restart_is_told_as_a_loss_when_every_channel_is_heard_again(
    server: RedisServer, heard: list[events.Event], protocol: int
) -> None:
    names = [b"c%d" % number for number in range(200)]
    async with (
        opened(with_query(server.url, f"protocol={protocol}")) as engine,
        listening(engine, *names) as (listener, _),
        listening(engine) as (idle, _),
    ):
        await engine.call("PUBLISH", "c7", "before")
        await listener.until(lambda: len(listener.heard) == 1)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await listener.until(lambda: listener.losses > 0)
        await connected(engine)
        for name in names:
            assert await engine.call("PUBLISH", name, b"after") == 1, "told before it was heard again"
        await listener.until(lambda: len(listener.heard) >= 201)
        assert listener.heard[1:] == [(name, b"after") for name in names]
        assert (listener.losses, idle.losses) == (1, 0)
    reasons = [event.reason for event in heard if isinstance(event, events.Disconnected)]
    assert any(reason.startswith("listening: ") for reason in reasons)


async def test_who_follows_while_it_is_away_is_told_and_follows_nothing(server: RedisServer) -> None:
    async with opened(server.url) as engine, listening(engine) as (listener, ear):
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreUnavailable):
            await ear.follow(b"a")
        await asyncio.to_thread(server.start)
        await connected(engine)
        assert await subscribers(engine) == 0, "it came back for nobody"
        await ear.follow(b"b")
        assert await subscribed(engine, "a") == 0
        await engine.call("PUBLISH", "b", "1")
        await listener.until(lambda: listener.heard == [(b"b", b"1")])
        assert listener.losses == 0, "nothing was followed that could be lost"


async def test_while_it_rests_who_follows_is_told_at_once_and_others_are_heard_again(
    server: RedisServer,
) -> None:
    async with opened(server.url) as engine, listening(engine, b"a") as (listener, ear):
        await asyncio.to_thread(server.kill)
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            with pytest.raises(StoreUnavailable):
                await ear.follow(b"b")
        assert asyncio.get_running_loop().time() - began < 3
        await asyncio.to_thread(server.start)
        await listener.until(lambda: listener.losses == 1)
        await connected(engine)
        assert (await subscribed(engine, "a"), await subscribed(engine, "b")) == (1, 0)


async def test_a_stalled_server_is_noticed_though_it_owes_nothing(
    server: RedisServer, heard: list[events.Event]
) -> None:
    async with (
        opened(with_query(server.url, "timeout=0.3")) as engine,
        listening(engine, b"a") as (listener, _),
    ):
        await asyncio.to_thread(server.pause)
        async with asyncio.timeout(5):
            while not any("listening: no answer for 0.3 s" in str(event) for event in heard):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(server.resume)
        await listener.until(lambda: listener.losses == 1)
        await connected(engine)
        await engine.call("PUBLISH", "a", "after")
        await listener.until(lambda: (b"a", b"after") in listener.heard)


async def test_an_idle_connection_is_asked_and_stays(server: RedisServer) -> None:
    async with (
        opened(with_query(server.url, "timeout=0.1")) as engine,
        listening(engine, b"a") as (listener, _),
    ):
        pings = 0
        async with asyncio.timeout(10):
            while pings < 5:
                found = await engine.call("INFO", "commandstats")
                pings = int(found.partition(b"cmdstat_ping:calls=")[2].partition(b",")[0] or 0)
        assert listener.losses == 0
        assert await subscribed(engine, "a") == 1


async def test_who_reads_too_slowly_is_dropped_by_the_server_and_told(server: RedisServer) -> None:
    async with opened(server.url) as engine, listening(engine, b"a") as (listener, _):
        await engine.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
        assert engine._listening is not None
        wire = engine._listening._wire
        assert wire is not None
        assert wire._transport is not None
        wire._transport.pause_reading()
        async with asyncio.timeout(20):
            while await subscribers(engine):
                await engine.call("PUBLISH", "a", b"x" * 500_000)
        wire._transport.resume_reading()
        await listener.until(lambda: listener.losses == 1)
        await engine.call("PUBLISH", "a", "after")
        await listener.until(lambda: (b"a", b"after") in listener.heard)


async def test_a_loss_while_following_is_told_to_who_waits_for_the_confirmation() -> None:
    connections = 0

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        nonlocal connections
        connections += command == [b"HELLO"]
        if command[0] == b"SUBSCRIBE":
            if command[1] == b"dies":
                raise ConnectionAbortedError
            send(_confirmation(command[1]))

    async with fake(answer) as url, opened(url) as engine, listening(engine, b"a") as (listener, ear):
        with pytest.raises(StoreUnavailable, match="closed the connection") as caught:
            await ear.follow(b"dies")
        assert caught.value.maybe_applied is False
        await listener.until(lambda: listener.losses == 1)
        assert connections == 3
        await ear.follow(b"b")


async def test_an_answer_that_was_not_asked_for_ends_the_connection() -> None:
    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command[0] == b"SUBSCRIBE":
            send(_confirmation(command[1]) * (2 if command[1] == b"twice" else 1))

    async with fake(answer) as url, opened(url) as engine, listening(engine, b"a") as (listener, ear):
        await ear.follow(b"twice")
        await listener.until(lambda: listener.losses == 1)
        ear.unfollow(b"twice")


async def test_who_gives_up_waiting_follows_nothing() -> None:
    held = asyncio.Event()
    commands: list[list[bytes]] = []

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        commands.append(command)
        if command[0] == b"SUBSCRIBE":
            if command[1] == b"slow":
                await held.wait()
            send(_confirmation(command[1]))
        elif command[0] == b"UNSUBSCRIBE":
            send(b"*3\r\n$11\r\nunsubscribe\r\n$%d\r\n%b\r\n:0\r\n" % (len(command[1]), command[1]))

    async with fake(answer) as url, opened(url) as engine, listening(engine, b"a") as (listener, ear):
        waiting = asyncio.ensure_future(ear.follow(b"slow"))
        while [b"SUBSCRIBE", b"slow"] not in commands:  # noqa: ASYNC110 - the fake server's doing
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held.set()
        while [b"UNSUBSCRIBE", b"slow"] not in commands:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        assert ear.channels == {b"a"}
        assert listener.losses == 0


def _confirmation(channel: bytes) -> bytes:
    return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(channel), channel)


# --- rights, ends, places ---


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_channel_that_is_forbidden_is_refused_and_the_others_are_heard(
    server: RedisServer, protocol: int
) -> None:
    await asyncio.to_thread(
        server.command, "ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "resetchannels", "&mine:*"
    )
    url = server.url.replace("redis://", "redis://u:p@")
    async with (
        opened(with_query(url, f"protocol={protocol}")) as engine,
        listening(engine, b"mine:a") as (listener, ear),
    ):
        refused, allowed = await asyncio.gather(
            ear.follow(b"other"), ear.follow(b"mine:b"), return_exceptions=True
        )
        assert isinstance(refused, StoreMisconfigured)
        assert allowed is None
        with pytest.raises(StoreMisconfigured, match="follow"):
            await ear.follow(b"other")
        await engine.call("PUBLISH", "mine:b", "1")
        await listener.until(lambda: listener.heard == [(b"mine:b", b"1")])
        assert listener.losses == 0


async def test_rights_that_are_taken_away_and_given_back_are_a_loss(
    server: RedisServer, heard: list[events.Event]
) -> None:
    """Who follows already must not go deaf without a word: the connection is tried until all is heard again."""
    await asyncio.to_thread(server.command, "ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "&*")
    async with (
        opened(server.url.replace("redis://", "redis://u:p@")) as engine,
        listening(engine, b"a", b"b") as (listener, _),
    ):
        await asyncio.to_thread(server.command, "ACL", "SETUSER", "u", "resetchannels", "&b")
        async with asyncio.timeout(10):
            while not any("NOPERM" in str(event) for event in heard):  # noqa: ASYNC110 - the server's doing
                await asyncio.sleep(0.01)
        assert listener.losses == 0
        await asyncio.to_thread(server.command, "ACL", "SETUSER", "u", "allchannels")
        await listener.until(lambda: listener.losses == 1)
        await engine.call("PUBLISH", "a", "1")
        await listener.until(lambda: listener.heard == [(b"a", b"1")])


async def test_closing_tells_whoever_waits_and_leaves_nothing_behind(server: RedisServer) -> None:
    engine = RedisEngine.from_url(parsed(server.url))
    with pytest.raises(Closed):
        engine.listen(lambda channel, data: None, lambda: None)
    await engine.open()
    ear = engine.listen(lambda channel, data: None, lambda: None)
    await ear.follow(b"a")
    await asyncio.to_thread(server.pause)
    waiting = asyncio.ensure_future(ear.follow(b"b"))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(Closed):
        await waiting
    with pytest.raises(Closed):
        await ear.follow(b"c")
    ear.unfollow(b"a")
    await ear.close()
    await ear.close()
    assert len(asyncio.all_tasks()) == 1
    await asyncio.to_thread(server.resume)
    await engine.open()
    async with listening(engine, b"a") as (listener, _):
        await engine.call("PUBLISH", "a", "1")
        await listener.until(lambda: listener.heard == [(b"a", b"1")])
    await engine.close()


async def test_the_database_of_the_connections_is_known(redis_url: str) -> None:
    async with opened(redis_url[:-1] + "7") as engine:
        assert engine.database == 7


async def test_after_a_fail_over_the_new_master_is_heard() -> None:
    with RedisServer(repl_diskless_sync_delay=0) as master, RedisServer() as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(master.port))
        with SentinelServer(master.port) as sentinel:
            while f"port={replica.port}" not in replicas_of(sentinel):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster/0"
            async with opened(url) as engine, listening(engine, b"a") as (listener, _):
                await engine.call("WAIT", 1, 2000)
                await asyncio.to_thread(master.kill)
                await listener.until(lambda: listener.losses > 0)
                await connected(engine)
                await engine.call("PUBLISH", "a", "after")
                await listener.until(lambda: listener.heard == [(b"a", b"after")])


async def test_when_commands_go_elsewhere_announcements_are_heard_from_there(server: RedisServer) -> None:
    """An old master that was cut off goes on answering whoever subscribed to it."""
    with RedisServer() as other:
        async with opened(server.url) as engine, listening(engine, b"a") as (listener, _):
            engine.address._pool.connection_kwargs["port"] = other.port
            await engine.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
            await listener.until(lambda: listener.losses == 1)
            await connected(engine)
            await engine.call("PUBLISH", "a", "there")
            await listener.until(lambda: listener.heard == [(b"a", b"there")])
