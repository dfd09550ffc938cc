"""Who wrote an item, as far as its own page says: https://indieweb.org/authorship, without fetching another page.

First the item's own `author`, then that of the feed around it, then `rel=author`,
then the card that stands for the whole page. Where only an address is found,
a card of the page with that address says the rest; else it stays an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holdfast.webmention.mentions import Author
from holdfast.webmention.microformats import Item, Microformats, Value
from holdfast.webmention.properties import name_of, plain, urls_of
from holdfast.webmention.sanitising import printable
from holdfast.webmention.urls import clean, resolve, without_fragment

__all__ = ["MAX_URL", "author_of", "line", "link", "representative"]

MAX_URL: Final = 2_048
"""Characters of a URL that is kept."""

MAX_CARDS: Final = 200
"""Of one page, that are read."""


def author_of(item: Item | None, page: Microformats, base: str, source: str) -> Author:
    """Of the item, or of the page where there is none; what is not said stays None.

    An item inside another, a comment that is shown below a post, has its own
    author or none: the page's is somebody else.
    """
    if item is not None:
        for around in _around(item):
            for value in around.properties.get("author", ())[:5]:
                if (author := _said(value, page, base)) != Author():
                    return author
        if _is_quoted(item):
            return Author()
    for element in page.rels.get("author", ()):
        if url := link(base, element.attributes.get("href")):
            return _known(url, page, base) or Author(url=url)
    card = representative(page, base, source)
    return _card(card, base) if card is not None else Author()


def representative(page: Microformats, base: str, source: str) -> Item | None:
    """The card of whoever the page belongs to: https://microformats.org/wiki/representative-h-card-parsing."""
    here = without_fragment(clean(source) or "")
    cards = [(card, _urls(card, base, "url")) for card in _cards(page)]
    for card, urls in cards:
        if here in urls and here in _urls(card, base, "uid"):
            return card
    mine = {url for element in page.rels.get("me", ()) if (url := link(base, element.attributes.get("href")))}
    for card, urls in cards:
        if mine & urls:
            return card
    return cards[0][0] if len(cards) == 1 and here in cards[0][1] else None


def line(text: str, max_chars: int) -> str | None:
    """On one line, of at most so many characters; None where nothing is left."""
    words = " ".join(printable(text).split())
    return (words if len(words) <= max_chars else words[: max_chars - 1].rstrip() + "…") or None


def link(base: str, href: str | None) -> str | None:
    """Where it leads, clean; None where that is nowhere on the web, or too long to keep."""
    url = resolve(base, href) if href is not None else None
    return url if url is not None and len(url) <= MAX_URL else None


def _around(item: Item) -> Iterator[Item]:
    """The item, and the feed that it is an entry of."""
    yield item
    if item.parent is not None and "h-feed" in item.parent.types:
        yield item.parent


def _is_quoted(item: Item) -> bool:
    return item.parent is not None and "h-feed" not in item.parent.types


def _said(value: Value, page: Microformats, base: str) -> Author:
    if value.item is not None:
        card = _card(value.item, base)
        known = _known(card.url, page, base) if card.url and not (card.name and card.photo) else None
        return _both(card, known) if known else card
    href = value.element.attributes.get("href") if value.element.tag in ("a", "area", "link") else None
    text = plain(value, max_chars=300)
    url = link(base, href) if href is not None else clean(text)
    url = url if url and len(url) <= MAX_URL else None
    named = Author(name=None if value.prefix == "u" or clean(text) else line(text, 200), url=url)
    known = _known(url, page, base) if url else None
    return _both(named, known) if known else named


def _both(first: Author, second: Author) -> Author:
    return Author(
        name=first.name or second.name, url=first.url or second.url, photo=first.photo or second.photo
    )


def _known(url: str, page: Microformats, base: str) -> Author | None:
    """What a card of the page says of who has this address."""
    wanted = without_fragment(url)
    best: Author | None = None
    for card in _cards(page):
        if wanted in _urls(card, base, "url") or wanted in _urls(card, base, "uid"):
            said = _card(card, base)
            best = _both(best, said) if best else said
            if best.name and best.photo:
                break
    return best


def _cards(page: Microformats) -> list[Item]:
    found: list[Item] = []
    for card in page.of("h-card"):
        found.append(card)
        if len(found) == MAX_CARDS:
            break
    return found


def _card(card: Item, base: str) -> Author:
    name = line(name_of(card, max_chars=300), 200)
    urls = (link(base, href) for href in urls_of(card, "url"))
    photos = (link(base, href) for href in urls_of(card, "photo"))
    # A card whose only text is its address has no name.
    return Author(
        name=None if name is None or clean(name) else name,
        url=next((url for url in urls if url), None),
        photo=next((photo for photo in photos if photo), None),
    )


def _urls(card: Item, base: str, name: str) -> set[str]:
    return {without_fragment(url) for href in urls_of(card, name) if (url := link(base, href))}
