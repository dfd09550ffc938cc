"""Every table of Holdfast as SQLAlchemy sees it, for the drivers and for tools that compare models with databases.

The layouts are those of `persist.migrations`, `channels.migrations`,
`webmention.migrations` and `engines.notes`, so that a database may be read
through SQLAlchemy and through Holdfast's own drivers at once. They stand in one
`metadata` because who leaves tables to Alembic, or keeps Alembic from them,
means all of them. A database that has no layout there gets its tables from
here, text as bytes: no collation then folds case or reorders a walk.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    VARBINARY,
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql, oracle, postgresql, sqlite
from sqlalchemy.types import TypeEngine

__all__ = [
    "as_text",
    "ledger",
    "mention_tags",
    "mentions",
    "messages",
    "metadata",
    "notes",
    "takes_text",
    "topics",
    "values",
]

metadata: Final = MetaData()
"""For Alembic and other tools; see docs/how-to/alembic.md."""


def _word(length: int, *, by_bytes: bool = True) -> TypeEngine[Any]:
    """Text of at most so many bytes; `by_bytes`: that is compared by them."""
    return (
        LargeBinary(length)
        .with_variant(Text(), "sqlite")
        .with_variant(postgresql.TEXT(collation="C") if by_bytes else Text(), "postgresql")
        .with_variant(mysql.VARBINARY(length), "mysql", "mariadb")
        .with_variant(VARBINARY(length), "mssql")
        .with_variant(oracle.RAW(length), "oracle")
    )


def _json() -> TypeEngine[Any]:
    return (
        LargeBinary()
        .with_variant(Text(), "sqlite", "postgresql")
        .with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    )


def _whole() -> TypeEngine[Any]:
    return BigInteger().with_variant(Integer(), "sqlite")


def _numbered() -> Column[Any]:
    """Counts up, and gives no number twice."""
    return Column("number", _whole(), Identity(always=True), primary_key=True, nullable=False)


values: Final = Table(
    "holdfast_persist",
    metadata,
    Column("key", _word(768), primary_key=True, nullable=False),
    Column("value", _json(), nullable=False),
    Column("expires_at", _whole(), nullable=True),
    Column("version", _whole(), nullable=False),
)

topics: Final = Table(
    "holdfast_topics",
    metadata,
    _numbered(),
    Column("topic", _word(768), nullable=False),
    Column("epoch", String(16).with_variant(Text(), "sqlite", "postgresql"), nullable=False),
    Column("last", _whole(), nullable=False),
    Column("trimmed", _whole(), nullable=False),
    Column("kept", _whole(), nullable=False),
    Column("at", _whole(), nullable=False),
    UniqueConstraint("topic"),
    sqlite_autoincrement=True,
)

messages: Final = Table(
    "holdfast_messages",
    metadata,
    Column("number", _whole(), primary_key=True, nullable=False, autoincrement=False),
    Column("position", _whole(), primary_key=True, nullable=False, autoincrement=False),
    Column("id", _word(255), nullable=True),
    Column("event", _word(255, by_bytes=False), nullable=False),
    Column("payload", _json(), nullable=True),
    Column("at", _whole(), nullable=False),
    Column("changed", _whole(), nullable=True),
    sqlite_with_rowid=False,
)
Index(
    "holdfast_messages_id",
    messages.c.number,
    messages.c.id,
    unique=True,
    sqlite_where=messages.c.id.is_not(None),
    postgresql_where=messages.c.id.is_not(None),
)
Index(
    "holdfast_messages_changed",
    messages.c.number,
    messages.c.changed,
    sqlite_where=messages.c.changed.is_not(None),
    postgresql_where=messages.c.changed.is_not(None),
)

notes: Final = Table(
    "holdfast_notes",
    metadata,
    _numbered(),
    Column("channel", _word(768), nullable=False),
    Column(
        "data",
        LargeBinary()
        .with_variant(sqlite.BLOB(), "sqlite")
        .with_variant(mysql.LONGBLOB(), "mysql", "mariadb"),
        nullable=False,
    ),
    Column("at", _whole(), nullable=False),
    sqlite_autoincrement=True,
)

mentions: Final = Table(
    "holdfast_mentions",
    metadata,
    _numbered(),
    Column("kind", _word(255), nullable=False),
    Column("id", _word(200), nullable=False),
    Column("revision", _whole(), nullable=False),
    Column("due", _whole(), nullable=True),
    Column("data", _json(), nullable=False),
    UniqueConstraint("kind", "id"),
    sqlite_autoincrement=True,
)
Index(
    "holdfast_mentions_due",
    mentions.c.kind,
    mentions.c.due,
    sqlite_where=mentions.c.due.is_not(None),
    postgresql_where=mentions.c.due.is_not(None),
)
Index("holdfast_mentions_number", mentions.c.kind, mentions.c.number)

mention_tags: Final = Table(
    "holdfast_mention_tags",
    metadata,
    Column("kind", _word(255), primary_key=True, nullable=False),
    Column("tag", _word(200), primary_key=True, nullable=False),
    Column("number", _whole(), primary_key=True, nullable=False, autoincrement=False),
    sqlite_with_rowid=False,
)
Index("holdfast_mention_tags_number", mention_tags.c.number)

ledger: Final = Table(
    "holdfast_migrations",
    metadata,
    Column(
        "capability",
        String(64).with_variant(Text(), "sqlite", "postgresql"),
        primary_key=True,
        nullable=False,
    ),
    Column("version", Integer(), primary_key=True, nullable=False, autoincrement=False),
    Column("applied_at", _whole(), nullable=False),
)


def takes_text(dialect: str) -> bool:
    """Whether text columns are text there, and take `str`; else they are bytes."""
    return dialect in ("sqlite", "postgresql")


def as_text(stored: Any) -> str:
    """What a text column gave back."""
    return stored if isinstance(stored, str) else bytes(stored).decode()
