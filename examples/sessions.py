"""Server-side sessions with an idle and an absolute limit, in which a slower request cannot undo a logout.

    uvicorn examples.sessions:app
    curl -c jar -X POST localhost:8000/login/ada
    curl -b jar localhost:8000/visit
    curl -b jar -X POST localhost:8000/logout

The browser holds a random id in a cookie and nothing else. What the session
knows lies in the store, so that it can be ended from here.
"""

import os
import secrets
import time
from collections.abc import Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from holdfast import Holdfast
from holdfast.persist import Persist


class Session(msgspec.Struct):
    """What is kept of one visitor."""

    user: str
    began: float  # seconds since 1970
    visits: int = 0


class SessionEnded(Exception):
    """There is no such session any more: it was idle too long, too old, or logged out."""


class Sessions:
    """Sessions that end after `idle` seconds without a request, and after `absolute` seconds in any case."""

    def __init__(self, persist: Persist, *, idle: float = 30 * 60, absolute: float = 12 * 3600) -> None:
        self._persist = persist
        self._idle = idle
        self._absolute = absolute

    async def begin(self, user: str) -> str:
        """A new session, and its id for the cookie."""
        id = secrets.token_urlsafe(32)
        session = Session(user, time.time())
        await self._persist.create(id, session, expires=self._left(session))
        return id

    async def change(self, id: str, change: Callable[[Session], None]) -> Session:
        """Let `change` alter the session; counts as activity.

        `update` stores only over what was read. A logout between reading and
        storing makes it read again, and then there is nothing: the slower
        request gets `SessionEnded`, and the session stays ended.
        """

        def changed(session: Session | None) -> Session:
            if session is None or self._left(session) <= 0:
                raise SessionEnded
            change(session)
            return session

        session = await self._persist.update(id, Session, changed)
        await self._persist.touch(id, max(0.001, self._left(session)))
        return session

    async def renew(self, id: str) -> str:
        """The same session under a new id: do this when rights change, so that an id stolen before is worth nothing.

        The old one is removed only as the version that was copied; if a request
        changed it meanwhile, the copy is dropped and made again.
        """
        while True:
            entry = await self._persist.entry(id, Session)
            if entry is None:
                raise SessionEnded
            new = secrets.token_urlsafe(32)
            await self._persist.create(new, entry.value, expires=entry.ttl)
            if await self._persist.remove(id, version=entry.version):
                return new
            await self._persist.remove(new)

    async def end(self, id: str) -> bool:
        """Log out. Whether there was such a session."""
        return await self._persist.remove(id)

    def _left(self, session: Session) -> float:
        """How long the session may live without another request."""
        return min(self._idle, session.began + self._absolute - time.time())


hold = Holdfast(os.environ.get("HOLDFAST_STORE", "sqlite:///sessions.db"))
sessions = Sessions(hold.persist.namespace("sessions"))
COOKIE = "session"


def with_cookie(response: Response, id: str) -> Response:
    response.set_cookie(COOKIE, id, httponly=True, samesite="lax", path="/")
    return response


async def login(request: Request) -> Response:
    user = request.path_params["user"]
    return with_cookie(JSONResponse({"user": user}), await sessions.begin(user))


async def visit(request: Request) -> Response:
    def count(session: Session) -> None:
        session.visits += 1

    session = await sessions.change(request.cookies.get(COOKIE, "none"), count)
    return JSONResponse({"user": session.user, "visits": session.visits})


async def confirm(request: Request) -> Response:
    """A password typed again: from here on the session has a new id."""
    return with_cookie(JSONResponse({}), await sessions.renew(request.cookies.get(COOKIE, "none")))


async def logout(request: Request) -> Response:
    ended = await sessions.end(request.cookies.get(COOKIE, "none"))
    response = JSONResponse({"ended": ended})
    response.delete_cookie(COOKIE, path="/")
    return response


async def unknown(request: Request, exc: Exception) -> Response:
    return JSONResponse({"error": "please log in"}, status_code=401)


app = Starlette(
    routes=[
        Route("/login/{user}", login, methods=["POST"]),
        Route("/visit", visit),
        Route("/confirm", confirm, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ],
    lifespan=hold.lifespan,
    exception_handlers={SessionEnded: unknown},
)
