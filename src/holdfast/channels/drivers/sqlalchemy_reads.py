"""Reading logs through SQLAlchemy: up to sixteen stretches in one statement, topics in pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.channels.driver import (
    Entry,
    Find,
    Found,
    Log,
    Operation,
    Outcome,
    Read,
    Topic,
    TopicPage,
    Topics,
)
from holdfast.channels.drivers.sqlalchemy_tables import (
    CHANGED,
    FIRST,
    FRESH,
    LAST,
    Statements,
    stretches,
)
from holdfast.engines.sqlalchemy.tables import as_text

__all__ = ["READS", "Reads", "bound", "by_powers_of_two"]

READS: Final = (Read, Find, Topics)
ABOVE_ALL: Final = 2**63 - 1
TOGETHER: Final = 16
"""Reads of one statement, which is prepared once for each power of two up to it."""

Form: TypeAlias = tuple[str, ...]


class Reads:
    """What one connection is asked; a round trip for each statement."""

    def __init__(self, sql: Statements, connection: AsyncConnection) -> None:
        self._sql = sql
        self._connection = connection

    async def all(self, ops: Sequence[Operation]) -> list[Outcome]:
        """The outcomes of `Read`, `Find` and `Topics`; what is asked twice is read once."""
        answers: dict[Operation, Outcome] = {}
        forms: dict[Form, list[tuple[Read, int]]] = {}
        for op in dict.fromkeys(ops):
            if isinstance(op, Read):
                form, edge = _form(op)
                forms.setdefault(form, []).append((op, edge))
            elif isinstance(op, Find):
                answers[op] = await self._find(op)
            elif isinstance(op, Topics):
                answers[op] = await self._topics(op)
        for form, asked in forms.items():
            for few in by_powers_of_two(asked):
                answers.update(await self._read(form, few))
        return [answers[op] for op in ops]

    async def _read(self, form: Form, asked: Sequence[tuple[Read, int]]) -> dict[Operation, Outcome]:
        sought: dict[str, Any] = {}
        slots = [(op, edge) for op, edge in asked for _ in form]
        for slot, (op, edge) in enumerate(slots):
            sought |= {
                f"key{slot}": bound(self._sql, op.key),
                f"bound{slot}": edge,
                f"rows{slot}": op.limit,
            }
        statement = stretches(*form * len(asked))
        rows = await self._connection.execute(statement, sought)
        found: dict[Operation, list[Any]] = {}
        for row in rows:
            found.setdefault(slots[row[0]][0], []).append(row)
        return {op: _log(op, found.get(op, ())) for op, _ in asked}

    async def _find(self, op: Find) -> Found | None:
        sought: dict[str, Any] = {"key": bound(self._sql, op.key)}
        if op.id is not None:
            statement, sought["id"] = self._sql.find_id, bound(self._sql, op.id)
        elif op.offset is not None and op.epoch is not None:
            statement = self._sql.find_offset
            sought |= {"epoch": op.epoch, "offset": op.offset}
        else:
            return None
        row = (await self._connection.execute(statement, sought)).first()
        return None if row is None else Found(row[0], _entry(row[1:]))

    async def _topics(self, op: Topics) -> TopicPage:
        end = _prefix_end(op.key)
        sought: dict[str, Any] = {
            "start": bound(self._sql, op.key if op.cursor is None else op.cursor),
            "rows": op.limit,
        }
        if end is not None:
            sought["end"] = bound(self._sql, end)
        statement = self._sql.walk(after=op.cursor is not None, end=end is not None)
        rows = (await self._connection.execute(statement, sought)).all()
        page = [Topic(as_text(row[0]), *row[1:]) for row in rows]
        return TopicPage(page, page[-1].key if page and len(page) >= op.limit else None)


def _form(op: Read) -> tuple[Form, int]:
    """The stretches that a read is made of, and the offset that bounds them."""
    if op.changes_after is not None:
        return (FRESH, CHANGED), op.changes_after
    if op.after is not None:
        return (FIRST,), op.after
    return (LAST,), ABOVE_ALL if op.before is None else op.before


def _log(op: Read, rows: Sequence[Any]) -> Log:
    if not rows:
        return Log(None, 0, 0, ())
    entries = [_entry(row[4:]) for row in rows if row[4] is not None]
    if op.changes_after is not None:
        entries = sorted(entries, key=_latest)[: op.limit]
    else:
        entries.sort(key=_offset)  # no database promises the order of a UNION
    _, epoch, last, trimmed = rows[0][:4]
    return Log(epoch, last, trimmed, entries)


def _entry(row: Sequence[Any]) -> Entry:
    offset, name, event, payload, at, changed = row
    return Entry(offset, None if name is None else as_text(name), as_text(event), payload, at, changed)


def _offset(entry: Entry) -> int:
    return entry.offset


def _latest(entry: Entry) -> int:
    return entry.offset if entry.changed is None else entry.changed


def by_powers_of_two(asked: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Parts of 16, 8, 4, 2 and 1: few texts of a statement, all prepared, and nothing is asked twice."""
    at, size = 0, TOGETHER
    while at < len(asked):
        while size > len(asked) - at:
            size //= 2
        yield asked[at : at + size]
        at += size


def _prefix_end(prefix: str) -> str | None:
    """The least text greater than every text that starts with `prefix`, in UTF-8 byte order; None: there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at]) + 1
        if point == 0xD800:  # surrogates are not text
            point = 0xE000
        if point <= 0x10FFFF:
            return prefix[:at] + chr(point)
    return None


def bound(sql: Statements, content: str | bytes) -> str | bytes:
    """Text as the dialect's columns take it."""
    if sql.text:
        return content if isinstance(content, str) else content.decode()
    return content.encode() if isinstance(content, str) else content
