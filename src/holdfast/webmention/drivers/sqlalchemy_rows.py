"""Documents as rows: what is read in one statement, and what is written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import Executable

from holdfast.engines.sqlalchemy.clock import now_ms, process_ms
from holdfast.engines.sqlalchemy.tables import as_text
from holdfast.webmention.driver import Change, Document, Put
from holdfast.webmention.drivers.sqlalchemy_statements import Statements

__all__ = ["Rows"]

ROUNDS: Final = 10
"""How often a claim looks again because others were faster with all that it saw."""
_END: Final = (1 << 63) - 1

_Name: TypeAlias = tuple[str, str]  # kind and id
_Held: TypeAlias = dict[_Name, tuple[int, int]]  # number and revision


class Rows:
    """Work on one connection; of writers, in a transaction."""

    def __init__(self, connection: AsyncConnection, statements: Statements) -> None:
        self._connection = connection
        self._sql = statements

    def _bound(self, word: str) -> str | bytes:
        return word if self._sql.text else word.encode()

    def _all_bound(self, words: Iterable[str]) -> list[str | bytes]:
        return [self._bound(word) for word in words]

    # --- reading ---

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        if not ids:
            return []
        sought = {"kind": self._bound(kind), "ids": self._all_bound(dict.fromkeys(ids))}
        found = {each.id: each for each in await self._documents(kind, self._sql.named, sought)}
        return [found.get(id) for id in ids]

    async def page(self, kind: str, tag: str, after: int | None, limit: int, newest: bool) -> list[Document]:
        if after is None:
            after = _END if newest else 0
        sought = {"kind": self._bound(kind), "after": after, "rows": limit}
        if tag:
            sought["tag"] = self._bound(tag)
        statement = self._sql.page(tagged=bool(tag), newest=newest)
        found = await self._documents(kind, statement, sought)
        return sorted(found, key=lambda each: each.number, reverse=newest)

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        named = self._all_bound({tag for tag in tags if tag})
        parts = [*[self._sql.count_all][: "" in tags], *[self._sql.count_tagged][: len(named)]]
        if not parts:
            return []
        sought = {"kind": self._bound(kind), **({"tags": named} if named else {})}
        rows = await self._connection.execute(union_all(*parts) if parts[1:] else parts[0], sought)
        found = {"" if tag is None else as_text(tag): number for tag, number in rows}
        return [found.get(tag, 0) for tag in tags]

    async def next_due(self, kind: str) -> int | None:
        rows = await self._connection.execute(self._sql.next_due, {"kind": self._bound(kind)})
        first = rows.first()
        if first is None:
            return None
        due, now = first
        return max(0, int(due) - (process_ms() if now is None else int(now)))

    async def _documents(self, kind: str, statement: Executable, sought: dict[str, Any]) -> list[Document]:
        rows: list[Any] = []
        tags: dict[int, list[str]] = {}
        for row in await self._connection.execute(statement, sought):
            if row.tag is None:
                rows.append(row)
            else:
                tags.setdefault(row.number, []).append(as_text(row.tag))
        return [
            Document(
                kind,
                as_text(row.id),
                row.number,
                _version(row.number, row.revision),
                row.data.encode() if isinstance(row.data, str) else bytes(row.data),
                tuple(sorted(tags.get(row.number, ()))),
                row.due,
            )
            for row in rows
        ]

    # --- writing ---

    async def write(self, changes: Sequence[Change]) -> bool:
        held = await self._hold(changes)
        for change in changes:
            there = held.get((change.kind, change.id))
            if change.expect is not None and change.expect != (_version(*there) if there else ""):
                return False
        puts = [change for change in changes if isinstance(change, Put)]
        kept = {(put.kind, put.id) for put in puts}
        await self._remove(self._sql.untag, [number for number, _ in held.values()])
        await self._remove(self._sql.drop, [held[name][0] for name in held if name not in kept])
        now = 0
        if any(put.wait is not None for put in puts):
            now = await now_ms(self._connection)
        await self._change([put for put in puts if (put.kind, put.id) in held], held, now)
        made = await self._make([put for put in puts if (put.kind, put.id) not in held], now)
        numbers = {name: number for name, (number, _) in held.items()} | made
        tags = [
            {"kind": self._bound(put.kind), "tag": self._bound(tag), "number": numbers[put.kind, put.id]}
            for put in puts
            for tag in sorted(set(put.tags))
        ]
        if tags:
            await self._connection.execute(self._sql.tag, tags)
        return True

    async def _hold(self, changes: Sequence[Change]) -> _Held:
        held: _Held = {}
        for kind, ids in _by_kind(changes):
            sought = {"kind": self._bound(kind), "ids": self._all_bound(ids)}
            for id, number, revision in await self._connection.execute(self._sql.hold, sought):
                held[kind, as_text(id)] = number, revision
        return held

    async def _remove(self, statement: Executable, numbers: Sequence[int]) -> None:
        if numbers:
            await self._connection.execute(statement, {"numbers": numbers})

    async def _change(self, puts: Sequence[Put], held: _Held, now: int) -> None:
        rows = [
            {
                "b_number": held[put.kind, put.id][0],
                "b_revision": held[put.kind, put.id][1] + 1,
                "b_due": _due(put, now),
                "b_data": self._data(put),
            }
            for put in puts
        ]
        if rows:
            await self._connection.execute(self._sql.change, rows)

    async def _make(self, puts: Sequence[Put], now: int) -> dict[_Name, int]:
        """The numbers of these, in whose order they are made."""
        if not puts:
            return {}
        if len(puts) > 1 and self._sql.gate is not None:
            await self._connection.execute(self._sql.gate)
        rows = [
            {
                "kind": self._bound(put.kind),
                "id": self._bound(put.id),
                "revision": 1,
                "due": _due(put, now),
                "data": self._data(put),
            }
            for put in puts
        ]
        await self._connection.execute(self._sql.make, rows)
        made: dict[_Name, int] = {}
        for kind, ids in _by_kind(puts):
            sought = {"kind": self._bound(kind), "ids": self._all_bound(ids)}
            for id, number in await self._connection.execute(self._sql.find, sought):
                made[kind, as_text(id)] = number
        return made

    def _data(self, put: Put) -> str | bytes:
        return put.data.decode() if self._sql.text else put.data

    # --- leases ---

    async def claim(self, kind: str, lease: int, limit: int, tag: str) -> list[Document]:
        claimed: list[Document] = []
        for _ in range(ROUNDS):
            now = await now_ms(self._connection)
            found = await self._overdue(kind, tag, limit - len(claimed), now)
            won = await self._lease(found, now + lease)
            claimed += [_leased(each, now + lease) for each in found if each.number in won]
            if len(won) == len(found) or len(claimed) == limit:
                break
        return claimed

    async def _overdue(self, kind: str, tag: str, limit: int, now: int) -> list[Document]:
        """What is due and has the tag, as it is: another may have changed it before its row was locked."""
        sought: dict[str, Any] = {"kind": self._bound(kind), "now": now, "rows": limit}
        if tag:
            sought["tag"] = self._bound(tag)
        numbers = [row[0] for row in await self._connection.execute(self._sql.overdue[bool(tag)], sought)]
        if not numbers:
            return []
        found = await self._documents(kind, self._sql.numbered, {"numbers": numbers})
        due = [each for each in found if each.due is not None and each.due <= now]
        return sorted(
            (each for each in due if not tag or tag in each.tags), key=lambda each: (each.due, each.number)
        )

    async def _lease(self, found: Sequence[Document], due: int) -> set[int]:
        """The numbers of those that nobody else was faster with."""
        if not found:
            return set()
        numbers = sorted(each.number for each in found)
        if self._sql.locks:
            await self._connection.execute(self._sql.lease_held, {"numbers": numbers, "b_due": due})
            return set(numbers)
        won = set()
        revisions = {each.number: _revision(each) for each in found}
        for number in numbers:
            row = {"b_number": number, "b_revision": revisions[number], "b_due": due}
            if (await self._connection.execute(self._sql.lease_one, row)).rowcount == 1:
                won.add(number)
        return won


def _by_kind(changes: Sequence[Change]) -> list[tuple[str, list[str]]]:
    """Kinds and their ids, both in order."""
    found: dict[str, list[str]] = {}
    for change in changes:
        found.setdefault(change.kind, []).append(change.id)
    return [(kind, sorted(found[kind])) for kind in sorted(found)]


def _version(number: int, revision: int) -> str:
    return f"{number}.{revision}"


def _revision(document: Document) -> int:
    return int(document.version.partition(".")[2])


def _leased(document: Document, due: int) -> Document:
    version = _version(document.number, _revision(document) + 1)
    return Document(document.kind, document.id, document.number, version, document.data, document.tags, due)


def _due(put: Put, now: int) -> int | None:
    return None if put.wait is None else now + put.wait
