"""Making the table of `persist` through SQLAlchemy, and telling whether it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from holdfast.engines import notes as note_layouts
from holdfast.engines.sqlalchemy.ledger import Layout, record
from holdfast.engines.sqlalchemy.tables import notes, values
from holdfast.persist.migrations import MIGRATIONS

__all__ = ["layouts", "record_migrations"]

_VALUES: Final = Layout(MIGRATIONS, (values,))
_NOTES: Final = Layout(note_layouts.MIGRATIONS, (notes,))


def layouts(*, watch: bool) -> Sequence[Layout]:
    """The tables of a driver; with `watch` of one that announces."""
    return (_NOTES, _VALUES) if watch else (_VALUES,)


def record_migrations(connection: Connection, *, watch: bool = False) -> None:
    """Write into the ledger that the table is there, for those who made it otherwise (Alembic: `op.get_bind()`).

    With `watch`, that of announcements too, which `Persist(url, watch=True)` needs.
    """
    record(connection, layouts(watch=watch))
