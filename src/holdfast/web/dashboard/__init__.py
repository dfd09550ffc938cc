"""The dashboard: pages rendered here, which work without a script and are kept lively by a small one."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from holdfast.channels import Channels
from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.web.access import Access
from holdfast.web.cursors import Cursors
from holdfast.web.dashboard.attempts import Attempts
from holdfast.web.dashboard.connections import Connections
from holdfast.web.dashboard.editing import Editing
from holdfast.web.dashboard.forms import Draft
from holdfast.web.dashboard.gate import Gate, Page, Visit
from holdfast.web.dashboard.listing import Listing
from holdfast.web.dashboard.moderation import Moderation
from holdfast.web.dashboard.outbox import Outbox
from holdfast.web.dashboard.overview import Overview
from holdfast.web.dashboard.pages import Pages
from holdfast.web.dashboard.room import Room
from holdfast.web.dashboard.rooms import Rooms
from holdfast.web.dashboard.ruling import Ruling
from holdfast.web.dashboard.saying import Saying, Words
from holdfast.web.dashboard.sessions import Sessions
from holdfast.web.dashboard.signin import SignIn
from holdfast.web.mentions import Mentions
from holdfast.web.problems import Problem
from holdfast.web.requests import path_of
from holdfast.web.tally import Tally

__all__ = ["Dashboard"]

_FOR_PROGRAMS = (
    "/persist",
    "/health",
    "/metrics",
    "/openapi.json",
    "/live.json",
    "/static/",
    "/api/",
    "/webmention",
)

_WORDS = {
    404: ("There is nothing here", "The address may be mistyped, or the page was somewhere else."),
    403: ("This form did not come from here", "Go back, open the page again, and send its form from there."),
    409: ("This value cannot be shown", "What is stored under the key is not JSON: something else wrote it."),
    413: ("That is too much", "The form is larger than a value may be."),
    500: ("The server failed", "This is a fault of Holdfast. The terminal it runs in says more."),
    503: ("The store does not answer", "Nothing is lost in this browser. Try again in a moment."),
}


class Dashboard:
    """Its parts, put together."""

    def __init__(
        self,
        persist: Persist,
        channels: Channels | None,
        mentions: Mentions | None,
        cursors: Cursors,
        access: Access,
        tally: Tally,
        settings: Settings,
    ) -> None:
        limit = settings.max_bytes
        self._pages = Pages(chat=settings.chat, rooms=channels is not None, mentions=mentions is not None)
        self._sessions = Sessions(persist, access)
        self._largest = limit if channels is None else max(limit, channels.hub.limits.message)
        self._signin = SignIn(self._sessions, access, Attempts(persist), self._pages, max_bytes=self._largest)
        self._gate = Gate(self._sessions, self._pages, self._signin, max_bytes=limit)
        rooms = None if channels is None else Rooms(channels, cursors, self._pages, settings)
        self._overview = Overview(persist, channels, rooms, tally, self._pages, settings)
        self._listing = Listing(persist, cursors, self._pages)
        self._editing = Editing(persist, self._pages, max_bytes=limit)
        self._signin.resume = self._resume
        self._has_rooms = channels is not None
        if channels is not None and rooms is not None:
            self._rooms = rooms
            self._room = Room(channels, self._pages, settings)
            self._saying = Saying(channels, self._pages)
            self._connections = Connections(channels, self._pages, settings)
        self._outbox = None if mentions is None else Outbox(mentions, self._pages)
        if mentions is not None:
            self._moderation = Moderation(mentions, self._pages)
            self._ruling = Ruling(mentions, self._moderation, self._pages)

    def without_rooms(self) -> None:
        """The store could have rooms, and nobody made their tables."""
        self._has_rooms = False
        self._pages.forget_rooms()

    def routes(self) -> list[BaseRoute]:
        """Every page; all but the door and the files are behind the gate."""
        gate, editing = self._gate, self._editing
        return [
            Route("/", gate.page(self._overview.show), methods=["GET"]),
            Route("/live.json", gate.poll(self._overview.live), methods=["GET"]),
            Route("/keys", gate.page(self._listing.show), methods=["GET"]),
            Route("/value", gate.page(editing.show), methods=["GET"]),
            Route("/new", gate.page(editing.new), methods=["GET"]),
            Route("/edit", gate.page(editing.edit), methods=["GET"]),
            Route("/edit", gate.form(editing.save), methods=["POST"]),
            Route("/remove", gate.page(editing.confirm), methods=["GET"]),
            Route("/remove", gate.form(editing.remove), methods=["POST"]),
            Route("/sign-in", self._signin.show, methods=["GET"]),
            Route("/sign-in", self._signin.enter, methods=["POST"]),
            Route("/sign-out", gate.form(self._leave), methods=["POST"]),
            Route("/static/{name}", self._pages.static.serve, methods=["GET"]),
            *(self._room_routes() if self._has_rooms else []),
            *([] if self._outbox is None else self._mention_routes(self._outbox)),
        ]

    def _mention_routes(self, outbox: Outbox) -> list[BaseRoute]:
        moderation, ruling = self._moderation, self._ruling
        pages: dict[str, Page] = {
            "/outbox": outbox.show,
            "/outbox/mention": outbox.one,
            "/mentions": moderation.show,
            "/mention": moderation.one,
            "/mentions/block": ruling.confirm,
            "/mentions/rules": ruling.show,
        }
        forms: dict[str, Page] = {
            "/outbox/send": outbox.send,
            "/outbox/look": outbox.look,
            "/outbox/retry": outbox.retry,
            "/mentions/decide": moderation.decide,
            "/mentions/rules": ruling.add,
            "/mentions/rules/remove": ruling.remove,
        }
        gate = self._gate
        return [
            *(Route(path, gate.page(page), methods=["GET"]) for path, page in pages.items()),
            *(Route(path, gate.form(page), methods=["POST"]) for path, page in forms.items()),
        ]

    def _room_routes(self) -> list[BaseRoute]:
        room, saying, connections = self._room, self._saying, self._connections
        pages = {
            "/rooms": self._rooms.show,
            "/room": room.show,
            "/room/clear": room.confirm,
            "/room/new": saying.new,
            "/room/edit": saying.edit,
            "/room/remove": saying.confirm,
            "/connections": connections.show,
        }
        forms = {
            "/room/save": saying.save,
            "/room/remove": saying.remove,
            "/room/clear": room.clear,
            "/connections/close": connections.close,
        }
        gate = self._gate
        return [
            *(Route(path, gate.page(self._open(page)), methods=["GET"]) for path, page in pages.items()),
            *(
                Route(path, gate.form(self._open(page), max_bytes=self._largest), methods=["POST"])
                for path, page in forms.items()
            ),
        ]

    def _open(self, page: Page) -> Page:
        """The page, where there are tables for it."""

        async def shown(visit: Visit) -> Response:
            if self._has_rooms:
                return await page(visit)
            title = "This store has no tables for rooms"
            text = "`holdfast migrate` makes them; then start the server again."
            return self._pages.message(visit.request, 503, title, text, session=visit.session, retry=False)

        return shown

    async def _leave(self, visit: Visit) -> Response:
        return await self._signin.leave(visit.request)

    async def _resume(self, request: Request, fields: Mapping[str, str], secret: str) -> Response:
        """Somebody's session ended while they wrote: back to the editor with what they wrote."""
        session = await self._sessions.find(secret)
        if session is None:
            return self._pages.redirect(request, "/")
        trouble = "You are signed in again. Nothing was saved yet: what you wrote is below."
        if self._has_rooms and ("room" in fields or "topic" in fields):
            return self._saying.editor(request, session, Words.of(fields), trouble=trouble)
        return self._editing.editor(request, session, Draft.of(fields), trouble=trouble)

    @staticmethod
    def wants_page(request: Request) -> bool:
        """Whether an error is better said on a page: a browser asks, and not for something of the HTTP face."""
        path = path_of(request.scope)
        return "text/html" in request.headers.get("accept", "") and not path.startswith(_FOR_PROGRAMS)

    def problem_page(self, request: Request, problem: Problem) -> Response:
        """The problem in words."""
        title, text = _WORDS.get(problem.status, (problem.title, problem.detail))
        if problem.name == "not-ready":
            title, text = problem.title, problem.detail
        if problem.members.get("maybe_applied"):
            text = "Whether the last step was done nobody can say; look before you repeat it."
        return self._pages.message(request, problem.status, title, text, headers=problem.headers)
