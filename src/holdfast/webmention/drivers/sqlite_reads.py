"""Documents by id, by tag and by due time, each by one statement and so of one moment."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from holdfast.webmention.driver import Document

__all__ = ["count", "first_due", "named", "overdue", "page"]

_END: Final = (1 << 63) - 1

_COLUMNS = (
    "SELECT m.kind, m.id, m.number, m.number || '.' || m.revision, m.data,"
    " (SELECT json_group_array(t.tag) FROM holdfast_mention_tags t WHERE t.number = m.number), m.due"
)
_NAMED: Final = (
    f"{_COLUMNS} FROM holdfast_mentions m WHERE m.kind = ? AND m.id IN (SELECT value FROM json_each(?))"
)
_OF_KIND = f"{_COLUMNS} FROM holdfast_mentions m WHERE m.kind = ? AND m.number"
# CROSS JOIN holds the order: the walk goes along the tag, whatever the planner thinks of it.
_TAGGED = (
    f"{_COLUMNS} FROM holdfast_mention_tags g CROSS JOIN holdfast_mentions m ON m.number = g.number"
    " WHERE g.kind = ? AND g.tag = ? AND g.number"
)
_PAGES: Final = {
    # by tag, newest first
    (False, False): f"{_OF_KIND} > ? ORDER BY m.number LIMIT ?",
    (False, True): f"{_OF_KIND} < ? ORDER BY m.number DESC LIMIT ?",
    (True, False): f"{_TAGGED} > ? ORDER BY g.number LIMIT ?",
    (True, True): f"{_TAGGED} < ? ORDER BY g.number DESC LIMIT ?",
}
_COUNT: Final = (
    "SELECT CASE wanted.value"
    " WHEN '' THEN (SELECT count(*) FROM holdfast_mentions m WHERE m.kind = ?1)"
    " ELSE (SELECT count(*) FROM holdfast_mention_tags t WHERE t.kind = ?1 AND t.tag = wanted.value) END"
    " FROM json_each(?2) wanted ORDER BY wanted.key"
)
_FIRST_DUE: Final = "SELECT min(due) FROM holdfast_mentions WHERE kind = ? AND due IS NOT NULL"
_OVERDUE = f"{_COLUMNS} FROM holdfast_mentions m WHERE m.kind = ? AND m.due <= ?"
_HAS_TAG = (
    " AND EXISTS (SELECT 1 FROM holdfast_mention_tags g"
    " WHERE g.kind = m.kind AND g.tag = ? AND g.number = m.number)"
)
_LONGEST = " ORDER BY m.due, m.number LIMIT ?"


def named(connection: sqlite3.Connection, kind: str, ids: Sequence[str]) -> dict[str, Document]:
    """Those that there are, by id."""
    rows = connection.execute(_NAMED, (kind, json.dumps(ids)))
    return {document.id: document for document in _documents(rows)}


def page(
    connection: sqlite3.Connection, kind: str, tag: str, after: int | None, limit: int, newest: bool
) -> list[Document]:
    if after is None:
        after = _END if newest else 0
    where = (kind, tag) if tag else (kind,)
    return _documents(connection.execute(_PAGES[bool(tag), newest], (*where, after, limit)))


def count(connection: sqlite3.Connection, kind: str, tags: Sequence[str]) -> list[int]:
    return [each for (each,) in connection.execute(_COUNT, (kind, json.dumps(tags)))]


def first_due(connection: sqlite3.Connection, kind: str) -> int | None:
    """When the first of the kind is due, or was."""
    (due,) = connection.execute(_FIRST_DUE, (kind,)).fetchone()
    return None if due is None else int(due)


def overdue(connection: sqlite3.Connection, kind: str, tag: str, limit: int, now: int) -> list[Document]:
    """Those that are due and have the tag, the longest due first."""
    if tag:
        rows = connection.execute(f"{_OVERDUE}{_HAS_TAG}{_LONGEST}", (kind, now, tag, limit))
    else:
        rows = connection.execute(f"{_OVERDUE}{_LONGEST}", (kind, now, limit))
    return _documents(rows)


def _documents(rows: Iterable[tuple[Any, ...]]) -> list[Document]:
    return [
        Document(kind, id, number, version, data.encode(), tuple(sorted(json.loads(tags))), due)
        for kind, id, number, version, data, tags, due in rows
    ]
