"""Whether a page really links to a target, and where. Pure.

By media type, as the W3C Recommendation has it (3.2.2): HTML by its elements,
JSON by its values, other text by searching. A URL matches exactly, fragment
included: `post` is not mentioned by who links to `post2`, `post/` or `post#top`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast.webmention.charsets import charset_of, decode
from holdfast.webmention.links import LINKING, PUNCTUATION, html_links, text_urls
from holdfast.webmention.urls import clean

__all__ = ["verify"]

_SEARCHED: Final[dict[str, tuple[str, ...]]] = {
    **LINKING,
    "img": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "source": ("src",),
    "track": ("src",),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
}
_HTML = frozenset(("text/html", "application/xhtml+xml"))
_TEXTS = frozenset(("application/xml", "application/javascript", "application/x-yaml", "application/yaml"))


def verify(source_body: bytes | str, media_type: str, target: str, *, base: str | None = None) -> str | None:
    """In words where the source links to the target ("a href", "property in-reply-to", "text"); None: nowhere.

    `media_type` may be a whole `Content-Type`; its charset is then obeyed.
    `base` is the source's URL: relative links are seen from there, and count
    only where it is given. What stands in a comment, a script, a template or
    escaped in code is no link. A media type that is no text has none.
    """
    wanted = clean(target)
    if wanted is None:
        return None
    kind = media_type.partition(";")[0].strip().lower()
    if kind in _HTML:
        return _in_html(_text(source_body, media_type), wanted, base)
    if kind == "application/json" or kind.endswith("+json"):
        return _in_json(source_body, wanted)
    if kind.startswith("text/") or kind.endswith("+xml") or kind in _TEXTS:
        return _in_text(_text(source_body, media_type), target, wanted)
    return None


def _text(body: bytes | str, content_type: str) -> str:
    return body if isinstance(body, str) else decode(body, charset_of(content_type))


def _in_html(html: str, wanted: str, base: str | None) -> str | None:
    return next(
        (f"{tag} {name}" for tag, name, url in html_links(html, base, _SEARCHED) if url == wanted), None
    )


def _in_json(body: bytes | str, wanted: str) -> str | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # nested past reason is as good as malformed
        return None
    for name, value in _strings(document):
        if value[:4].lower() == "http" and clean(value) == wanted:
            return f"property {name}" if name else "value"
    return None


def _strings(document: object) -> Iterator[tuple[str, str]]:
    """Every text value of a JSON document with the property that it is of, or is in a list of."""
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            waiting.extend((key, each) for key, each in reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend((name, each) for each in reversed(value))


def _in_text(text: str, target: str, wanted: str) -> str | None:
    for url, said in text_urls(text):
        if clean(url) == wanted:
            return "text"
        # A target that ends in a question mark is not found by cutting question marks off.
        if said.startswith(target) and all(mark in PUNCTUATION for mark in said[len(target) :]):
            return "text"
    return None
