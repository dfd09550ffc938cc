"""Notes between the processes of one file: written in anybody's transaction, read by number.

SQLite lets one process write at a time, so a number is visible only when every
lower one is, and AUTOINCREMENT gives each out once and without holes: where the
next one to be read is missing, it was swept before it was read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.engines.sqlite.wide import Wide

__all__ = ["MAX_NOTES", "OLDEST", "Note", "Notes", "latest", "note", "read", "sweep"]

MAX_NOTES: Final = 256
"""Read at once; they may be of a mebibyte each."""
MAX_SWEPT: Final = 4096

OLDEST: Final = "SELECT at FROM holdfast_notes ORDER BY number LIMIT 1"
_WRITE: Final = Wide(
    "INSERT INTO holdfast_notes (channel, data, at) SELECT * FROM", 3, "WHERE column1 IS NOT NULL"
)
_LATEST: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'holdfast_notes'"
_NEXT: Final = "SELECT min(number) FROM holdfast_notes WHERE number > ?"
_READ: Final = (
    "SELECT number, channel, data FROM holdfast_notes"
    " WHERE number > ? AND channel IN (SELECT value FROM json_each(?)) ORDER BY number LIMIT ?"
)
_SWEEP: Final = (
    "DELETE FROM holdfast_notes WHERE number IN"
    " (SELECT number FROM (SELECT number, at FROM holdfast_notes ORDER BY number LIMIT ?) WHERE at < ?)"
)


class Note(msgspec.Struct, frozen=True, gc=False):
    """What somebody wrote."""

    number: int
    channel: str
    data: bytes


class Notes(msgspec.Struct, frozen=True, gc=False):
    """What was written since some number."""

    reached: int  # read on from here
    found: Sequence[Note]
    complete: bool  # False: some were swept before they were read
    more: bool


def note(connection: sqlite3.Connection, rows: Sequence[tuple[str, bytes, int]]) -> None:
    """Write notes, each a channel, its data, and now in milliseconds; in the caller's transaction."""
    _WRITE.execute(connection, rows)


def latest(connection: sqlite3.Connection) -> int:
    """The highest number given out."""
    connection.execute(_NEXT, (0,)).fetchone()  # says that the table is missing
    (number,) = connection.execute(_LATEST).fetchone()
    return int(number)


def read(connection: sqlite3.Connection, after: int, channels: bytes) -> Notes:
    """The next notes of the channels (a JSON array) above that number; in the caller's read transaction."""
    last = latest(connection)
    if last == after:
        return Notes(after, (), True, False)
    (first,) = connection.execute(_NEXT, (after,)).fetchone()
    complete = first == after + 1
    rows = connection.execute(_READ, (after, channels.decode(), MAX_NOTES)).fetchall()
    found = [Note(*row) for row in rows]
    more = len(found) == MAX_NOTES
    return Notes(found[-1].number if more else last, found, complete, more)


def sweep(connection: sqlite3.Connection, before: int) -> int:
    """Delete some that were written before that moment; how many."""
    return connection.execute(_SWEEP, (MAX_SWEPT, before)).rowcount
