"""Who may come in: the bearer token of programs, and the hash that the dashboard's sessions hang on."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast.persist import Persist
from holdfast.web import token as tokens
from holdfast.web.problems import Problem

__all__ = ["Access", "Bearer"]

TRUSTED_SECONDS = 1.0
"""How long a hash that was read is believed: a rotated token ends everywhere within this time."""


class Access:
    """Knows the token that counts: the one from the settings, or the one whose hash the store holds."""

    def __init__(
        self, persist: Persist, given: str | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._persist = persist
        self._given = None if given is None else tokens.digest(given)
        self._now = now
        self._read: tuple[float, str | None] | None = None

    async def digest(self, *, anew: bool = False) -> str | None:
        """The hash of the token that counts; None: there is no token yet, and nobody gets in."""
        if self._given is not None:
            return self._given
        if anew or self._read is None or self._now() - self._read[0] >= TRUSTED_SECONDS:
            self._read = (self._now(), await tokens.stored(self._persist))
        return self._read[1]

    async def admits(self, candidate: str) -> bool:
        """Whether this is the token. A new one is good at once, an old one for up to a second."""
        hashed = tokens.digest(candidate)
        for anew in (False, True):
            known = await self.digest(anew=anew)
            if known is not None and hmac.compare_digest(hashed, known):
                return True
            if self._given is not None:
                break
        return False


class Bearer:
    """ASGI middleware: 401 without the token in `Authorization: Bearer`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = Headers(scope=scope).getlist("authorization")
        scheme, _, candidate = fields[0].partition(" ") if len(fields) == 1 else ("", "", "")
        candidate = candidate.strip()
        if scheme.lower() != "bearer" or not candidate:
            raise _refused('Bearer realm="holdfast"', "Send it as Authorization: Bearer <token>.")
        if not await self._access.admits(candidate):
            raise _refused('Bearer realm="holdfast", error="invalid_token"', "This is not the token.")
        await self.app(scope, receive, send)


def _refused(challenge: str, detail: str) -> Problem:
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": challenge})
