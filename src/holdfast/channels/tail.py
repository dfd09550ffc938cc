"""A topic as seen from inside the process: its messages as they come, with no socket.

It is a member like any other, welcomed like any other, so that what it gets has
no gap and nothing twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.channels.joined import Joined
from holdfast.channels.protocol import Frame
from holdfast.channels.room import Marks
from holdfast.channels.socket import TOO_SLOW, Socket
from holdfast.channels.welcome import welcome
from holdfast.errors import Closed, HistoryLost, Overloaded

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub
    from holdfast.channels.routing import Route

__all__ = ["Heard", "tail"]

SPARE: Final = 100
"""Messages that a caller may be behind, at least."""


class Heard(msgspec.Struct, frozen=True):
    """A message as members get it."""

    event: str  # its own, or "message_edited", "message_removed"
    payload: Any  # a JSON object without its marks, or `bytes`
    id: str | None = None  # of a kept message
    position: str | None = None
    at: float | None = None  # seconds since 1970 when it was kept


_decode = msgspec.json.Decoder(tuple[str | None, str | None, str, str, msgspec.Raw]).decode


class _Listener(Socket):
    """Takes the frames that would go to a client."""

    __slots__ = ("arrived", "code", "frames")

    transport = "inside"
    idles = False

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub, None)
        self.frames: deque[Frame] = deque()
        self.arrived = asyncio.Event()
        self.code: int | None = None

    def send_all(self, frames: list[Frame]) -> None:
        if self.code is not None:
            return
        self.frames.extend(frames)
        # Twice what may be missed: all of that comes at once where it begins with a position.
        if len(self.frames) > 2 * self.hub.limits.missed + SPARE:
            self.close(TOO_SLOW)
        self.arrived.set()

    def close(self, code: int, reason: str = "") -> None:
        if self.code is not None:
            return
        self.code = code
        self.arrived.set()
        # Not now: a room may be in the midst of handing out frames to its members.
        asyncio.get_running_loop().call_soon(self.lost)


async def tail(hub: Hub, route: Route, topic: str, since: str | None) -> AsyncIterator[Heard]:
    """The last `history` messages, or all since a position; then what comes, until the caller stops.

    Raises:
        HistoryLost: what came after `since`, or while the store was away, is no longer all there.
        Overloaded: the caller was slower than the topic.
        Closed: the process stops.
    """
    listener = _Listener(hub)
    joined = Joined(listener, route, topic, None)
    listener.topics[topic] = joined
    hub.admit(listener)
    try:
        room = await hub.enter(joined)
        await welcome(hub, joined, room, None, b"{}", since)
        while True:
            while listener.frames:
                heard = _heard(listener.frames.popleft(), topic)
                if heard is not None:
                    yield heard
            if listener.code is not None:
                if listener.code == TOO_SLOW:
                    raise Overloaded(f"tail {topic!r}: more came than was taken")
                raise Closed(f"tail {topic!r}: closed")
            listener.arrived.clear()
            await listener.arrived.wait()
    finally:
        listener.lost()


def _heard(frame: Frame, topic: str) -> Heard | None:
    if frame.binary:  # a broadcast: nobody pushes or replies to it
        start = 3 + frame.body[1]
        stop = start + frame.body[2]
        return Heard(frame.body[start:stop].decode(), frame.body[stop:])
    *_, event, raw = _decode(frame.body)
    payload = msgspec.json.decode(raw)
    if event == "phx_reply":
        if payload["response"].get("reason") == "history_lost":
            raise HistoryLost(f"tail {topic!r}: what came after that position is no longer all there")
        return None
    if event == "phx_error":
        raise HistoryLost(f"tail {topic!r}: some of what came meanwhile is no longer there")
    if event.startswith(("phx_", "presence_")):
        return None
    marks = payload.pop("_holdfast", None)
    if marks is None:
        return Heard(event, payload)
    known = msgspec.convert(marks, Marks)
    return Heard(event, payload, known.id, known.position, None if known.at is None else known.at / 1000)
