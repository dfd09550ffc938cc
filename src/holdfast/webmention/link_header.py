"""`Link` header fields, as RFC 8288 writes them and as servers send them. Pure and linear."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

__all__ = ["Link", "parse"]

# Commas and semicolons mean nothing inside <> and inside quotes. A quote that is
# never closed runs to the end of its field.
_BETWEEN = re.compile(r"[\s,]*+")
_URL = re.compile(r"<([^<>]*+)>")
_PARAMETER = re.compile(
    r"""\s*+;\s*+([^\s=;,"<]*+)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)|([^\s;,"]*+)))?""", re.S
)
_REST = re.compile(r"""(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+""", re.S)
_QUOTED_PAIR = re.compile(r"\\(.)", re.S)


class Link(msgspec.Struct, frozen=True):
    """One of them."""

    url: str  # as it stands there: perhaps relative, perhaps empty
    rels: frozenset[str]  # in lower case
    anchor: str | None = None  # what it is a link of, where that is said: as it stands there


def parse(values: Sequence[str]) -> list[Link]:
    """The links of all fields of this name, in order; what is malformed is passed over, up to the next comma.

    >>> [(link.url, sorted(link.rels)) for link in parse(['</a,b>; rel="x webmention", <c>; REL=next'])]
    [('/a,b', ['webmention', 'x']), ('c', ['next'])]
    """
    return [link for value in values for link in _links(value)]


def _links(value: str) -> Iterator[Link]:
    at = 0
    while (at := _BETWEEN.match(value, at).end()) < len(value):  # type: ignore[union-attr]  # it may be empty
        opened = _URL.match(value, at)
        if opened is not None:
            url, at = opened[1].strip(), opened.end()
            rel: str | None = None
            anchor: str | None = None
            while parameter := _PARAMETER.match(value, at):
                at = parameter.end()
                name, said = parameter[1].lower(), _said(parameter)
                # Only the first `rel` counts (RFC 8288, 3.3), and so does the first `anchor`.
                if name == "rel" and rel is None:
                    rel = said
                elif name == "anchor" and anchor is None:
                    anchor = said
            yield Link(url, frozenset((rel or "").lower().split()), anchor)
        at = _REST.match(value, at).end()  # type: ignore[union-attr]


def _said(parameter: re.Match[str]) -> str:
    if parameter[2] is not None:
        return _QUOTED_PAIR.sub(r"\1", parameter[2])
    return parameter[3] or ""
