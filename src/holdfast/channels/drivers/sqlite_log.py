"""What a batch does to the logs in an SQLite file.

Runs on the writer thread, inside its transaction: nobody else writes meanwhile,
so the rows of all topics of a batch are read once, kept in step in memory and
written back once, and messages gather until something has to see them. A batch
of appends, of any size to any number of topics, is three statements, and two
more where retention is due. Few statements are what counts here, see
`engines.sqlite.wide`; for the same reason answers of many rows come as one row
of JSON.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Found,
    Log,
    Operation,
    Outcome,
    Read,
    Send,
    TopicPage,
    Topics,
    Trim,
)
from holdfast.channels.drivers.sqlite_heads import Heads
from holdfast.channels.drivers.sqlite_reads import find, log, topics
from holdfast.channels.drivers.sqlite_retention import cut_due, is_due, trim
from holdfast.engines.sqlite.notes import note
from holdfast.engines.sqlite.wide import Wide

__all__ = ["READS", "look_up", "perform"]

_INSERT: Final = Wide(
    "INSERT INTO holdfast_messages (number, position, id, event, payload, at) SELECT * FROM",
    6,
    "WHERE column1 IS NOT NULL",
)
_CHANGE = (
    "UPDATE holdfast_messages SET payload = ?, changed = ? WHERE number = ? AND payload IS NOT NULL AND "
)
_CHANGED = " RETURNING position, id, event, payload, at, changed"
_CHANGE_ID: Final = f"{_CHANGE}id = ?{_CHANGED}"
_CHANGE_OFFSET: Final = f"{_CHANGE}position = ?{_CHANGED}"
_CLEAR: Final = "DELETE FROM holdfast_messages WHERE number = ?"
_FORGET: Final = "DELETE FROM holdfast_topics WHERE number = ?"

READS: Final[dict[type, Callable[[Any, Any], Outcome]]] = {Read: log, Find: find, Topics: topics}


def perform(connection: sqlite3.Connection, batch: Sequence[Operation], now: int) -> list[Outcome]:
    """Do all of it at the time `now` (milliseconds); answers by position."""
    return _Writing(connection, now).perform(batch)


def look_up(connection: sqlite3.Connection, batch: Sequence[Operation]) -> list[Outcome]:
    """The same for a batch of reads, which needs no transaction: each is one statement."""
    return [READS[type(op)](connection.execute, op) for op in batch]


class _Writing:
    """One batch."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._heads = Heads(connection)
        # INVARIANT: a topic of which a message waits here is dirty.
        self._messages: list[tuple[Any, ...]] = []
        self._notes: list[tuple[str, bytes, int]] = []
        self._do: dict[type, Callable[[Any], Outcome]] = {
            Append: self._append,
            Edit: self._edit,
            Erase: self._erase,
            Send: self._send,
            Trim: self._trim,
            Clear: self._clear,
            Read: self._read,
            Find: self._find,
            Topics: self._topics,
        }

    def perform(self, batch: Sequence[Operation]) -> list[Outcome]:
        self._heads.meet(batch)
        do = self._do
        outcomes = [do[type(op)](op) for op in batch]
        self._save()
        if self._notes:
            note(self._connection, self._notes)
        return outcomes

    def _save(self) -> None:
        """Let statements see what was done so far."""
        if self._messages:
            _INSERT.execute(self._connection, self._messages)
            self._messages.clear()
        cut_due(self._connection, self._heads.values(), self._now)
        self._heads.write()

    def _seen(self, key: str) -> None:
        """A statement is about to read this topic."""
        head = self._heads.get(key)
        if head is not None and head.dirty:
            self._save()

    def _append(self, op: Append) -> Appended:
        head = self._heads.get(op.key)
        if head is None:
            head = self._heads.begin(op.key)
        id = op.id
        at = self._now if op.at is None else op.at
        offset = head.last + 1
        if id is not None:
            known = head.ids.get(id)
            if known is not None:
                return Appended(known[0], head.epoch, known[1], True)
            head.ids[id] = (offset, at)
        self._messages.append((head.number, offset, id, op.event, op.payload.decode(), at))
        if op.max_messages is not None or op.max_age is not None:
            head.retention = op
            if op.max_age is not None:
                head.due = head.due or is_due(head, offset, at)
        head.last = head.newest = offset
        head.kept += 1
        head.at = at
        head.dirty = True
        return Appended(offset, head.epoch, at)

    def _edit(self, op: Edit) -> Changed | None:
        return self._change(op, op.payload.decode())

    def _erase(self, op: Erase) -> Changed | None:
        return self._change(op, None)

    def _change(self, op: Edit | Erase, payload: str | None) -> Changed | None:
        head = self._heads.get(op.key)
        if head is None:
            return None
        if self._messages and head.dirty:
            self._save()
        values = (payload, head.last + 1, head.number)
        if op.id is not None:
            rows = self._connection.execute(_CHANGE_ID, (*values, op.id)).fetchall()
        elif op.epoch == head.epoch:
            rows = self._connection.execute(_CHANGE_OFFSET, (*values, op.offset)).fetchall()
        else:
            return None
        if not rows:
            return None
        head.last += 1
        head.dirty = True
        return Changed(head.epoch, Entry(*rows[0]))

    def _send(self, op: Send) -> None:
        self._notes.append((op.key, op.data, self._now))

    def _trim(self, op: Trim) -> int:
        head = self._heads.get(op.key)
        if head is None:
            return 0
        self._seen(op.key)
        return trim(self._connection, head, op, self._now)

    def _clear(self, op: Clear) -> bool:
        self._seen(op.key)
        head = self._heads.pop(op.key, None)
        if head is None:
            return False
        self._connection.execute(_CLEAR, (head.number,))
        self._connection.execute(_FORGET, (head.number,))
        return True

    def _read(self, op: Read) -> Log:
        self._seen(op.key)
        return log(self._connection.execute, op)

    def _find(self, op: Find) -> Found | None:
        self._seen(op.key)
        return find(self._connection.execute, op)

    def _topics(self, op: Topics) -> TopicPage:
        self._save()
        return topics(self._connection.execute, op)
