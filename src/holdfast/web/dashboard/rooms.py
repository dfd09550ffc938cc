"""The rooms: topics with a history, a page at a time, and those that are alive and keep none."""

from __future__ import annotations

import os
from typing import Final

import msgspec
from starlette.responses import Response

from holdfast.channels import Channels
from holdfast.settings import Settings
from holdfast.web.cursors import Cursors
from holdfast.web.dashboard.forms import escaped
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.pace import Pace

__all__ = ["Rooms"]

PAGE_TOPICS: Final = 50
EMPTY_PAGES: Final = 20
MOST_UNKEPT: Final = 50


class TopicRow(msgspec.Struct, frozen=True):
    """One line of the list."""

    topic: str
    messages: int | None  # None: it keeps none
    at: float | None
    members: int
    pace: float | None  # messages a second; None: not known yet


class Rooms:
    """`/rooms`."""

    def __init__(self, channels: Channels, cursors: Cursors, pages: Pages, settings: Settings) -> None:
        self._channels = channels
        self._cursors = cursors
        self._pages = pages
        self._settings = settings
        self._pace = Pace()

    async def show(self, visit: Visit) -> Response:
        query = visit.request.query_params
        prefix, cursor = query.get("prefix", ""), query.get("cursor") or None
        paces = self.look()
        try:
            rows, following = await self._rows(prefix, cursor, paces)
        except ValueError:  # a cursor of another token's time, or made up: begin again
            return self._pages.redirect(visit.request, f"/rooms?prefix={escaped(prefix)}")
        return self._pages.render(
            visit.request,
            "topics.html",
            session=visit.session,
            prefix=prefix,
            rows=rows,
            unkept=[] if cursor else self._unkept(prefix, paces),
            following=following,
            later=cursor is not None,
            workers=self._settings.workers,
            worker=os.getpid(),
        )

    def look(self) -> dict[str, float]:
        """Messages a second, of each room with members here, since somebody looked before."""
        return self._pace.look({room.topic: room.sent for room in self._channels.rooms()})

    async def _rows(
        self, prefix: str, cursor: str | None, paces: dict[str, float]
    ) -> tuple[list[TopicRow], str | None]:
        rows: list[TopicRow] = []
        alive = {room.topic for room in self._channels.rooms()}
        for _ in range(EMPTY_PAGES):
            page, cursor = await self._cursors.topics(self._channels, prefix, cursor, PAGE_TOPICS)
            rows = [
                TopicRow(
                    each.topic,
                    each.messages,
                    each.at,
                    each.members,
                    paces.get(each.topic) if each.topic in alive else 0.0,
                )
                for each in page
            ]
            if rows or cursor is None:
                break
        return rows, cursor

    def _unkept(self, prefix: str, paces: dict[str, float]) -> list[TopicRow]:
        """The liveliest first: there may be thousands."""
        found = [
            room
            for room in self._channels.rooms()
            if room.position is None and room.members and room.topic.startswith(prefix)
        ]
        found.sort(key=lambda room: (-room.members, room.topic))
        return [
            TopicRow(room.topic, None, None, room.members, paces.get(room.topic))
            for room in found[:MOST_UNKEPT]
        ]
