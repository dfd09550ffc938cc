"""Migrations as SQL that a person can read, change and run: `holdfast migrate --sql`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.channels import migrations as rooms
from holdfast.engines import notes
from holdfast.persist.migrations import LEDGER, MIGRATIONS
from holdfast.store import Migration
from holdfast.webmention import migrations as mentions

__all__ = ["DIALECTS", "dialect_of", "known", "script"]

_LEDGERS = {
    "sqlite": "capability TEXT NOT NULL, version INTEGER NOT NULL, applied_at INTEGER NOT NULL",
    "postgresql": "capability text NOT NULL, version integer NOT NULL, applied_at bigint NOT NULL",
    "mysql": "capability varchar(64) NOT NULL, version integer NOT NULL, applied_at bigint NOT NULL",
}
DIALECTS = tuple(sorted(MIGRATIONS))
_SAME = {"postgres": "postgresql", "mariadb": "mysql"}


def dialect_of(store: str) -> str:
    """The dialect that a store URL speaks: `sqlalchemy+postgresql+asyncpg://…` is `postgresql`."""
    name = store.partition("://")[0].removeprefix("sqlalchemy+").partition("+")[0]
    return _SAME.get(name, name)


def known(dialect: str) -> tuple[Migration, ...] | None:
    """Every migration of the dialect, in the order of making; None where it has none of its own."""
    values = MIGRATIONS.get(dialect)
    if values is None:
        return None
    others = (notes.MIGRATIONS, rooms.MIGRATIONS, mentions.MIGRATIONS)
    return (*values, *(each for migrations in others for each in migrations[dialect]))


def script(dialect: str, migrations: Sequence[Migration], now: int) -> str:
    """The statements, with those that enter each migration in the ledger, so that Holdfast takes it as applied.

    One transaction where the dialect has one for tables; MySQL does not.
    """
    if not migrations:
        return ""
    statements = [
        f"CREATE TABLE IF NOT EXISTS {LEDGER} ({_LEDGERS[dialect]}, PRIMARY KEY (capability, version))"
    ]
    for each in migrations:
        statements.append(f"-- {each.capability} {each.version}: {each.summary}\n{each.statements[0]}")
        statements += each.statements[1:]
        statements.append(
            f"INSERT INTO {LEDGER} (capability, version, applied_at)"
            f" VALUES ('{each.capability}', {each.version}, {now})"
        )
    if dialect != "mysql":
        statements = ["BEGIN", *statements, "COMMIT"]
    return "".join(f"{statement};\n" for statement in statements)
