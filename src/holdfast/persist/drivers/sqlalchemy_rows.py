"""The rows of `persist` through SQLAlchemy: what a part of a batch becomes on the wire.

Reads are one statement. Writes of one kind are one statement where the dialect
has one that decides for itself; all others are one transaction that locks the
rows, replays the operations over them and writes what has changed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.engines.sqlalchemy import SQLAlchemyEngine, StatementRefused
from holdfast.errors import StoreError, again
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    Keys,
    Operation,
    Outcome,
    Page,
    Set,
    Stored,
    Sweep,
    prefix_end,
)
from holdfast.persist.drivers.sqlalchemy_replay import Changes, Row, draw_version, replay
from holdfast.persist.drivers.sqlalchemy_tables import Statements
from holdfast.persist.drivers.sqlalchemy_watch import announce
from holdfast.persist.waves import Wave, waves

__all__ = ["Rows"]

Outcomes: TypeAlias = list[Outcome]


class Rows:
    """One engine's table of values. Every method is one or a few round trips, however much it is given.

    Args:
        channel: where changes are announced; None: nowhere.
    """

    def __init__(self, engine: SQLAlchemyEngine, sql: Statements, channel: str | None = None) -> None:
        self._engine = engine
        self._sql = sql
        self._channel = channel
        # Without a transaction of theirs, SQLite would sync after each of many rows.
        self._syncs_each = engine.dialect == "sqlite"

    async def read(
        self,
        batch: Sequence[Operation],
        places: Sequence[int],
        outcomes: Outcomes,
    ) -> None:
        keys = self._padded({batch[place].key for place in places})

        async def work(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(self._sql.read, self._timed({"keys": keys}))).all()

        found = {self._key(row[0]): row for row in await self._engine.read(work)}
        for place in places:
            op = batch[place]
            row = found.get(op.key)
            if row is None:
                continue
            if type(op) is Get:
                outcomes[place] = row[1]
            else:  # Postgres' clock goes on between finding a row alive and reckoning what is left
                outcomes[place] = Stored(row[1], None if row[2] is None else max(1, row[2]), str(row[3]))

    async def write(self, ops: Sequence[Operation]) -> Outcomes:
        """The outcomes of operations that change named keys; halved until the refused one stands alone."""
        try:
            single = self._single(ops)
            return await (self._replayed(ops) if single is None else single)
        except StatementRefused as exc:
            if len(ops) == 1:
                return [exc]
        middle = len(ops) // 2
        outcomes: Outcomes = []
        for half in (ops[:middle], ops[middle:]):
            try:
                outcomes += await self.write(half)
            except StoreError as exc:
                outcomes += [again(exc) for _ in half]
        return outcomes

    # --- one statement ---

    def _single(self, ops: Sequence[Operation]) -> Awaitable[Outcomes] | None:
        """The operations in one statement, if they can be; to be awaited."""
        sent = waves(ops)
        if len(sent) > 1:
            return None
        wave = sent[0]
        if wave.kind is Set:
            kept = sum(op.ttl is KEEP for op in wave.ops if type(op) is Set)
            statement = self._sql.set_ if kept == 0 else self._sql.set_keep if kept == len(wave.ops) else None
            if statement is not None:
                return self._set(statement, wave, len(ops))
        elif wave.kind is Create and self._sql.create is not None:
            return self._create(self._sql.create, wave, ops)
        return None

    async def _set(self, statement: Any, wave: Wave, count: int) -> Outcomes:
        async def work(connection: AsyncConnection) -> None:
            now = 0 if self._sql.reads_clock or not _reckons(wave.ops) else await self._now(connection)
            await connection.execute(statement, [self._row(op, now) for op in wave.ops])
            if self._channel is not None:
                await announce(connection, self._channel, wave.ops, [None] * len(wave.ops))

        if self._channel is not None or (len(wave.ops) > 1 and self._syncs_each):
            await self._engine.transact(work)
        else:
            await self._engine.write(work)
        return [None] * count

    async def _create(self, statement: Any, wave: Wave, ops: Sequence[Operation]) -> Outcomes:
        async def work(connection: AsyncConnection) -> set[str]:
            rows = [self._row(op, 0) for op in wave.ops]
            created = {self._key(row[0]) for row in await connection.execute(statement, rows)}
            if self._channel is not None:
                await announce(connection, self._channel, wave.ops, [op.key in created for op in wave.ops])
            return created

        created = await (self._engine.write if self._channel is None else self._engine.transact)(work)
        outcomes: Outcomes = []
        for op in ops:
            outcomes.append(op.key in created)
            created.discard(op.key)  # by the second there is a live value
        return outcomes

    def _row(self, op: Any, now: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "key": self._bound(op.key),
            "value": self._bound(op.value),
            "version": draw_version(),
        }
        ttl = None if op.ttl is KEEP else op.ttl
        if self._sql.reads_clock:
            row["ttl"] = ttl
        else:
            row["expires_at"] = None if ttl is None else now + ttl
        return self._timed(row)

    # --- one transaction ---

    async def _replayed(self, ops: Sequence[Operation]) -> Outcomes:
        keys = {op.key for op in ops}

        async def work(connection: AsyncConnection) -> Outcomes:
            before, now = await self._locked(connection, keys, _reckons(ops))
            outcomes, changes = replay(ops, before, now)
            await self._write_changes(connection, changes)
            if self._channel is not None:
                await announce(connection, self._channel, ops, outcomes)
            return outcomes

        return await self._engine.transact(work)

    async def _locked(
        self, connection: AsyncConnection, keys: set[str], reckons: bool
    ) -> tuple[dict[str, Row], int]:
        """The rows of these keys, which nobody else changes until the transaction ends, and the time."""
        if self._sql.claim is not None:
            claims = [{"key": self._bound(key)} for key in sorted(keys)]
            found = (await connection.execute(self._sql.claim, claims)).all()
            return {self._key(row[0]): Row(*row[1:4]) for row in found}, max(row[4] for row in found)
        rows = await connection.execute(self._sql.lock, {"keys": self._padded(keys)})
        before = {self._key(row[0]): Row(*row[1:]) for row in rows}
        timed = reckons or any(row.expires_at is not None for row in before.values())
        return before, await self._now(connection) if timed else 0

    async def _write_changes(self, connection: AsyncConnection, changes: Changes) -> None:
        if changes.inserted:
            rows = [{"key": self._bound(key), **self._columns(row)} for key, row in changes.inserted]
            await connection.execute(self._sql.insert, rows)
        updated, renewed = changes.updated, changes.renewed
        if self._sql.upserts_alone and self._sql.set_ is not None and len(updated) + len(renewed) > 1:
            rows = [{"key": self._bound(key), **self._columns(row)} for key, row in (*updated, *renewed)]
            await connection.execute(self._sql.set_, rows)
            updated = renewed = ()
        if updated:
            rows = [{"at": self._bound(key), **self._columns(row)} for key, row in updated]
            await connection.execute(self._sql.update, rows)
        if renewed:
            rows = [{"at": self._bound(key), "expires_at": row.expires_at} for key, row in renewed]
            await connection.execute(self._sql.renew, rows)
        if changes.deleted:
            await connection.execute(self._sql.delete, {"keys": self._padded(set(changes.deleted))})

    def _columns(self, row: Row) -> dict[str, Any]:
        return {"value": self._bound(row.value), "expires_at": row.expires_at, "version": row.version}

    # --- walks ---

    async def keys(self, op: Keys) -> Page:
        statement, bounds = self._walk(op.key, op.cursor, op.limit, live=True)

        async def work(connection: AsyncConnection) -> list[str]:
            return [self._key(row[0]) for row in await connection.execute(statement, bounds)]

        keys = await self._engine.read(work)
        return Page(keys, keys[-1] if len(keys) >= op.limit else None)

    async def clear(self, op: Clear) -> Cleared:
        rows = await self._looked_at(op.key, op.cursor, op.limit)
        live = {self._key(row[0]) for row in rows if row[1]}
        lapsed = {self._key(row[0]) for row in rows} - live

        async def work(connection: AsyncConnection) -> int:
            removed = 0
            if live and self._channel is not None:
                await self._announce_cleared(connection, self._channel, op, live)
            if live:  # unless somebody removed it meanwhile, or time did
                chosen = self._timed({"keys": self._padded(live)})
                removed = (await connection.execute(self._sql.delete_live, chosen)).rowcount
            if lapsed:
                chosen = self._timed({"keys": self._padded(lapsed)})
                await connection.execute(self._sql.delete_lapsed, chosen)
            return removed

        removed = await self._engine.transact(work) if rows else 0
        return Cleared(removed, self._key(rows[-1][0]) if len(rows) >= op.limit else None)

    async def _announce_cleared(
        self, connection: AsyncConnection, channel: str, op: Clear, keys: set[str]
    ) -> None:
        """Lock what is about to be deleted, and say so of those that are there still, and live."""
        now = await self._now(connection)
        rows = await connection.execute(self._sql.lock, {"keys": self._padded(keys)})
        live = [self._key(row[0]) for row in rows if row[2] is None or row[2] > now]
        await announce(connection, channel, [op], [None], {0: live})

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        rows = await self._looked_at("", cursor, limit)
        lapsed = {self._key(row[0]) for row in rows if not row[1]}

        async def drop(connection: AsyncConnection) -> int:
            chosen = self._timed({"keys": self._padded(lapsed)})
            return (await connection.execute(self._sql.delete_lapsed, chosen)).rowcount

        removed = await self._engine.write(drop) if lapsed else 0
        return Sweep(removed, self._key(rows[-1][0]) if len(rows) >= limit else None)

    async def _looked_at(self, prefix: str, cursor: str | None, limit: int) -> Sequence[Any]:
        statement, bounds = self._walk(prefix, cursor, limit)

        async def work(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(statement, bounds)).all()

        return await self._engine.read(work)

    def _walk(
        self, prefix: str, cursor: str | None, limit: int, *, live: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        end = prefix_end(prefix)
        bounds = {"start": self._bound(prefix if cursor is None else cursor), "rows": limit}
        if end is not None:
            bounds["end"] = self._bound(end)
        statement = self._sql.walk(after=cursor is not None, end=end is not None, live=live)
        return statement, self._timed(bounds)

    # --- what the database is given, and what it gives back ---

    def _bound(self, content: str | bytes) -> str | bytes:
        if self._sql.text:
            return content if isinstance(content, str) else content.decode()
        return content.encode() if isinstance(content, str) else content

    def _key(self, stored: Any) -> str:
        return stored if isinstance(stored, str) else bytes(stored).decode()

    def _padded(self, keys: set[str]) -> list[str | bytes]:
        """The keys for an IN, the last one repeated up to a power of two: few texts of a statement, all prepared."""
        bound = [self._bound(key) for key in sorted(keys)]
        return bound + bound[-1:] * ((1 << (len(bound) - 1).bit_length()) - len(bound))

    def _timed(self, parameters: dict[str, Any]) -> dict[str, Any]:
        if self._sql.clock is None:
            parameters["now"] = _process_ms()
        return parameters

    async def _now(self, connection: AsyncConnection) -> int:
        """The deciding clock, read while the rows are locked."""
        if self._sql.clock is None:
            return _process_ms()
        return int((await connection.execute(self._sql.clock)).scalar_one())


def _reckons(ops: Sequence[Any]) -> bool:
    """Whether any operation gives a lifetime that must be added to the time."""
    return any(type(getattr(op, "ttl", None)) is int for op in ops)


def _process_ms() -> int:
    return time.time_ns() // 1_000_000
