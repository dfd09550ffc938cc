"""The ASGI app: what is asked for, and who answers it.

Where the server is uvicorn with our protocol class, the scope says so in the
extension `holdfast.raw`, and the connection is taken over there once it is
let in; everywhere else it is served through ASGI's own messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from holdfast.channels.transports.handshake import Denied, authenticate, subprotocol
from holdfast.channels.transports.longpoll import WINDOW, LongPoll
from holdfast.channels.transports.websocket import PlainSocket

if TYPE_CHECKING:
    from holdfast.channels.api import Channels

__all__ = ["RAW", "endpoint"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RAW = "holdfast.raw"


def endpoint(
    channels: Channels, *, window: float = WINDOW
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The app of one `Channels`: ``.../websocket`` and ``.../longpoll``, under whatever it is mounted at."""

    longpoll = LongPoll(channels, window=window)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kind, path = scope["type"], scope.get("path", "").removesuffix("/")  # Litestar's mounts add one
        if kind == "websocket":
            await _websocket(channels, path, scope, receive, send)
        elif kind == "http" and path.endswith("/longpoll"):
            await longpoll(scope, receive, send)
        elif kind == "http":
            await _answer(send, 400 if path.endswith("/websocket") else 404)
        else:
            raise NotImplementedError(f"channels: no {kind} here; mount it in an app that opens it")

    return app


async def _websocket(channels: Channels, path: str, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    try:
        if not path.endswith("/websocket"):
            raise Denied(404)
        user = await authenticate(channels, scope)
    except Denied as denied:
        await _deny(scope, send, denied.status)
        return
    accept: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol(scope), "headers": []}
    raw = (scope.get("extensions") or {}).get(RAW)
    if raw is not None:
        raw["take"](channels.hub, user)
        await send(accept)
        return
    try:
        await send(accept)
    except OSError:
        return  # it has gone already
    await PlainSocket(channels.hub, user, send).serve(receive)


async def _deny(scope: Scope, send: Send, status: int) -> None:
    """Refuse before anything is accepted; a server without the extension answers 403."""
    if status != 403 and "websocket.http.response" in (scope.get("extensions") or {}):
        await _answer(send, status, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


async def _answer(send: Send, status: int, kind: str = "http.response") -> None:
    headers = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"", "more_body": False})
