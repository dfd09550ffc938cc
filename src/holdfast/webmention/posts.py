"""What of a page is its post: so that a new footer, or a comment below it, is no new post. Pure.

Of an h-entry it is the content, with what stands beside it and speaks to
somebody (`u-in-reply-to`, `u-like-of` …) or would be read as part of it
(`p-name`, `p-summary`, `p-rsvp`). Who has no `e-content` is the whole entry.
Answers that the page shows (an h-cite that is a `u-comment`, `u-like` …) are
not what it says, and left out; so are scripts and styles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast.webmention.markup import Element, Tree, parse
from holdfast.webmention.microformats import Item, Microformats, read
from holdfast.webmention.properties import urls_of
from holdfast.webmention.urls import clean, resolve, without_fragment

__all__ = ["Post", "read_post"]

MAX_ENTRIES: Final = 1_000
_POSTS: Final = frozenset(("h-entry", "h-event", "h-review", "h-recipe", "h-listing", "h-resume"))
_CITED: Final = frozenset(("h-cite", "h-entry", "h-card"))
_ANSWERS: Final = frozenset(
    f"{prefix}-{name}"
    for prefix in ("u", "p")
    for name in ("comment", "like", "repost", "bookmark", "mention", "response", "reacji", "invitee-response")
)
_BESIDE: Final = (
    "name", "summary", "rsvp", "in-reply-to", "like-of", "repost-of", "bookmark-of", "quotation-of",
    "mention-of", "tag-of", "follow-of", "read-of", "watch-of", "listen-of", "checkin", "invitee", "category",
)  # fmt: skip
_SILENT: Final = frozenset(("script", "style", "template", "noscript"))
OURS: Final = "hf-mentions"
"""The class of what `render` makes."""


class Post(msgspec.Struct, frozen=True):
    """The post of a page, or those that a page lists."""

    html: str
    how: str  # "h-entry"; else what was taken for want of one: "main", "article", "page"
    listed: tuple[str, ...] = ()  # URLs of the posts, where the page is a feed of them and no post itself


def read_post(html: str | bytes, url: str, *, charset: str | None = None) -> Post:
    """What the page at `url` (its final address) has to say. Never raises for what the page holds."""
    tree = parse(html, charset=charset)
    _strip(tree.root)
    page = read(tree)
    base = (resolve(url, tree.base) if tree.base else None) or clean(url) or url
    entries = [item for item in page.items if _is_post(item)][:MAX_ENTRIES]
    own = _own(entries, page, base, url)
    head = "" if tree.base is None else _tag(Element("base", {"href": tree.base}))
    if own is not None:
        return Post(head + "".join(_said(own)), "h-entry")
    listed = dict.fromkeys(found for item in entries if (found := _address(item, base)) is not None)
    element, how = _most_of(tree)
    return Post(head + element.inner_html(), how, tuple(listed))


def _strip(root: Element) -> None:
    waiting = [root]
    while waiting:
        element = waiting.pop()
        element.children = [
            child for child in element.children if isinstance(child, str) or not _is_aside(child)
        ]
        waiting += [child for child in element.children if not isinstance(child, str)]


def _is_aside(element: Element) -> bool:
    if element.tag in _SILENT:
        return True
    if "class" not in element.attributes:
        return False
    classes = element.classes
    return OURS in classes or bool(_ANSWERS.intersection(classes) and _CITED.intersection(classes))


def _is_post(item: Item) -> bool:
    """At the top, or in a feed at the top."""
    if not _POSTS.intersection(item.types):
        return False
    return item.parent is None or (item.parent.parent is None and "h-feed" in item.parent.types)


def _own(entries: list[Item], page: Microformats, base: str, url: str) -> Item | None:
    """The one that the page is about: it says so, or there is no other."""
    here = without_fragment(clean(url) or url)
    own = [item for item in entries if _address(item, base) == here]
    if own:
        return own[0]
    alone = len(entries) == 1 and entries[0].parent is None and not any(True for _ in page.of("h-feed"))
    return entries[0] if alone else None


def _address(item: Item, base: str) -> str | None:
    for href in urls_of(item, "url"):
        if (url := resolve(base, href)) is not None:
            return without_fragment(url)
    return None


def _said(item: Item) -> Iterator[str]:
    contents = [value.element for value in item.properties.get("content", ())]
    if not contents:
        yield _tag(item.element)
        return
    taken = {id(each) for content in contents for each in (content, *content.elements())}
    for name in _BESIDE:
        for value in item.properties.get(name, ()):
            if id(value.element) not in taken:
                taken |= {id(value.element), *map(id, value.element.elements())}
                yield _tag(value.element)
    done: set[int] = set()
    for content in contents:
        if id(content) not in done:
            done |= {id(content), *map(id, content.elements())}
            yield content.inner_html()


def _tag(element: Element) -> str:
    """It and what it holds."""
    around = Element("", {})
    around.children.append(element)
    return around.inner_html()


def _most_of(tree: Tree) -> tuple[Element, str]:
    """What a page without microformats most likely wants to say."""
    for tag in ("main", "article"):
        found = list(tree.elements(tag))
        if len(found) == 1:
            return found[0], tag
    body = next(tree.elements("body"), None)
    return (tree.root if body is None else body), "page"
