"""HTTP as ASGI speaks it, as far as receiving needs it: read a small request, give a small answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from holdfast.errors import MentionRefused

__all__ = [
    "App",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "escaped",
    "fields",
    "header",
    "here",
    "html",
    "json",
    "path_of",
    "prefers_html",
    "quoted",
    "respond",
]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 16_384
PATIENCE = 10.0  # seconds for a body to arrive
FORM = "application/x-www-form-urlencoded"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


class Reply(msgspec.Struct, frozen=True):
    """One answer."""

    status: int
    body: bytes = b""
    media_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def json(value: object, status: int = 200, *, media_type: str = "application/json", **headers: str) -> Reply:
    """`headers` are named with underscores."""
    return Reply(status, msgspec.json.encode(value), media_type, _named(headers))


def html(title: str, body: str, status: int = 200, **headers: str) -> Reply:
    """A small page; `body` is HTML already."""
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<meta name="robots" content="noindex">\n'
        f"<title>{escaped(title)}</title>\n<style>\n:root {{ color-scheme: light dark; }}\n"
        "body { max-width: 38rem; margin: 3rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;"
        " overflow-wrap: anywhere; }\n"
        "label { display: block; margin: 1rem 0 .25rem; }\n"
        "input { width: 100%; box-sizing: border-box; padding: .5rem; font: inherit; }\n"
        "button { margin-top: 1rem; padding: .5rem 1rem; font: inherit; }\n"
        "dt { margin-top: .75rem; opacity: .75; }\ndd { margin: 0; }\n"
        f"</style>\n</head>\n<body>\n<h1>{escaped(title)}</h1>\n{body}\n</body>\n</html>\n"
    )
    return Reply(
        status,
        page.encode(),
        "text/html; charset=utf-8",
        (("content-security-policy", _POLICY), ("referrer-policy", "no-referrer"), *_named(headers)),
    )


def escaped(text: str) -> str:
    """As text or in a quoted attribute; a lone surrogate, which UTF-8 cannot say, becomes a question mark."""
    return text.encode("utf-8", "replace").decode().translate(_ESCAPES)


async def respond(scope: Scope, send: Send, reply: Reply) -> None:
    """Send it; to HEAD without its body."""
    headers = [(b"content-length", str(len(reply.body)).encode()), (b"x-content-type-options", b"nosniff")]
    if reply.media_type:
        headers.append((b"content-type", reply.media_type.encode("latin-1")))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body, "more_body": False})


def header(scope: Scope, name: bytes) -> str:
    """The first of this name (in lower case); empty where there is none."""
    for key, value in scope.get("headers", ()):
        if key.lower() == name:
            return bytes(value).decode("latin-1")
    return ""


def prefers_html(scope: Scope) -> bool:
    """Whether a person asks: programs that send webmentions want no page."""
    return "text/html" in header(scope, b"accept").lower()


def path_of(scope: Scope) -> str:
    """The whole path, with where the app is mounted, without a slash at its end."""
    path, root = scope.get("path", ""), scope.get("root_path", "").rstrip("/")
    whole = path if not root or path == root or path.startswith(root + "/") else root + path
    return str(whole).rstrip("/")


def quoted(path: str) -> str:
    """As it stands in a URL: the server has decoded it, so it may hold what no header and no link can."""
    return quote(path, safe="/!$&'()*+,;=:@~", errors="replace")


def here(scope: Scope, site: str | None) -> str:
    """Scheme and host by which we were asked, as far as that is known: of the site, where it is its host; else empty.

    Who stands behind a proxy that ends TLS hears `http`; the site's own URL knows better.
    """
    asked = header(scope, b"host").lower()
    if site is not None:
        parts = urlsplit(site)
        if not asked or asked == parts.netloc.lower():
            return f"{parts.scheme}://{parts.netloc}"
    return f"{scope.get('scheme', 'http')}://{asked}" if _HOST.fullmatch(asked) else ""


async def fields(scope: Scope, receive: Receive) -> dict[str, str] | None:
    """The form's fields; None where the client has gone.

    Raises:
        MentionRefused: it is no form, too large, too slow, or says a thing twice.
    """
    if header(scope, b"content-type").partition(";")[0].strip().lower() != FORM:
        raise MentionRefused(f"send source and target as {FORM}")
    length = header(scope, b"content-length")
    if length.isdecimal() and int(length[:20]) > MAX_BODY:
        raise MentionRefused(f"the body is larger than {MAX_BODY:,} bytes")
    try:
        async with asyncio.timeout(PATIENCE):
            body = await _body(receive)
    except TimeoutError as exc:
        raise MentionRefused(f"the body did not arrive within {PATIENCE:.0f} s", status=408) from exc
    return None if body is None else _parsed(body)


async def _body(receive: Receive) -> bytes | None:
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        found += message.get("body", b"")
        if len(found) > MAX_BODY:
            raise MentionRefused(f"the body is larger than {MAX_BODY:,} bytes")
        if not message.get("more_body", False):
            return bytes(found)


def _parsed(body: bytes) -> dict[str, str]:
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError as exc:  # UnicodeDecodeError is one
        raise MentionRefused("the body is no form in UTF-8") from exc
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found and name in ("source", "target") and found[name] != value:
            raise MentionRefused(f"{name} is there twice")
        found[name] = value
    return found


def _named(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())
