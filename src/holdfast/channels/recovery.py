"""Positions, and what a returning client has missed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Self

import msgspec

from holdfast.channels.driver import Entry

__all__ = ["EDITED", "REMOVED", "Position", "Step", "is_given", "recoverable", "steps"]

EDITED: Final = "message_edited"
REMOVED: Final = "message_removed"

_TEXT = re.compile(r"(0|[1-9][0-9]{0,17})~([0-9A-Za-z]{0,16})")
_GIVEN = re.compile(r"[0-9A-Za-z_.:@/+=-]{1,128}")


class Position(msgspec.Struct, frozen=True, gc=False):
    """A place in one topic's log. Its text, `offset~epoch`, is opaque to clients.

    The position before a log that does not exist yet is `0~`: whatever comes,
    comes after it.
    """

    offset: int
    epoch: str

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """The position that the text says; None: it says none."""
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        return None if found is None else cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.offset}~{self.epoch}"


def is_given(id: str) -> bool:
    """Whether it can be an id that a publisher gives; a tilde marks ids that are positions."""
    return _GIVEN.fullmatch(id) is not None


def recoverable(since: Position, epoch: str | None, last: int, trimmed: int) -> bool:
    """Whether the log still holds everything that came after `since`.

    An offset beyond the last, in the right epoch, means that the store has
    forgotten what it once acknowledged: also lost.
    """
    if epoch is None or since.epoch == "":
        return since.epoch == "" and since.offset == 0 and trimmed == 0
    return since.epoch == epoch and trimmed <= since.offset <= last


class Step(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened in a log: a message was said, or one said before was edited or removed."""

    offset: int
    entry: Entry
    change: bool


def steps(entries: Iterable[Entry], after: int) -> list[Step]:
    """What happened after an offset, in the order of the log.

    A message that is new since then stands at its own offset, as it is now. One
    that was there before stands at the offset of its latest change. One that came
    and was erased since is missing, unless it had an id: it may have been shown
    before it was stored, so that its removal is told.

    >>> said = Entry(5, None, "m", b"{}", 0, changed=9)
    >>> [(step.offset, step.change) for step in steps([said], 4)], [s.change for s in steps([said], 5)]
    ([(5, False)], [True])
    """
    newest: dict[int, Entry] = {}
    for entry in entries:  # pages that were read one after the other may hold one twice
        newest[entry.offset] = entry
    found: list[Step] = []
    for entry in newest.values():
        if entry.offset > after:
            if entry.payload is not None:
                found.append(Step(entry.offset, entry, False))
            elif entry.id is not None:
                found.append(Step(entry.changed or entry.offset, entry, True))
        elif entry.changed is not None and entry.changed > after:
            found.append(Step(entry.changed, entry, True))
    found.sort(key=lambda step: step.offset)
    return found
