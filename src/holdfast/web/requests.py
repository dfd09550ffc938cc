"""What a request says, read strictly: its key, its parameters, its body."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from starlette.requests import Request
from starlette.types import Scope

from holdfast.persist import KEEP, Keep
from holdfast.store import closest
from holdfast.web.problems import Problem

__all__ = [
    "body_of",
    "checked_key",
    "checked_seconds",
    "checked_topic",
    "expires_of",
    "key_in",
    "parameters",
    "raw_path",
    "require_json",
]

MAX_KEY_BYTES: Final = 512
MAX_TOPIC_BYTES: Final = 255
_HALF_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def raw_path(request: Request) -> bytes:
    """The path below the root path as it was sent, escapes and all.

    `scope["path"]` will not do: servers decode it with replacement characters,
    so that two different keys could look the same.
    """
    scope = request.scope
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return path.removeprefix(str(scope.get("root_path", "")).encode())


def path_of(scope: Scope) -> str:
    """The decoded path below the root path: good for routing, not for keys."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    below = path.removeprefix(root)
    return below if not below or below.startswith("/") else path


def key_in(escaped: bytes) -> str:
    """The key of a percent-encoded part of a path, decoded exactly once.

    Raises:
        Problem: bad-key.
    """
    if _HALF_ESCAPE.search(escaped):
        raise Problem("bad-key", "A percent sign is not followed by two hexadecimal digits; write %25.")
    try:
        return checked_key(unquote_to_bytes(escaped).decode("utf-8"))
    except UnicodeDecodeError:
        raise Problem("bad-key", "What the escapes stand for is not UTF-8.") from None


def checked_key(key: str) -> str:
    """The key itself, where it is 1 to 512 bytes of UTF-8 without NUL; else a bad-key problem."""
    if not key:
        raise Problem("bad-key", "The key is empty.")
    if "\0" in key:
        raise Problem("bad-key", "A key cannot hold NUL.")
    size = len(key.encode("utf-8", "surrogatepass"))
    if size > MAX_KEY_BYTES:
        raise Problem("bad-key", f"The key has {size} bytes; {MAX_KEY_BYTES} are allowed.")
    return key


def checked_topic(topic: str) -> str:
    """The topic itself, where it is 1 to 255 bytes of UTF-8 without NUL; else a bad-parameter problem."""
    size = len(topic.encode("utf-8", "surrogatepass"))
    if not 0 < size <= MAX_TOPIC_BYTES or "\0" in topic or topic == "phoenix":
        raise Problem("bad-parameter", "A topic has 1 to 255 bytes and no NUL, and is not phoenix.")
    return topic


def parameters(request: Request, known: Iterable[str]) -> Mapping[str, str]:
    """The query's parameters; one that is unknown, repeated or not UTF-8 is a bad-parameter problem."""
    query = request.scope.get("query_string", b"").decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:  # UnicodeDecodeError is one
        raise Problem("bad-parameter", "The query is not UTF-8, or has too many parameters.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise Problem("bad-parameter", f"Unknown parameter {name[:40]!r}{closest(name, known)}.")
        if name in found:
            raise Problem("bad-parameter", f"The parameter {name!r} comes twice.")
        found[name] = value
    return found


def expires_of(text: str | None) -> float | Keep | None:
    """What `?expires=` asks for: seconds, None for `none`, `KEEP` where it is absent."""
    if text is None:
        return KEEP
    if text == "none":
        return None
    try:
        seconds = float(text) if re.fullmatch(r"[0-9.eE+-]+", text) else math.nan
    except ValueError:
        seconds = math.nan
    return checked_seconds(seconds)


def checked_seconds(seconds: float) -> float:
    """The lifetime itself, where a store can keep it; else a bad-parameter problem."""
    if not 0 < seconds <= 250_000_000_000:
        raise Problem("bad-parameter", "expires is a number of seconds greater than zero, or none.")
    return seconds


async def body_of(request: Request, limit: int) -> bytes:
    """The body, of which no more than `limit` bytes are ever held; a longer one is a too-large problem."""
    too_large = Problem("too-large", f"At most {limit} bytes.", max_bytes=limit)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def require_json(request: Request) -> None:
    """Refuse with a not-json problem where the Content-Type is neither absent nor `application/json`."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem("not-json", f"Not {kind[:60]!r}; with curl, add -H 'Content-Type: application/json'.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("not-json", "Send the body without a Content-Encoding.")
