"""The demonstration chat, at /chat: rooms that a browser opens, over the same socket as any client.

`make run` and `holdfast serve --chat` turn it on. It is an application of
`Channels` like any other: nothing here is known to the rest of Holdfast.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from holdfast.channels import Channels
from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.web.chat.authors import Authors
from holdfast.web.chat.pages import ChatPages
from holdfast.web.chat.room import ChatRoom

__all__ = ["Chat"]


class Chat:
    """Its rooms, who is in them, and its pages."""

    room = ChatRoom

    def __init__(self, persist: Persist, settings: Settings) -> None:
        self._authors = Authors(persist, path=settings.root_path)
        self.connect = self._authors.connect

    def routes(self, channels: Channels) -> list[BaseRoute]:
        """The pages; the socket is mounted beside them."""
        pages = ChatPages(channels, self._authors)
        return [
            Route("/chat", pages.rooms, methods=["GET"]),
            Route("/chat/{room:path}", pages.room, methods=["GET"]),
        ]
