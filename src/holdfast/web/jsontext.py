"""JSON as text: checked, compacted, laid out, never re-written.

Values go from a body to the store and back without becoming Python objects, so
that `1.10` stays `1.10` and an integer of forty digits keeps them all.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["NotJSON", "compact", "kind", "pretty"]


class NotJSON(ValueError):
    """The text is not JSON; the message says what and where, in words for people."""


def compact(text: bytes) -> bytes:
    """The same JSON without white space between its parts.

    Raises:
        NotJSON: it is malformed, not UTF-8, or holds what `persist` could not read back
            (NaN, a number beyond a double, a lone surrogate, nesting beyond a thousand).
    """
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise NotJSON(f"not UTF-8 at byte {exc.start}") from None
    if not text.strip(b" \t\r\n"):
        raise NotJSON('empty; a value is JSON, and an empty one is null or ""')
    try:
        msgspec.json.decode(text)  # `format` alone accepts numbers that nothing can read
        return msgspec.json.format(text, indent=-1)
    except RecursionError:
        raise NotJSON("nested too deeply") from None
    except msgspec.MsgspecError as exc:
        raise NotJSON(_words(text, str(exc))) from None


def pretty(text: bytes) -> str:
    """The same JSON, two spaces to a level."""
    return msgspec.json.format(text, indent=2).decode("utf-8")


def kind(text: bytes) -> str:
    """What the value is: object, array, text, number, true or false, null."""
    first = text[:1]
    kinds = {b"{": "object", b"[": "array", b'"': "text", b"t": "boolean", b"f": "boolean", b"n": "null"}
    return kinds.get(first, "number")


def _words(text: bytes, said: str) -> str:
    """msgspec's message with its byte offset turned into a line and a column."""
    if said == "Input data was truncated":
        return "it ends too early, or a text in it holds half a surrogate pair"
    found = re.search(r"JSON is malformed: (.*) \(byte (\d+)\)", said)
    if found is None:
        return said.removesuffix(" - at `$[...]`").lower()
    what, at = found[1], int(found[2])
    before = text[:at]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    return f"{what} in line {line}, column {column}"
