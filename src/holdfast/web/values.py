"""The HTTP face of `persist`: `/persist/{key}`, its counter, and the list of keys.

Every answer follows one operation of `Persist`; docs/reference/http.md says
which. A key is whatever stands between `/persist/` and the end of the path,
slashes included, decoded once.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, request_response
from starlette.types import Receive, Scope, Send

from holdfast.errors import DuplicateKey, InvalidConversion, VersionConflict
from holdfast.persist import Entry, Keep, Persist
from holdfast.web import preconditions
from holdfast.web.access import Access, Bearer
from holdfast.web.cursors import Cursors
from holdfast.web.jsontext import NotJSON, compact
from holdfast.web.preconditions import ANY, Condition, etag, holds
from holdfast.web.problems import Problem
from holdfast.web.requests import (
    body_of,
    checked_seconds,
    expires_of,
    key_in,
    parameters,
    path_of,
    raw_path,
    require_json,
)

__all__ = ["Values", "routes"]

INT64 = range(-(2**63), 2**63)
LARGEST_PAGE = 1000
TRIES = 32
"""How often `If-Match: *` meets a value that changed between reading and writing before it gives up."""


def routes(persist: Persist, cursors: Cursors, access: Access, *, max_bytes: int) -> list[BaseRoute]:
    """The list and the values, behind the token."""
    values = Values(persist, cursors, max_bytes)
    guard = [Middleware(Bearer, access=access)]
    return [
        Route("/persist", values.page, methods=["GET"], middleware=guard),
        ValueRoute(values, access),
    ]


class ValueRoute(BaseRoute):
    """`/persist/{key}`: a route of its own, because a key may hold a line feed and Starlette's paths may not."""

    path = "/persist/{key}"
    methods = ("GET", "HEAD", "PUT", "POST", "DELETE")

    def __init__(self, values: Values, access: Access) -> None:
        self._app = Bearer(request_response(values.dispatch), access)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and path_of(scope).startswith("/persist/"):
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Values:
    """The endpoints."""

    def __init__(self, persist: Persist, cursors: Cursors, max_bytes: int) -> None:
        self._persist = persist
        self._cursors = cursors
        self._max_bytes = max_bytes

    async def dispatch(self, request: Request) -> Response:
        path = raw_path(request)
        if not path.startswith(b"/persist/"):
            raise Problem("not-found")  # it only looked like ours once it was decoded
        escaped = path.removeprefix(b"/persist/")
        if request.method == "POST" and escaped.endswith(b"/increment"):
            return await self.increment(request, key_in(escaped.removesuffix(b"/increment")))
        method = {"GET": self.get, "HEAD": self.get, "PUT": self.put, "DELETE": self.delete}.get(
            request.method
        )
        if method is None:
            raise Problem("method-not-allowed", headers={"Allow": "GET, HEAD, PUT, DELETE"})
        return await method(request, key_in(escaped))

    # --- reading ---

    async def get(self, request: Request, key: str) -> Response:
        """The value with its version and what is left of its life."""
        parameters(request, ())
        match, unless = _conditions(request)
        entry = await self._persist.entry(key, msgspec.Raw)
        if match is not None and not holds(match, None if entry is None else entry.version):
            raise _failed()
        if entry is None:
            raise Problem("no-value")
        if unless is not None and holds(unless, entry.version, weak=True):
            return Response(status_code=304, headers=_facts(entry))
        # Of an answer to HEAD the server itself sends the head alone.
        return Response(bytes(entry.value), headers=_facts(entry), media_type="application/json")

    async def page(self, request: Request) -> Response:
        """Some of the keys that start with `prefix`, and a cursor to go on from."""
        asked = parameters(request, ("prefix", "cursor", "limit"))
        text = asked.get("limit", "100")
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= LARGEST_PAGE):
            raise Problem("bad-parameter", f"limit is a whole number from 1 to {LARGEST_PAGE}.")
        try:
            keys, cursor = await self._cursors.page(
                asked.get("prefix", ""), asked.get("cursor") or None, int(text)
            )
        except ValueError as exc:
            raise Problem("bad-parameter", "The prefix or the cursor cannot be one.") from exc
        return _json({"keys": keys, "cursor": cursor})

    # --- writing ---

    async def put(self, request: Request, key: str) -> Response:
        """Store the body: whatever was there, or only over what the preconditions name."""
        expires = expires_of(parameters(request, ("expires",)).get("expires"))
        match, unless = _conditions(request)
        if unless is not None and (unless != ANY or match is not None):
            raise Problem("bad-precondition", "A PUT takes If-Match, or If-None-Match: *.")
        require_json(request)
        try:
            value = compact(await body_of(request, self._max_bytes))
        except NotJSON as exc:
            raise Problem("bad-json", f"The body is {exc}.") from None
        if match is not None:
            version = await self._replace(key, value, match, expires)
            return Response(status_code=204, headers={"ETag": etag(version)})
        if unless is not None:
            try:
                lifetime = None if isinstance(expires, Keep) else expires
                await self._persist.create(key, msgspec.Raw(value), expires=lifetime)
            except DuplicateKey:
                raise _failed() from None
            return Response(status_code=201, headers=await self._written(key, value))
        await self._persist.set(key, msgspec.Raw(value), expires=expires)
        return Response(status_code=204, headers=await self._written(key, value))

    async def _written(self, key: str, value: bytes) -> Mapping[str, str]:
        """The facts of what was just stored, unless somebody has stored something else since."""
        entry = await self._persist.entry(key, msgspec.Raw)
        return _facts(entry) if entry is not None and bytes(entry.value) == value else {}

    async def _replace(self, key: str, value: bytes, match: Condition, expires: float | Keep | None) -> str:
        if match != ANY:
            for version in match:
                try:
                    return await self._persist.replace(
                        key, msgspec.Raw(value), version=version, expires=expires
                    )
                except VersionConflict:
                    continue  # another of those named may be the live one
            raise _failed()
        for _ in range(TRIES):
            entry = await self._persist.entry(key, msgspec.Raw)
            if entry is None:
                raise _failed()
            try:
                return await self._persist.replace(
                    key, msgspec.Raw(value), version=entry.version, expires=expires
                )
            except VersionConflict:
                continue  # any version will do: read the new one
        raise Problem("overloaded", "The value changes too fast.", maybe_applied=False)

    async def delete(self, request: Request, key: str) -> Response:
        """Remove the live value, or only the version that is named."""
        parameters(request, ())
        match, unless = _conditions(request)
        if unless is not None:
            raise Problem("bad-precondition", "A DELETE takes If-Match.")
        if match is None:
            if not await self._persist.remove(key):
                raise Problem("no-value")
            return Response(status_code=204)
        for version in (None,) if match == ANY else match:
            if await self._persist.remove(key, version=version):
                return Response(status_code=204)
        raise _failed()

    async def increment(self, request: Request, key: str) -> Response:
        """Add to the counter, and its new value."""
        parameters(request, ())
        body = await body_of(request, 4096)
        if body:
            require_json(request)
        by, expires = _step(body)
        try:
            value = await self._persist.increment(key, by=by, expires=expires)
        except InvalidConversion:
            raise Problem("not-a-counter", "It stays as it was.") from None
        except ValueError:
            raise Problem("out-of-range", "It stays as it was.") from None
        return _json({"value": value})


class _Step(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an increment."""

    by: int = 1
    expires: float | None = None


def _step(body: bytes) -> tuple[int, float | None]:
    try:
        step = msgspec.json.decode(body, type=_Step) if body.strip() else _Step()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Problem("bad-json", f'Expected {{"by": 1, "expires": 60}}: {exc}') from None
    if step.by not in INT64:
        raise Problem("out-of-range", "by is beyond 64 bits.")
    return step.by, None if step.expires is None else checked_seconds(step.expires)


def _conditions(request: Request) -> tuple[Condition | None, Condition | None]:
    """`If-Match` and `If-None-Match`."""
    try:
        return (
            preconditions.read(request.headers.getlist("if-match")),
            preconditions.read(request.headers.getlist("if-none-match")),
        )
    except ValueError as exc:
        raise Problem("bad-precondition", str(exc).capitalize() + ".") from None


def _failed() -> Problem:
    return Problem("precondition-failed")


def _facts(entry: Entry[msgspec.Raw]) -> dict[str, str]:
    """The version, and the seconds left as `?expires=` would take them."""
    left = "none" if entry.ttl is None else f"{entry.ttl:.3f}"
    return {"ETag": etag(entry.version), "Expires-In": left, "Cache-Control": "private, no-cache"}


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
