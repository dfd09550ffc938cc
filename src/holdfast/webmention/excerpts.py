"""What stands in an element, as text and as small HTML, within a bound: of a long page only the beginning is read."""

from __future__ import annotations

from html import escape
from typing import Final

from holdfast.webmention.markup import Element
from holdfast.webmention.sanitising import BLOCKS, DROPPED, TAGS, printable

__all__ = ["html_of", "text_of"]

MAX_NODES: Final = 20_000
"""Elements and pieces of text that are looked at, also where none of them says anything."""

# fmt: off
_BLOCK: Final = BLOCKS | frozenset({
    "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "form", "hr", "html", "li", "ol", "p", "pre",
    "table", "tbody", "td", "th", "thead", "ul",
})
# fmt: on
_VOID: Final = frozenset(("br", "hr", "wbr"))
_KEPT: Final = frozenset(("href", "cite", "datetime", "title", "lang", "dir"))
_END: Final = "…"


def text_of(element: Element, *, max_chars: int = 2_000, max_nodes: int = MAX_NODES) -> str:
    """As a person reads it: white space is one space, a block a line, an image its `alt`. Cut off ones end in `…`."""
    writer = _Text(max_chars)
    # What was asked for is read, whatever it is: a `<title>` is no text of the page around it.
    stack: list[Element | str | None] = (
        list(reversed(element.children)) if element.tag in DROPPED else [element]
    )
    for _ in range(max_nodes):
        if not stack or writer.full:
            break
        node = stack.pop()
        if node is None:
            writer.line()
        elif isinstance(node, str):
            writer.add(node)
        elif node.tag == "img":
            writer.add(node.attributes.get("alt") or "")
        elif node.tag == "br":
            writer.line()
        elif node.tag not in DROPPED:
            if node.tag in _BLOCK:
                writer.line()
                stack.append(None)
            stack.extend(reversed(node.children))
    return writer.text


def html_of(element: Element, *, max_chars: int = 2_000, max_markup: int = 16_000) -> str:
    """What is in it, in the tags that `sanitised` lets through, balanced. It is for `sanitised`, and not safe before.

    It ends after so many characters of text, or of everything.
    """
    out: list[str] = []
    cut = False
    stack: list[Element | str | tuple[str]] = list(reversed(element.children))
    for _ in range(MAX_NODES):
        if not stack:
            break
        node = stack.pop()
        if isinstance(node, tuple):
            out.append(node[0])
            continue
        if cut or (not isinstance(node, str) and node.tag in DROPPED):
            continue
        if isinstance(node, str):
            cut = len(node) > max_chars
            said = printable(node[:max_chars])
            piece, closing = escape(said, quote=False), ""
            max_chars -= len(said)
        else:
            piece, closing = _tags(node)
        max_markup -= len(piece) + len(closing)
        if cut or max_markup < 0:
            out.append((piece if max_markup >= 0 else "") + _END)
            cut = True
            continue
        out.append(piece)
        if closing:
            stack.append((closing,))
        if not isinstance(node, str) and node.tag not in _VOID:
            stack.extend(reversed(node.children))
    out.extend(each[0] for each in reversed(stack) if isinstance(each, tuple))
    return "".join(out)


def _tags(element: Element) -> tuple[str, str]:
    """What opens and what closes it; nothing for a tag of which only the content stays."""
    tag = "div" if element.tag in BLOCKS else element.tag
    if tag not in TAGS:
        return "", ""
    said = "".join(
        f' {name}="{escape(value)}"'
        for name, value in element.attributes.items()
        if name in _KEPT and value and len(value) <= 2_048
    )
    return f"<{tag}{said}>", "" if tag in _VOID else f"</{tag}>"


class _Text:
    """Gathers words, with what separates them held back until the next one comes."""

    def __init__(self, max_chars: int) -> None:
        self._pieces: list[str] = []
        self._gap = ""
        self._room = max_chars
        self.full = False

    def add(self, text: str) -> None:
        # So much white space that the slice holds no word is nobody's text; a megabyte of it is not read.
        words = printable(text[: 8 * self._room + 64]).split()
        if text[:1].isspace() and not self._gap:
            self._gap = " "
        if not words:
            return
        said = (self._gap if self._pieces else "") + " ".join(words)
        self._gap = " " if text[-1:].isspace() else ""
        if len(said) > self._room:
            said = said[: max(self._room - 1, 0)].rstrip() + _END
            if not self._room:
                self._pieces[-1] = self._pieces[-1][:-1]
            self.full = True
        self._pieces.append(said)
        self._room -= len(said)

    def line(self) -> None:
        self._gap = "\n"

    @property
    def text(self) -> str:
        return "".join(self._pieces).strip()
