"""HTML as a tree, bounded: so deep and no deeper, so many elements and no more, and linear in the page's length.

Elements are nested as their tags say, with the end tags put in that people
leave out (`p`, `li`, `td` …). What browsers do beyond that is not done here:
nothing is reopened and nothing is moved out of tables, which is where the
time goes (see `webmention.tokens`). For pages whose tags are balanced, the
tree is the one that browsers build.

Strings and lists, without references upwards: a tree goes when it is let go.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from html import escape
from typing import Final

from holdfast.webmention.charsets import decode
from holdfast.webmention.tokens import START, TEXT, attributes, tokens, unescape

__all__ = ["MAX_DEPTH", "MAX_ELEMENTS", "Element", "Tree", "parse"]

MAX_DEPTH: Final = 200
MAX_ELEMENTS: Final = 50_000


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_VOID = _words("area base br col embed hr img input link meta param source track wbr")
_BARRIERS = _words("table caption td th button object applet marquee select template")
"""No end tag, written or put in, reaches out of one of these."""
_TABLE_PARTS = _words("table caption colgroup tbody thead tfoot tr td th")
"""Whose end tags reach out of all of them, up to the table."""
_ENDS_P = _words("""
    address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer
    form h1 h2 h3 h4 h5 h6 header hgroup hr li dd dt main menu nav ol p pre search section summary table
    ul
""")
_SPECIAL = (
    _ENDS_P | _BARRIERS | _TABLE_PARTS | {"body", "html", "head", "iframe", "noscript", "optgroup", "option"}
)
"""What the end tag of an inline element does not reach through."""
_PUT_IN: dict[str, tuple[str, tuple[str, ...]]] = {
    # A start tag ends an open one of these, unless one of those was opened since.
    "li": ("li", ("ul", "ol", "menu")),
    "dt": ("dt dd", ("dl",)),
    "dd": ("dt dd", ("dl",)),
    "option": ("option", ("select", "datalist", "optgroup")),
    "optgroup": ("option optgroup", ("select",)),
    "tr": ("tr td th caption colgroup", ("table", "tbody", "thead", "tfoot")),
    "td": ("td th", ("tr", "table")),
    "th": ("td th", ("tr", "table")),
    "tbody": ("tbody thead tfoot tr td th caption colgroup", ("table",)),
    "thead": ("tbody thead tfoot tr td th caption colgroup", ("table",)),
    "tfoot": ("tbody thead tfoot tr td th caption colgroup", ("table",)),
    "body": ("head", ()),
}
_ENDINGS = {name: (tuple(ends.split()), until) for name, (ends, until) in _PUT_IN.items()}
_SILENT = frozenset(("script", "style"))
_SURROGATES = re.compile("[\ud800-\udfff]")


class Element:
    """A tag with what it holds, in order: texts (references replaced) and elements."""

    __slots__ = ("attributes", "children", "tag")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag  # in lower case
        self.attributes = attributes  # names in lower case; no value is the empty string
        self.children: list[Element | str] = []

    def __repr__(self) -> str:
        return f"<{self.tag}: {len(self.children)} children>"

    def get(self, name: str, default: str = "") -> str:
        """An attribute."""
        return self.attributes.get(name, default)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def elements(self, *tags: str) -> Iterator[Element]:
        """All below this one in document order; only those with one of the tags, where some are named."""
        waiting = [iter(self.children)]
        while waiting:
            for child in waiting[-1]:
                if isinstance(child, Element):
                    if not tags or child.tag in tags:
                        yield child
                    if child.children:
                        waiting.append(iter(child.children))
                        break
            else:
                waiting.pop()

    def texts(self) -> Iterator[str]:
        """All texts below this one in document order."""
        waiting = [iter(self.children)]
        while waiting:
            for child in waiting[-1]:
                if isinstance(child, str):
                    yield child
                elif child.children:
                    waiting.append(iter(child.children))
                    break
            else:
                waiting.pop()

    def text(self) -> str:
        """All of them together, spaces as they stand there."""
        return "".join(self.texts())

    def inner_html(self, *, only: Container[str] | None = None) -> str:
        """What it holds as HTML again: balanced, quoted, without comments.

        With `only`, the other elements' tags are left out and what they hold
        stays. It is no sanitiser: attributes are as they were.
        """
        return "".join(_written(self, only))


class Tree:
    """A page; `root` is an element of no name that holds everything."""

    __slots__ = ("base", "cut", "root")

    def __init__(self, root: Element, *, base: str | None, cut: bool) -> None:
        self.root = root
        self.base = base  # the `href` of the first `<base>`, as it stands there
        self.cut = cut  # whether there were more elements than are here

    def elements(self, *tags: str) -> Iterator[Element]:
        """See `Element.elements`."""
        return self.root.elements(*tags)

    def text(self) -> str:
        """See `Element.text`."""
        return self.root.text()


def parse(
    html: str | bytes,
    *,
    charset: str | None = None,
    max_depth: int = MAX_DEPTH,
    max_elements: int = MAX_ELEMENTS,
) -> Tree:
    """The page as a tree. Never raises for what the page holds.

    What is nested deeper than `max_depth` hangs at that depth, side by side;
    after `max_elements` the page ends.
    """
    text = decode(html, charset) if isinstance(html, bytes) else _SURROGATES.sub("�", html)
    building = _Building(max_depth)
    left = max_elements
    base: str | None = None
    for kind, name, raw in tokens(text.replace("\0", "�") if "\0" in text else text):
        if kind == START:
            if not left:
                return Tree(building.root, base=base, cut=True)
            left -= 1
            found = attributes(raw) if raw else {}
            building.start(name, found)
            if name == "base" and base is None:
                base = found.get("href")
        elif kind == TEXT:
            building.text(unescape(raw))
        else:
            building.end(name)
    return Tree(building.root, base=base, cut=False)


class _Building:
    """The open elements while a page is read.

    INVARIANT: `where[name]` are the places in `open` of the elements of that
    name, and `specials` and `barriers` those of the elements in `_SPECIAL` and
    `_BARRIERS`, outermost first. So what an end tag ends is known without a
    walk, and every step of closing is paid for by an opening.
    """

    def __init__(self, max_depth: int) -> None:
        self.root = Element("", {})
        self.open = [self.root]
        self.where: dict[str, list[int]] = {}
        self.specials = [0]
        self.barriers = [0]
        self.max_depth = max_depth
        self.too_deep: dict[str, int] = {}  # how many of each name hang at the limit, as if still open

    def start(self, name: str, found: dict[str, str]) -> None:
        if name in _ENDS_P:
            self._end_up_to(("p",), self.barriers[-1])
        if name in _ENDINGS:
            ends, until = _ENDINGS[name]
            self._end_up_to(ends, max(self._last(each) for each in ("", *until)))
        elif name == "a" and (last := self._last("a")) > self.specials[-1]:
            self._close_to(last)  # links do not nest, unless a block is between them
        element = Element(name, found)
        self.open[-1].children.append(element)
        if name in _VOID:
            return
        if len(self.open) > self.max_depth:
            self.too_deep[name] = self.too_deep.get(name, 0) + 1
            return
        place = len(self.open)
        self.open.append(element)
        self.where.setdefault(name, []).append(place)
        if name in _SPECIAL:
            self.specials.append(place)
        if name in _BARRIERS:
            self.barriers.append(place)

    def text(self, text: str) -> None:
        parent = self.open[-1]
        if parent.tag not in _SILENT:
            parent.children.append(text)

    def end(self, name: str) -> None:
        if self.too_deep.get(name):
            self.too_deep[name] -= 1
            return
        if name == "br":
            self.start(name, {})
            return
        if name in _TABLE_PARTS:
            reach = self._last("table")
        else:
            reach = self.barriers[-1] if name in _SPECIAL else self.specials[-1]
        last = self._last(name)
        if last > 0 and last >= reach:
            self._close_to(last)

    def _last(self, name: str) -> int:
        places = self.where.get(name)
        return places[-1] if places else 0

    def _end_up_to(self, names: tuple[str, ...], reach: int) -> None:
        """The outermost of the open elements of these names that were opened after `reach` ends, with all it holds."""
        ended = [last for name in names if (last := self._last(name)) > reach]
        if ended:
            self._close_to(min(ended))

    def _close_to(self, place: int) -> None:
        self.too_deep.clear()
        while len(self.open) > place:
            name = self.open.pop().tag
            self.where[name].pop()
            if name in _SPECIAL:
                self.specials.pop()
            if name in _BARRIERS:
                self.barriers.pop()


def _written(element: Element, only: Container[str] | None) -> Iterator[str]:
    waiting = [iter(element.children)]
    ends = [""]
    while waiting:
        for child in waiting[-1]:
            if isinstance(child, str):
                yield escape(child, quote=False)
                continue
            end = ""
            if only is None or child.tag in only:
                said = "".join(f' {name}="{escape(value)}"' for name, value in child.attributes.items())
                yield f"<{child.tag}{said}>"
                end = "" if child.tag in _VOID else f"</{child.tag}>"
            waiting.append(iter(child.children))
            ends.append(end)
            break
        else:
            waiting.pop()
            yield ends.pop()
