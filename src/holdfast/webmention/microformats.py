"""Microformats2 in a tree: which items there are, what belongs to which; and the classic `hentry` and `vcard`.

One pass in document order, linear in the size of the page: it notes for each
item which elements are its properties and reads none of them. What a property
says is read when it is asked for (`says`, `name_of`, `urls_of`, `time_of`),
each time within a bound of its own, because nested properties would otherwise
read the same text once for each level.

The rules are those of https://microformats.org/wiki/microformats2-parsing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from holdfast.webmention.markup import Element, Tree

__all__ = ["Item", "Link", "Microformats", "Value", "read", "words"]

MAX_CLASSES: Final = 64
"""Of one element; whoever has more says nothing by it."""

_NAME: Final = re.compile(r"(h|p|u|dt|e)-((?:[a-z0-9]{1,20}-)?[a-z]{1,30}(?:-[a-z]{1,30}){0,4})")
_WORD: Final = re.compile(r"[^ \t\n\f\r]+")

_CLASSIC_ROOTS: Final = {"hentry": "h-entry", "vcard": "h-card"}
_CLASSIC: Final = {
    "h-entry": {
        "entry-title": "p-name",
        "entry-summary": "p-summary",
        "entry-content": "e-content",
        "published": "dt-published",
        "updated": "dt-updated",
        "author": "p-author",
    },
    "h-card": {"fn": "p-name", "url": "u-url", "photo": "u-photo"},
}
_LINKS: Final = {
    "a": "href",
    "area": "href",
    "link": "href",
    "img": "src",
    "audio": "src",
    "video": "src",
    "source": "src",
    "iframe": "src",
    "blockquote": "cite",
    "q": "cite",
    "object": "data",
}
"""Where an element links to: for finding the item that links to a target, which is not yet proof that it does."""

# fmt: off
_BLOCK: Final = frozenset({
    "p", "li", "dd", "dt", "td", "th", "blockquote", "figcaption", "pre", "div", "section", "article",
    "main", "body", "h1", "h2", "h3", "h4", "h5", "h6",
})
# fmt: on


# Compared as objects: two items that say the same are two, and comparing what they hold would take the whole page.


@dataclass(slots=True, eq=False)
class Value:
    """One element that is a property; with an item of its own where it is one."""

    prefix: str  # p, u, dt or e
    element: Element
    item: Item | None = None


@dataclass(slots=True, eq=False)
class Item:
    """One microformat. `properties` by name without prefix, each in document order."""

    types: tuple[str, ...]
    element: Element
    parent: Item | None = None
    role: str = ""  # the property of its parent that it is; empty: a child of it, or at the top
    classic: bool = False
    properties: dict[str, list[Value]] = field(default_factory=dict)
    children: list[Item] = field(default_factory=list)
    nested: bool = False  # whether it has items in it, as properties or children
    prefixes: set[str] = field(default_factory=set)  # of its explicit properties


@dataclass(slots=True, eq=False)
class Link:
    """One URL that stands there, and the innermost item that it stands in."""

    href: str
    item: Item | None
    block: Element  # the paragraph or other block around it


@dataclass(slots=True, eq=False)
class Microformats:
    """All of one page."""

    items: list[Item] = field(default_factory=list)  # every one, in document order, nested ones too
    links: list[Link] = field(default_factory=list)
    rels: dict[str, list[Element]] = field(default_factory=dict)  # of `author` and `me`, at most 20 each
    metas: dict[str, str] = field(default_factory=dict)  # the first of each name or property
    title: Element | None = None

    def of(self, kind: str) -> Iterator[Item]:
        """Those of this type."""
        return (item for item in self.items if kind in item.types)


def read(tree: Tree) -> Microformats:
    """Everything that the page says in microformats, unread."""
    found = Microformats()
    # INVARIANT: the top of the stack is the next in document order, with the item and the block that it stands in.
    stack: list[tuple[Element, Item | None, Element]] = [(tree.root, None, tree.root)]
    while stack:
        element, item, block = stack.pop()
        attributes = element.attributes
        if attributes:
            if classes := attributes.get("class"):
                item = _noted(found, element, words(classes), item)
            _gather(found, element, item, block)
        if element.tag in _BLOCK:
            block = element
        elif element.tag == "title" and found.title is None:
            found.title = element
        stack.extend(
            (child, item, block) for child in reversed(element.children) if not isinstance(child, str)
        )
    return found


def words(text: str) -> list[str]:
    """Those of a class list or the like: between white space of ASCII, as HTML has it; not of a list without end."""
    return _WORD.findall(text[: MAX_CLASSES * 64])[:MAX_CLASSES]


def _gather(found: Microformats, element: Element, item: Item | None, block: Element) -> None:
    """Links, rels, metas."""
    attributes = element.attributes
    tag = element.tag
    if (name := _LINKS.get(tag)) and (href := attributes.get(name)) is not None:
        found.links.append(Link(href, item, block))
    elif tag == "meta":
        key = (attributes.get("name") or attributes.get("property") or "").lower()
        if key in ("author", "og:title", "article:published_time"):
            found.metas.setdefault(key, attributes.get("content") or "")
    if "rel" in attributes and tag in ("a", "link", "area"):
        rels = words(attributes["rel"].lower())
        for rel in ("author", "me"):
            if rel in rels and len(some := found.rels.setdefault(rel, [])) < 20:
                some.append(element)
        if item and item.classic and "h-entry" in item.types and "bookmark" in rels:
            _add(item, "u", "url", Value("u", element))


def _noted(found: Microformats, element: Element, classes: list[str], item: Item | None) -> Item | None:
    """The item that the element's children stand in."""
    roots: list[str] = []
    names: list[tuple[str, str]] = []
    for word in dict.fromkeys(classes):
        if (match := _NAME.fullmatch(word)) is None:
            continue
        prefix, name = match.groups()
        if prefix == "h":
            roots.append(word)
        elif item is not None and not item.classic:
            names.append((prefix, name))
    classic = not roots and (item is None or item.classic)
    if classic:
        roots = [_CLASSIC_ROOTS[word] for word in classes if word in _CLASSIC_ROOTS]
    if item is not None and item.classic:
        names = _classic_names(item, classes)
    new = _opened(found, element, tuple(dict.fromkeys(roots)), item, names) if roots else None
    if new is not None:
        new.classic = classic
    if item is not None:
        for prefix, name in names:
            _add(item, prefix, name, Value(prefix, element, new))
    return new or item


def _classic_names(item: Item, classes: list[str]) -> list[tuple[str, str]]:
    names: list[tuple[str, str]] = []
    for kind in item.types:
        known = _CLASSIC.get(kind, {})
        for word in classes:
            if word in known:
                prefix, _, name = known[word].partition("-")
                names.append((prefix, name))
    return names


def _opened(
    found: Microformats,
    element: Element,
    types: tuple[str, ...],
    item: Item | None,
    names: list[tuple[str, str]],
) -> Item:
    new = Item(types, element, item, names[0][1] if names else "")
    found.items.append(new)
    if item is not None:
        item.nested = True
        if not names:
            item.children.append(new)
    return new


def _add(item: Item, prefix: str, name: str, value: Value) -> None:
    item.properties.setdefault(name, []).append(value)
    item.prefixes.add(prefix)
