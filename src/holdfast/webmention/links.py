"""The links of a post: whom to tell of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from holdfast.errors import MissingExtra
from holdfast.webmention.tokens import END, START, TEXT, attributes, tokens, unescape
from holdfast.webmention.urls import clean, resolve, same_site, without_fragment

__all__ = ["LINKING", "PUNCTUATION", "Kind", "find_links", "html_links", "text_urls"]

Kind: TypeAlias = Literal["html", "markdown", "text"]

LINKING: Final[dict[str, tuple[str, ...]]] = {
    "a": ("href",),
    "area": ("href",),
    "link": ("href",),
    "data": ("value",),
    "blockquote": ("cite",),
    "q": ("cite",),
    "ins": ("cite",),
    "del": ("cite",),
}
"""What says: this page speaks of that one. `link` and `data` only as a microformat's property (`u-in-reply-to`)."""

_URL = re.compile(r"""(?<![a-zA-Z0-9+.-])https?://[^\s<>"'`\\^{|}]++""", re.IGNORECASE)
_TRAILING = ".,;:!?*_~…"
_PAIRS = {")": "(", "]": "["}
PUNCTUATION: Final = frozenset(_TRAILING).union(_PAIRS)
"""What at the end of a URL in a text may be the sentence's."""
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)


def find_links(
    content: str, *, base: str, kind: Kind = "html", site: str | None = None, own: bool = False
) -> list[str]:
    """The http(s) URLs that the post at `base` links to, absolute, each once, in order.

    Those of one's own site (`site`; the host of `base` where it is not named)
    only with `own`, and never those of the post itself. What is malformed or of
    another scheme is passed over. Images and other media are no links here,
    although `verify` takes them for some: showing a picture is not speaking of it.

    In Markdown (CommonMark, tables) a bare URL in a text is a link too, and what
    is code or front matter is not searched.
    """
    if kind == "html":
        found: Iterable[str | None] = (url for _, _, url in html_links(content, base, LINKING))
    elif kind == "markdown":
        found = _markdown_links(content, base)
    elif kind == "text":
        found = (clean(url) for url, _ in text_urls(content))
    else:
        raise ValueError(f"kind must be 'html', 'markdown' or 'text', not {kind!r}")
    home = site if site is not None else resolve(base, "/") or base
    itself = without_fragment(clean(base) or base)
    links: dict[str, None] = {}
    for url in found:
        if url is not None and without_fragment(url) != itself and (own or not same_site(url, home)):
            links[url] = None
    return list(links)


def html_links(
    html: str, base: str | None, linking: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, str | None]]:
    """Tag, attribute and URL (None: it is none) of every link in document order, seen from the page's `<base>`."""
    own_base = False
    for kind, tag, raw in tokens(html):
        if kind != START or not raw:
            continue
        names = linking.get(tag)
        if names is None and tag != "base":
            continue
        found = attributes(raw)
        if tag == "base":
            if not own_base and "href" in found:
                own_base = True
                base = (clean(found["href"]) if base is None else resolve(base, found["href"])) or base
            continue
        if tag in ("link", "data") and not _is_property(found):
            continue
        for name in names or ():
            if name in found:
                yield tag, name, clean(found[name]) if base is None else resolve(base, found[name])


def _is_property(found: dict[str, str]) -> bool:
    """A `<link>` to a style sheet, or to the page's own address, is not about anything."""
    return any(each.startswith("u-") for each in found.get("class", "").split())


def text_urls(text: str) -> Iterator[tuple[str, str]]:
    """The URLs in a text, each without the punctuation of the sentence around it, and as it stands there."""
    for found in _URL.finditer(text):
        said = found[0]
        end = len(said)
        # Closing brackets belong to the URL as far as it opens them.
        surplus = {last: said.count(last) - said.count(first) for last, first in _PAIRS.items()}
        while (last := said[end - 1]) in _TRAILING or surplus.get(last, 0) > 0:
            end -= 1
            if last in surplus:
                surplus[last] -= 1
        yield said[:end], said


def _markdown_links(content: str, base: str) -> Iterator[str | None]:
    try:
        from markdown_it import MarkdownIt
    except ImportError as exc:
        raise MissingExtra('find links in Markdown: pip install "holdfast[webmention]"') from exc
    reader = MarkdownIt("commonmark").enable("table")
    # Its images stay out, as in HTML; its HTML, code and bare URLs come out as in the post that it becomes.
    rendered = reader.render(_FRONT_MATTER.sub("", content, count=1))
    silent = 0
    for kind, tag, raw in tokens(rendered):
        if kind == TEXT and not silent:
            yield from (clean(url) for url, _ in text_urls(unescape(raw)))
        elif tag in ("a", "code", "pre"):
            silent = max(0, silent + (1 if kind == START else -1 if kind == END else 0))
        if kind == START and tag in LINKING:
            for _, _, url in html_links(f"<{tag}{raw}>", base, LINKING):
                yield url
