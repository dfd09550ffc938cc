"""The table through which processes tell each other things in a database that has no better way.

It belongs to no capability: `channels` and `persist.watch` both write to it. A
row lives for a minute or so; whoever wrote it deletes what is older.

======== ==========================================================================
number   in the order of writing; not of becoming visible, where several write
channel  who it is for: `<namespace>:c:<topic>`, `<namespace>:w:` ...
data     what it says
at       milliseconds since 1970
======== ==========================================================================
"""

from __future__ import annotations

from typing import Final

from holdfast.store import Migration

__all__ = ["LIFE_MS", "MIGRATIONS", "TABLE"]

TABLE: Final = "holdfast_notes"
LIFE_MS: Final = 60_000
"""Who was away for longer has lost its notes anyway, and is told so."""

_SUMMARY = "notes between processes"

MIGRATIONS: Final[dict[str, tuple[Migration, ...]]] = {
    "sqlite": (
        Migration(
            "notes",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_notes ("
                " number INTEGER PRIMARY KEY AUTOINCREMENT,"
                " channel TEXT NOT NULL,"
                " data BLOB NOT NULL,"
                " at INTEGER NOT NULL)",
            ),
        ),
    ),
    "postgresql": (
        Migration(
            "notes",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_notes ("
                " number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                ' channel text COLLATE "C" NOT NULL,'
                " data bytea NOT NULL,"
                " at bigint NOT NULL)",
            ),
        ),
    ),
    "mysql": (
        Migration(
            "notes",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_notes ("
                " number bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
                " channel varbinary(768) NOT NULL,"
                " data longblob NOT NULL,"
                " at bigint NOT NULL)",
            ),
        ),
    ),
}
