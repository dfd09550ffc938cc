"""Stretches of logs, single messages and pages of topics, each by one statement and so of one moment.

The same statements run on the writer thread, whose connection gives text as
`str`, and on the loop's own, which gives `bytes`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from holdfast.channels.driver import Entry, Find, Found, Log, Read, Topic, TopicPage, Topics

__all__ = ["Execute", "find", "log", "topics"]

Execute: TypeAlias = Callable[[str, Sequence[Any]], sqlite3.Cursor]

_END: Final = (1 << 63) - 1
_NOTHING: Final = Log(None, 0, 0, ())

_LOG = "SELECT t.epoch, t.last, t.trimmed, m.position, m.id, m.event, m.payload, m.at, m.changed FROM holdfast_topics t"
_LIVE = " LEFT JOIN holdfast_messages m ON m.number = t.number AND m.payload IS NOT NULL AND m.position"
_BEFORE: Final = f"{_LOG}{_LIVE} < ? WHERE t.topic = ? ORDER BY m.position DESC LIMIT ?"
_AFTER: Final = f"{_LOG}{_LIVE} > ? WHERE t.topic = ? ORDER BY m.position LIMIT ?"
_NUMBER = "(SELECT number FROM holdfast_topics WHERE topic = ?1)"
_CHANGES: Final = (
    f"{_LOG} LEFT JOIN ("
    # What was changed stands at its change, which is above the message itself:
    # so each half is in the order of an index, and stops at the limit.
    f"SELECT * FROM (SELECT * FROM holdfast_messages WHERE number = {_NUMBER}"
    " AND position > ?2 AND changed IS NULL ORDER BY position LIMIT ?3)"
    " UNION ALL "
    f"SELECT * FROM (SELECT * FROM holdfast_messages WHERE number = {_NUMBER}"
    " AND changed > ?2 ORDER BY changed LIMIT ?3)"
    ") m ON true WHERE t.topic = ?1 ORDER BY coalesce(m.changed, m.position) LIMIT ?3"
)
_FIND = (
    "SELECT t.epoch, m.position, m.id, m.event, m.payload, m.at, m.changed"
    " FROM holdfast_topics t CROSS JOIN holdfast_messages m ON m.number = t.number"
    " WHERE t.topic = ? AND m.payload IS NOT NULL AND "
)
_FIND_ID: Final = f"{_FIND}m.id = ?"
_FIND_OFFSET: Final = f"{_FIND}m.position = ? AND t.epoch = ?"
_TOPICS = "SELECT topic, epoch, last, kept, at FROM holdfast_topics WHERE topic"
_TOPICS_FROM: Final = f"{_TOPICS} >= ? ORDER BY topic LIMIT ?"
_TOPICS_AFTER: Final = f"{_TOPICS} > ? ORDER BY topic LIMIT ?"


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _entry(
    position: int,
    id: bytes | str | None,
    event: bytes | str,
    payload: bytes | str,
    at: int,
    changed: int | None,
) -> Entry:
    return Entry(position, None if id is None else _text(id), _text(event), payload, at, changed)


def log(execute: Execute, op: Read) -> Log:
    """The stretch that `op` asks for."""
    limit = max(op.limit, 1)  # a limit of 0 still asks how far the log reaches
    if op.changes_after is not None:
        rows = execute(_CHANGES, (op.key, op.changes_after, limit)).fetchall()
    elif op.after is not None:
        rows = execute(_AFTER, (op.after, op.key, limit)).fetchall()
    else:
        rows = execute(_BEFORE, (_END if op.before is None else op.before, op.key, limit)).fetchall()
        rows.reverse()
    if not rows:
        return _NOTHING
    epoch, last, trimmed, first = rows[0][:4]
    if first is None or not op.limit:
        return Log(_text(epoch), last, trimmed, ())
    return Log(_text(epoch), last, trimmed, [_entry(*row[3:]) for row in rows])


def find(execute: Execute, op: Find) -> Found | None:
    """The message that `op` names."""
    if op.id is not None:
        rows = execute(_FIND_ID, (op.key, op.id)).fetchall()
    else:
        rows = execute(_FIND_OFFSET, (op.key, op.offset, op.epoch)).fetchall()
    return Found(_text(rows[0][0]), _entry(*rows[0][1:])) if rows else None


def topics(execute: Execute, op: Topics) -> TopicPage:
    """The page that `op` asks for."""
    if op.cursor is None:
        rows = execute(_TOPICS_FROM, (op.key, op.limit + 1)).fetchall()
    else:
        rows = execute(_TOPICS_AFTER, (op.cursor, op.limit + 1)).fetchall()
    # Those that start with the prefix stand together, at the front.
    found = [Topic(*row) for row in rows if row[0].startswith(op.key)]
    page = found[: op.limit]
    return TopicPage(page, page[-1].key if len(found) > op.limit else None)
