"""Long-poll: HTTP for clients that cannot have a WebSocket.

Every answer is HTTP 200 with ``{"status": N, "token": ..., "messages": [...]}``;
the status that counts is in the body. A GET without a session makes one, and is
answered 410 with its token: to the client, "start over", which is how it begins.
A GET with a token waits for messages; a POST brings some. See `sessions` for
what a session is and `relay` for what happens where there are several processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from holdfast.channels.transports import query
from holdfast.channels.transports.handshake import (
    Denied,
    authenticate,
    check_page,
    headers_of,
    is_open,
)
from holdfast.channels.transports.relay import Asked, Relay
from holdfast.channels.transports.sessions import TOKEN, Sessions
from holdfast.errors import StoreError

if TYPE_CHECKING:
    from holdfast.channels.api import Channels

__all__ = ["WINDOW", "LongPoll"]

WINDOW: Final = 10.0
"""Seconds that a GET waits; npm's client gives up after 20."""
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
GONE: Final = 500
"""What a poll for a session that is gone is answered. Phoenix says 410 and makes another session, in which clients
before npm's 1.8.16 go on without joining anything: they would hear no more and not know. This status makes all of them
connect anew, and join with their positions."""
_HEADERS: Final = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"access-control-allow-origin", b"*"),  # the check of the origin is ours, not the browser's
    (b"cache-control", b"no-store"),
)
_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, omit_defaults=True):
    status: int
    token: str | None = None
    messages: list[str] | None = None


class LongPoll:
    """The endpoint of one `Channels`."""

    def __init__(self, channels: Channels, *, window: float = WINDOW) -> None:
        self._channels = channels
        self.sessions = Sessions(channels.hub, window)
        self._relay = Relay(channels.hub, window, self._relayed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        method = scope["method"]
        if method == "OPTIONS":
            await _preflight(send, headers)
            return
        if method not in ("GET", "POST"):
            await _respond(send, 400, b"")
            return
        try:
            if not is_open(self._channels):
                raise Denied(503)
            check_page(self._channels, headers)
            token = _token(scope, headers)
            if method == "GET":
                answer = await self._get(scope, receive, token)
            else:
                answer = await self._post(receive, headers, token)
        except Denied as denied:
            # These are the ones that the client knows; 403 is final for it.
            answer = Answer(403 if denied.status < 500 else 500)
        if answer is not None:
            await _respond(send, 200, _encode(answer))

    # --- GET ---

    async def _get(self, scope: Scope, receive: Receive, token: str | None) -> Answer | None:
        if token is None:
            return await self._begin(scope)
        # A client that has gone takes nothing with it: what waits, waits for its next request.
        polling = asyncio.ensure_future(self._poll(token))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({polling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                return None
            status, messages = polling.result()
        finally:
            polling.cancel()
            leaving.cancel()
            await asyncio.wait({polling, leaving})
        if status == 410:
            return Answer(GONE)
        return Answer(status, token, messages)

    async def _begin(self, scope: Scope) -> Answer:
        client = scope.get("client")
        address = client[0] if client else None
        if not self.sessions.has_room(address):
            raise Denied(503)
        user = await authenticate(self._channels, scope)
        try:
            await self._channels.hub.listen()  # for what other processes are asked on its behalf
        except StoreError as exc:
            self._channels.hub.unavailable("connect", exc)
            raise Denied(503) from exc
        session = self.sessions.make(user, address)
        return Answer(410, self.sessions.token(session), [])

    async def _poll(self, token: str) -> tuple[int, list[str]]:
        session = self.sessions.find(token)
        if session is not None:
            return await session.poll()
        elsewhere = self._elsewhere(token)
        return (410, []) if elsewhere is None else await self._relay.ask(elsewhere, token, post=False)

    # --- POST ---

    async def _post(self, receive: Receive, headers: Mapping[str, str], token: str | None) -> Answer | None:
        body = await _body(receive, self._channels.hub.limits.bytes)
        if body is None:
            return None
        if token is None:
            return Answer(410)
        lines = headers.get("content-type", "").startswith("application/x-ndjson")
        session = self.sessions.find(token)
        if session is not None:
            return Answer(await session.post(body, lines))
        elsewhere = self._elsewhere(token)
        if elsewhere is None:
            return Answer(410)
        status, _ = await self._relay.ask(elsewhere, token, post=True, body=body, lines=lines)
        return Answer(status)

    # --- other processes ---

    def _elsewhere(self, token: str) -> str | None:
        """The process that the token names, if that is another."""
        node = token.partition(".")[0]
        return None if node == self._channels.hub.node else node

    async def _relayed(self, asked: Asked) -> tuple[int, list[str]]:
        """Do what came to another process."""
        session = self.sessions.find(asked.token)
        if session is None:
            return 410, []
        if asked.post:
            return await session.post(asked.body.encode(), asked.lines), []
        return await session.poll()


def _token(scope: Scope, headers: Mapping[str, str]) -> str | None:
    """The session's: npm's client puts it into the query, that of Phoenix 1.9 into a header, which goes first.

    Something else of that name in the query is the application's, of a client that has no session yet.
    """
    token = headers.get("x-phoenix-longpoll-token")
    if token is None:
        try:
            token = query.parse(scope.get("query_string", b"")).get("token")
        except ValueError as exc:
            raise Denied(400) from exc
    return token if isinstance(token, str) and TOKEN.fullmatch(token) else None


async def _body(receive: Receive, most: int) -> bytes | None:
    """The body of a request, None if its client has gone. Raises `Denied` above `most` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise Denied(500)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _left(receive: Receive) -> None:
    try:
        while (await receive())["type"] == "http.request":
            pass
    except Exception:  # noqa: BLE001 - every server has its own for a client that is gone
        return


async def _preflight(send: Send, headers: Mapping[str, str]) -> None:
    wanted = headers.get("access-control-request-headers", "")
    more = (
        (b"access-control-allow-headers", wanted.encode("latin-1")),
        (b"access-control-allow-methods", b"get, post, options"),
        (b"access-control-max-age", b"3600"),
    )
    await _respond(send, 200, b"", more)


async def _respond(send: Send, status: int, body: bytes, more: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*_HEADERS, length, *more]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
