"""What processes tell each other by NOTIFY: the words, to write and to read. Pure.

A payload is text of less than 8,000 bytes: one character that separates, which
is in none of the parts, then a header, then parts::

    ␟k<origin>␟<epoch>:<last>:<topic>␟<epoch>:<last>:<topic>...      logs that went on
    ␟s<origin>.<nth>␟<topic>␟<form><data>␟<topic>␟<form><data>...    what was sent
    ␟n<origin>.<nth>␟<number>:<topic>                                what was sent, too long: in `holdfast_notes`

`origin` says who announces, so that a process can tell its own; `nth` makes two
payloads differ that are else the same, of which Postgres would drop one. The
form is `t` for text, `b` for base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from holdfast.channels.driver import Send

__all__ = ["INLINE_BYTES", "Heard", "Sent", "Told", "chunks", "heard", "joined", "packed"]

LONGEST: Final = 7_900
"""Bytes of one payload; Postgres allows 7,999."""
INLINE_BYTES: Final = 5_000
"""Data up to this many bytes travel in the payload, in either form, beside the longest topic."""
_POINTER: Final = 16 + 19 + 3
"""Bytes of a pointer beside its topic: epoch, offset, what separates."""
_HEADER: Final = 64


class Told(msgspec.Struct, frozen=True, gc=False):
    """A log went on."""

    key: str
    epoch: str
    last: int


class Sent(msgspec.Struct, frozen=True, gc=False):
    """Something was sent; `data` is None where it is in the note of this number."""

    key: str
    data: bytes | None
    number: int = 0


class Heard(msgspec.Struct, frozen=True):
    """One payload, read."""

    origin: str
    told: Sequence[Told] = ()
    sent: Sequence[Sent] = ()


def joined(texts: Sequence[str]) -> tuple[str, str]:
    """The texts as one, and the character between them, which is in none of them."""
    text = "\x1f".join(texts)
    if text.count("\x1f") == len(texts) - 1:
        return text, "\x1f"
    between = unused("".join(texts))
    return between.join(texts), between


def unused(text: str) -> str:
    """A character that is not in the text."""
    return "\x1f" if "\x1f" not in text else next(c for c in map(chr, range(1, 0xD800)) if c not in text)


def chunks(keys: Sequence[str], text: str) -> list[int]:
    """Which payload each log's pointer goes to; empty where all fit in one. `text` is the keys, joined."""
    if 4 * len(text) + _POINTER * len(keys) < LONGEST:
        return []
    sizes = [len(key.encode()) + _POINTER for key in keys]
    if sum(sizes) + _HEADER < LONGEST:
        return []
    return _packed(sizes)


def _packed(sizes: Iterable[int]) -> list[int]:
    places: list[int] = []
    full, chunk = _HEADER, 0
    for size in sizes:
        if full + size > LONGEST:
            full, chunk = _HEADER, chunk + 1
        full += size
        places.append(chunk)
    return places


def packed(sends: Sequence[Send], origin: str) -> list[str]:
    """The payloads that carry these, none of which is longer than `INLINE_BYTES`."""
    parts = [(op.key, _form(op.data)) for op in sends]
    places = _packed([len(key.encode()) + len(data.encode()) + 2 for key, data in parts])
    payloads: list[str] = []
    for chunk in range(places[-1] + 1):
        flat = [text for part, place in zip(parts, places, strict=True) if place == chunk for text in part]
        body, between = joined(flat)
        payloads.append(f"{between}s{origin}.{chunk}{between}{body}")
    return payloads


def _form(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    return f"t{text}" if "\0" not in text else f"b{base64.b64encode(data).decode()}"


def heard(payload: str) -> Heard | None:
    """What the payload says; None where it is none of ours."""
    if len(payload) < 2:
        return None
    kind = payload[1]
    header, *parts = payload[2:].split(payload[0])
    origin = header.partition(".")[0]
    try:
        if kind == "k":
            return Heard(origin, told=[_told(part) for part in parts])
        if kind == "s":
            pairs = zip(parts[::2], parts[1::2], strict=True)
            return Heard(origin, sent=[Sent(key, _data(form)) for key, form in pairs])
        if kind == "n":
            notes = [part.partition(":") for part in parts]
            return Heard(origin, sent=[Sent(key, None, int(number)) for number, _, key in notes])
    except ValueError:
        return None  # somebody else speaks in this channel, or a later version
    return None


def _told(part: str) -> Told:
    epoch, last, key = part.split(":", 2)
    return Told(key, epoch, int(last))


def _data(form: str) -> bytes:
    return base64.b64decode(form[1:]) if form.startswith("b") else form[1:].encode()
