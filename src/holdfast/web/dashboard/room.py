"""One topic: its history, a page at a time in either direction, and the end of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.channels import Channels, Message, TopicInfo
from holdfast.settings import Settings
from holdfast.web.dashboard.forms import escaped, unescaped
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.jsontext import pretty
from holdfast.web.problems import Problem
from holdfast.web.requests import checked_topic

__all__ = ["Room", "Shown", "asked_topic", "form_topic", "info_of", "shown"]

PAGE_MESSAGES: Final = 25
NAMED: Final = 12
"""People of whom the page says who they are; the others are a number."""


class Shown(msgspec.Struct, frozen=True):
    """A kept message as a page shows it."""

    id: str
    position: str
    event: str
    text: str
    at: float
    edited: bool


class Room:
    """`/room` and `/room/clear`."""

    def __init__(self, channels: Channels, pages: Pages, settings: Settings) -> None:
        self._channels = channels
        self._pages = pages
        self._settings = settings

    async def show(self, visit: Visit) -> Response:
        """The newest first. A page that `after` does not fill is the latest one, which is shown instead."""
        topic, query = asked_topic(visit), visit.request.query_params
        before, after = query.get("before") or None, query.get("after") or None
        try:
            if after is not None:
                messages = await self._channels.read(topic, after=after, limit=PAGE_MESSAGES + 1)
                if len(messages) <= PAGE_MESSAGES:
                    return self._back(visit.request, topic)
                messages, older, newer = messages[:PAGE_MESSAGES], True, True
            else:
                messages = await self._channels.history(topic, limit=PAGE_MESSAGES + 1, before=before)
                older, newer = len(messages) > PAGE_MESSAGES, before is not None
                messages = messages[-PAGE_MESSAGES:]
        except ValueError:  # a position that somebody made up
            return self._back(visit.request, topic)
        return await self._page(visit, topic, messages, older=older, newer=newer)

    async def _page(
        self, visit: Visit, topic: str, messages: Sequence[Message], *, older: bool, newer: bool
    ) -> Response:
        info = await info_of(self._channels, topic)
        people = [_name(key, each) for key, each in self._channels.presence.list(topic).items()]
        return self._pages.render(
            visit.request,
            "topic.html",
            session=visit.session,
            topic=topic,
            info=info,
            members=info.members if info is not None else self._members(topic),
            people=people[:NAMED],
            unnamed=max(0, len(people) - NAMED),
            messages=[shown(message) for message in reversed(messages)],
            older=messages[0].position if older else None,
            newer=messages[-1].position if newer and messages else None,
            latest=not newer,
            workers=self._settings.workers,
            worker=os.getpid(),
        )

    def _members(self, topic: str) -> int:
        return next((room.members for room in self._channels.rooms() if room.topic == topic), 0)

    def _back(self, request: Request, topic: str) -> Response:
        return self._pages.redirect(request, f"/room?topic={escaped(topic)}")

    # --- clearing ---

    async def confirm(self, visit: Visit) -> Response:
        topic = asked_topic(visit)
        info = await info_of(self._channels, topic)
        if info is None:
            return self._pages.redirect(visit.request, f"/room?topic={escaped(topic)}&done=unkept")
        return self._pages.render(
            visit.request, "topic_clear.html", session=visit.session, topic=topic, info=info
        )

    async def clear(self, visit: Visit) -> Response:
        topic = form_topic(visit)
        done = "cleared" if await self._channels.clear(topic) else "unkept"
        return self._pages.redirect(visit.request, f"/room?topic={escaped(topic)}&done={done}")


async def info_of(channels: Channels, topic: str) -> TopicInfo | None:
    """What is known of a topic with a history; topics come by name, so itself is the first that starts with it."""
    page, _ = await channels.topic_page(topic, limit=1)
    return page[0] if page and page[0].topic == topic else None


def _name(key: str, present: Mapping[str, Any]) -> str:
    """Somebody by the name that most applications give, else by the key."""
    name = present["metas"][0].get("name") if present.get("metas") else None
    return name if isinstance(name, str) and name else key


def shown(message: Message) -> Shown:
    text = pretty(msgspec.json.encode(message.payload))
    return Shown(message.id, message.position, message.event, text, message.at, message.edited)


def asked_topic(visit: Visit) -> str:
    """The topic in the address."""
    return checked_topic(visit.request.query_params.get("topic", ""))


def form_topic(visit: Visit) -> str:
    """The topic in a form's `room`, where it is escaped."""
    try:
        return checked_topic(unescaped(visit.form.get("room", "")))
    except Problem as exc:
        raise Problem("bad-parameter", exc.detail) from None
