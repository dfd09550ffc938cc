"""The admin token: made once, shown once, of which only the SHA-256 hash is kept.

The hash lies where no persist call can read or write it. A plain hash suffices:
the token is 256 random bits, so there is nothing to try out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec

from holdfast.errors import DuplicateKey
from holdfast.persist import Persist, reserved

__all__ = ["check", "digest", "ensure", "fresh", "rotate", "stored"]

_KEY = "token"
SESSIONS = "session:"  # the dashboard's, which end with the token


class _Kept(msgspec.Struct, frozen=True):
    sha256: str


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def fresh() -> str:
    """A token that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(32)


async def ensure(persist: Persist) -> str | None:
    """A new token where the store has none yet, else None. Of several processes at once, one makes it."""
    token = fresh()
    try:
        await reserved(persist).create(_KEY, _Kept(digest(token)))
    except DuplicateKey:
        return None
    return token


async def rotate(persist: Persist) -> str:
    """A new token in place of the old one; everybody who is signed in to the dashboard is signed out."""
    token = fresh()
    own = reserved(persist)
    await own.set(_KEY, _Kept(digest(token)), expires=None)
    await own.clear(SESSIONS)
    return token


async def stored(persist: Persist) -> str | None:
    """The hash that the store holds."""
    kept = await reserved(persist).get(_KEY, _Kept)
    return None if kept is None else kept.sha256


async def check(persist: Persist, candidate: str) -> bool:
    """Whether this is the token; takes the same time whatever is wrong with it."""
    kept = await stored(persist)
    return hmac.compare_digest(digest(candidate), kept or "") and kept is not None
