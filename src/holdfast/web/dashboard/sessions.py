"""Who is signed in to the dashboard: one record per browser, kept in the store, found by an HttpOnly cookie."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.persist import Persist, reserved
from holdfast.web.access import Access
from holdfast.web.token import SESSIONS

__all__ = ["ABSOLUTE_SECONDS", "IDLE_SECONDS", "Session", "Sessions"]

IDLE_SECONDS: Final = 60 * 60
ABSOLUTE_SECONDS: Final = 12 * 60 * 60


class Session(msgspec.Struct, frozen=True):
    """What the server knows of one signed-in browser."""

    csrf: str  # comes back with every form
    started: float  # seconds since the epoch
    token: str  # hash of the token it was opened with; another token ends it


class Sessions:
    """Opened by the token, ended by an hour of silence, half a day, signing out, or a new token."""

    def __init__(self, persist: Persist, access: Access, *, now: Callable[[], float] = time.time) -> None:
        self._own = reserved(persist)
        self._access = access
        self._now = now

    async def begin(self) -> str:
        """A new session for somebody who showed the token; what to put into the cookie."""
        secret = secrets.token_urlsafe(32)
        session = Session(secrets.token_urlsafe(32), self._now(), await self._access.digest() or "")
        await self._own.create(_key(secret), session, expires=IDLE_SECONDS)
        return secret

    async def find(self, secret: str | None, *, renew: bool = True) -> Session | None:
        """The live session of a cookie. With `renew` it lives on: a page that merely polls must not say so."""
        if not secret:
            return None
        session = await self._own.get(_key(secret), Session)
        if session is None:
            return None
        left = session.started + ABSOLUTE_SECONDS - self._now()
        current = await self._access.digest() or ""
        if not 0 < left <= ABSOLUTE_SECONDS or not hmac.compare_digest(session.token, current):
            await self.end(secret)
            return None
        if renew and not await self._own.touch(_key(secret), min(IDLE_SECONDS, left)):
            return None  # signed out while we looked
        return session

    async def end(self, secret: str | None) -> None:
        """Sign out; nobody gets in with this cookie again."""
        if secret:
            await self._own.remove(_key(secret))


def _key(secret: str) -> str:
    """Only a hash is kept, so that who reads the store cannot sign in with what is there."""
    return SESSIONS + hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
