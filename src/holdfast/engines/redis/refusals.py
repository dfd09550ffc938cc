"""What an error reply of Redis says, as a word and as an exception."""

from __future__ import annotations

import re
from typing import Final

import hiredis
from redis import exceptions as client

from holdfast.errors import InvalidConversion, StoreError, StoreMisconfigured, StoreUnavailable

__all__ = ["LEAVE", "Refusal", "as_error", "connect_error", "refusal_word", "said"]

Refusal = hiredis.ReplyError
"""An error reply, in the place of the answer it refuses: test with `type(reply) is Refusal`."""

LEAVE: Final = frozenset({"READONLY", "MASTERDOWN", "LOADING"})
"""This server cannot serve now, and another may be the master: leave the connection and look again."""

_UNAVAILABLE: Final = LEAVE | {
    "OOM",
    "BUSY",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MISCONF",
    "NOREPLICAS",
    "UNKILLABLE",
}
_MISCONFIGURED: Final = frozenset({"NOAUTH", "NOPERM", "WRONGPASS", "NOPROTO"})
_WORD = re.compile(r"[A-Z]{2,}\b")
# Redis 6.2 says what a script was refused behind a sentence of its own: "ERR Error running script (...): -OOM ..."
_INSIDE = re.compile(rf"\b({'|'.join(sorted(_UNAVAILABLE | _MISCONFIGURED | {'WRONGTYPE'}))})\b")


def refusal_word(reply: Exception) -> str:
    """The word an error reply starts with (`WRONGTYPE`, `OOM`, `MOVED`, `ERR` ...), a script's own looked through."""
    text = str(reply)[:400]
    found = _WORD.match(text)
    word = found.group() if found else "ERR"
    if word == "ERR":
        inside = _INSIDE.search(text)
        if inside:
            return inside.group(1)
    return word


def said(reply: Exception) -> str:
    """What the server said, short enough for a message; replies to the commands used here quote no value."""
    text = " ".join(str(reply).split())
    return text if len(text) <= 160 else f"{text[:157]}..."


def as_error(what: str, reply: Exception) -> Exception:
    """The exception for an error reply to `what` (operation and subject). Nothing was applied."""
    word = refusal_word(reply)
    text = f"{what}: redis: {said(reply)}"
    if word == "WRONGTYPE":
        return InvalidConversion(f"{what}: what is stored there is no value of ours (another Redis type)")
    if word in _UNAVAILABLE:
        return StoreUnavailable(text)
    if word in _MISCONFIGURED:
        return StoreMisconfigured(text)
    return StoreError(text)


def connect_error(exc: Exception) -> StoreError:
    """What redis-py raised while it made a connection. Never a secret: servers do not echo them."""
    text = f"redis: {said(exc) or type(exc).__name__}"
    if _hopeless(exc):
        return StoreMisconfigured(text)
    return StoreUnavailable(text)


def _hopeless(exc: Exception) -> bool:
    """Whether the same attempt could never succeed: credentials, a database that is not there, a certificate."""
    if isinstance(exc.__cause__, client.RedisError):
        return _hopeless(exc.__cause__)  # over a unix socket redis-py wraps what it was told
    if isinstance(exc, client.BusyLoadingError | client.MaxConnectionsError):
        return False
    if isinstance(exc, client.AuthenticationError | client.AuthorizationError | client.NoPermissionError):
        return True
    cause = exc.__cause__ or exc.__context__
    if cause is not None and type(cause).__name__ == "SSLCertVerificationError":
        return True
    if isinstance(exc, client.ResponseError):
        return refusal_word(exc) not in _UNAVAILABLE and "max number of clients" not in str(exc)
    return isinstance(exc, client.ConnectionError) and str(exc) in (
        "Invalid Database",
        "Invalid RESP version",
    )
