"""A connection whose frames a test reads one by one, as they would go to the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from holdfast.channels import Channels, User
from holdfast.channels.protocol import Frame
from holdfast.channels.socket import RESTART, Socket


class Line(Socket):
    """`frames` are what the server sent: lists of five, or bytes of a binary frame."""

    __slots__ = ("_paused", "code", "frames", "news")

    def __init__(self, channels: Channels, user: str | User | None = None) -> None:
        super().__init__(channels.hub, User(user) if isinstance(user, str) else user)
        self.frames: list[Any] = []
        self.news = asyncio.Event()
        self.code: int | None = None
        self._paused = False
        channels.hub.admit(self)

    # --- as a transport ---

    def send_all(self, frames: list[Frame]) -> None:
        self.frames += [frame.body if frame.binary else json.loads(frame.text) for frame in frames]
        self.news.set()

    def close(self, code: int, reason: str = "") -> None:
        if self.code is None:
            self.code = code
            self.lost("shutdown" if code == RESTART else "closed")
            self.news.set()

    def pause(self) -> None:
        assert not self._paused
        self._paused = True

    def resume(self) -> None:
        assert self._paused
        self._paused = False
        self.news.set()

    # --- for tests ---

    def paused(self) -> bool:
        """Whether nothing is read from it."""
        return self._paused

    def say(self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any = None) -> None:
        self.receive(json.dumps([join_ref, ref, topic, event, {} if payload is None else payload]).encode())

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def next(self) -> Any:
        """The next frame."""
        await self.until(lambda: bool(self.frames))
        return self.frames.pop(0)

    async def ask(self, *said: Any) -> Any:
        """Say it, and the next frame."""
        self.say(*said)
        return await self.next()

    async def silent(self) -> list[Any]:
        """What came, once everything that can happen has happened: a heartbeat is answered behind it."""
        await turns()
        found, self.frames = self.frames, []
        return found


async def turns(count: int = 30) -> None:
    """Whatever needs only the loop to go round has been done."""
    for _ in range(count):
        await asyncio.sleep(0)


def ok(join_ref: str | None, ref: str | None, topic: str, response: Any = None) -> list[Any]:
    said = {"status": "ok", "response": {} if response is None else response}
    return [join_ref, ref, topic, "phx_reply", said]


def error(join_ref: str | None, ref: str | None, topic: str, reason: str) -> list[Any]:
    return [join_ref, ref, topic, "phx_reply", {"status": "error", "response": {"reason": reason}}]
