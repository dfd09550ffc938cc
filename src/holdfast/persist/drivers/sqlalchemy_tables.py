"""The statements of each dialect over the table of `persist`, which stands in `engines.sqlalchemy.tables`.

What a dialect can do in one statement differs, and is stated here:

================ ====================== ============================= ==========================
                 SQLite                 Postgres                      MySQL, MariaDB
================ ====================== ============================= ==========================
clock            this machine's         the server's                  the server's
set, many keys   ON CONFLICT DO UPDATE  ON CONFLICT DO UPDATE         ON DUPLICATE KEY UPDATE
create, many     (replayed)             ON CONFLICT DO UPDATE … WHERE (replayed)
================ ====================== ============================= ==========================

Everything else, and everything on any other dialect, is replayed over locked
rows (`sqlalchemy_replay`) with statements that every database understands.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Delete,
    Insert,
    Integer,
    LargeBinary,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import Executable

from holdfast.engines.sqlalchemy.clock import CLOCKS
from holdfast.engines.sqlalchemy.tables import ledger, metadata, takes_text
from holdfast.engines.sqlalchemy.tables import values as table

__all__ = ["Statements", "ledger", "metadata", "statements_for", "table"]

_MYSQL_UPSERT: Final = (
    "INSERT INTO holdfast_persist (`key`, `value`, expires_at, version)"
    " VALUES (:key, :value, :expires_at, :version)"
    " ON DUPLICATE KEY UPDATE `value` = VALUES(`value`), version = VALUES(version), expires_at = "
)
"""Written out because MySQL's clients make one statement of many rows only where every value is a bare parameter."""


class Statements:
    """What one dialect executes. Parameters are `key`, `value`, `expires_at`, `version`, `ttl` and, where used, `now`.

    Attributes:
        clock: answers the deciding clock in milliseconds; None: it is this process's.
        text: keys and values are bound as `str`; else as `bytes`.
        reads_clock: the upserts read the clock themselves and take `ttl`;
            else they take `expires_at` (and `now`) reckoned by the caller.
        claim: locks rows and answers them with the time. Where there is none it
            makes one that expired long ago, so that there is something to lock
            and nobody who came second has to start again; None: `lock` those
            that there are.
        upserts_alone: many rows leave as one statement only in an upsert; an
            update of 256 rows would be 256 round trips.
    """

    clock: Select[Any] | None = None
    text = False
    reads_clock = False
    set_: Executable | None = None
    set_keep: Executable | None = None
    create: Executable | None = None
    claim: Executable | None = None
    upserts_alone = False

    def __init__(self, name: str) -> None:
        key, expires_at = table.c.key, table.c.expires_at
        clock = CLOCKS.get(name)
        now: ColumnElement[int] = (
            bindparam("now", type_=BigInteger())
            if clock is None
            else literal_column(clock, type_=BigInteger())
        )
        if clock is not None:
            self.clock = select(now)
        self.text = takes_text(name)
        self.reads_clock = name == "postgresql"
        live = or_(expires_at.is_(None), expires_at > now)
        within = key.in_(bindparam("keys", expanding=True))
        self._live, self._lapsed = live, expires_at <= now

        self.read = select(key, table.c.value, (expires_at - now).label("ttl"), table.c.version).where(
            within, live
        )
        self.lock = _locked(
            select(key, table.c.value, expires_at, table.c.version).where(within).order_by(key)
        )
        self.insert: Insert = insert(table)
        self.update: Update = (
            update(table)
            .where(key == bindparam("at"))
            .values(
                value=bindparam("value"), expires_at=bindparam("expires_at"), version=bindparam("version")
            )
        )
        self.renew: Update = (
            update(table).where(key == bindparam("at")).values(expires_at=bindparam("expires_at"))
        )
        self.delete: Delete = delete(table).where(within)
        self.delete_live: Delete = delete(table).where(within, live)
        self.delete_lapsed: Delete = delete(table).where(within, self._lapsed)
        if name == "mysql":
            self._mysql_upserts()
        elif name in ("sqlite", "postgresql"):
            self._upserts(name, now)

    def _upserts(self, name: str, now: ColumnElement[int]) -> None:
        dialect_insert: Any = sqlite.insert if name == "sqlite" else postgresql.insert
        row: dict[str, Any] = {
            "key": bindparam("key"),
            "value": bindparam("value"),
            "version": bindparam("version"),
        }
        until: Any = (
            now + bindparam("ttl", type_=BigInteger()) if self.reads_clock else bindparam("expires_at")
        )
        timed, kept = (
            dialect_insert(table).values(**row, expires_at=until),
            dialect_insert(table).values(**row, expires_at=null()),
        )
        new = {"value": timed.excluded.value, "version": timed.excluded.version}
        new_timed = {**new, "expires_at": timed.excluded.expires_at}
        key, expires_at = [table.c.key], table.c.expires_at
        self.set_ = timed.on_conflict_do_update(index_elements=key, set_=new_timed)
        self.set_keep = kept.on_conflict_do_update(
            index_elements=key, set_={**new, "expires_at": case((expires_at > now, expires_at), else_=null())}
        )
        if name == "postgresql":
            # On SQLite the `now` in the WHERE would make SQLAlchemy send row after row.
            self.create = timed.on_conflict_do_update(
                index_elements=key, set_=new_timed, where=expires_at <= now
            ).returning(table.c.key)
            self.claim = self._claim(now)

    def _claim(self, now: ColumnElement[int]) -> Executable:
        nothing: dict[str, Any] = {
            "value": literal_column("''"),
            "expires_at": literal_column("0"),
            "version": literal_column("0"),
        }
        return (
            postgresql.insert(table)
            .values(key=bindparam("key"), **nothing)
            .on_conflict_do_update(index_elements=[table.c.key], set_={"version": table.c.version})
            .returning(*table.c, now)
        )

    def _mysql_upserts(self) -> None:
        self.upserts_alone = True
        types: list[Any] = [
            bindparam("key", type_=LargeBinary()),
            bindparam("value", type_=LargeBinary()),
            bindparam("expires_at", type_=BigInteger()),
            bindparam("version", type_=BigInteger()),
        ]
        self.set_ = text(_MYSQL_UPSERT + "VALUES(expires_at)").bindparams(*types)
        self.set_keep = text(
            _MYSQL_UPSERT + f"IF(expires_at > {CLOCKS['mysql']}, expires_at, NULL)".replace(":", r"\:")
        ).bindparams(*types)

    @cache  # noqa: B019 - as many as there are shapes of a walk: four a dialect
    def walk(self, *, after: bool, end: bool, live: bool) -> Select[Any]:
        """Keys in byte order from `start` (`after` it) to before `end`, and beside each whether it is live."""
        key = table.c.key
        start: Any = bindparam("start")
        bounds: list[ColumnElement[bool]] = [key > start if after else key >= start]
        if end:
            bounds.append(key < bindparam("end"))
        if live:
            bounds.append(self._live)
        return (
            select(key, case((self._live, 1), else_=0).label("live"))
            .where(and_(*bounds))
            .order_by(key)
            .limit(bindparam("rows", type_=Integer()))
        )


def _locked(statement: Select[Any]) -> Select[Any]:
    # SQLite has no such clause, and needs none inside BEGIN IMMEDIATE; SQL Server has a hint instead.
    return statement.with_for_update().with_hint(table, "WITH (UPDLOCK, ROWLOCK)", dialect_name="mssql")


@cache
def statements_for(dialect: str) -> Statements:
    """The statements of the dialect that SQLAlchemy calls by this name; of an unknown one, the portable ones."""
    return Statements("mysql" if dialect == "mariadb" else dialect)
