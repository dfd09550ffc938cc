"""Which migrations a Postgres database has seen, and how it sees the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from holdfast.store import Migration

__all__ = ["applied", "apply"]

# "holdfast" as a number: whoever holds this lock changes Holdfast's tables.
_LOCK = int.from_bytes(b"holdfast")

_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    capability text NOT NULL,
    version integer NOT NULL,
    applied_at bigint NOT NULL,
    PRIMARY KEY (capability, version)
)
"""
_INSERT = """
INSERT INTO {table} (capability, version, applied_at)
VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
"""


async def applied(fetch: Callable[..., Awaitable[list[Any]]], table: str) -> set[tuple[str, int]]:
    """(capability, version) of what was applied; nothing where there is no ledger yet."""
    ((there,),) = await fetch("SELECT to_regclass($1) IS NOT NULL", table)
    if not there:
        return set()
    return {(row[0], row[1]) for row in await fetch(f"SELECT capability, version FROM {table}")}


async def apply(connection: Any, migrations: Sequence[Migration], table: str) -> list[Migration]:
    """Apply what is pending in one transaction, one process at a time, and answer what that was."""
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        # Read after the lock was granted: the process before us has committed by now.
        done = await applied(connection.fetch, table)
        pending = [each for each in migrations if (each.capability, each.version) not in done]
        if pending:
            await connection.execute(_TABLE.format(table=table))
        for migration in pending:
            for statement in migration.statements:
                await connection.execute(statement)
            await connection.execute(_INSERT.format(table=table), migration.capability, migration.version)
    return pending
