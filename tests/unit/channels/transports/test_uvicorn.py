"""The handshake under uvicorn: what is ours goes to the raw transport, the rest to uvicorn's own protocol."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from uvicorn import Config, Server
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from holdfast.channels import Channel, Channels
from holdfast.channels.transports.uvicorn import WebSocketProtocol

HEAD = (
    "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n\r\n"
)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Room(Channel):
    topic = "room:*"


class Site:
    """An application with a socket of ours, and others of its own."""

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self.seen: list[Any] = []
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        path = scope["path"]
        if path.startswith("/socket"):
            await self.channels(scope, receive, send)
            return
        await getattr(self, path[1:])(scope, receive, send)

    async def split(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_a_header(message: Any) -> None:
            await send({**message, "headers": [(b"x", b"1\r\nevil: 2")]})

        scope["path"] = "/socket/websocket"
        await self.channels(scope, receive, with_a_header)

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(await receive())
        await send({"type": "websocket.accept", "subprotocol": "mine"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        self.seen.append(message)

    async def closes(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def teapot(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"tea"})

    async def raises(self, scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("of the application")

    async def raises_later(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise ValueError("of the application")

    async def silent(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    async def waits(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(await receive())
        self.waiting.set()
        await self.go.wait()
        self.seen.append(await receive())
        try:
            await send({"type": "websocket.accept"})
        except OSError as exc:
            self.seen.append(exc)
        self.waiting.clear()
        self.waiting.set()

    async def hasty(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        self.seen += [(await receive())["type"], await receive()]
        await send({"type": "websocket.close"})

    async def slow(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        self.waiting.set()
        await self.go.wait()
        await send({"type": "websocket.accept"})
        self.waiting.set()
        await asyncio.Event().wait()

    async def late(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)  # in which the client says something already
        scope["path"] = "/socket/websocket"
        await self.channels(scope, receive, send)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - uvicorn says nothing of it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def served(site: Site, **options: Any) -> AsyncIterator[tuple[Server, int]]:
    config = Config(
        site, port=0, ws=WebSocketProtocol, lifespan="off", log_config=None, access_log=False, **options
    )
    server = Server(config)
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Channels("memory://", [Room]) as channels:
        yield Site(channels)


async def asked(port: int, path: str, *, key: str = KEY, version: str = "13", then: bytes = b"") -> str:
    """The head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD.format(path=path, key=key, version=version).encode() + then)
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_ours_is_accepted_with_the_key_that_rfc_6455_asks_for(site: Site) -> None:
    async with served(site) as (_, port):
        answer = await asked(port, "/socket/websocket?vsn=2.0.0")
        assert answer.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        assert f"\r\nSec-WebSocket-Accept: {ACCEPT}\r\n" in answer
        assert "\r\nserver: uvicorn\r\n" in answer


async def test_ours_talks_and_shows_no_token_in_the_log(site: Site, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with served(site) as (server, port):
        url = f"ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0&token=secret"
        async with connect(url, subprotocols=["phoenix"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "phoenix"
            await client.send('[null,"1","phoenix","heartbeat",{}]')
            assert "ok" in str(await client.recv())
            assert [type(each).__name__ for each in server.server_state.connections] == ["RawSocket"]
    assert '"WebSocket /socket/websocket" [accepted]' in caplog.text
    assert "secret" not in caplog.text


async def test_what_a_client_says_before_it_is_let_in_is_heard_afterwards(site: Site) -> None:
    async with served(site) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.format(path="/late?vsn=2.0.0", key=KEY, version="13").encode())
        await asyncio.sleep(0.02)
        said = b'[null,"7","phoenix","heartbeat",{}]'
        writer.write(bytes((0x81, 0x80 | len(said))) + b"\0\0\0\0" + said)
        await reader.readuntil(b"\r\n\r\n")
        assert b'"7"' in await reader.readuntil(b"}}]")
        writer.close()


async def test_another_endpoint_is_served_by_uvicorn_itself(site: Site) -> None:
    async with (
        served(site) as (_, port),
        connect(f"ws://127.0.0.1:{port}/echo", subprotocols=["mine"]) as client,  # type: ignore[list-item]
    ):
        assert client.subprotocol == "mine"
        for _ in range(3):
            await client.send("hello")
            assert await client.recv() == "hello"
    assert [each["type"] for each in site.seen] == ["websocket.connect", "websocket.disconnect"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("closes", 403), ("teapot", 418), ("raises", 500), ("silent", 500), ("socket/websocket", 403)],
)
async def test_who_is_not_let_in_is_told(site: Site, path: str, status: int) -> None:
    async with served(site) as (server, port):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}/{path}")
        assert refused.value.response.status_code == status
        await until(lambda: not (server.server_state.connections or server.server_state.tasks))


async def test_what_another_endpoint_raises_is_uvicorns_to_tell(site: Site, caplog: Any) -> None:
    async with served(site) as (_, port), connect(f"ws://127.0.0.1:{port}/raises_later") as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize(
    ("key", "version", "status"),
    [(KEY, "12", 400), ("short", "13", 400), ("!" * 24, "13", 400), ("A" * 24, "13", 400)],
)
async def test_a_handshake_that_is_none_is_refused(site: Site, key: str, version: str, status: int) -> None:
    async with served(site) as (_, port):
        answer = await asked(port, "/socket/websocket?vsn=2.0.0", key=key, version=version)
        assert answer.startswith(f"HTTP/1.1 {status} ")


async def test_a_header_cannot_bring_another_one_along(site: Site) -> None:
    async with served(site) as (_, port):
        answer = await asked(port, "/split?vsn=2.0.0")
        assert answer.startswith("HTTP/1.1 500 ")
        assert "evil" not in answer


@pytest.mark.parametrize(
    "header", ["Cookie: " + "a" * 9000, "Content-Length: 5", "\r\n".join(f"x-{at}: 1" for at in range(140))]
)
@pytest.mark.parametrize("path", ["/echo", "/socket/websocket"])
async def test_what_uvicorns_parser_does_not_read_is_answered_and_leaves_no_task(
    site: Site, header: str, path: str
) -> None:
    async with served(site) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = HEAD.format(path=path, key=KEY, version="13")
        writer.write(f"{head[:-2]}{header}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 400 ")
        writer.close()
        await until(lambda: not (server.server_state.connections or server.server_state.tasks))


@pytest.mark.parametrize("early", [b"\x88\x82\0\0\0\0\x03\xe8", b"\xff\xff\xff\xff"])
async def test_what_is_said_too_early_and_ends_it_leaves_no_task(
    site: Site, early: bytes, caplog: Any
) -> None:
    async with served(site) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.format(path="/waits", key=KEY, version="13").encode())
        await site.waiting.wait()
        writer.write(early)
        await asyncio.sleep(0.02)
        site.go.set()
        await asyncio.wait_for(reader.read(), 5)
        await until(lambda: not (server.server_state.connections or server.server_state.tasks))
        assert site.seen[1]["type"] == "websocket.disconnect"
        assert "Exception" not in caplog.text
        writer.close()


async def test_who_spoke_early_is_not_read_without_bound(site: Site) -> None:
    async with served(site, timeout_graceful_shutdown=1) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.format(path="/slow", key=KEY, version="13").encode())
        await site.waiting.wait()
        site.waiting.clear()
        writer.write(b"\x81\x81\0\0\0\0a")
        await asyncio.sleep(0.02)
        site.go.set()
        await site.waiting.wait()
        (stock,) = cast("set[Any]", server.server_state.connections)
        for _ in range(20):
            writer.write(b"\x81\x81\0\0\0\0b")
            await asyncio.sleep(0.002)
        assert stock.queue.qsize() == 1
        writer.close()


async def test_who_accepts_before_it_asks_is_told_once_that_somebody_connected(site: Site) -> None:
    async with served(site) as (_, port), connect(f"ws://127.0.0.1:{port}/hasty") as client:
        await client.send("hello")
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert site.seen == ["websocket.connect", {"type": "websocket.receive", "text": "hello"}]


async def test_who_leaves_before_the_answer_is_known_to_have_left(site: Site) -> None:
    async with served(site) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.format(path="/waits", key=KEY, version="13").encode())
        await site.waiting.wait()
        writer.close()
        await until(lambda: not server.server_state.connections)
        site.waiting.clear()
        site.go.set()
        await site.waiting.wait()
        connected, disconnected, gone = site.seen
        assert (connected["type"], disconnected["type"]) == ("websocket.connect", "websocket.disconnect")
        assert isinstance(gone, OSError)
        assert await reader.read() == b""


async def test_a_shutdown_does_not_wait_for_an_answer_that_does_not_come(site: Site) -> None:
    async with served(site, timeout_graceful_shutdown=1) as (server, port):
        asking = asyncio.create_task(asked(port, "/waits"))
        await site.waiting.wait()
        server.should_exit = True
        assert (await asking).startswith("HTTP/1.1 500 ")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="loops have no eager tasks")
async def test_ours_talks_where_tasks_begin_at_once(site: Site) -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
    async with (
        served(site) as (_, port),
        connect(f"ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0") as client,
    ):
        await client.send('[null,"1","phoenix","heartbeat",{}]')
        assert "ok" in str(await asyncio.wait_for(client.recv(), 5))
