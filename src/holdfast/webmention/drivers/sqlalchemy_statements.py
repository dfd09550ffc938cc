"""The statements of webmentions over the tables of `engines.sqlalchemy.tables`: what every database understands.

All but two: Postgres passes over rows that others hold, and has a lock of its
own for who makes several rows. Elsewhere who claims finds out by the revision
whether another was faster.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.sql.expression import Executable

from holdfast.engines.sqlalchemy.clock import server_clock
from holdfast.engines.sqlalchemy.tables import mention_tags as tags
from holdfast.engines.sqlalchemy.tables import mentions, takes_text

__all__ = ["Statements", "statements_for"]

_KIND: Final[Any] = bindparam("kind")
_LIMIT: Final = bindparam("rows", type_=Integer())
_NUMBERS: Final[Any] = bindparam("numbers", expanding=True)
_IDS: Final[Any] = bindparam("ids", expanding=True)
_TAGGED: Final = exists().where(
    tags.c.kind == mentions.c.kind, tags.c.tag == bindparam("tag"), tags.c.number == mentions.c.number
)


def _documents(numbers: Select[Any]) -> Executable:
    """The documents of these numbers, and their tags, of one moment: a row for each, the tag's with nothing else."""
    first, second = numbers.subquery("d"), numbers.subquery("g")
    columns = (mentions.c.id, mentions.c.revision, mentions.c.data, mentions.c.due)
    return union_all(
        select(mentions.c.number, *columns, literal_column("NULL", type_=tags.c.tag.type).label("tag")).join(
            first, first.c.number == mentions.c.number
        ),
        select(tags.c.number, null(), null(), null(), null(), tags.c.tag).join(
            second, second.c.number == tags.c.number
        ),
    )


class Statements:
    """What one dialect executes.

    Attributes:
        clock: the server's, where it is the server's that decides.
        text: text is bound as `str`; else as `bytes`.
        locks: whoever is shown a row by `overdue` is the only one, until the transaction ends.
        gate: lets one at a time make several rows, where that is possible.
        overdue: numbers of what is due at `now`, the longest due first; by whether they are to have `tag`.
    """

    def __init__(self, name: str) -> None:
        self.clock = server_clock(name)
        self.text = takes_text(name)
        self.locks = name in ("postgresql", "sqlite")  # which has one writer
        # "mentions" as a number, as in the driver over asyncpg.
        gate = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'mentions')})"
        self.gate = text(gate) if name == "postgresql" else None
        due = (
            select(mentions.c.number)
            .where(mentions.c.kind == _KIND, mentions.c.due <= bindparam("now", type_=BigInteger()))
            .order_by(mentions.c.due, mentions.c.number)
            .limit(_LIMIT)
        )
        if name == "postgresql":
            due = due.with_for_update(skip_locked=True, of=mentions)
        self.overdue = {False: due, True: due.where(_TAGGED)}
        self.next_due = (
            select(mentions.c.due, null() if self.clock is None else self.clock)
            .where(mentions.c.kind == _KIND, mentions.c.due.is_not(None))
            .order_by(mentions.c.due)
            .limit(1)
        )

    named = _documents(select(mentions.c.number).where(mentions.c.kind == _KIND, mentions.c.id.in_(_IDS)))
    numbered = _documents(select(mentions.c.number).where(mentions.c.number.in_(_NUMBERS)))

    @cache  # noqa: B019 - a few
    def page(self, *, tagged: bool, newest: bool) -> Executable:
        """`rows` of them beyond `after`."""
        table = tags if tagged else mentions
        after: Any = bindparam("after", type_=BigInteger())
        number = table.c.number
        numbers = (
            select(number)
            .where(table.c.kind == _KIND, number < after if newest else number > after)
            .order_by(number.desc() if newest else number)
            .limit(_LIMIT)
        )
        return _documents(numbers.where(tags.c.tag == bindparam("tag")) if tagged else numbers)

    count_all = select(null(), func.count()).select_from(mentions).where(mentions.c.kind == _KIND)
    count_tagged = (
        select(tags.c.tag, func.count())
        .where(tags.c.kind == _KIND, tags.c.tag.in_(bindparam("tags", expanding=True)))
        .group_by(tags.c.tag)
    )

    # --- writing ---

    # In sorted order, so that nobody waits in a circle. SQLite has no such clause, and needs none inside BEGIN
    # IMMEDIATE; SQL Server has a hint instead.
    hold = (
        select(mentions.c.id, mentions.c.number, mentions.c.revision)
        .where(mentions.c.kind == _KIND, mentions.c.id.in_(_IDS))
        .order_by(mentions.c.id)
        .with_for_update()
        .with_hint(mentions, "WITH (UPDLOCK, ROWLOCK)", dialect_name="mssql")
    )
    find = select(mentions.c.id, mentions.c.number).where(mentions.c.kind == _KIND, mentions.c.id.in_(_IDS))
    untag = delete(tags).where(tags.c.number.in_(_NUMBERS))
    drop = delete(mentions).where(mentions.c.number.in_(_NUMBERS))
    change = (
        update(mentions)
        .where(mentions.c.number == bindparam("b_number"))
        .values({each: bindparam(f"b_{each}") for each in ("revision", "due", "data")})
    )
    make = insert(mentions)
    tag = insert(tags)
    lease_held = (
        update(mentions)
        .where(mentions.c.number.in_(_NUMBERS))
        .values(revision=mentions.c.revision + 1, due=bindparam("b_due"))
    )
    lease_one = (
        update(mentions)
        .where(mentions.c.number == bindparam("b_number"), mentions.c.revision == bindparam("b_revision"))
        .values(revision=mentions.c.revision + 1, due=bindparam("b_due"))
    )


@cache
def statements_for(dialect: str) -> Statements:
    """The statements of the dialect that SQLAlchemy calls by this name; of an unknown one, the portable ones."""
    return Statements("mysql" if dialect == "mariadb" else dialect)
