"""Making the table of `persist` through SQLAlchemy, and telling whether it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.engines.sqlalchemy.ledger import Layout, migrate, pending, record
from holdfast.engines.sqlalchemy.tables import values
from holdfast.persist.migrations import MIGRATIONS
from holdfast.store import Migration

__all__ = ["LAYOUTS", "apply_pending", "pending_on", "record_migrations"]

LAYOUTS: Final = (Layout(MIGRATIONS, (values,)),)


async def pending_on(connection: AsyncConnection) -> Sequence[Migration]:
    return await pending(connection, LAYOUTS)


async def apply_pending(connection: AsyncConnection) -> Sequence[Migration]:
    """Apply what this connection finds pending; the caller keeps others out."""
    return await migrate(connection, LAYOUTS)


def record_migrations(connection: Connection) -> None:
    """Write into the ledger that the table is there, for those who made it otherwise (Alembic: `op.get_bind()`)."""
    record(connection, LAYOUTS)
