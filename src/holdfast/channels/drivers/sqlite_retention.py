"""What retention takes away: always the oldest of a log, without a gap.

Appends let an eighth too many gather, or 16, and then cut all at once; the cuts
of one batch are one statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast.channels.driver import Trim
from holdfast.channels.drivers.sqlite_heads import Head

__all__ = ["cut_due", "is_due", "trim"]

_SLACK: Final = 16
"""So many more than the retention asks for may always gather."""

_NTH: Final = "SELECT position FROM holdfast_messages WHERE number = ? ORDER BY position LIMIT 1 OFFSET ?"
_YOUNG: Final = (
    "SELECT position FROM holdfast_messages WHERE number = ? AND at >= ? ORDER BY position LIMIT 1"
)
_YOUNGEST: Final = (
    "SELECT json_group_array(json_array(number, (SELECT position FROM holdfast_messages"
    " WHERE number = wanted.number AND at >= wanted.since ORDER BY position LIMIT 1)))"
    " FROM (SELECT json_extract(value, '$[0]') AS number, json_extract(value, '$[1]') AS since"
    " FROM json_each(?)) wanted"
)
_COUNT: Final = "SELECT count(*), max(position) FROM holdfast_messages WHERE number = ? AND position < ?"
_CUT: Final = (
    "DELETE FROM holdfast_messages WHERE (number, position) IN (SELECT m.number, m.position"
    " FROM json_each(?) wanted CROSS JOIN holdfast_messages m ON m.number = json_extract(wanted.value, '$[0]')"
    " AND m.position < json_extract(wanted.value, '$[1]'))"
)


def is_due(head: Head, offset: int, at: int) -> bool:
    """Whether to look for messages that are too old, as one is appended: every 16, and after a silence."""
    retention = head.retention
    return (
        retention is not None
        and retention.max_age is not None
        and (offset % _SLACK == 0 or at - head.at > retention.max_age >> 3)
    )


def cut_due(connection: sqlite3.Connection, heads: Iterable[Head], now: int) -> None:
    """Apply the retention that appends asked for, where enough has gathered."""
    firsts: dict[Head, int] = {}
    aging: dict[int, Head] = {}
    since: list[tuple[int, int]] = []
    for head in heads:
        retention = head.retention
        if retention is None:
            continue
        most = retention.max_messages
        if most is not None and head.kept > most + max(_SLACK, most >> 3):
            firsts[head] = _first(connection, head, head.kept - most)
        if head.due and retention.max_age is not None:
            head.due = False
            aging[head.number] = head
            since.append((head.number, now - retention.max_age))
    if since:
        (found,) = connection.execute(_YOUNGEST, (msgspec.json.encode(since).decode(),)).fetchone()
        for number, first in msgspec.json.decode(found):
            head = aging[number]
            # The newest stays, however long ago it was said.
            firsts[head] = max(firsts.get(head, 0), head.newest if first is None else first)
    if firsts:
        _cut(connection, firsts)


def trim(connection: sqlite3.Connection, head: Head, op: Trim, now: int) -> int:
    """Apply a retention exactly; how many messages went."""
    first = 0
    if op.max_messages is not None and head.kept > op.max_messages:
        first = _first(connection, head, head.kept - op.max_messages)
    if op.max_age is not None:
        row = connection.execute(_YOUNG, (head.number, now - op.max_age)).fetchone()
        first = max(first, head.last + 1 if row is None else row[0])
    return _cut(connection, {head: first})


def _first(connection: sqlite3.Connection, head: Head, excess: int) -> int:
    """The offset of the first message to stay where so many go."""
    if head.unbroken:
        return head.trimmed + excess + 1
    row = connection.execute(_NTH, (head.number, excess)).fetchone()
    return head.last + 1 if row is None else int(row[0])


def _cut(connection: sqlite3.Connection, firsts: dict[Head, int]) -> int:
    """Delete what stands below those offsets; how many messages."""
    wanted: list[tuple[int, int]] = []
    before = sum(head.kept for head in firsts)
    for head, first in firsts.items():
        if head.unbroken:
            gone, highest = first - 1 - head.trimmed, first - 1
        else:
            gone, highest = connection.execute(_COUNT, (head.number, first)).fetchone()
        if gone <= 0:
            continue
        wanted.append((head.number, first))
        head.kept -= gone
        head.trimmed = highest
        head.dirty = True
        if head.ids:
            head.ids = {id: known for id, known in head.ids.items() if known[0] >= first}
    if wanted:
        connection.execute(_CUT, (msgspec.json.encode(wanted).decode(),))
    return before - sum(head.kept for head in firsts)
