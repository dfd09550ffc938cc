"""The statements of `channels` in each dialect, over the tables of `engines.sqlalchemy.tables`.

All but three are what every database understands. On Postgres the statement
that locks topics reads the clock as well; there and on SQLite a topic that
somebody else has made meanwhile is no error; on MySQL topics are updated by an
upsert, because its clients make one statement of many rows only of an INSERT.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    Select,
    String,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import Executable

from holdfast.engines.sqlalchemy.clock import server_clock
from holdfast.engines.sqlalchemy.tables import messages, takes_text, topics

__all__ = ["CHANGED", "FIRST", "FRESH", "LAST", "Statements", "statements_for", "stretches"]

_NUMBER, _POSITION = messages.c.number, messages.c.position
_LIVE = messages.c.payload.is_not(None)
_ENTRY: Final = (
    _POSITION,
    messages.c.id,
    messages.c.event,
    messages.c.payload,
    messages.c.at,
    messages.c.changed,
)
_TOPIC: Final = (
    topics.c.topic,
    topics.c.number,
    topics.c.epoch,
    topics.c.last,
    topics.c.trimmed,
    topics.c.kept,
    topics.c.at,
)

_MYSQL_ADVANCE: Final = (
    "INSERT INTO holdfast_topics (topic, number, epoch, last, trimmed, kept, at)"
    " VALUES (:b_topic, :b_number, :b_epoch, :b_last, :b_trimmed, :b_kept, :b_at)"
    " ON DUPLICATE KEY UPDATE"
    " last = VALUES(last), trimmed = VALUES(trimmed), kept = VALUES(kept), at = VALUES(at)"
)


class Statements:
    """What one dialect executes.

    Attributes:
        clock: the server's, where it is the server's that decides.
        text: text is bound as `str`; else as `bytes`.
        lock: topics by `keys`, which nobody else changes until the transaction
            ends; in sorted order, so that nobody waits in a circle. Its last
            column is the time, or NULL where it is to be had by `clock`.
        make: new topics.
        advance: what has changed of topics. Parameters are `b_` and a column's name.
    """

    def __init__(self, name: str) -> None:
        self.clock = server_clock(name)
        self.text = takes_text(name)
        within = topics.c.topic.in_(bindparam("keys", expanding=True))
        rows = select(*_TOPIC).where(within).order_by(topics.c.topic).with_for_update()
        # SQLite has no such clause, and needs none inside BEGIN IMMEDIATE; SQL Server has a hint instead.
        rows = rows.with_hint(topics, "WITH (UPDLOCK, ROWLOCK)", dialect_name="mssql")
        self.lock: Executable = rows.add_columns(literal_column("NULL", type_=BigInteger()).label("now"))
        self.make: Executable = insert(topics)
        self.advance: Executable = (
            update(topics)
            .where(topics.c.number == bindparam("b_number"))
            .values({each: bindparam(f"b_{each}") for each in ("last", "trimmed", "kept", "at")})
        )
        if name == "postgresql":
            locked = rows.cte("locked")  # so that the clock is read when the lock is had
            assert self.clock is not None
            self.lock = select(*locked.c, self.clock.label("now"))
            self.make = postgresql.insert(topics).on_conflict_do_nothing()
        elif name == "sqlite":
            self.make = sqlite.insert(topics).on_conflict_do_nothing()
        elif name == "mysql":
            types = [
                bindparam(f"b_{each}", type_=BigInteger())
                for each in ("number", "last", "trimmed", "kept", "at")
            ]
            self.advance = text(_MYSQL_ADVANCE).bindparams(
                bindparam("b_topic", type_=LargeBinary()), bindparam("b_epoch", type_=String()), *types
            )

    reach = select(topics.c.topic, topics.c.epoch, topics.c.last).where(
        topics.c.topic.in_(bindparam("keys", expanding=True))
    )
    """How far topics go, for who follows them."""

    add = insert(messages)
    change = (
        update(messages)
        .where(bindparam("b_number") == _NUMBER, bindparam("b_position") == _POSITION)
        .values(payload=bindparam("b_payload"), changed=bindparam("b_changed"))
    )
    forget = delete(topics).where(topics.c.number == bindparam("number"))
    empty = delete(messages).where(bindparam("number") == _NUMBER)

    # What retention takes away: up to a position, or older than a time.
    place = (
        select(_POSITION)
        .where(bindparam("number") == _NUMBER)
        .order_by(_POSITION.desc())
        .limit(1)
        .offset(bindparam("rank", type_=Integer()))
    )
    oldest = (
        select(_POSITION, messages.c.at).where(bindparam("number") == _NUMBER).order_by(_POSITION).limit(1)
    )
    young = (
        select(_POSITION)
        .where(bindparam("number") == _NUMBER, messages.c.at >= bindparam("before"))
        .order_by(_POSITION)
        .limit(1)
    )
    _highest = func.max(_POSITION)
    reach_to = select(_highest).where(bindparam("number") == _NUMBER, bindparam("cutoff") >= _POSITION)
    cut = delete(messages).where(bindparam("number") == _NUMBER, bindparam("cutoff") >= _POSITION)
    reach_before = select(_highest).where(bindparam("number") == _NUMBER, messages.c.at < bindparam("before"))
    cut_before = delete(messages).where(bindparam("number") == _NUMBER, messages.c.at < bindparam("before"))

    _found = select(topics.c.epoch, *_ENTRY).join(messages, topics.c.number == _NUMBER)
    find_id = _found.where(topics.c.topic == bindparam("key"), messages.c.id == bindparam("id"), _LIVE)
    find_offset = _found.where(
        topics.c.topic == bindparam("key"),
        topics.c.epoch == bindparam("epoch"),
        bindparam("offset") == _POSITION,
        _LIVE,
    )

    @cache  # noqa: B019 - four
    def walk(self, *, after: bool, end: bool) -> Select[Any]:
        """Topics in byte order from `start` (`after` it) to before `end`."""
        start: Any = bindparam("start")
        bounds: list[ColumnElement[bool]] = [topics.c.topic > start if after else topics.c.topic >= start]
        if end:
            bounds.append(topics.c.topic < bindparam("end"))
        return (
            select(topics.c.topic, topics.c.epoch, topics.c.last, topics.c.kept, topics.c.at)
            .where(*bounds)
            .order_by(topics.c.topic)
            .limit(bindparam("rows", type_=Integer()))
        )


@cache
def statements_for(dialect: str) -> Statements:
    """The statements of the dialect that SQLAlchemy calls by this name; of an unknown one, the portable ones."""
    return Statements("mysql" if dialect == "mariadb" else dialect)


# --- several at once ---

LAST: Final = "last"  # live messages below `bound`, the newest first
FIRST: Final = "first"  # live messages above `bound`
FRESH: Final = "fresh"  # messages above `bound` that were never changed
CHANGED: Final = "changed"  # messages whose latest change is above `bound`


@cache
def stretches(*kinds: str) -> Executable:
    """A topic and a stretch of its log for each of `kinds`, all of one moment: rows of slot, topic and message.

    Parameters of the n-th are `key{n}`, `bound{n}` and `rows{n}`. Where the
    stretch is empty its one row has no message.
    """
    return union_all(*(_stretch(slot, kind) for slot, kind in enumerate(kinds)))


def _stretch(slot: int, kind: str) -> Select[Any]:
    key: Any = bindparam(f"key{slot}")
    bound: Any = bindparam(f"bound{slot}", type_=BigInteger())
    # The topic's number first, so that a stretch is read off the end of an index, however long the log.
    number = select(topics.c.number).where(topics.c.topic == key).scalar_subquery()
    along: Any = messages.c.changed if kind == CHANGED else _POSITION
    chosen = {LAST: _LIVE, FIRST: _LIVE, FRESH: messages.c.changed.is_(None), CHANGED: along.is_not(None)}[
        kind
    ]
    few = (
        select(*_ENTRY)
        .where(number == _NUMBER, along < bound if kind == LAST else along > bound, chosen)
        .order_by(along.desc() if kind == LAST else along)
        .limit(bindparam(f"rows{slot}", type_=Integer()))
        .subquery(f"m{slot}")
    )
    topic = topics.alias(f"t{slot}")
    return (
        select(literal_column(str(slot)).label("slot"), topic.c.epoch, topic.c.last, topic.c.trimmed, *few.c)
        .select_from(topic.outerjoin(few, true()))
        .where(topic.c.topic == key)
    )


@cache
def lines(by: str, count: int) -> Executable:
    """What is known of messages without their payload, by `by` ("id", "position") within each of `count` topics.

    Parameters of the n-th are `number{n}` and `names{n}`.
    """
    column = messages.c[by]
    return union_all(
        *(
            select(
                _NUMBER,
                _POSITION,
                messages.c.id,
                messages.c.event,
                messages.c.at,
                case((_LIVE, 1), else_=0).label("live"),
            ).where(
                bindparam(f"number{slot}") == _NUMBER, column.in_(bindparam(f"names{slot}", expanding=True))
            )
            for slot in range(count)
        )
    )
