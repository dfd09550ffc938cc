"""HTML that others wrote, made harmless: an allow-list of tags, links to http and https, nothing else.

No images, styles, classes, ids, forms, frames or scripts; no attribute that an
element could act by. Links carry ``rel="nofollow ugc noopener"``. What comes out
is sanitised once more where it is shown, so it must not change the second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import nh3

from holdfast.webmention.markup import parse
from holdfast.webmention.urls import clean, resolve

__all__ = ["BLOCKS", "DROPPED", "MAX_CHARS", "TAGS", "printable", "sanitised"]

MAX_CHARS: Final = 32_768
"""Of what is read at all. The sanitiser costs the square of the depth of nested `<div>`: 32 KiB of them take
some 50 ms, a megabyte would take minutes."""

DEEP: Final = 32
MANY: Final = 4_000
"""Elements within each other, and in all, that are read."""

# fmt: off
TAGS: Final = frozenset({
    "a", "abbr", "b", "bdi", "blockquote", "br", "cite", "code", "dd", "del", "dfn", "div", "dl", "dt",
    "em", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "rp", "rt", "ruby", "s", "samp",
    "small", "span", "strong", "sub", "sup", "time", "u", "ul", "var", "wbr",
})
DROPPED: Final = frozenset({
    "script", "style", "template", "iframe", "object", "embed", "svg", "math", "noscript", "noembed",
    "noframes", "textarea", "select", "title", "head", "canvas", "audio", "video",
})
# fmt: on
"""Gone with all that is in them; of any other tag the content stays."""

_ATTRIBUTES: Final = {
    "*": {"lang", "dir"},
    "a": {"href"},
    "abbr": {"title"},
    "blockquote": {"cite"},
    "del": {"cite", "datetime"},
    "dfn": {"title"},
    "ins": {"cite", "datetime"},
    "q": {"cite"},
    "time": {"datetime"},
}

# fmt: off
BLOCKS: Final = frozenset({
    "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "header", "footer", "figure", "figcaption",
    "main", "aside", "nav", "address", "center", "tr",
})
# fmt: on
"""Become `div`, to stay apart from what follows: a heading would break into the outline of the page that shows it."""

_BLOCKS: Final = re.compile(rf"(</?)(?:{'|'.join(sorted(BLOCKS))})(?=[\s/>])", re.IGNORECASE)
# Control characters, lone surrogates, and the marks that turn the direction of all that follows.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Without what no text has: control characters, halves of characters, marks that reorder what follows."""
    return _UNPRINTABLE.sub("", text)


def sanitised(html: str, *, base: str | None = None) -> str:
    """What may be shown of it. Relative links are resolved against `base`, or dropped where there is none."""
    text = _BLOCKS.sub(r"\1div", printable(html[:MAX_CHARS]))
    # Balanced first: the sanitiser opens again what was left open, in every paragraph anew, which makes of
    # 28 KB of `<b a1><b a2>…` forty megabytes.
    text = parse(text, max_depth=DEEP, max_elements=MANY).root.inner_html(only=TAGS | DROPPED)
    return _cleaner(base).clean(text).strip()


def _cleaner(base: str | None) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(TAGS),
        clean_content_tags=set(DROPPED),
        attributes=_ATTRIBUTES,
        attribute_filter=_filter(base),
        link_rel="nofollow ugc noopener",
        # Relative ones have no scheme and pass; the filter makes them absolute or drops them.
        url_schemes={"http", "https"},
    )


def _filter(base: str | None) -> Callable[[str, str, str], str | None]:
    def kept(tag: str, attribute: str, value: str) -> str | None:
        if attribute in ("href", "cite"):
            url = resolve(base, value) if base else clean(value)
            return url if url and len(url) <= 2_048 else None
        if attribute == "dir":
            return value if value.lower() in ("ltr", "rtl", "auto") else None
        return value if len(value) <= 200 else None

    return kept
