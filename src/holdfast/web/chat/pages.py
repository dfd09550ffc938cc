"""The chat's two pages: which rooms there are, and one of them, which a script fills."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.channels import Channels
from holdfast.web.chat.authors import Authors
from holdfast.web.chat.room import ChatRoom
from holdfast.web.dashboard.pages import Pages
from holdfast.web.problems import Problem

__all__ = ["ChatPages", "ago_words"]

PREFIX: Final = ChatRoom.topic.removesuffix("*")
LONGEST: Final = 255 - len(PREFIX)
"""Bytes of a room's name: a topic has at most 255."""
LOOKED_AT: Final = 1_000
"""Rooms that the list is chosen from: whoever reaches the server may open any number of them."""
LISTED: Final = 100


class RoomRow(msgspec.Struct, frozen=True):
    """A line of the list."""

    name: str
    at: float | None  # of its latest message; None: nothing is said yet
    ago: str
    here: int


class ChatPages:
    """`/chat` and `/chat/<room>`; neither needs a token."""

    def __init__(self, channels: Channels, authors: Authors) -> None:
        self._channels = channels
        self._authors = authors
        self._pages = Pages(chat=True)

    async def rooms(self, request: Request) -> Response:
        """The rooms with the latest message first; the form leads to one by its name."""
        asked = request.query_params.get("room")
        if asked is None:
            return self._pages.render(request, "rooms.html", rows=await self._rows(), asked="", error="")
        name = " ".join(asked.split())
        if _is_room(name):
            return self._pages.redirect(request, f"/chat/{quote(name, safe='')}")
        error = "A room's name has 1 to 60 letters or so, and is not made of dots alone."
        rows = await self._rows()
        return self._pages.render(request, "rooms.html", status=400, rows=rows, asked=asked, error=error)

    async def room(self, request: Request) -> Response:
        """The page of a room, whether anybody was ever there or not."""
        name = request.path_params["room"]
        if not _is_room(name):
            raise Problem("not-found")
        response = self._pages.render(request, "room.html", room=name, topic=PREFIX + name)
        await self._authors.ensure(request, response)
        return response

    async def _rows(self) -> list[RoomRow]:
        latest: dict[str, float | None] = {
            room.topic: None for room in self._channels.rooms() if room.members and _is_chat(room.topic)
        }
        looked_at = 0
        async for topic in self._channels.topics(PREFIX):
            latest[topic.topic] = topic.at
            looked_at += 1
            if looked_at == LOOKED_AT:
                break
        now = time.time()
        # Who is in a room where nothing was said yet is about to say it: those come first.
        order = sorted(latest.items(), key=lambda each: now if each[1] is None else each[1], reverse=True)
        return [
            RoomRow(
                topic.removeprefix(PREFIX),
                at,
                "nothing said yet" if at is None else ago_words(now - at),
                len(self._channels.presence.list(topic)),
            )
            for topic, at in order[:LISTED]
            if _is_room(topic.removeprefix(PREFIX))
        ]


def ago_words(seconds: float) -> str:
    """How long ago, in one unit.

    >>> ago_words(12), ago_words(150), ago_words(7_300), ago_words(90_000)
    ('just now', '2 min ago', '2 h ago', '1 day ago')
    """
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h ago"
    days = int(seconds // 86400)
    return "1 day ago" if days == 1 else f"{days:,} days ago"


def _is_chat(topic: str) -> bool:
    return topic.startswith(PREFIX)


def _is_room(name: str) -> bool:
    """Whether it can be a room's name and a part of an address: a browser resolves `.` and `..` before it asks."""
    return bool(name.strip()) and len(name.encode()) <= LONGEST and name.strip(".") != ""
