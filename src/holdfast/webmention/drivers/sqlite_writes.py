"""What changes documents in an SQLite file: on the writer thread, inside its transaction.

Nobody else writes meanwhile, so what is read first still holds when it is
written. A write of any length is one look at what is there, and at most seven
statements more.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from holdfast.webmention.driver import Change, Document, Put
from holdfast.webmention.drivers import sqlite_reads as reads

__all__ = ["claim", "write"]

_Where: TypeAlias = tuple[int, int]
"""A row's number and its revision."""

_MEET: Final = (
    "SELECT wanted.key, m.number, m.revision FROM json_each(?) wanted"
    " CROSS JOIN holdfast_mentions m ON m.kind = json_extract(wanted.value, '$[0]')"
    " AND m.id = json_extract(wanted.value, '$[1]')"
)
_THESE = "(SELECT value FROM json_each(?))"
_UNTAG: Final = f"DELETE FROM holdfast_mention_tags WHERE number IN {_THESE}"
_DROP: Final = f"DELETE FROM holdfast_mentions WHERE number IN {_THESE}"
_UPDATE: Final = "UPDATE holdfast_mentions SET revision = revision + 1, due = ?, data = ? WHERE number = ?"
_INSERT: Final = "INSERT INTO holdfast_mentions (kind, id, revision, due, data) VALUES (?, ?, 1, ?, ?)"
_TAG: Final = (
    "INSERT INTO holdfast_mention_tags (kind, tag, number)"
    " SELECT kind, ?, number FROM holdfast_mentions WHERE kind = ? AND id = ?"
)
_LEASE: Final = (
    f"UPDATE holdfast_mentions SET revision = revision + 1, due = ? WHERE number IN {_THESE}"
    " RETURNING number, revision"
)


def write(connection: sqlite3.Connection, changes: Sequence[Change], now: int) -> bool:
    """All of them at the time `now` (milliseconds); False, and nothing was done, where one met another version."""
    there = _meet(connection, changes)
    for at, change in enumerate(changes):
        if change.expect is not None and change.expect != (_version(*there[at]) if at in there else ""):
            return False
    puts = [(at, change) for at, change in enumerate(changes) if isinstance(change, Put)]
    kept = {at for at, _ in puts}
    numbers = json.dumps([number for number, _ in there.values()])
    connection.execute(_UNTAG, (numbers,))
    connection.execute(_DROP, (json.dumps([row[0] for at, row in there.items() if at not in kept]),))
    connection.executemany(
        _UPDATE, [(_due(put, now), put.data.decode(), there[at][0]) for at, put in puts if at in there]
    )
    connection.executemany(
        _INSERT,
        [(put.kind, put.id, _due(put, now), put.data.decode()) for at, put in puts if at not in there],
    )
    connection.executemany(_TAG, [(tag, put.kind, put.id) for _, put in puts for tag in set(put.tags)])
    return True


def claim(
    connection: sqlite3.Connection, kind: str, tag: str, limit: int, now: int, lease: int
) -> list[Document]:
    """Those that are due at the time `now`, due again after the lease."""
    found = reads.overdue(connection, kind, tag, limit, now)
    numbers = json.dumps([document.number for document in found])
    revisions = dict(connection.execute(_LEASE, (now + lease, numbers)).fetchall())
    return [
        msgspec.structs.replace(
            document, version=_version(document.number, revisions[document.number]), due=now + lease
        )
        for document in found
    ]


def _meet(connection: sqlite3.Connection, changes: Sequence[Change]) -> dict[int, _Where]:
    """Where those of the documents stand that there are, by their places in the write."""
    wanted = json.dumps([(change.kind, change.id) for change in changes])
    return {at: (number, revision) for at, number, revision in connection.execute(_MEET, (wanted,))}


def _version(number: int, revision: int) -> str:
    return f"{number}.{revision}"


def _due(put: Put, now: int) -> int | None:
    return None if put.wait is None else now + put.wait
