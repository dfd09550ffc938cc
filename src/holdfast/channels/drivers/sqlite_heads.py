"""The rows of the topics that a batch is about: read once, kept in step in memory, written back once."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast.channels.driver import Append, Clear, Edit, Erase, Find, Operation, Read, Trim
from holdfast.engines.sqlite.wide import Wide

__all__ = ["Head", "Heads"]

_HEADED: Final = frozenset({Append, Edit, Erase, Trim, Clear, Read, Find})
"""Whose work depends on a head: a read has to know whether what it asks for is still in memory."""

_MEET: Final = (
    "SELECT json_group_array(json_array(topic, number, epoch, last, trimmed, kept, at))"
    " FROM holdfast_topics WHERE topic IN (SELECT value FROM json_each(?))"
)
_RECALL: Final = (
    "SELECT json_group_array(json_array(m.number, m.id, m.position, m.at)) FROM json_each(?) wanted"
    " CROSS JOIN holdfast_messages m ON m.number = json_extract(wanted.value, '$[0]')"
    " AND m.id = json_extract(wanted.value, '$[1]')"
)
_NUMBERS: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'holdfast_topics'"
_BEGIN: Final = Wide(
    "INSERT INTO holdfast_topics (number, topic, epoch, last, trimmed, kept, at) SELECT * FROM",
    7,
    "WHERE column1 IS NOT NULL",
)
_UPDATE: Final = Wide(
    "UPDATE holdfast_topics SET last = new.column2, trimmed = new.column3, kept = new.column4, at = new.column5 FROM",
    5,
    "new WHERE number = new.column1",
)


class Head:
    """One topic's row, `dirty` where it differs from what is stored."""

    __slots__ = (
        "at",
        "dirty",
        "due",
        "epoch",
        "ids",
        "kept",
        "key",
        "last",
        "new",
        "newest",
        "number",
        "retention",
        "trimmed",
    )

    def __init__(
        self, key: str, number: int, epoch: str, last: int, trimmed: int, kept: int, at: int
    ) -> None:
        self.key = key
        self.number = number
        self.epoch = epoch
        self.last = last
        self.trimmed = trimmed
        self.kept = kept
        self.at = at
        self.new = self.dirty = False
        self.ids: dict[str, tuple[int, int]] = {}  # of those that the batch names: offset and time
        self.newest = 0  # what the batch appended last
        self.retention: Append | None = None  # the latest that asked for one
        self.due = False  # for a look at what became too old

    @property
    def unbroken(self) -> bool:
        """Whether a message stands at every offset that was not trimmed: no edit or removal has taken one."""
        return self.kept == self.last - self.trimmed


class Heads(dict[str, Head]):
    """Those of the batch's topics that have a log, by key."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._number = 0

    def meet(self, batch: Sequence[Operation]) -> None:
        """Read the heads that the batch needs, and which of the ids it wants to append are there already."""
        keys = {op.key for op in batch if type(op) in _HEADED}
        if not keys:
            return
        (found,) = self._connection.execute(_MEET, (_json(list(keys)),)).fetchone()
        for row in msgspec.json.decode(found):
            self[row[0]] = Head(*row)
        named: dict[int, Head] = {}
        wanted: list[tuple[int, str]] = []
        for op in batch:
            if type(op) is Append and op.id is not None and (head := self.get(op.key)) is not None:
                named[head.number] = head
                wanted.append((head.number, op.id))
        if wanted:
            (found,) = self._connection.execute(_RECALL, (_json(wanted),)).fetchone()
            for number, id, offset, at in msgspec.json.decode(found):
                named[number].ids[id] = (offset, at)

    def begin(self, key: str) -> Head:
        """The head of a new log. Its number is the next that SQLite would give out."""
        if not self._number:
            (self._number,) = self._connection.execute(_NUMBERS).fetchone()
        self._number += 1
        head = self[key] = Head(key, self._number, secrets.token_hex(8), 0, 0, 0, 0)
        head.new = True
        return head

    def write(self) -> None:
        """Write back those that changed."""
        fresh: list[tuple[Any, ...]] = []
        changed: list[tuple[Any, ...]] = []
        for head in self.values():
            if head.new:
                fresh.append((head.number, head.key, head.epoch, head.last, head.trimmed, head.kept, head.at))
            elif head.dirty:
                changed.append((head.number, head.last, head.trimmed, head.kept, head.at))
            head.new = head.dirty = False
        if fresh:
            _BEGIN.execute(self._connection, fresh)
        if changed:
            _UPDATE.execute(self._connection, changed)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
