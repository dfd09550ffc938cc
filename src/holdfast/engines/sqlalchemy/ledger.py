"""Which migrations a database has, and how it gets those that it lacks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Table, inspect, select
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex, CreateTable

from holdfast.engines.sqlalchemy.tables import ledger
from holdfast.store import Migration

__all__ = ["Layout", "migrate", "pending", "record"]


class Layout(msgspec.Struct, frozen=True):
    """The tables of one capability: the migrations of each dialect, and the tables as SQLAlchemy sees them."""

    migrations: Mapping[str, Sequence[Migration]]
    tables: Sequence[Table]

    def known(self, dialect: Dialect) -> Sequence[Migration]:
        """Those of the dialect; for one that Holdfast has no layout of, what SQLAlchemy makes of the tables."""
        name = "mysql" if dialect.name == "mariadb" else dialect.name
        if name in self.migrations:
            return self.migrations[name]
        like = next(iter(self.migrations.values()))[0]
        made = [text for table in self.tables for text in _made(table, dialect)]
        return (Migration(like.capability, 1, like.summary, tuple(made)),)


def _made(table: Table, dialect: Dialect) -> list[str]:
    made = [str(CreateTable(table).compile(dialect=dialect)).strip()]
    for index in table.indexes:
        text = str(CreateIndex(index).compile(dialect=dialect))
        # Elsewhere two NULLs may be the same to a unique index; a topic's lock keeps ids apart there.
        made.append(text.replace("CREATE UNIQUE INDEX", "CREATE INDEX", 1))
    return made


async def pending(connection: AsyncConnection, layouts: Sequence[Layout]) -> Sequence[Migration]:
    return await connection.run_sync(_pending, layouts)


async def migrate(connection: AsyncConnection, layouts: Sequence[Layout]) -> Sequence[Migration]:
    """Apply what this connection finds pending; the caller keeps others out."""
    await connection.run_sync(ledger.create, checkfirst=True)
    missing = await pending(connection, layouts)
    for migration in missing:
        for statement in migration.statements:
            await connection.exec_driver_sql(_again_and_again(connection.dialect.name, statement))
        await connection.run_sync(_record, migration)
    return missing


def record(connection: Connection, layouts: Sequence[Layout]) -> None:
    """Write into the ledger that the tables are there, for those who made them otherwise."""
    for migration in _pending(connection, layouts):
        _record(connection, migration)


def _pending(connection: Connection, layouts: Sequence[Layout]) -> tuple[Migration, ...]:
    known = [migration for layout in layouts for migration in layout.known(connection.dialect)]
    if not inspect(connection).has_table(ledger.name):
        return tuple(known)
    applied = {(row[0], row[1]) for row in connection.execute(select(ledger.c.capability, ledger.c.version))}
    return tuple(each for each in known if (each.capability, each.version) not in applied)


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
