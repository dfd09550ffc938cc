"""`parse_mention`: what a page says about a target, and who says it.

The item that speaks is chosen in this order: the first that says of the target
what it is (a reply to it, a like of it …); the innermost that links to it; the
one that stands for the page. What it cites (`h-cite` in `in-reply-to` and the
like) never speaks, a comment that is shown below it does, for its own author.
Proof that the link is there is not asked for here: see `webmention.verification`.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from holdfast.webmention.authorship import author_of, line, link
from holdfast.webmention.excerpts import html_of, text_of
from holdfast.webmention.markup import parse
from holdfast.webmention.mentions import Author, MentionType, ParsedMention
from holdfast.webmention.microformats import Item, Link, Microformats, Value, read
from holdfast.webmention.properties import name_of, plain, says, time_of, urls_of
from holdfast.webmention.sanitising import sanitised
from holdfast.webmention.urls import clean, resolve, without_fragment

__all__ = ["MAX_HTML", "MAX_TEXT", "parse_mention"]

MAX_TEXT: Final = 2_000
"""Characters of text that are kept, and as many in the HTML."""

MAX_HTML: Final = 32_768
"""Characters of HTML, above which there is only the text."""

MAX_SPEAKERS: Final = 50
"""Items that link to the target whose properties are read."""

Rsvp: TypeAlias = Literal["yes", "no", "maybe", "interested"]

# fmt: off
_SPEAKING: Final = frozenset({
    "h-entry", "h-event", "h-review", "h-recipe", "h-product", "h-resume", "h-listing", "h-item",
})
_CITED: Final = frozenset({
    "in-reply-to", "like-of", "repost-of", "bookmark-of", "quotation-of", "like", "repost", "bookmark",
    "tag-of", "follow-of", "read-of", "listen-of", "watch-of", "checkin", "location", "category", "author",
})
# fmt: on
"""Properties whose items are what the item speaks of."""

_OF: Final[tuple[tuple[str, MentionType], ...]] = (
    ("repost-of", "repost"),
    ("like-of", "like"),
    ("in-reply-to", "reply"),
    ("bookmark-of", "bookmark"),
)
_DATE: Final = re.compile(
    r"\d{4}-\d{2}(?:-\d{2}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)? ?(?:Z|[+-]\d{2}:?\d{2})?)?"
)
_BARE: Final = re.compile(r"[\W_]+")


def parse_mention(html: str | bytes, source: str, target: str) -> ParsedMention:
    """What the page at `source` (its final address) says about the target. Never raises for what the page holds.

    Text is at most 2,000 characters, HTML is sanitised, every URL is http(s)
    without userinfo. A page without microformats gives its title, and the text
    of the paragraph around the link.
    """
    tree = parse(html)
    base = (resolve(source, tree.base) if tree.base else None) or clean(source) or source
    page = read(tree)
    wanted = _same(target)
    links = _links_to(page, base, wanted)
    item, kind = _speaker(page, links, base, source, wanted)
    author = author_of(item, page, base, source)
    if item is None:
        return _unmarked(page, links, author, source)
    rsvp = _rsvp(item) if kind == "reply" else None
    text, markup = _content(item, base)
    name = line(name_of(item, max_chars=400), 300)
    return ParsedMention(
        type="rsvp" if rsvp else kind,
        author=author,
        url=next((url for href in urls_of(item, "url") if (url := link(base, href))), clean(source)),
        name=None if name is None or _is_beginning(name, text) else name,
        text=text,
        html=markup,
        published=_date(time_of(item, "published")),
        updated=_date(time_of(item, "updated")),
        rsvp=rsvp,
    )


def _same(url: str) -> str:
    return without_fragment(clean(url) or url)


def _links_to(page: Microformats, base: str, wanted: str) -> list[Link]:
    """The links to the target, at most `MAX_SPEAKERS`.

    Resolving is what takes the time on a page of links: one that lacks the end
    of the target's path cannot lead there, unless it has no path itself.
    """
    path = wanted.split("/", 3)[3:]  # none where the target is no URL
    tail = path[0].rstrip("/").rpartition("/")[2].partition("%")[0].lower() if path else ""
    found: list[Link] = []
    elsewhere: set[str] = set()
    for each in page.links:
        href = each.href
        if href in elsewhere:
            continue
        if tail in href.lower() or href.lstrip()[:1] in ("", ".", "?", "#") or not href.isascii():
            url = resolve(base, href)
            if url is None or without_fragment(url) != wanted:
                elsewhere.add(href)
                continue
            found.append(each)
            if len(found) == MAX_SPEAKERS:
                break
    return found


def _speaker(
    page: Microformats, links: list[Link], base: str, source: str, wanted: str
) -> tuple[Item | None, MentionType]:
    speakers: list[Item] = []
    for each in links:
        item = _speaking(each.item)
        if item is not None and item not in speakers:
            speakers.append(item)
    for item in speakers:
        if (kind := _kind(item, base, wanted)) != "mention":
            return item, kind
    if speakers:
        return speakers[0], "mention"
    # It links from beside the items: they are asked only where one of them is all that the page is about.
    entries = [item for item in page.of("h-entry") if _speaking(item) is item and item.parent is None]
    here = _same(source)
    alone = (
        entries if len(entries) == 1 else [e for e in entries[:MAX_SPEAKERS] if here in _addresses(e, base)]
    )
    return (alone[0], "mention") if len(alone) == 1 else (None, "mention")


def _speaking(item: Item | None) -> Item | None:
    """The innermost item around that speaks for itself."""
    speaker: Item | None = None
    while item is not None:
        if item.role in _CITED:
            speaker = None
        elif speaker is None and (item.role == "comment" or _SPEAKING.intersection(item.types)):
            speaker = item
        item = item.parent
    return speaker


def _kind(item: Item, base: str, wanted: str) -> MentionType:
    for name, kind in _OF:
        for href in urls_of(item, name):
            if (url := resolve(base, href)) is not None and without_fragment(url) == wanted:
                return kind
    return "mention"


def _addresses(item: Item, base: str) -> set[str]:
    return {without_fragment(url) for href in urls_of(item, "url") if (url := resolve(base, href))}


def _rsvp(item: Item) -> Rsvp | None:
    said = says(item, "rsvp", max_chars=20).lower()
    known: tuple[Rsvp, ...] = ("yes", "no", "maybe", "interested")
    return next((answer for answer in known if answer == said), None)


def _content(item: Item, base: str) -> tuple[str | None, str | None]:
    """Text and HTML of its content, or of its summary."""
    for name in ("content", "summary"):
        for value in item.properties.get(name, ())[:3]:
            text = plain(value, max_chars=MAX_TEXT, inside=False) or None
            if value.prefix == "e":
                return text, _markup(value, base)
            if text:
                return text, None
    return None, None


def _markup(value: Value, base: str) -> str | None:
    html = sanitised(html_of(value.element, max_chars=MAX_TEXT), base=base)
    return html if html and len(html) <= MAX_HTML else None


def _is_beginning(name: str, text: str | None) -> bool:
    """Whether a name is no title but the text once more, in whole or its beginning."""
    if not text:
        return False
    bare, whole = (_BARE.sub(" ", each).strip().casefold() for each in (name, text[:600]))
    return not bare or whole.startswith(bare) or (bool(whole) and bare.startswith(whole))


def _date(said: str) -> str | None:
    return said if _DATE.fullmatch(said) else None


def _unmarked(page: Microformats, links: list[Link], author: Author, source: str) -> ParsedMention:
    """A page without microformats, or one that links from outside of them."""
    title = text_of(page.title, max_chars=400) if page.title is not None else ""
    text = text_of(links[0].block, max_chars=MAX_TEXT) if links else ""
    if author == Author():
        author = Author(name=line(page.metas.get("author", ""), 200))
    return ParsedMention(
        author=author,
        url=clean(source),
        name=line(page.metas.get("og:title") or title, 300),
        text=text or None,
        published=_date(page.metas.get("article:published_time", "").strip()),
    )
