"""What a batch does to the rows of an SQLite file: the statements, and how each kind of operation uses them.

Runs on the writer thread, inside its transaction or, where all of a batch are
reads, outside of one. Waves of `Set`, `Create` and plain `Remove` become
statements of many rows. That is not about SQLite, which is as quick with one
row at a time: every statement lets go of Python's interpreter lock and must win
it back, from an event loop that may keep it for 5 ms. A batch of 256 rows sent
row by row took 230 ms beside a loop busy with Python code, and 28 ms so.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias, cast

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Outcome,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Sweep,
    Touch,
    prefix_end,
)
from holdfast.persist.waves import INT64_MAX, INT64_MIN, Wave, spread, waves

__all__ = ["READ", "READ_ENTRY", "perform", "stored", "sweep"]

READ: Final = "SELECT value, expires_at FROM holdfast_persist WHERE key = ?"
READ_ENTRY: Final = "SELECT value, expires_at, version FROM holdfast_persist WHERE key = ?"

_LIVE = "(expires_at IS NULL OR expires_at > ?)"
_REPLACE = (
    "UPDATE holdfast_persist SET value = ?, version = ?, expires_at = ?"
    f" WHERE key = ? AND version = ? AND {_LIVE}"
)
_REPLACE_KEEP = (
    f"UPDATE holdfast_persist SET value = ?, version = ? WHERE key = ? AND version = ? AND {_LIVE}"
)
_REMOVE_VERSION = f"DELETE FROM holdfast_persist WHERE key = ? AND version = ? AND {_LIVE}"
_TOUCH = f"UPDATE holdfast_persist SET expires_at = ? WHERE key = ? AND {_LIVE}"
_RENEW = f"{_TOUCH} RETURNING value"
_WALK_FROM = "SELECT key, expires_at FROM holdfast_persist WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_WALK_AFTER = "SELECT key, expires_at FROM holdfast_persist WHERE key > ? AND key < ? ORDER BY key LIMIT ?"
_REMOVE_BETWEEN = "DELETE FROM holdfast_persist WHERE key >= ? AND key <= ?"
_CHUNK = (
    "SELECT count(*), max(rowid) FROM"
    " (SELECT rowid FROM holdfast_persist WHERE rowid > ? ORDER BY rowid LIMIT ?)"
)
_REMOVE_EXPIRED = "DELETE FROM holdfast_persist WHERE rowid > ? AND rowid <= ? AND expires_at <= ?"
_NO_END: Final = b""
"""An upper bound for keys where the prefix has none: SQLite orders every blob after every text."""

WIDTHS: Final = (64, 32, 16, 8, 4, 2, 1)
"""Rows in one statement. Seven texts a kind, prepared once; wider ones gain nothing more."""

Widths: TypeAlias = dict[int, str]


def _widths(head: str, row: str, tail: str) -> Widths:
    return {width: head + ", ".join([row] * width) + tail for width in WIDTHS}


_INTO = "INSERT INTO holdfast_persist (key, value, version, expires_at) VALUES "
_OVER = " ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version, expires_at = "
_SET = _widths(_INTO, "(?, ?, ?, ?)", f"{_OVER}excluded.expires_at")
_SET_KEEP = _widths(
    _INTO,
    "(?, ?, ?, NULL)",
    # `> ?` is not true of NULL either: what never expired goes on so.
    f"{_OVER}CASE WHEN holdfast_persist.expires_at > ? THEN holdfast_persist.expires_at END",
)
_CREATE = _widths(_INTO, "(?, ?, ?, ?)", f"{_OVER}excluded.expires_at WHERE holdfast_persist.expires_at <= ?")
_VERSIONS = _widths("SELECT version FROM holdfast_persist WHERE key IN (", "?", ")")
_REMOVE = _widths("DELETE FROM holdfast_persist WHERE key IN (", "?", ") RETURNING key, expires_at")


def perform(
    connection: sqlite3.Connection,
    batch: Sequence[Operation],
    now: int,
    cleared: dict[int, Sequence[str]] | None = None,
) -> list[Outcome]:
    """Do all of it at the time `now` (milliseconds); answers by position.

    Args:
        cleared: gets the live keys that each `Clear` deleted, by its place in the batch.
    """
    outcomes: list[Outcome] = [None] * len(batch)
    for wave in waves(batch):
        if wave.kind is Increment:
            _increment(connection, now, wave, batch, outcomes)
        elif wave.kind is Clear and cleared is not None:
            (place,) = wave.places
            outcomes[place], cleared[place] = _clear_page(connection, now, cast("Clear", wave.ops[0]))
        else:
            spread(wave, _PERFORM[wave.kind](connection, now, wave.ops), batch, outcomes)
    return outcomes


def stored(row: tuple[Any, int | None, int], now: int) -> Stored | None:
    """The row of `READ_ENTRY`, if it lives."""
    value, expires_at, version = row
    if expires_at is None:
        return Stored(value, None, str(version))
    return Stored(value, expires_at - now, str(version)) if expires_at > now else None


def sweep(connection: sqlite3.Connection, after: int, limit: int, now: int) -> Sweep:
    """Delete the expired among the next `limit` rows in the order in which they lie in the file.

    By rowid, which is the table's own order: a walk along the keys would fetch
    pages from all over the file.
    """
    seen, last = connection.execute(_CHUNK, (after, limit)).fetchone()
    if not seen:
        return Sweep(0, None)
    removed = connection.execute(_REMOVE_EXPIRED, (after, last, now)).rowcount
    return Sweep(removed, str(last) if seen == limit else None)


# --- many rows in a statement ---


def _wide(connection: sqlite3.Connection, texts: Widths, rows: Sequence[tuple[Any, ...]], *last: int) -> int:
    """Send the rows in statements as wide as they fill; how many rows were changed."""
    changed = at = 0
    for width in WIDTHS:
        while len(rows) - at >= width:
            some = rows if width == len(rows) else rows[at : at + width]
            changed += connection.execute(texts[width], (*chain.from_iterable(some), *last)).rowcount
            at += width
    return changed


def _answers(connection: sqlite3.Connection, texts: Widths, keys: Sequence[str]) -> Iterable[Any]:
    at = 0
    for width in WIDTHS:
        while len(keys) - at >= width:
            yield from connection.execute(texts[width], keys[at : at + width]).fetchall()
            at += width


def _drawn(count: int) -> tuple[int, ...]:
    """New versions: as many random 64-bit numbers. SQLite's own `random()` repeats itself in a forked process."""
    return struct.unpack(f"{count}q", os.urandom(8 * count))


def _until(now: int, ttl: int | None) -> int | None:
    return None if ttl is None else min(now + ttl, INT64_MAX)


def _set(connection: sqlite3.Connection, now: int, ops: Sequence[Set]) -> list[Outcome]:
    timed: list[tuple[Any, ...]] = []
    kept: list[tuple[Any, ...]] = []
    for op, version in zip(ops, _drawn(len(ops)), strict=True):
        ttl = op.ttl
        if ttl is KEEP:
            kept.append((op.key, op.value.decode(), version))
        else:
            timed.append((op.key, op.value.decode(), version, _until(now, ttl)))
    if timed:
        _wide(connection, _SET, timed)
    if kept:
        _wide(connection, _SET_KEEP, kept, now)
    return [None] * len(ops)


def _create(connection: sqlite3.Connection, now: int, ops: Sequence[Create]) -> list[Outcome]:
    drawn = _drawn(len(ops))
    rows = [
        (op.key, op.value.decode(), version, _until(now, op.ttl))
        for op, version in zip(ops, drawn, strict=True)
    ]
    if _wide(connection, _CREATE, rows, now) == len(ops):
        return [True] * len(ops)
    if len(ops) == 1:
        return [False]
    # Some were refused: those whose version is not the one just drawn.
    found = {version for (version,) in _answers(connection, _VERSIONS, [op.key for op in ops])}
    return [version in found for version in drawn]


def _remove(connection: sqlite3.Connection, now: int, ops: Sequence[Remove]) -> list[Outcome]:
    plain = [op.key for op in ops if op.version is None]
    lived = {
        key
        for key, expires_at in _answers(connection, _REMOVE, plain)
        if expires_at is None or expires_at > now
    }
    return [
        op.key in lived if op.version is None else _remove_version(connection, now, op.key, op.version)
        for op in ops
    ]


# --- one row at a time ---


def _remove_version(connection: sqlite3.Connection, now: int, key: str, version: str) -> bool:
    number = _number(version)
    return number is not None and connection.execute(_REMOVE_VERSION, (key, number, now)).rowcount == 1


def _replace(connection: sqlite3.Connection, now: int, ops: Sequence[Replace]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for op, version in zip(ops, _drawn(len(ops)), strict=True):
        ttl, number = op.ttl, _number(op.version)
        if number is None:
            changed = 0
        elif ttl is KEEP:
            changed = connection.execute(
                _REPLACE_KEEP, (op.value.decode(), version, op.key, number, now)
            ).rowcount
        else:
            changed = connection.execute(
                _REPLACE, (op.value.decode(), version, _until(now, ttl), op.key, number, now)
            ).rowcount
        outcomes.append(str(version) if changed else None)
    return outcomes


def _number(version: str) -> int | None:
    """The version as it is stored; None where no stored version reads so."""
    try:
        number = int(version)
    except ValueError:
        return None
    return number if str(number) == version and INT64_MIN <= number <= INT64_MAX else None


def _touch(connection: sqlite3.Connection, now: int, ops: Sequence[Touch]) -> list[Outcome]:
    return [connection.execute(_TOUCH, (_until(now, op.ttl), op.key, now)).rowcount == 1 for op in ops]


def _renew(connection: sqlite3.Connection, now: int, ops: Sequence[GetRenew]) -> list[Outcome]:
    rows = (connection.execute(_RENEW, (_until(now, op.ttl), op.key, now)).fetchone() for op in ops)
    return [None if row is None else row[0] for row in rows]


def _increment(
    connection: sqlite3.Connection, now: int, wave: Wave, batch: Sequence[Operation], outcomes: list[Outcome]
) -> None:
    """Each counter is read once and written once, however many of the batch add to it."""
    rows: list[tuple[Any, ...]] = []
    for at, op in enumerate(wave.ops):
        places = wave.folded.get(at, (wave.places[at],))
        row = connection.execute(READ, (op.key,)).fetchone()
        if row is not None and (row[1] is None or row[1] > now):
            total, until = _counter(row[0]), row[1]
        else:
            total, until = 0, None
            row = None
        changed = False
        for place in places:
            each: Any = batch[place]
            if total is None:
                outcomes[place] = InvalidConversion(
                    f"increment {each.key!r}: what is stored is not a 64-bit integer"
                )
            elif not INT64_MIN <= total + each.by <= INT64_MAX:
                outcomes[place] = ValueError(f"increment {each.key!r}: the sum leaves the 64-bit range")
            else:
                if row is None and not changed:
                    until = _until(now, each.ttl)
                total += each.by
                outcomes[place], changed = total, True
        if changed:
            rows.append((op.key, str(total), until))
    if rows:
        _wide(
            connection,
            _SET,
            [
                (key, text, version, until)
                for (key, text, until), version in zip(rows, _drawn(len(rows)), strict=True)
            ],
        )


_COUNTER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


def _counter(text: Any) -> int | None:
    """The counter that this is the JSON of; None: it is of something else."""
    if not isinstance(text, str) or _COUNTER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if INT64_MIN <= number <= INT64_MAX else None


def _get(connection: sqlite3.Connection, now: int, ops: Sequence[Get]) -> list[Outcome]:
    rows = (connection.execute(READ, (op.key,)).fetchone() for op in ops)
    return [None if row is None or (row[1] is not None and row[1] <= now) else row[0] for row in rows]


def _get_entry(connection: sqlite3.Connection, now: int, ops: Sequence[GetEntry]) -> list[Outcome]:
    rows = (connection.execute(READ_ENTRY, (op.key,)).fetchone() for op in ops)
    return [None if row is None else stored(row, now) for row in rows]


# --- walks: a page looks at `limit` rows, expired ones included, so that no page takes long ---


def _walk(connection: sqlite3.Connection, op: Keys | Clear) -> list[tuple[str, int | None]]:
    end = prefix_end(op.key)
    upper = _NO_END if end is None else end
    if op.cursor is None:
        return connection.execute(_WALK_FROM, (op.key, upper, op.limit)).fetchall()
    return connection.execute(_WALK_AFTER, (op.cursor, upper, op.limit)).fetchall()


def _keys(connection: sqlite3.Connection, now: int, ops: Sequence[Keys]) -> list[Outcome]:
    op = ops[0]  # walks come one to a wave
    rows = _walk(connection, op)
    live = [key for key, expires_at in rows if expires_at is None or expires_at > now]
    return [Page(live, rows[-1][0] if len(rows) == op.limit else None)]


def _clear(connection: sqlite3.Connection, now: int, ops: Sequence[Clear]) -> list[Outcome]:
    return [_clear_page(connection, now, ops[0])[0]]


def _clear_page(connection: sqlite3.Connection, now: int, op: Clear) -> tuple[Cleared, list[str]]:
    rows = _walk(connection, op)
    if rows:
        connection.execute(_REMOVE_BETWEEN, (rows[0][0], rows[-1][0]))
    lived = [key for key, expires_at in rows if expires_at is None or expires_at > now]
    return Cleared(len(lived), rows[-1][0] if len(rows) == op.limit else None), lived


_PERFORM: dict[type, Callable[[sqlite3.Connection, int, Sequence[Any]], list[Outcome]]] = {
    Get: _get,
    GetEntry: _get_entry,
    GetRenew: _renew,
    Set: _set,
    Create: _create,
    Replace: _replace,
    Remove: _remove,
    Touch: _touch,
    Keys: _keys,
    Clear: _clear,
}
