"""Between the network and the pages: who is not signed in, or whose form is not ours, gets no further."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import StoreUnavailable
from holdfast.web.dashboard.forms import carried, read_form
from holdfast.web.dashboard.pages import Pages
from holdfast.web.dashboard.sessions import Session, Sessions
from holdfast.web.dashboard.signin import SignIn, cookie_name
from holdfast.web.problems import Problem

__all__ = ["Gate", "Page", "Visit"]


class Visit(msgspec.Struct, frozen=True):
    """One request of somebody who is signed in."""

    request: Request
    session: Session
    form: Mapping[str, str]  # empty on a GET


Page: TypeAlias = Callable[[Visit], Awaitable[Response]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Gate:
    """Wraps the dashboard's endpoints."""

    def __init__(self, sessions: Sessions, pages: Pages, signin: SignIn, *, max_bytes: int) -> None:
        self._sessions = sessions
        self._pages = pages
        self._signin = signin
        self._max_bytes = max_bytes

    def page(self, page: Page) -> Endpoint:
        """A GET: whoever is not signed in is sent to the door, and comes back afterwards."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                path = request.url.path.removeprefix(request.scope.get("root_path", ""))
                back = path + (f"?{request.url.query}" if request.url.query else "")
                query = "" if back == "/" else f"?next={quote(back, safe='')}"
                return self._pages.redirect(request, "/sign-in" + query)
            return await page(Visit(request, session, {}))

        return endpoint

    def poll(self, page: Page) -> Endpoint:
        """A GET by a script: 401 instead of the door, and a session is not kept alive by it."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request, renew=False)
            if session is None:
                raise Problem("unauthorized", "The session has ended.")
            return await page(Visit(request, session, {}))

        return endpoint

    def form(self, page: Page, *, max_bytes: int | None = None) -> Endpoint:
        """A POST: its CSRF token must be the session's. What was typed is shown again whatever happens."""
        limit = max_bytes or self._max_bytes

        async def endpoint(request: Request) -> Response:
            try:
                session = await self._session(request)
            except StoreUnavailable:
                return self._unavailable(request, await read_form(request, limit))
            if session is None:
                form = await read_form(request, limit)
                return self._signin.door(request, status=401, draft=carried(form), ended=True)
            # Laid out, a value of small parts is many times as long as it is stored.
            form = await read_form(request, 4 * limit)
            self._own(request, session, form)
            return await page(Visit(request, session, form))

        return endpoint

    async def _session(self, request: Request, *, renew: bool = True) -> Session | None:
        return await self._sessions.find(request.cookies.get(cookie_name(request)), renew=renew)

    def _own(self, request: Request, session: Session, form: Mapping[str, str]) -> None:
        """Refuse a form that another site sent."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        same = hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode())
        if not same or site not in ("same-origin", "none"):
            raise Problem("forbidden", "Open the page again and send its form from there.")

    def _unavailable(self, request: Request, form: Mapping[str, str]) -> Response:
        """The store is away before anything was done: keep the form, offer to send it again."""
        return self._pages.message(
            request,
            503,
            "The store does not answer",
            "Nothing was changed. What you sent is kept in this page: try again in a moment.",
            headers={"Retry-After": "1"},
            again=True,
            fields=form,
        )
