"""The post, or the posts, that a URL or a file is: fetched, and read as what is to be sent."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urljoin

import msgspec

from holdfast.cli.feeds import Listing, read_feed
from holdfast.cli.output import blocking
from holdfast.cli.places import is_of
from holdfast.errors import FetchFailed
from holdfast.webmention import Page, Web, read_post

if TYPE_CHECKING:
    from holdfast.webmention import Fetcher, NetworkPolicy

__all__ = ["Found", "fetcher", "listed", "look", "of_file"]

MAX_BYTES: Final = 16 << 20
MAX_SITEMAPS: Final = 1_000  # of an index
DEADLINE: Final = 30.0  # one's own site may be slow
_ACCEPT: Final = "text/html, application/xhtml+xml, application/atom+xml, application/rss+xml, */*;q=0.5"
_MARKDOWN: Final = {"text/markdown": "markdown", "text/x-markdown": "markdown", "text/plain": "text"}
_SUFFIXES: Final = {".md": "markdown", ".markdown": "markdown", ".txt": "text"}


class Found(msgspec.Struct, frozen=True):
    """What an address has: one post, or a list of posts, or nothing any more."""

    url: str
    content: str = ""
    kind: Literal["html", "markdown", "text"] = "html"
    how: str = ""  # what of the page is taken for the post: see `Post.how`
    listing: Listing | None = None
    gone: bool = False


def fetcher(policy: NetworkPolicy) -> Fetcher:
    """For pages of one's own site."""
    from holdfast.webmention import Fetcher

    return Fetcher(policy, deadline=DEADLINE, max_bytes=MAX_BYTES)


async def look(web: Web, url: str) -> Found:
    """What is there.

    Raises:
        AddressRefused, FetchFailed: it cannot be had.
        ValueError: a feed that cannot be read.
    """
    page = await web.get(url, accept=_ACCEPT, max_bytes=MAX_BYTES)
    if page.status == 410:
        return Found(page.url, gone=True)
    if not page.ok:
        later = page.status >= 500 or page.status == 429
        raise FetchFailed(f"get {url!r}: it answered {page.status}", transient=later)
    if page.cut:
        raise FetchFailed(f"get {url!r}: it is larger than {MAX_BYTES >> 20} MiB", transient=False)
    listing = read_feed(page.body, page.media_type, page.url)
    return Found(page.url, listing=listing) if listing is not None else _post(page)


def _post(page: Page) -> Found:
    if (kind := _MARKDOWN.get(page.media_type)) is not None:
        text = page.body.decode("utf-8", "replace")
        return Found(page.url, text, kind, "text")  # type: ignore[arg-type]
    if page.media_type not in ("text/html", "application/xhtml+xml"):
        said = page.media_type or "of no media type"
        raise FetchFailed(f"get {page.url!r}: it is {said}, and neither a page nor a feed", transient=False)
    _, _, charset = page.header("content-type").partition("charset=")
    return _of_html(page.body, page.url, charset.strip("\"' ") or None)


def _of_html(html: bytes, url: str, charset: str | None = None) -> Found:
    post = read_post(html, url, charset=charset)
    if len(post.listed) > 1:
        return Found(url, listing=Listing("h-feed", post.listed))
    return Found(url, post.html, "html", post.how)


def of_file(path: str, url: str) -> Found:
    """The post of a file, as if it were at `url`; Markdown or plain text by its suffix. `-` is standard input."""
    if path == "-":
        with blocking():
            body = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with Path(path).open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError(f"{path!r} is larger than {MAX_BYTES >> 20} MiB")
    kind = _SUFFIXES.get(Path(path).suffix.lower())
    if kind is not None:
        return Found(url, body.decode("utf-8", "replace"), kind, "text")  # type: ignore[arg-type]
    post = read_post(body, url)
    return Found(url, post.html, "html", post.how)


async def listed(web: Web, found: Found, site: str | None) -> AsyncIterator[list[str]]:
    """The posts of a feed or sitemap that are of the site, some at a time; those of others are nobody's to send."""
    assert found.listing is not None
    home = site or urljoin(found.url, "/")
    yield [url for url in found.listing.posts if is_of(url, home)]
    for url in found.listing.sitemaps[:MAX_SITEMAPS]:
        inner = await look(web, url)
        if inner.listing is not None:
            yield [each for each in inner.listing.posts if is_of(each, home)]
