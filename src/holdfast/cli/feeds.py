"""Which posts a feed or a sitemap lists: Atom, RSS 2.0 and 1.0, JSON Feed, sitemaps and their indexes. Pure.

Only addresses are read: what a post says is read from its page, so that the
same content is the same wherever it was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import msgspec

__all__ = ["Listing", "read_feed"]

MAX_POSTS: Final = 50_000  # of one sitemap, as their standard has it
_ROOT: Final = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*(?:<\?[^>]{0,500}>\s*|<!--[^>]{0,2000}-->\s*|<!DOCTYPE[^>\[]{0,500}>\s*){0,20}"
    rb"<(?:\w{1,20}:)?(?:rss|feed|RDF|urlset|sitemapindex)\b"
)


class Listing(msgspec.Struct, frozen=True):
    """What is listed, in its order, each once."""

    kind: str  # "atom", "rss", "json", "sitemap" or "sitemapindex"
    posts: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()  # that an index names


def read_feed(body: bytes, media_type: str, url: str) -> Listing | None:
    """What the answer of `url` lists; None: it is no feed and no sitemap.

    Raises:
        ValueError: it begins as one, and cannot be read.
    """
    if media_type in ("text/html", "application/xhtml+xml"):
        return None
    if media_type.endswith("json"):
        return _json(body, url)
    bare = body.replace(b"\0", b"")  # UTF-16 is as good as any
    if not _ROOT.match(bare[:10_000]):
        return None
    if b"<!ENTITY" in bare:  # a few of which make a text of any length
        raise ValueError("feed: it declares entities, and those are not read")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, LookupError, ValueError) as exc:
        raise ValueError(f"feed: no well-formed XML ({exc})") from exc
    return _listing(root, url)


def _listing(root: ElementTree.Element, url: str) -> Listing:
    match _name(root):
        case "sitemapindex":
            return Listing("sitemapindex", sitemaps=_known(_texts(root, "sitemap", "loc"), url))
        case "urlset":
            return Listing("sitemap", _known(_texts(root, "url", "loc"), url))
        case "feed":
            return Listing("atom", _known(_alternates(root), url))
    channel = next((each for each in root if _name(each) == "channel"), root)
    items = [*_texts(channel, "item", "link"), *_texts(root, "item", "link")]  # RSS 1.0: beside the channel
    return Listing("rss", _known(items, url))


def _texts(root: ElementTree.Element, entry: str, field: str) -> Iterator[str]:
    for each in root:
        if _name(each) == entry:
            found = next((child.text for child in each if _name(child) == field and child.text), None)
            if found:
                yield found


def _alternates(root: ElementTree.Element) -> Iterator[str]:
    for entry in root:
        if _name(entry) != "entry":
            continue
        links = [
            each for each in entry if _name(each) == "link" and each.get("rel", "alternate") == "alternate"
        ]
        # Several alternates differ in their type; the one for browsers is the post.
        links.sort(key=lambda each: each.get("type", "text/html") != "text/html")
        if links and (href := links[0].get("href")):
            yield href


def _json(body: bytes, url: str) -> Listing | None:
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(found, dict) or "jsonfeed.org/version" not in str(found.get("version")):
        return None
    items = found.get("items")
    urls = [each.get("url") for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    return Listing("json", _known((each for each in urls if isinstance(each, str)), url))


def _name(element: ElementTree.Element) -> str:
    """Without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _known(hrefs: Iterable[str], base: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for href in hrefs:
        try:
            url = urljoin(base, href.strip())
            is_page = urlsplit(url).scheme in ("http", "https")
        except ValueError:
            continue
        if is_page:
            found[url] = None
        if len(found) == MAX_POSTS:
            break
    return tuple(found)
