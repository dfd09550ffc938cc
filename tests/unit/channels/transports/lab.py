"""An ASGI server that is no more than its messages, and rooms to talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from holdfast.channels import Channel, Channels, Refuse, event
from holdfast.channels.transports.asgi import endpoint

SECONDS = 5.0
QUERY = "vsn=2.0.0"


class Room(Channel):
    topic = "room:*"
    history = 5

    async def join(self, params: dict[str, Any]) -> Any:
        if params.get("refuse"):
            raise Refuse({"reason": "not you"})
        return {"welcome": True}

    @event("say")
    async def say(self, message: dict[str, Any]) -> None:
        await self.broadcast("said", message)

    @event("whisper")
    async def whisper(self, message: dict[str, Any]) -> None:
        await self.broadcast("whispered", message, keep=False)

    @event("bytes")
    async def bytes(self, data: bytes) -> Any:
        await self.push("pushed", data)
        await self.broadcast("shown", data, keep=False)
        return data[::-1]


class Wire:
    """The server's side of one WebSocket: `sent` is what the app sent.

    With `holds`, `send` takes a message only when `let(n)` allows it.
    """

    def __init__(self, *, holds: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self.holds = holds
        self.receiving = 0  # how often the app asked for a message
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._allowed = asyncio.Semaphore(0)
        self._more = asyncio.Condition()

    async def receive(self) -> Any:
        self.receiving += 1
        found = await self._inbox.get()
        if isinstance(found, BaseException):
            raise found
        return found

    async def send(self, message: Any) -> None:
        if self.holds:
            await self._allowed.acquire()
        self.sent.append(message)
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._more:
            self._more.notify_all()

    def let(self, count: int) -> None:
        for _ in range(count):
            self._allowed.release()

    def put(self, message: Any) -> None:
        self._inbox.put_nowait(message)

    def text(self, text: str) -> None:
        self.put({"type": "websocket.receive", "text": text})

    def data(self, data: bytes) -> None:
        self.put({"type": "websocket.receive", "bytes": data})

    def gone(self) -> None:
        self.put({"type": "websocket.disconnect", "code": 1006})

    async def until(self, is_so: Callable[[], object]) -> None:
        """Until it is so; looked at after each message that the app sends."""
        async with asyncio.timeout(SECONDS), self._more:
            await self._more.wait_for(is_so)

    async def got(self, count: int) -> list[dict[str, Any]]:
        await self.until(lambda: len(self.sent) >= count)
        return self.sent

    @property
    def frames(self) -> list[Any]:
        return [message.get("text") or message["bytes"] for message in self.sent if "send" in message["type"]]

    @property
    def closes(self) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["type"] == "websocket.close"]


def scope_of(
    kind: str,
    path: str,
    query: str = QUERY,
    headers: Iterable[tuple[str, str]] = (),
    **more: Any,
) -> dict[str, Any]:
    given = dict(headers)
    given.setdefault("host", "alice.example")
    return {
        "type": kind,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in given.items()],
        "client": ("192.0.2.1", 5000),
        "extensions": {"websocket.http.response": {}},
        **more,
    }


class Connection:
    """A WebSocket to the endpoint of `channels`; ended by `async with`."""

    def __init__(self, channels: Channels, *, wire: Wire | None = None, **scope: Any) -> None:
        self.wire = wire or Wire()
        self.wire.put({"type": "websocket.connect"})
        self._scope = scope_of("websocket", scope.pop("path", "/socket/websocket"), **scope)
        self._app: Callable[..., Awaitable[None]] = endpoint(channels)

    async def __aenter__(self) -> Wire:
        self.task = asyncio.ensure_future(self._app(self._scope, self.wire.receive, self.wire.send))
        return self.wire

    async def __aexit__(self, *_: object) -> None:
        self.wire.holds = False
        self.wire.let(1000)
        self.wire.gone()
        async with asyncio.timeout(SECONDS):
            await self.task


async def joined(wire: Wire, topic: str = "room:a", ref: str = "1") -> None:
    """Join, and have the reply."""
    count = len(wire.sent)
    wire.text(f'["{ref}","{ref}","{topic}","phx_join",{{}}]')
    await wire.got(count + 1 + (count == 0))


class Answer(msgspec.Struct):
    http: int
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        found: int = self.said["status"]
        return found

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


class Browser:
    """A long-poll client of an ASGI app: each call is one HTTP request."""

    def __init__(self, app: Callable[..., Awaitable[None]], path: str = "/socket/longpoll") -> None:
        self._app = app
        self._path = path
        self.token: str | None = None
        self.leave: Callable[[], None] = lambda: None  # ends the request under way from the client's side

    async def ask(
        self, method: str, query: str = QUERY, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        given = (headers or {}).items()
        scope = scope_of("http", self._path, query, given, method=method)
        wire = Wire()
        wire.put({"type": "http.request", "body": body, "more_body": False})
        self.leave = lambda: wire.put({"type": "http.disconnect"})
        async with asyncio.timeout(SECONDS):
            await self._app(scope, wire.receive, wire.send)
        if not wire.sent:
            return Answer(0, {}, b"")
        start, end = wire.sent
        found = {name.decode(): text.decode() for name, text in start["headers"]}
        return Answer(start["status"], found, end["body"])

    async def get(self, **more: Any) -> Answer:
        answer = await self.ask("GET", self._query, **more)
        if answer.body and answer.said.get("token"):
            self.token = answer.said["token"]
        return answer

    async def post(self, *lines: str | bytes, kind: str = "application/x-ndjson") -> Answer:
        body = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
        return await self.ask("POST", self._query, {"content-type": kind}, body)

    @property
    def _query(self) -> str:
        return f"{QUERY}&token={self.token}" if self.token else f"{QUERY}&"

    async def hear(self, count: int) -> list[Any]:
        """So many messages, by as many polls as it takes."""
        found: list[Any] = []
        while len(found) < count:
            answer = await self.get()
            assert answer.status in (200, 204), answer
            found += map(msgspec.json.decode, answer.said["messages"])
        return found
