"""Values in Postgres: one row a key, one statement for each kind of operation in a batch.

Guarantees: an acknowledged write is as durable as the server's
`synchronous_commit` makes a commit. Expiry is by the server's clock. A
statement is a transaction of its own; a batch is not one.

Cost: a batch of one kind is one round trip, however many operations; each
further kind in it, and each key that is told two different things, one more.
A read costs one index look-up, a write one row version; nothing is indexed but
the key, so that most updates stay in their page (HOT) and touch no index.

Errors: what the server refuses is refused for the operation that earned it: the
statement is halved until that one is found (nothing of a refused statement was
applied). After a lost connection nothing is sent again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import msgspec

from holdfast.engines import Lease, lease
from holdfast.engines.postgres import PostgresEngine, StatementRefused
from holdfast.errors import Closed, InvalidConversion, StoreError, StoreUnavailable, again
from holdfast.persist.driver import (
    KEEP,
    LATER,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Outcome,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Sweep,
    Touch,
    Traits,
    prefix_end,
)
from holdfast.persist.drivers.postgres import statements as sql
from holdfast.persist.migrations import LEDGER, MIGRATIONS
from holdfast.persist.waves import INT64_MAX, INT64_MIN, Wave, halves, parted, slack, spread, unfolded, waves
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["PostgresDriver"]

TABLE = "holdfast_persist"
ATTEMPTS = 5
"""How often a statement is sent that the server refuses for meeting another (deadlock, serialization)."""

Fetch: TypeAlias = Callable[..., Awaitable[list[Any]]]


class PostgresDriver:
    """`PostgresDriver.from_url(url)`; `?lanes=`, `?timeout=` and `?pgbouncer=true` are the engine's."""

    def __init__(self, url: StoreURL) -> None:
        self._url = url
        self._lease: Lease[PostgresEngine] | None = None
        lanes = PostgresEngine.from_url(url).lanes
        self.traits = TRAITS if lanes == TRAITS.lanes else msgspec.structs.replace(TRAITS, lanes=lanes)

    @classmethod
    def from_url(cls, url: StoreURL) -> PostgresDriver:
        return cls(url)

    async def open(self) -> None:
        if self._lease is None:
            self._lease = await lease(PostgresEngine, self._url)

    async def close(self) -> None:
        held, self._lease = self._lease, None
        if held is not None:
            await held.release()

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(MIGRATIONS["postgresql"], table=LEDGER)

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(MIGRATIONS["postgresql"], table=LEDGER)

    async def health(self) -> Health:
        if self._lease is None:
            return Health(False, "postgres", 0.0, "closed")
        return await self._lease.engine.health()

    async def describe(self) -> Sequence[Finding]:
        return await self._engine.describe(TABLE)

    def now(self, op: Operation) -> Outcome:
        return LATER  # everything waits for the network

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        fetch = partial(self._engine.fetch, lane)
        todo = _statements(batch)
        outcomes: list[Outcome] = [None] * len(batch)
        for at, wave in enumerate(todo):
            try:
                answers = await _SENT[wave.kind](fetch, wave, batch)
            except StatementRefused as exc:
                answers = await _in_parts(fetch, wave, batch, exc)
            except StoreError as exc:
                if at == 0:
                    raise
                _unsent(todo[at:], exc, batch, outcomes)
                break
            spread(wave, answers, batch, outcomes)
            if wave.folded and wave.kind is Increment:
                await _unfold(fetch, wave, batch, outcomes)
        return outcomes

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        ((looked_at, last, removed),) = await self._engine.fetch(0, sql.SWEEP, cursor or "", limit)
        return Sweep(removed, last if looked_at == limit else None)

    @property
    def _engine(self) -> PostgresEngine:
        if self._lease is None:
            raise Closed("postgres: not open")
        return self._lease.engine


TRAITS = Traits(
    name="postgres",
    durable="yes",
    shared="network",
    clock="server",
    version_from_content=False,
    lanes=2,
    sweeps=True,
)


# --- failure: what was refused, and what was not sent because of what was lost before it ---


async def _in_parts(
    fetch: Fetch, wave: Wave, batch: Sequence[Operation], refused: StatementRefused
) -> list[Outcome]:
    """The wave again, in halves, until each refusal has found its operation."""
    attempts = 1
    while refused.passing and attempts < ATTEMPTS:
        attempts += 1
        try:
            return await _SENT[wave.kind](fetch, wave, batch)
        except StatementRefused as exc:
            refused = exc
        except StoreError as exc:
            return [again(exc) for _ in wave.ops]
    if len(wave.ops) == 1:
        return [_refusal(wave.ops[0], refused)]
    answers: list[Outcome] = []
    for half in halves(wave):
        try:
            answers += await _SENT[half.kind](fetch, half, batch)
        except StatementRefused as exc:
            answers += await _in_parts(fetch, half, batch, exc)
        except StoreError as exc:
            answers += [again(exc) for _ in half.ops]
    return answers


def _refusal(op: Operation, refused: StatementRefused) -> StoreError:
    said = f"{type(op).__name__.lower()} {op.key!r}: {refused}"
    error = StoreUnavailable(said) if refused.passing else StoreError(said)
    error.__cause__ = refused
    return error


def _unsent(
    left: Sequence[Wave], lost: StoreError, batch: Sequence[Operation], outcomes: list[Outcome]
) -> None:
    """Tell the rest: the first of the waves met the error, those after it were never sent."""
    for at, wave in enumerate(left):
        error = lost if at == 0 else StoreUnavailable(f"not sent: {lost}")
        spread(wave, [again(error) for _ in wave.ops], batch, outcomes)


async def _unfold(fetch: Fetch, wave: Wave, batch: Sequence[Operation], outcomes: list[Outcome]) -> None:
    """Where a counter was too near the end of its range to be raised by several at once: one by one."""
    for at, place in enumerate(wave.places):
        if isinstance(outcomes[place], ValueError):
            for one in unfolded(wave, at, batch):
                try:
                    answers = await _increment(fetch, one, batch)
                except StatementRefused as exc:
                    answers = await _in_parts(fetch, one, batch, exc)
                except StoreError as exc:
                    answers = [exc]
                spread(one, answers, batch, outcomes)


def _statements(batch: Sequence[Operation]) -> list[Wave]:
    """The waves, one of both kinds of Set as two: what an upsert stores cannot say KEEP and never."""
    found: list[Wave] = []
    for wave in waves(batch):
        if wave.kind is Set and len(wave.ops) > 1:
            kept = [_keeps(op) for op in wave.ops]
            found += parted(wave, _keeps) if any(kept) and not all(kept) else (wave,)
        else:
            found.append(wave)
    return found


def _keeps(op: Any) -> bool:
    return op.ttl is KEEP


# --- one statement for the operations of a wave; the answers stand in the order of its `ops` ---


async def _get(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = wave.ops
    if len(ops) == 1:
        rows = await fetch(sql.GET_ONE, ops[0].key)
        return [rows[0][0]] if rows else [None]
    return [row[0] for row in await fetch(sql.GET, [op.key for op in ops])]


async def _get_entry(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    rows = await fetch(sql.GET_ENTRY, [op.key for op in wave.ops])
    return [None if row[0] is None else Stored(row[0], row[1], str(row[2])) for row in rows]


async def _get_renew(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[GetRenew]", wave.ops)
    keys = [op.key for op in ops]
    found = {row[0]: row[1] for row in await fetch(sql.GET_RENEW, keys, [op.ttl for op in ops])}
    return [found.get(key) for key in keys]


async def _set(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Set]", wave.ops)
    if len(ops) == 1:
        op = ops[0]
        (version,) = _versions(1)
        if op.ttl is KEEP:
            await fetch(sql.SET_KEEP_ONE, op.key, op.value.decode(), version)
        else:
            await fetch(sql.SET_ONE, op.key, op.value.decode(), version, op.ttl)
        return [None]
    ttls = [op.ttl for op in ops]
    keys, values, versions = [op.key for op in ops], [op.value.decode() for op in ops], _versions(len(ops))
    if KEEP not in ttls:
        await fetch(sql.SET, keys, values, versions, ttls)
    else:
        await fetch(sql.SET_KEEP, keys, values, versions)
    return [None] * len(ops)


async def _create(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Create]", wave.ops)
    versions = _versions(len(ops))
    if len(ops) == 1:
        op = ops[0]
        return [bool(await fetch(sql.CREATE_ONE, op.key, op.value.decode(), versions[0], op.ttl))]
    keys, values, ttls = [op.key for op in ops], [op.value.decode() for op in ops], [op.ttl for op in ops]
    stored = {row[0] for row in await fetch(sql.CREATE, keys, values, versions, ttls)}
    return [version in stored for version in versions]


async def _replace(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Replace]", wave.ops)
    versions = _versions(len(ops))
    rows = await fetch(
        sql.REPLACE,
        [op.key for op in ops],
        [op.value.decode() for op in ops],
        versions,
        [None if op.ttl is KEEP else op.ttl for op in ops],
        [_number(op.version) for op in ops],
        [op.ttl is KEEP for op in ops],
    )
    stored = {row[0] for row in rows}
    return [str(version) if version in stored else None for version in versions]


async def _remove(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Remove]", wave.ops)
    keys = [op.key for op in ops]
    expected = [None if op.version is None else _number(op.version) for op in ops]
    gone = {row[0] for row in await fetch(sql.REMOVE, keys, expected, [op.version is None for op in ops])}
    return [key in gone for key in keys]


async def _touch(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Touch]", wave.ops)
    keys = [op.key for op in ops]
    found = {row[0] for row in await fetch(sql.TOUCH, keys, [op.ttl for op in ops])}
    return [key in found for key in keys]


async def _increment(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Increment]", wave.ops)
    versions = _versions(len(ops))
    below, above = slack(wave, batch)
    rows = await fetch(
        sql.INCREMENT,
        [op.key for op in ops],
        [op.by for op in ops],
        versions,
        [op.ttl for op in ops],
        below,
        above,
    )
    found = {row[0]: row for row in rows}
    return [_counted(op, version, *found[op.key][1:]) for op, version in zip(ops, versions, strict=True)]


def _counted(op: Increment, drawn: int, version: int, text: str | None) -> Outcome:
    if version == drawn and text is not None:
        return int(text)
    if text is not None and text.removeprefix("-").isdecimal() and INT64_MIN <= int(text) <= INT64_MAX:
        return ValueError(f"increment {op.key!r}: the sum would leave the signed 64-bit range")
    return InvalidConversion(f"increment {op.key!r}: what is stored is not a 64-bit integer")


async def _keys(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    op = cast("Keys", wave.ops[0])
    rows = await fetch(sql.KEYS, *_range(op.key, op.cursor), op.limit)
    return [Page([row[0] for row in rows if row[1]], rows[-1][0] if len(rows) == op.limit else None)]


async def _clear(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    op = cast("Clear", wave.ops[0])
    ((looked_at, last, removed),) = await fetch(sql.CLEAR, *_range(op.key, op.cursor), op.limit)
    return [Cleared(removed, last if looked_at == op.limit else None)]


_SENT: dict[type, Callable[[Fetch, Wave, Sequence[Operation]], Awaitable[list[Outcome]]]] = {
    Get: _get,
    GetEntry: _get_entry,
    GetRenew: _get_renew,
    Set: _set,
    Create: _create,
    Replace: _replace,
    Remove: _remove,
    Touch: _touch,
    Increment: _increment,
    Keys: _keys,
    Clear: _clear,
}

_LAST = chr(0x10FFFF) * 256
"""Greater than any key: 256 of the greatest character are more bytes than a key may have."""


def _range(prefix: str, cursor: str | None) -> tuple[str, str]:
    """From where and up to where, the end not included. After a key comes the one that is a U+0001 longer."""
    return (prefix if cursor is None else cursor + "\x01"), (prefix_end(prefix) or _LAST)


def _versions(count: int) -> list[int]:
    return memoryview(os.urandom(8 * count)).cast("q").tolist()


def _number(version: str) -> int | None:
    """The version as it is stored; None, which equals nothing, where it is none of ours."""
    try:
        number = int(version)
    except ValueError:
        return None
    return number if str(number) == version and INT64_MIN <= number <= INT64_MAX else None
