"""`ChannelClient`: a client of `Channels` for tests, without a socket.

    async with Channels("memory://", [ChatRoom]) as channels:
        async with ChannelClient(channels, user=User("ada")) as ada:
            room = await ada.join("chat_room:lobby")
            reply = await room.push("new_message", {"name": "Ada", "message": "Hello"})
            assert reply.status == "ok"
            message = await room.receive("new_message")
            assert message["message"] == "Hello"

What it says and hears goes through the protocol's own encoding, limits and
table of states; only the wire is left out. Nothing waits longer than `timeout`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any, Self

import msgspec

from holdfast.channels import Channels, User
from holdfast.channels.protocol import Frame
from holdfast.channels.socket import RESTART, Socket

__all__ = ["ChannelClient", "ClientReply", "JoinRefused", "JoinedTopic", "Received"]

_Five = tuple[str | None, str | None, str, str, Any]
_decode = msgspec.json.Decoder(_Five).decode


class ClientReply(msgspec.Struct, frozen=True):
    """The answer to a join or a push."""

    status: str
    response: Any  # a JSON value, or `bytes`


class Received(msgspec.Struct, frozen=True):
    """A message that came in."""

    event: str
    payload: Any  # a JSON object, or `bytes`


class JoinRefused(AssertionError):
    """A join was answered with an error; `reply` has it."""

    def __init__(self, topic: str, reply: ClientReply) -> None:
        super().__init__(f"join {topic!r}: {reply.status} {reply.response!r}")
        self.reply = reply


class _Wire(Socket):
    """Where the frames go that would go to the network."""

    __slots__ = ("client",)

    client: ChannelClient

    def send_all(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.client.hear(frame)

    def close(self, code: int, reason: str = "") -> None:
        if not self.closed:
            self.client.closed = code
            self.lost("shutdown" if code == RESTART else "closed")
            self.client.changed.set()

    def pause(self) -> None:
        pass  # what a test says is said already

    def resume(self) -> None:
        pass


class ChannelClient:
    """One connection to `channels`, which are open, as `user`."""

    def __init__(self, channels: Channels, *, user: User | None = None, timeout: float = 5.0) -> None:
        self._channels = channels
        self._user = user
        self.timeout = timeout
        self.closed: int | None = None  # the code with which the server ended the connection
        self.changed = asyncio.Event()
        self._refs = count(1)
        self._replies: dict[str, ClientReply] = {}
        self._topics: dict[str, JoinedTopic] = {}
        self._socket: _Wire | None = None

    async def __aenter__(self) -> Self:
        self._socket = _Wire(self._channels.hub, self._user)
        self._socket.client = self
        self._channels.hub.admit(self._socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def disconnect(self) -> None:
        """Be gone, as when a page is closed; `left` of every channel has run when this returns."""
        socket, self._socket = self._socket, None
        if socket is not None:
            stays = list(socket.topics.values())
            socket.lost()
            for joined in stays:
                await joined.over()

    async def join(self, topic: str, params: dict[str, Any] | None = None) -> JoinedTopic:
        """Join a topic; raises `JoinRefused` where the answer is an error."""
        ref = str(next(self._refs))
        room = self._topics[topic] = JoinedTopic(self, topic, ref)
        reply = await self._ask(ref, ref, topic, "phx_join", params or {})
        room.reply = reply
        if reply.status != "ok":
            del self._topics[topic]
            raise JoinRefused(topic, reply)
        room.position = reply.response.get("position")
        return room

    async def _ask(self, join_ref: str, ref: str, topic: str, event: str, payload: Any) -> ClientReply:
        self.say(join_ref, ref, topic, event, payload)
        await self.until(lambda: ref in self._replies, f"the reply to {event!r}")
        return self._replies.pop(ref)

    def say(self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any) -> None:
        """Send one frame, whatever it says; `bytes` as a binary one."""
        if self._socket is None or self._socket.closed:
            raise AssertionError(f"push {event!r}: the connection was closed with {self.closed}")
        if type(payload) is bytes:
            texts = [(each or "").encode() for each in (join_ref, ref, topic, event)]
            self._socket.receive_binary(b"".join([bytes([0, *map(len, texts)]), *texts, payload]))
        else:
            self._socket.receive(msgspec.json.encode([join_ref, ref, topic, event, payload]))

    def hear(self, frame: Frame) -> None:
        """The server sent a frame."""
        join_ref, ref, topic, event, payload = _binary(frame.body) if frame.binary else _decode(frame.body)
        if event == "phx_reply":
            if ref is not None:
                self._replies[ref] = ClientReply(payload["status"], payload["response"])
        else:
            room = self._topics.get(topic)
            if room is not None and join_ref in (None, room.join_ref):
                room.arrived(Received(event, payload))
        self.changed.set()

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something that the server does makes it true."""
        try:
            async with asyncio.timeout(self.timeout):
                while not true():
                    if self.closed is not None:
                        raise AssertionError(f"{what}: the connection was closed with {self.closed}")
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {self.timeout:g} s") from None


class JoinedTopic:
    """One topic of a client: its reply, and what came since."""

    def __init__(self, client: ChannelClient, topic: str, join_ref: str) -> None:
        self._client = client
        self.topic = topic
        self.join_ref = join_ref
        self.reply = ClientReply("", None)
        self.position: str | None = (
            None  # of the last kept message or reply: join with ``{"since": position}``
        )
        self.received: deque[Received] = deque()  # not yet taken by `receive`
        self.ended: str | None = None  # "phx_close" or "phx_error"

    def arrived(self, message: Received) -> None:
        """The server sent a message to the topic."""
        if message.event in ("phx_close", "phx_error"):
            self.ended = message.event
        else:
            self.received.append(message)

    async def push(self, event: str, payload: Any = None) -> ClientReply:
        """Push, and wait for the reply."""
        ref = str(next(self._client._refs))
        data = {} if payload is None else payload
        return await self._client._ask(self.join_ref, ref, self.topic, event, data)

    async def receive(self, event: str | None = None) -> Any:
        """The payload of the next message, of this event if one is named; those before it are passed over."""
        while True:
            what = f"{event or 'a message'} in {self.topic!r}"
            await self._client.until(lambda: bool(self.received) or self.ended is not None, what)
            if not self.received:
                raise AssertionError(f"{what}: the topic was ended with {self.ended!r}")
            message = self.received.popleft()
            if isinstance(message.payload, dict) and "_holdfast" in message.payload:
                self.position = message.payload["_holdfast"]["position"]
            if event is None or message.event == event:
                return message.payload

    async def leave(self) -> None:
        """Leave, and wait until the server has said so."""
        await self.push("phx_leave")


def _binary(body: bytes) -> _Five:
    """A binary frame of the server: a push, a reply or a broadcast."""
    kind = body[0]
    count = {0: 3, 1: 4, 2: 2}[kind]
    sizes = body[1 : 1 + count]
    at = 1 + count
    texts: list[str] = []
    for size in sizes:
        texts.append(body[at : at + size].decode())
        at += size
    data = body[at:]
    if kind == 0:
        return texts[0] or None, None, texts[1], texts[2], data
    if kind == 1:
        return (
            texts[0] or None,
            texts[1] or None,
            texts[2],
            "phx_reply",
            {"status": texts[3], "response": data},
        )
    return None, None, texts[0], texts[1], data
