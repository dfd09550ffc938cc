"""The tables of `persist`, as the SQL of each dialect: one layout per database, whichever driver reads it.

`holdfast_persist` holds one row a key:

========== ==========================================================================
key        `<namespace>:<family>:<key>`, compared by bytes; at most 768 bytes
value      the JSON text as it was encoded, so that a person can read it
expires_at milliseconds since 1970 by the deciding clock; NULL: never
version    64 random bits, drawn anew at every write of the value
========== ==========================================================================

Random versions need no sequence and no second read, are the same idea in every
database, and cannot come back after a removal, a restore or a new table; a
number that counts up within the row would.
"""

from __future__ import annotations

from holdfast.store import Migration

__all__ = ["LEDGER", "MIGRATIONS"]

LEDGER = "holdfast_migrations"
"""Table of what was applied: `capability` text, `version` integer, `applied_at` milliseconds."""

_SUMMARY = "values with expiry and version"

MIGRATIONS: dict[str, tuple[Migration, ...]] = {
    "sqlite": (
        Migration(
            "persist",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_persist ("
                " key TEXT NOT NULL PRIMARY KEY,"
                " value TEXT NOT NULL,"
                " expires_at INTEGER,"
                " version INTEGER NOT NULL)",
            ),
        ),
    ),
    "postgresql": (
        Migration(
            "persist",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_persist ("
                ' key text COLLATE "C" NOT NULL PRIMARY KEY,'
                " value text NOT NULL,"
                " expires_at bigint,"
                " version bigint NOT NULL)",
            ),
        ),
    ),
    "mysql": (
        Migration(
            "persist",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_persist ("
                " `key` varbinary(768) NOT NULL PRIMARY KEY,"
                " value longblob NOT NULL,"
                " expires_at bigint,"
                " version bigint NOT NULL)",
            ),
        ),
    ),
}
