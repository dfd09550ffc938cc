r"""HTML as a stream of tags and text: one pass, linear whatever the page says, and nothing is ever nested.

The tokeniser of the HTML standard, as far as links and microformats need it:
comments, declarations and the contents of `script`, `style`, `template` and
their like are no markup; a `>` inside a quoted value ends no tag; a tag that is
never closed swallows the rest.

Why not a tree from a library: a tree as the HTML standard builds it is not
linear in the page. Twelve kilobytes of formatting elements, left open
across paragraphs, are a million nodes and 340 MB in lexbor (the standard wants
them reopened in each), and open elements cost a walk of the stack per tag: a
second for 140 kilobytes, a minute for a megabyte. A limit on bytes helps
against neither.

INVARIANT: every expression here is possessive wherever it repeats, and every
search that fails is the last one. That is what makes the pass linear.
"""

from __future__ import annotations

import html
import html.entities
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

__all__ = ["END", "START", "TEXT", "Token", "attributes", "tokens", "unescape"]

TEXT: Final = 0
START: Final = 1
END: Final = 2

Token: TypeAlias = tuple[int, str, str]
"""TEXT, "", the text as it stands there (see `unescape`); START, the tag's name in lower case, its attributes as they
stand there (see `attributes`); END, the name, "". """

_SPACE = r"\t\n\f\r "
_VALUE = rf"""[{_SPACE}]*+=[{_SPACE}]*+(?:"[^"]*+"|'[^']*+'|(?!["'])[^{_SPACE}>]*+)"""
_NAME = rf"(?:=|[^{_SPACE}/>=])[^{_SPACE}/>=]*+"
_MARKUP = re.compile(
    rf"<(?:"
    rf"(/?)([a-zA-Z][^{_SPACE}/>]*+)((?:[{_SPACE}/]++|{_NAME}(?:{_VALUE}|(?![{_SPACE}]*+=)))*+)>"
    r"|(!--)"
    r"|(!\[CDATA\[)"
    r"|([!?]|/[^a-zA-Z>])"
    r"|(/>)"
    r"|()(?=/?[a-zA-Z]))"  # a tag without an end
)
_TAG, _COMMENT, _CDATA, _BOGUS, _NOTHING, _UNENDED = 3, 4, 5, 6, 7, 8
_ATTRIBUTE = re.compile(
    rf"""({_NAME})(?:[{_SPACE}]*+=[{_SPACE}]*+(?:"([^"]*+)"|'([^']*+)'|([^{_SPACE}>]*+)))?"""
)
_COMMENT_END = re.compile(r"--!?>")
_RAW = ("script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title", "plaintext")
_RAW_END = {name: re.compile(rf"</{name}(?=[{_SPACE}/>])", re.IGNORECASE) for name in _RAW}
_SHOWN = ("xmp", "textarea", "title", "plaintext")  # the raw texts that are text
_FOREIGN = ("svg", "math")  # in which no element's content is raw


def tokens(text: str) -> Iterator[Token]:
    """The tags and texts in document order; what a `<template>` holds is not among them."""
    at, inert, foreign = 0, 0, 0
    while (found := _MARKUP.search(text, at)) is not None:
        start, kind = found.start(), found.lastindex
        if start > at and not inert:
            yield TEXT, "", text[at:start]
        at = found.end()
        if kind != _TAG:
            at = _after_declaration(text, at, kind or _UNENDED, foreign)
            continue
        name, raw = found[2].lower(), found[3]
        if found[1]:
            if name == "template":
                inert = max(0, inert - 1)
            elif name in _FOREIGN:
                foreign = max(0, foreign - 1)
            if not inert:
                yield END, name, ""
            continue
        if not inert:
            yield START, name, raw
        if name == "template":
            inert += 1
        elif name in _FOREIGN and not raw.endswith("/"):
            foreign += 1
        elif name in _RAW_END and not foreign:
            raw_end = _RAW_END[name].search(text, at)
            end = raw_end.start() if raw_end else len(text)
            if end > at and name in _SHOWN and not inert:
                yield TEXT, "", text[at:end]
            at = end
    if at < len(text) and not inert:
        yield TEXT, "", text[at:]


def _after_declaration(text: str, at: int, kind: int, foreign: int) -> int:
    """Where what is neither tag nor text ends, `at` being behind its first characters."""
    if kind == _NOTHING:
        return at
    if kind == _COMMENT:
        if text.startswith((">", "->"), at):  # `<!-->` is a whole comment
            return text.index(">", at) + 1
        closed = _COMMENT_END.search(text, at)
        return closed.end() if closed else len(text)
    if kind == _UNENDED:
        return len(text)
    mark = "]]>" if kind == _CDATA and foreign else ">"
    # A declaration that is one character long may have taken its own end: `</` and what follows it.
    end = text.find(mark, at)
    return end + len(mark) if end >= 0 else len(text)


def attributes(raw: str) -> dict[str, str]:
    """By name in lower case, the first of each; without a value it is the empty string.

    >>> attributes(' HREF="/?a=1&copy=2&amp;b" hidden href=x')
    {'href': '/?a=1&copy=2&b', 'hidden': ''}
    """
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(raw):
        name = name.lower()
        if name not in found:
            value = double or single or bare
            found[name] = _REFERENCE.sub(_referred, value) if "&" in value else value
    return found


_REFERENCE = re.compile(r"&(?:#[0-9]++;?|#[xX][0-9a-fA-F]++;?|[a-zA-Z][a-zA-Z0-9]*+[;=]?)")


def _referred(found: re.Match[str]) -> str:
    """In an attribute `&copy=2` is no ©, or no query string would come through unhurt."""
    said = found[0]
    if said[1] == "#":
        return unescape(said)
    return html.entities.html5.get(said[1:], said)


_ZEROS = re.compile(r"&#0++(?=[0-9])")
_FAR = re.compile(r"&#[0-9]{8,}+;?")


def unescape(text: str) -> str:
    """A text with its character references replaced."""
    if "&" not in text:
        return text
    try:
        return html.unescape(text)
    except ValueError:  # more digits than Python makes a number of; none that long is a character
        return html.unescape(_FAR.sub("�", _ZEROS.sub("&#", text)))
