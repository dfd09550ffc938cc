"""A WebSocket through plain ASGI: a task that receives, beside the one that writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from holdfast.channels.channel import User
from holdfast.channels.hub import Hub
from holdfast.channels.socket import TOO_BIG
from holdfast.channels.transports.writer import Send, Writing

__all__ = ["PlainSocket"]

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


class PlainSocket(Writing):
    """A connection that was accepted; `serve` is its life."""

    __slots__ = ("_reading", "_resumed")

    def __init__(self, hub: Hub, user: User | None, send: Send) -> None:
        super().__init__(hub, user, send)
        self._reading: asyncio.Timeout | None = None  # how the app's task is told to stop receiving
        self._resumed: asyncio.Future[None] | None = None

    async def serve(self, receive: Receive) -> None:
        """Until either side ends it."""
        try:
            try:
                async with asyncio.timeout(None) as self._reading:
                    self.hub.admit(self)
                    await self._read(receive)
            except TimeoutError:
                pass  # how `_hush` ends the reading
            finally:
                self._reading = None
                if self._hushed is not None:
                    self._hushed.set_result(None)
            if self._closing is not None:
                await asyncio.wait({self._task})
        finally:
            self._closing = self._closing or (0, "")
            self.lost()
            await self._stop()

    def _hush(self) -> None:
        # granian does not send a close while somebody receives.
        if self._reading is not None and self._hushed is None:
            self._hushed = self._loop.create_future()
            self._reading.reschedule(self._loop.time())

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
            if self._closing is not None:
                return

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = self._loop.create_future()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)
