"""What a status page says, in a few words. Pure.

There is no standard for them: JSON with a `status` and a `summary` is common,
else it is a page for people, of which the title has to do.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from holdfast.webmention.outcomes import Polled
from holdfast.webmention.pages import Page
from holdfast.webmention.tokens import unescape

__all__ = ["status_of"]

_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,300})", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]+")
_LOOKED_AT = 1 << 14
_WORDS = 200


def status_of(page: Page) -> Polled:
    """Its answer, and whether asking again makes sense: not where it is gone or refused."""
    words = _plain(_words(page)) if page.ok else ""
    over = 400 <= page.status < 500 and page.status != 429
    return Polled(f"{page.status}: {words}" if words else str(page.status), over)


def _words(page: Page) -> str:
    kind = page.media_type
    if kind.endswith("json"):
        return _of_json(page.body)
    text = page.body[:_LOOKED_AT].decode(errors="replace")
    if kind == "text/plain":
        return text
    found = _TITLE.search(text) if "html" in kind else None
    return "" if found is None else unescape(found[1])


def _of_json(body: bytes) -> str:
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return said if isinstance(said, str) else ""
    parts = [said.get("status"), said.get("summary") or said.get("message")]
    return ", ".join(part for part in parts if isinstance(part, str))


def _plain(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text[:_LOOKED_AT]).split())[:_WORDS]
