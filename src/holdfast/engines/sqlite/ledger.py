"""Which migrations a file has, and how it gets those that it lacks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from holdfast.store import Migration

__all__ = ["migrate", "pending"]

LEDGER = (
    "CREATE TABLE IF NOT EXISTS holdfast_migrations ("
    " capability TEXT NOT NULL,"
    " version INTEGER NOT NULL,"
    " applied_at INTEGER NOT NULL,"
    " PRIMARY KEY (capability, version))"
)
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'holdfast_migrations'"
_APPLIED = "SELECT capability, version FROM holdfast_migrations"
_APPLY = "INSERT INTO holdfast_migrations (capability, version, applied_at) VALUES (?, ?, ?)"


def pending(connection: sqlite3.Connection, known: Sequence[Migration]) -> list[Migration]:
    """Those of `known` that the file lacks, in their order."""
    if connection.execute(_EXISTS).fetchone() is None:
        return list(known)
    applied = set(connection.execute(_APPLIED).fetchall())
    return [each for each in known if (each.capability, each.version) not in applied]


def migrate(connection: sqlite3.Connection, known: Sequence[Migration]) -> list[Migration]:
    """Apply what is pending and answer it; all of it or nothing.

    The lock is taken before the ledger is read, so of two processes that start
    at once the second finds the work done. Raises where the lock is taken; the
    engine tries again.
    """
    if not pending(connection, known):
        return []  # without asking for the lock, which a busy file may not give for a while
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(LEDGER)
    lacking = pending(connection, known)
    for each in lacking:
        for statement in each.statements:
            connection.execute(statement)
        connection.execute(_APPLY, (each.capability, each.version, int(time.time() * 1000)))
    connection.execute("COMMIT")
    return lacking
