"""Connections that end: what each caller is told, and how the engine comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from tests.unit.engines.redis_lab import LOOPS as LOOPS
from tests.unit.engines.redis_lab import connected, fake, opened, parsed, with_query

from holdfast import events
from holdfast.engines.redis import RedisEngine, Script, pack
from holdfast.errors import Closed, StoreUnavailable
from holdfast.testing.servers import RedisServer

# --- losses ---


async def test_what_was_on_the_wire_may_have_been_applied_and_what_was_held_was_not(
    server: RedisServer, heard: list[events.Event]
) -> None:
    async with opened(with_query(server.url, "timeout=10")) as engine:
        await asyncio.to_thread(server.pause)
        # More than the sockets take: the first are on their way, the last are held.
        sent = [engine.send(pack(("APPEND", "k", b"x" * 200_000)), 1) for _ in range(100)]
        held = engine.send(pack(("SET", "after", "1")), 1)
        os.kill(server.pid, signal.SIGKILL)  # while it is stopped: it answers nothing more
        await asyncio.to_thread(server.kill)
        answers = await asyncio.gather(*sent, held, return_exceptions=True)
        fates = [None if not isinstance(each, StoreUnavailable) else each.maybe_applied for each in answers]
        lost, kept = fates.count(True), fates.count(False)
        assert lost
        assert kept
        assert fates == [True] * lost + [False] * kept, "a batch overtook another"
        assert len({id(answer) for answer in answers}) == 101
        await asyncio.to_thread(server.start)
        await connected(engine)
        assert await engine.call("EXISTS", "after", "k") == 0
    kinds = [type(event) for event in heard]
    assert kinds[:3] == [events.Connected, events.Disconnected, events.Connected]


async def test_what_waits_for_a_connection_is_sent_once_it_is_there(heard: list[events.Event]) -> None:
    """The server goes away and is back before the first attempt: nothing that waited is refused."""
    connections = 0

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        nonlocal connections
        if command == [b"HELLO"]:
            connections += 1
        if command == [b"LEAVE"]:
            raise ConnectionAbortedError

    async with fake(answer) as url, opened(url) as engine:
        first = engine.send(pack(("LEAVE",)), 1)
        with pytest.raises(StoreUnavailable):
            await first
        sent = [engine.send(pack(("ECHO", str(number))), 1) for number in range(5)]
        assert await asyncio.gather(*sent) == [[str(number).encode()] for number in range(5)]
        assert connections == 2


async def test_while_it_rests_between_attempts_commands_fail_at_once(server: RedisServer) -> None:
    async with opened(server.url) as engine:
        await asyncio.to_thread(server.kill)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await engine.call("SET", "k", "1")
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            with pytest.raises(StoreUnavailable) as caught:
                await engine.call("SET", "k", "1")
            assert caught.value.maybe_applied is False
        assert asyncio.get_running_loop().time() - began < 2
        await asyncio.to_thread(server.start)
        await connected(engine)


async def test_a_server_that_accepts_and_leaves_is_not_stormed() -> None:
    connections = 0

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        nonlocal connections
        connections += command == [b"HELLO"]
        if command == [b"SET", b"k", b"1"]:
            raise ConnectionAbortedError

    async with fake(answer) as url, opened(url) as engine:
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began < 0.5:
            with pytest.raises(StoreUnavailable):
                await engine.call("SET", "k", "1")
            await asyncio.sleep(0)
    assert 2 <= connections <= 8


async def test_a_stalled_server_is_given_up_after_the_timeout_and_found_again(server: RedisServer) -> None:
    async with opened(with_query(server.url, "timeout=0.3")) as engine:
        await asyncio.to_thread(server.pause)
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match=r"no answer for 0\.3 s") as caught:
            await engine.call("INCR", "n")
        assert caught.value.maybe_applied is True
        assert 0.3 <= asyncio.get_running_loop().time() - began < 2
        with pytest.raises(StoreUnavailable):
            await engine.ping()
        await asyncio.to_thread(server.resume)
        await connected(engine)
        assert int(await engine.call("INCR", "n")) <= 2


async def test_a_slow_answer_that_keeps_coming_is_no_stall() -> None:
    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command == [b"SLOW"]:
            send(b"$10\r\n")
            for _ in range(10):
                await asyncio.sleep(0.06)
                send(b"x")
            send(b"\r\n")

    async with fake(answer) as url, opened(with_query(url, "timeout=0.2")) as engine:
        assert await engine.call("SLOW") == b"x" * 10


async def test_a_reply_nobody_asked_for_ends_the_connection() -> None:
    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command == [b"TWICE"]:
            send(b"+one\r\n+two\r\n")

    async with fake(answer) as url, opened(url) as engine:
        assert await engine.call("TWICE") == b"one"
        with pytest.raises(StoreUnavailable):
            await asyncio.gather(*(engine.call("ECHO", "x") for _ in range(3)), engine.call("TWICE"))
            await engine.call("ECHO", "x")
        await connected(engine)
        assert await engine.call("ECHO", "y") == b"y"


async def test_what_is_not_the_protocol_ends_the_connection() -> None:
    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command == [b"HTTP"]:
            send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with fake(answer) as url, opened(url) as engine:
        with pytest.raises(StoreUnavailable, match="not the protocol of Redis") as caught:
            await engine.call("HTTP")
        assert caught.value.maybe_applied is True
        await connected(engine)


async def test_closing_settles_whoever_waits_and_twice_is_once(server: RedisServer) -> None:
    engine = RedisEngine.from_url(parsed(server.url))
    await engine.open()
    await asyncio.to_thread(server.pause)
    flying = engine.send(pack(("SET", "k", "1")), 1)
    await engine.close()
    await engine.close()
    with pytest.raises(StoreUnavailable) as caught:
        await flying
    assert caught.value.maybe_applied is True
    with pytest.raises(Closed):
        await engine.call("PING")
    assert len(asyncio.all_tasks()) == 1


async def test_closing_while_it_reconnects_settles_whoever_waits() -> None:
    greeted = 0

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        nonlocal greeted
        if command == [b"HELLO"]:
            greeted += 1
            if greeted == 2:
                await asyncio.Event().wait()
        if command == [b"LEAVE"]:
            raise ConnectionAbortedError

    async with fake(answer) as url:
        engine = RedisEngine.from_url(parsed(url))
        await engine.open()
        with pytest.raises(StoreUnavailable):
            await engine.call("LEAVE")
        waiting = engine.send(pack(("SET", "k", "1")), 1)
        async with asyncio.timeout(5):
            while greeted < 2:  # noqa: ASYNC110 - the fake server's doing
                await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(Closed):
            await waiting


async def test_back_pressure_holds_what_the_socket_does_not_take(server: RedisServer) -> None:
    async with opened(server.url) as engine:
        await asyncio.to_thread(server.pause)
        sent = [engine.send(pack(("APPEND", "k", b"x" * 100_000)), 1) for _ in range(200)]
        assert engine._waiting, "everything went to the transport"
        given_up = engine.send(pack(("SET", "never", "1")), 1)
        given_up.cancel()
        await asyncio.to_thread(server.resume)
        answers = await asyncio.gather(*sent)
        assert [length for (length,) in answers] == [100_000 * number for number in range(1, 201)]
        assert await engine.call("EXISTS", "never") == 0, "sent although it was given up before it left"


async def test_a_server_that_still_loads_is_left_and_found_again() -> None:
    loading = True

    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if loading and command[0] in (b"SCRIPT", b"ECHO"):
            send(b"-LOADING Redis is loading the dataset in memory\r\n")

    async with fake(answer) as url, opened(url) as engine:
        with pytest.raises(StoreUnavailable, match="LOADING"):
            await engine.load(Script.of("return 1"))
        with pytest.raises(StoreUnavailable, match="LOADING") as caught:
            await engine.call("ECHO", "x")
        assert caught.value.maybe_applied is False
        loading = False
        await connected(engine)
        assert await engine.call("ECHO", "x") == b"x"


async def test_commands_before_open_are_refused() -> None:
    engine = RedisEngine.from_url(parsed("redis://localhost"))
    with pytest.raises(Closed, match="not open"):
        await engine.call("PING")
    with pytest.raises(Closed):
        await engine.ping()
