"""A query string as npm's phoenix writes it: `user[id]=1` is `{"user": {"id": "1"}}`. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qsl

__all__ = ["MAX_DEPTH", "MAX_PAIRS", "parse"]

MAX_PAIRS: Final = 256
MAX_DEPTH: Final = 8
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_INNER = re.compile(r"\[([^\[\]]*)\]")


def parse(query: bytes) -> dict[str, Any]:
    """The parameters, nested; every value is a string, and of two for one name the last counts.

    Brackets nest as in PHP: `k[a]=1`, and `k[]=1&k[]=2` is a list. An index
    (`k[0]=1`, which is how the client writes an array) is a name like any
    other, as it is to Phoenix. Empty pairs (`a=1&&b=2&`) are nothing: the
    client writes one for null.

    Raises:
        ValueError: more than `MAX_PAIRS` pairs, or nested deeper than `MAX_DEPTH`.
    """
    found: dict[str, Any] = {}
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PAIRS)
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            found[name] = value  # brackets that do not pair are part of a name
            continue
        inner = _INNER.findall(match[2])
        if len(inner) >= MAX_DEPTH:
            raise ValueError("query: nested too deeply")
        _put(found, [match[1], *inner], value)
    return found


def _put(into: dict[str, Any], path: list[str], value: str) -> None:
    for name, below in pairwise(path):
        if below == "":
            many = into.get(name)
            if not isinstance(many, list):
                many = into[name] = []
            many.append(value)  # what stands behind `[]` is not looked at
            return
        deeper = into.get(name)
        if not isinstance(deeper, dict):
            deeper = into[name] = {}
        into = deeper
    into[path[-1]] = value
