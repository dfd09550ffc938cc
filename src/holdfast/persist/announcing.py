"""Which writes are announced, and the words for it that engines carry between processes. Pure.

An announcement is text: changes with NUL between them, which is in no key; each
is a letter, `s` for set or `r` for removed, and the key with its namespace::

    sapp:p:user:1␀rapp:p:user:2

Processes of different drivers on one database read each other's (`sqlite://`
and `sqlalchemy+sqlite+aiosqlite://`), so it is one format for all that store
or publish bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.persist.driver import Create, Increment, Listener, Operation, Outcome, Remove, Replace, Set

__all__ = ["REMOVED", "SET", "announced", "announcement", "is_value", "tell"]

SET: Final = "s"
REMOVED: Final = "r"

_KINDS: Final[dict[type, str]] = {Set: SET, Create: SET, Replace: SET, Increment: SET, Remove: REMOVED}
"""`Clear` names its keys itself; the others change no value."""
_REFUSED: Final[dict[type, Outcome]] = {Create: False, Replace: None, Remove: False}


def is_value(key: str) -> bool:
    """Whether the key, its namespace in front, is of a user's value, and not of a lease, a lock or a fence.

    >>> is_value("app/sessions:p:9f"), is_value("app:l:p:9f")
    (True, False)
    """
    return key.startswith(":p:", key.find(":"))


def announced(op: Operation, outcome: Outcome) -> str | None:
    """The letter of what the operation did to a user's value; None: nothing that is announced."""
    kind = type(op)
    letter = _KINDS.get(kind)
    if letter is None or isinstance(outcome, Exception) or not is_value(op.key):
        return None
    return None if kind in _REFUSED and outcome is _REFUSED[kind] else letter


def announcement(
    batch: Sequence[Operation], outcomes: Sequence[Outcome], cleared: Mapping[int, Sequence[str]] = {}
) -> bytes:
    """What the batch did, in its order; empty where it did nothing that is announced.

    Several changes of one kind to one key, with no other between them, are one.

    Args:
        cleared: the keys of live values that each `Clear` deleted, by its place in the batch.
    """
    last: dict[str, str] = {}
    told: list[str] = []

    def say(letter: str, key: str) -> None:
        if last.get(key) != letter:
            last[key] = letter
            told.append(letter + key)

    for place, (op, outcome) in enumerate(zip(batch, outcomes, strict=True)):
        letter = announced(op, outcome)
        if letter is not None:
            say(letter, op.key)
        for key in cleared.get(place, ()):
            if is_value(key):
                say(REMOVED, key)
    return "\0".join(told).encode()


def tell(listener: Listener, data: bytes) -> None:
    """Hand what was announced to the listener; what is none of ours says nothing."""
    for part in data.decode(errors="replace").split("\0"):
        if part.startswith((SET, REMOVED)):
            listener.changed(part[1:], part[0] == REMOVED)
