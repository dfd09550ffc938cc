"""Making the tables of `persist` through SQLAlchemy, and telling which are there."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection, inspect, select
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from holdfast.persist.drivers.sqlalchemy_tables import ledger, table
from holdfast.persist.migrations import MIGRATIONS
from holdfast.store import Migration

__all__ = ["apply_pending", "migrations_for", "pending_on", "record_migrations"]

CAPABILITY = "persist"


def migrations_for(dialect: Dialect) -> tuple[Migration, ...]:
    """Those of the dialect; for one that Holdfast has no layout of, what SQLAlchemy makes of the tables."""
    name = "mysql" if dialect.name == "mariadb" else dialect.name
    if name in MIGRATIONS:
        return MIGRATIONS[name]
    made = str(CreateTable(table).compile(dialect=dialect)).strip()
    return (Migration(CAPABILITY, 1, "values with expiry and version", (made,)),)


async def pending_on(connection: AsyncConnection) -> Sequence[Migration]:
    return await connection.run_sync(_pending)


async def apply_pending(connection: AsyncConnection) -> Sequence[Migration]:
    """Apply what this connection finds pending; the caller keeps others out."""
    await connection.run_sync(ledger.create, checkfirst=True)
    missing = await pending_on(connection)
    for migration in missing:
        for statement in migration.statements:
            await connection.exec_driver_sql(_again_and_again(connection.dialect.name, statement))
        await connection.run_sync(_record, migration)
    return missing


def record_migrations(connection: Connection) -> None:
    """Write into the ledger that the tables are there, for those who made them otherwise (Alembic: `op.get_bind()`)."""
    for migration in _pending(connection):
        _record(connection, migration)


def _pending(connection: Connection) -> tuple[Migration, ...]:
    known = migrations_for(connection.dialect)
    if not inspect(connection).has_table(ledger.name):
        return known
    rows = connection.execute(select(ledger.c.version).where(ledger.c.capability == CAPABILITY))
    applied = {version for (version,) in rows}
    return tuple(migration for migration in known if migration.version not in applied)


def _record(connection: Connection, migration: Migration) -> None:
    row = {
        "capability": migration.capability,
        "version": migration.version,
        "applied_at": time.time_ns() // 1_000_000,
    }
    connection.execute(ledger.insert(), [row])


def _again_and_again(dialect: str, statement: str) -> str:
    # MySQL commits a CREATE by itself: who died between it and the ledger must be able to go on from there.
    if dialect in ("mysql", "mariadb"):
        return statement.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
    return statement
