"""Who may connect: the same questions for every transport, asked before anything is accepted.

In this order: is there room, does the client speak this version, did it ask for
this host, is its page one of ours, and what does the application say.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from holdfast.channels.channel import Connect, Refuse, User
from holdfast.channels.transports import query
from holdfast.errors import HoldfastError, StoreError

if TYPE_CHECKING:
    from holdfast.channels.api import Channels

__all__ = ["Denied", "authenticate", "headers_of", "is_open", "subprotocol"]

PROTOCOL: Final = "phoenix"
_BEARER: Final = "base64url.bearer.phx."
_VSN = re.compile(r"2\.0\.[0-9]{1,9}")
_PORTS: Final = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


class Denied(HoldfastError):
    """This connection is not let in; `status` is HTTP's. Which rule it was is not the client's to know."""

    def __init__(self, status: int) -> None:
        super().__init__(f"connection denied: {status}")
        self.status = status


def is_open(channels: Channels) -> bool:
    """Whether connections can be served now."""
    return channels.hub.core.is_open and not channels.hub.closing


async def authenticate(channels: Channels, scope: Mapping[str, Any]) -> User | None:
    """Who is connecting, as `connect` says.

    Raises:
        Denied: it may not; 503 where there is no room, nothing is open, or `connect` met a store that is away.
    """
    check_room(channels)
    headers = headers_of(scope)
    try:
        params = query.parse(scope.get("query_string", b""))
    except ValueError as exc:
        raise Denied(400) from exc
    vsn = params.get("vsn")
    if not isinstance(vsn, str) or _VSN.fullmatch(vsn) is None:
        raise Denied(403)
    check_page(channels, headers)
    if channels.connect is None:
        return None
    client = scope.get("client")
    asked = Connect(params, headers, _token(scope, headers), client[0] if client else None, scope)
    user = await _asked(channels, asked)
    check_room(channels)  # others may have come, and the end too, while it was asked
    return user


def check_room(channels: Channels) -> None:
    """Raises `Denied` where nothing is open, or `limits.connections` are there."""
    if not is_open(channels) or len(channels.hub.sockets) >= channels.hub.limits.connections:
        raise Denied(503)


def check_page(channels: Channels, headers: Mapping[str, str]) -> None:
    """Raises `Denied` for a host that is not ours, or a page of somebody else's."""
    host = headers.get("host", "")
    if channels.hosts is not None and not _is_named(host, channels.hosts):
        raise Denied(403)
    origin = headers.get("origin")
    if origin is not None and not _is_ours(origin.lower(), host.lower(), channels.origins):
        raise Denied(403)


def _is_named(host: str, allowed: Sequence[str]) -> bool:
    """Whether the name, without its port, is one of these; ``*.example.com`` is everything below it, ``*`` all."""
    name = host.lower()
    if name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        name = name.rpartition(":")[0].strip("[]")
    return any(
        name == each or each == "*" or (each.startswith("*.") and name.endswith(each[1:]))
        for each in map(str.lower, allowed)
    )


def _is_ours(origin: str, host: str, allowed: str | Sequence[str] | None) -> bool:
    if allowed is None:
        # The scheme is not compared: behind a proxy that ends TLS it is not known here.
        scheme, _, place = origin.partition("://")
        port = _PORTS.get(scheme)
        if port is None or not host:
            return False
        return place.removesuffix(port) == host.removesuffix(port)
    if isinstance(allowed, str):
        return allowed == "*" or origin == allowed.lower().rstrip("/")
    return any(each == "*" or origin == each.lower().rstrip("/") for each in allowed)


async def _asked(channels: Channels, connect: Connect) -> User | None:
    assert channels.connect is not None
    try:
        answer = channels.connect(connect)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is not None and not isinstance(answer, User):
            raise TypeError(f"connect: it answers a User or None, not {type(answer).__name__}")
    except Refuse as exc:
        raise Denied(403) from exc
    except Denied:
        raise
    except (
        StoreError
    ) as exc:  # a session, or the user, could not be looked up: nothing is wrong with the application
        channels.hub.unavailable("connect", exc)
        raise Denied(503) from exc
    except Exception as exc:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "channels: connect failed", "exception": exc}
        )
        raise Denied(500) from exc
    return answer


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Names in lower case; of several of one name the last."""
    return {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope.get("headers", ())}


def subprotocol(scope: Mapping[str, Any]) -> str | None:
    """What must be answered: a browser that offered `phoenix` fails without it."""
    return PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None


def _token(scope: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """npm's `authToken`: among the subprotocols over WebSocket, in a header over long-poll."""
    for offered in scope.get("subprotocols", ()):
        if offered.startswith(_BEARER):
            # The alphabet is the standard one, whatever the name says; without padding.
            text = offered[len(_BEARER) :].replace("-", "+").replace("_", "/").rstrip("=")
            try:
                return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
    return headers.get("x-phoenix-authtoken")
