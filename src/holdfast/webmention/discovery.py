"""Where a page takes webmentions, and how that was found. Pure.

The `Link` header before the page, then the first `<link>` or `<a>` in document
order (W3C Recommendation, 3.1.2), in HTML only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast.webmention.charsets import charset_of, decode
from holdfast.webmention.link_header import Link, parse
from holdfast.webmention.pages import Page
from holdfast.webmention.tokens import START, attributes, tokens
from holdfast.webmention.urls import clean, resolve, without_fragment

__all__ = ["HTML", "Discovered", "enough", "find_endpoint"]

HTML: Final = frozenset(("text/html", "application/xhtml+xml"))
_WORD: Final = "webmention"
_STEPS: Final = 20  # so many are told; a page may have a thousand wrong ones


class Discovered(msgspec.Struct, frozen=True):
    """An endpoint, or why there is none."""

    endpoint: str | None
    where: str | None  # "header", "link" or "a"
    steps: tuple[str, ...] = ()  # each a sentence for a person


def find_endpoint(page: Page) -> Discovered:
    """The endpoint of a page that was fetched, as an absolute URL.

    Relative ones are seen from the URL after redirects; those in the page from
    its `<base>`, where it has one, as every link of the page is. One that is no
    http(s) URL, or has userinfo, is passed over.
    """
    steps = [f"{page.url} answered {page.status}" + _after(page)]
    for where, href, endpoint in _candidates(page, steps):
        if endpoint is not None:
            steps.append(f"The first {_NAMED[where]} with rel=webmention says {_short(href)}: {endpoint}.")
            return Discovered(endpoint, where, tuple(steps))
        if len(steps) < _STEPS:
            steps.append(
                f"A {_NAMED[where]} with rel=webmention says {_short(href)}, which is no http(s) URL."
            )
    return Discovered(None, None, tuple(steps))


def enough(page: Page, body: bytes) -> bool:
    """Whether so much of the body tells the endpoint, or none of it can.

    Reads the body from its start: ask again when it has grown by a share of
    itself, and not for every piece.
    """
    if any(_of_page(link, page) for link in _header_links(page)) or page.media_type not in HTML:
        return True
    if _WORD.encode() not in body.lower():
        return False
    # Read as a page that may go on: a tag that is not complete yet is none.
    text = body.decode("latin-1")
    return any(resolve(page.url, href) is not None for _, href, _ in _in_html(text))


_NAMED = {"header": "Link header", "link": "<link>", "a": "<a>"}


def _candidates(page: Page, steps: list[str]) -> Iterator[tuple[str, str, str | None]]:
    """Where it stands, what it says, and the URL that this is; in the order in which they count."""
    links = _header_links(page)
    for link in links:
        if _of_page(link, page):
            yield "header", link.url, resolve(page.url, link.url)
    told = "none of them has rel=webmention" if links else "there is none"
    steps.append(f"Link header: {told}.")
    if page.media_type not in HTML:
        said = page.media_type or "without a media type"
        steps.append(f"The body is {said} and no HTML, so it is not searched.")
        return
    text = decode(page.body, charset_of(page.header("content-type")))
    # Nobody writes the word in character references; whoever did would not be found.
    if _WORD in text.lower():
        for tag, href, base in _in_html(text):
            yield tag, href, resolve(_base(page.url, base), href)
    cut = ", of which only the first part was read" if page.cut else ""
    steps.append(f"The page has no <link> and no <a> with rel=webmention and a usable href{cut}.")


def _header_links(page: Page) -> list[Link]:
    return parse([value for name, value in page.headers if name == "link"])


def _of_page(link: Link, page: Page) -> bool:
    """Whether it is a webmention link of this page, and not of another that it names as its anchor."""
    if _WORD not in link.rels:
        return False
    if link.anchor is None:
        return True
    anchor, own = resolve(page.url, link.anchor), clean(page.url)
    return anchor is not None and own is not None and without_fragment(anchor) == without_fragment(own)


def _in_html(text: str) -> Iterator[tuple[str, str, str | None]]:
    """Tag, href and the `<base>` so far of each that has the rel and an href, an empty one included."""
    base: str | None = None
    for kind, tag, raw in tokens(text):
        if kind != START or tag not in ("link", "a", "base") or not raw:
            continue
        found = attributes(raw)
        href = found.get("href")
        if href is None:
            continue
        if tag == "base":
            base = href if base is None else base
        elif _WORD in found.get("rel", "").lower().split():
            yield tag, href, base


def _base(url: str, base: str | None) -> str:
    return url if base is None else resolve(url, base) or url


def _after(page: Page) -> str:
    count = len(page.redirects)
    return f", {count} redirect{'s' if count > 1 else ''} after {page.redirects[0]}." if count else "."


def _short(href: str) -> str:
    return f"“{href}”" if len(href) <= 200 else f"“{href[:200]}…”"
