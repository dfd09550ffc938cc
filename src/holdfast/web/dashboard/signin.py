"""The door: the admin token is traded for a session cookie."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from holdfast.web.access import Access
from holdfast.web.dashboard.attempts import Attempts
from holdfast.web.dashboard.forms import carried, read_form
from holdfast.web.dashboard.pages import Pages
from holdfast.web.dashboard.sessions import ABSOLUTE_SECONDS, Sessions

__all__ = ["SignIn", "cookie_name", "local"]

FORM_COOKIE: Final = "holdfast_form"
FORM_SECONDS: Final = 3600


class SignIn:
    """`/sign-in` and `/sign-out`."""

    def __init__(
        self, sessions: Sessions, access: Access, attempts: Attempts, pages: Pages, *, max_bytes: int
    ) -> None:
        self._sessions = sessions
        self._access = access
        self._attempts = attempts
        self._pages = pages
        self._max_bytes = max_bytes
        self.resume: Callable[[Request, Mapping[str, str], str], Awaitable[Response]] | None = None

    async def show(self, request: Request) -> Response:
        """The form; who is signed in already goes on."""
        back = local(request.query_params.get("next", "/"))
        if await self._sessions.find(request.cookies.get(cookie_name(request))) is not None:
            return self._pages.redirect(request, back)
        return self.door(request, back=back)

    def door(
        self,
        request: Request,
        *,
        status: int = 200,
        back: str = "/",
        error: str = "",
        draft: Mapping[str, str] | None = None,
        ended: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The sign-in page. A draft that was under way travels with it and comes back afterwards."""
        stamp = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
        response = self._pages.render(
            request,
            "signin.html",
            status=status,
            headers=headers,
            stamp=stamp,
            back=back,
            error=error,
            draft=draft,
            ended=ended,
        )
        _set_cookie(request, response, FORM_COOKIE, stamp, FORM_SECONDS)
        return response

    async def enter(self, request: Request) -> Response:
        """Check the token; a session and back to where one came from."""
        form = await read_form(request, self._max_bytes)
        back = local(form.get("next", "/"))
        draft = carried(form)
        stamp = request.cookies.get(FORM_COOKIE, "")
        if not stamp or not hmac.compare_digest(stamp.encode(), form.get("stamp", "").encode()):
            error = "This form had gone stale, or your browser keeps no cookies. Please try again."
            return self.door(request, status=403, back=back, error=error, draft=draft)
        client = request.client.host if request.client else "unknown"
        wait = await self._attempts.refused(client)
        if wait is not None:
            error = f"Too many attempts. Please wait {max(1, round(wait / 60))} min and try again."
            return self.door(
                request, status=429, back=back, error=error, draft=draft, headers={"Retry-After": str(wait)}
            )
        if not await self._access.admits(form.get("token", "").strip()):
            return self.door(request, status=401, back=back, error=await self._why(), draft=draft)
        await self._attempts.forgive(client)
        secret = await self._sessions.begin()
        if draft is not None and self.resume is not None:
            response = await self.resume(request, draft, secret)
        else:
            response = self._pages.redirect(request, back)
        _set_cookie(request, response, cookie_name(request), secret, ABSOLUTE_SECONDS)
        return response

    async def _why(self) -> str:
        if await self._access.digest() is None:
            return "This store has no token yet. Make one with: holdfast token --rotate"
        return "That is not the token."

    async def leave(self, request: Request) -> Response:
        """End the session here and in the store."""
        await self._sessions.end(request.cookies.get(cookie_name(request)))
        response = self._pages.redirect(request, "/sign-in?done=signed-out")
        response.delete_cookie(
            cookie_name(request),
            path=_path(request),
            httponly=True,
            samesite="strict",
            secure=_secure(request),
        )
        return response


def cookie_name(request: Request) -> str:
    """One per port: browsers share the cookies of `localhost:8000` and `localhost:8001`."""
    return f"holdfast_session_{request.url.port or 0}"


def local(path: str) -> str:
    """The path, where it stays on this server; else the start page. Backslashes count as slashes in browsers."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"


def _set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=_path(request),
        secure=_secure(request),
        httponly=True,
        samesite="strict",
    )


def _path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
