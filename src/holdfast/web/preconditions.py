"""`If-Match` and `If-None-Match` (RFC 9110, section 13.1), as far as versions need them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["ANY", "Condition", "etag", "holds", "read"]

ANY: Literal["*"] = "*"

Condition: TypeAlias = Sequence[str] | Literal["*"]
"""The versions named, or `*`; weak tags stand as `W/"..."` and never match a version."""

MAX_TAGS = 32

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def read(fields: Sequence[str]) -> Condition | None:
    """What the header fields of one name say; None: there are none.

    Raises:
        ValueError: they are neither `*` nor a list of entity tags, or name too many.
    """
    text = ",".join(fields).strip()
    if not fields:
        return None
    if text == ANY:
        return ANY
    tags: list[str] = []
    at = 0
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None:
            raise ValueError('entity tags are quoted: "version", or * for any')
        tags.append(f'W/"{found[2]}"' if found[1] else found[2])
        at = found.end()
        rest = text[at:].lstrip(" \t")
        if rest and not rest.startswith(","):
            raise ValueError("entity tags are separated by commas")
        at = len(text) - len(rest.lstrip(" \t,"))
    if not tags or len(tags) > MAX_TAGS:
        raise ValueError(f"1 to {MAX_TAGS} entity tags, or *")
    return tags


def holds(condition: Condition, version: str | None, *, weak: bool = False) -> bool:
    """Whether a value of this version (None: absent) is one of those named.

    `weak` is the comparison of `If-None-Match` on a read, to which `W/"v"` is `"v"`.
    """
    if version is None:
        return False
    if condition == ANY:
        return True
    return version in condition or (weak and f'W/"{version}"' in condition)


def etag(version: str) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'
