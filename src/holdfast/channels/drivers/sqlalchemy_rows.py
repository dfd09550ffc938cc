"""The rows of `channels` through SQLAlchemy: what a part of a batch becomes on the wire.

Appends, edits, removals and sends are one transaction: lock the topics that are
named, look up the messages that are named, replay the operations over them
(`sqlalchemy_replay`), write what has changed. A topic's lock is held until the
commit, so that offsets become visible in their order.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.channels.driver import Append, Clear, Edit, Erase, Operation, Outcome, Send, Trim
from holdfast.channels.drivers.sqlalchemy_reads import Reads, bound, by_powers_of_two
from holdfast.channels.drivers.sqlalchemy_replay import Line, TopicLog, replay
from holdfast.channels.drivers.sqlalchemy_tables import Statements, lines
from holdfast.engines.sqlalchemy import SQLAlchemyEngine
from holdfast.engines.sqlalchemy.clock import now_ms
from holdfast.engines.sqlalchemy.notes import Note, padded, post
from holdfast.engines.sqlalchemy.tables import as_text
from holdfast.errors import StoreUnavailable

__all__ = ["Rows"]

LOCK_ATTEMPTS = 8
"""At topics that others make and forget at the same time."""


class Rows:
    """One engine's topics. Every method is a handful of round trips, however much it is given."""

    def __init__(self, engine: SQLAlchemyEngine, sql: Statements) -> None:
        self._engine = engine
        self._sql = sql

    async def read(self, ops: Sequence[Operation]) -> list[Outcome]:
        async def work(connection: AsyncConnection) -> list[Outcome]:
            return await Reads(self._sql, connection).all(ops)

        return await self._engine.read(work)

    async def write(self, ops: Sequence[Operation]) -> list[Outcome]:
        """The outcomes of `Append`, `Edit`, `Erase` and `Send`, done together."""

        async def work(connection: AsyncConnection) -> list[Outcome]:
            return await _Writing(self._sql, connection).all(ops)

        return await self._engine.transact(work)

    async def trim(self, op: Trim) -> int:
        async def work(connection: AsyncConnection) -> int:
            return await _Writing(self._sql, connection).trim(op)

        return await self._engine.transact(work)

    async def clear(self, op: Clear) -> bool:
        async def work(connection: AsyncConnection) -> bool:
            return await _Writing(self._sql, connection).clear(op)

        return await self._engine.transact(work)


class _Writing:
    """What one transaction does."""

    def __init__(self, sql: Statements, connection: AsyncConnection) -> None:
        self._sql = sql
        self._connection = connection
        self._read_at: int | None = None

    async def all(self, ops: Sequence[Operation]) -> list[Outcome]:
        logs = await self._lock(
            {op.key for op in ops if type(op) is not Send}, {op.key for op in ops if type(op) is Append}
        )
        await self._look_up(logs, ops)
        sent = [Note(op.key, op.data) for op in ops if type(op) is Send]
        stamped = bool(sent) or any(type(op) is Append for op in ops)
        now = await self._now() if stamped else 0
        outcomes = replay(ops, logs, now)
        await self._store([log for log in logs.values() if log.added or log.changed], now)
        if sent:
            await post(self._connection, sent, now)
        return outcomes

    async def trim(self, op: Trim) -> int:
        log = (await self._lock({op.key}, set())).get(op.key)
        if log is None:
            return 0
        kept = log.kept
        if op.max_age is not None:
            await self._cut_before(log, await self._now() - op.max_age)
        if op.max_messages is not None and log.kept > op.max_messages:
            await self._cut_to(log, op.max_messages)
        if log.kept != kept:
            await self._advance([log])
        return kept - log.kept

    async def clear(self, op: Clear) -> bool:
        log = (await self._lock({op.key}, set())).get(op.key)
        if log is None:
            return False
        await self._do(self._sql.empty, number=log.number)
        await self._do(self._sql.forget, number=log.number)
        return True

    # --- locking and looking ---

    async def _lock(self, keys: set[str], needed: set[str]) -> dict[str, TopicLog]:
        """The topics of `keys` that there are; those of `needed` are made where they are not."""
        if not keys:
            return {}
        sought = {"keys": padded([bound(self._sql, key) for key in sorted(keys)])}
        for _ in range(LOCK_ATTEMPTS):
            rows = (await self._connection.execute(self._sql.lock, sought)).all()
            logs = {as_text(row[0]): TopicLog(as_text(row[0]), *row[1:7]) for row in rows}
            times = [row[7] for row in rows if row[7] is not None]
            missing = sorted(needed - logs.keys())
            if not missing:
                self._read_at = max(times, default=None)
                return logs
            nothing = {"last": 0, "trimmed": 0, "kept": 0, "at": 0}
            made = [
                {"topic": bound(self._sql, key), "epoch": secrets.token_hex(6), **nothing} for key in missing
            ]
            await self._connection.execute(self._sql.make, made)
        raise StoreUnavailable("sqlalchemy: others forget this topic as fast as it is made")

    async def _look_up(self, logs: dict[str, TopicLog], ops: Sequence[Operation]) -> None:
        """What is known of the messages that `ops` name, in topics that have any."""
        ids: dict[int, set[str]] = {}
        positions: dict[int, set[int]] = {}
        for op in ops:
            log = logs.get(op.key)
            if log is None or log.last == 0:
                continue
            if isinstance(op, Append | Edit | Erase) and op.id is not None:
                ids.setdefault(log.number, set()).add(op.id)
            elif isinstance(op, Edit | Erase) and op.offset is not None and op.epoch == log.epoch:
                positions.setdefault(log.number, set()).add(op.offset)
        by_number = {log.number: log for log in logs.values()}
        for by, names in (("id", ids), ("position", positions)):
            bindable = [
                (number, [bound(self._sql, each) if isinstance(each, str) else each for each in sorted(some)])
                for number, some in names.items()
            ]
            for few in by_powers_of_two(bindable):
                async for line, number in self._lines(by, few):
                    _file(by_number[number], line)

    async def _lines(self, by: str, few: Sequence[tuple[int, list[Any]]]) -> AsyncIterator[tuple[Line, int]]:
        sought: dict[str, Any] = {}
        for slot, (number, names) in enumerate(few):
            sought |= {f"number{slot}": number, f"names{slot}": padded(names)}
        for number, position, name, event, at, live in await self._connection.execute(
            lines(by, len(few)), sought
        ):
            text = None if name is None else as_text(name)
            yield Line(position, text, as_text(event), at, bool(live)), number

    async def _now(self) -> int:
        """The deciding clock, read while the topics are locked."""
        if self._read_at is None:
            self._read_at = await now_ms(self._connection)
        return self._read_at

    # --- writing ---

    async def _store(self, logs: Sequence[TopicLog], now: int) -> None:
        rows = [self._row(log, line) for log in logs for line in log.added]
        if rows:
            await self._connection.execute(self._sql.add, rows)
        changed = [
            {
                "b_number": log.number,
                "b_position": line.position,
                "b_payload": None if line.payload is None else bound(self._sql, line.payload),
                "b_changed": line.changed,
            }
            for log in logs
            for line in log.changed.values()
        ]
        if changed:
            await self._connection.execute(self._sql.change, changed)
        for log in logs:
            if log.max_age is not None and log.perhaps_stale:
                await self._cut_stale(log, now - log.max_age)
            if log.max_messages is not None and log.overfull:
                await self._cut_to(log, log.max_messages)
        if logs:
            await self._advance(logs)

    def _row(self, log: TopicLog, line: Line) -> dict[str, Any]:
        return {
            "number": log.number,
            "position": line.position,
            "id": None if line.id is None else bound(self._sql, line.id),
            "event": bound(self._sql, line.event),
            "payload": None if line.payload is None else bound(self._sql, line.payload),
            "at": line.at,
            "changed": line.changed,
        }

    async def _advance(self, logs: Sequence[TopicLog]) -> None:
        rows = [
            {
                "b_topic": bound(self._sql, log.key),
                "b_number": log.number,
                "b_epoch": log.epoch,
                "b_last": log.last,
                "b_trimmed": log.trimmed,
                "b_kept": log.kept,
                "b_at": log.at,
            }
            for log in logs
        ]
        await self._connection.execute(self._sql.advance, rows)

    # --- retention ---

    async def _cut_to(self, log: TopicLog, most: int) -> None:
        """Leave the newest `most`."""
        cutoff = await self._first(self._sql.place, number=log.number, rank=most)
        if cutoff is not None:
            await self._cut(log, cutoff)

    async def _cut_stale(self, log: TopicLog, before: int) -> None:
        """Take away the oldest in a row that are older than `before`; two index look-ups where there are none."""
        rows = await self._connection.execute(self._sql.oldest, {"number": log.number})
        oldest = rows.first()
        if oldest is None or oldest[1] >= before:
            return
        young = await self._first(self._sql.young, number=log.number, before=before)
        await self._cut(log, log.last if young is None else young - 1)

    async def _cut(self, log: TopicLog, cutoff: int) -> None:
        reach = await self._first(self._sql.reach_to, number=log.number, cutoff=cutoff)
        if reach is not None:
            log.kept -= await self._do(self._sql.cut, number=log.number, cutoff=cutoff)
            log.trimmed = max(log.trimmed, reach)

    async def _cut_before(self, log: TopicLog, before: int) -> None:
        """Take away whatever is older, wherever it stands: what was imported may be out of order."""
        reach = await self._first(self._sql.reach_before, number=log.number, before=before)
        if reach is not None:
            log.kept -= await self._do(self._sql.cut_before, number=log.number, before=before)
            log.trimmed = max(log.trimmed, reach)

    async def _first(self, statement: Any, **bounds: int) -> int | None:
        found: int | None = (await self._connection.execute(statement, bounds)).scalar()
        return found

    async def _do(self, statement: Any, **bounds: int) -> int:
        return int((await self._connection.execute(statement, bounds)).rowcount)


def _file(log: TopicLog, line: Line) -> None:
    line = log.by_position.setdefault(line.position, line)
    if line.id is not None:
        log.by_id[line.id] = line
