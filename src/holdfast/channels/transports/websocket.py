"""A WebSocket through plain ASGI: a task that receives, and a writer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from holdfast import events
from holdfast.channels.channel import User
from holdfast.channels.hub import Hub
from holdfast.channels.protocol import Frame
from holdfast.channels.socket import TOO_BIG, TOO_SLOW, Socket
from holdfast.channels.transports.writer import Send, Writer

__all__ = ["PlainSocket"]

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


class PlainSocket(Socket):
    """A connection that was accepted; `serve` is its life."""

    __slots__ = ("_closing", "_reader", "_resumed", "_writer")

    def __init__(self, hub: Hub, user: User | None, send: Send) -> None:
        super().__init__(hub, user)
        self._closing = False
        self._reader: asyncio.Task[None]
        self._resumed: asyncio.Future[None] | None = None
        self._writer = Writer(send, max_bytes=hub.limits.unread, stalled=self._stalled, gone=self._gone)

    async def serve(self, receive: Receive) -> None:
        """Until either side ends it."""
        self._reader = reader = asyncio.create_task(self._read(receive), name="holdfast channels reader")
        writer = self._writer.task
        self.hub.admit(self)
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if self._closing:
                await asyncio.wait({writer})
        finally:
            self._closing = True
            self.lost()
            reader.cancel()
            await asyncio.wait({reader})
            await self._writer.end()
        if not reader.cancelled():
            reader.result()  # raises what must not have been raised, for the server to log

    async def _read(self, receive: Receive) -> None:
        limit = self.hub.limits.frame
        while True:
            try:
                message = await receive()
            except Exception:  # noqa: BLE001 - every server has its own for a client that is gone
                return
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            if text is not None:
                if len(text) > limit or (4 * len(text) > limit and len(text.encode()) > limit):
                    self.close(TOO_BIG, "frame too big")
                else:
                    self.receive(text)
            else:
                data = message.get("bytes") or b""
                if len(data) > limit:
                    self.close(TOO_BIG, "frame too big")
                else:
                    self.receive_binary(data)
            while self._resumed is not None:
                await self._resumed

    # --- `Socket` ---

    def send_all(self, frames: list[Frame]) -> None:
        self._writer.send(frames)

    def close(self, code: int, reason: str = "") -> None:
        self._end(code, reason)

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    @property
    def unread(self) -> int:
        return self._writer.unread

    # --- its end ---

    def _end(self, code: int, reason: str, *, drop: bool = False) -> None:
        if self._closing:
            return
        self._closing = True
        # granian does not send a close while somebody receives.
        self._reader.cancel()
        self._writer.close(code, reason, after=self._reader, drop=drop)
        # Not now: a room may be in the midst of handing out frames to its members.
        asyncio.get_running_loop().call_soon(self.lost)

    def _stalled(self, unread: int) -> None:
        if self._closing:
            return
        self.hub.counts.dropped += 1
        if events.listeners:
            events.publish(events.ReaderDropped(unread))
        self._end(TOO_SLOW, "too slow", drop=True)

    def _gone(self) -> None:
        self._closing = True
        self._writer.task.cancel()
        asyncio.get_running_loop().call_soon(self.lost)
