"""Operations replayed over rows that were read and locked: the outcomes, and what has to be written.

Inside a transaction that holds a key's row nobody else can change it, so any
sequence of operations on it comes down to the row before, the row after, and
the answers on the way. That costs the same few statements for one operation
and for 256, and needs nothing of a database but row locks.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    KEEP,
    Create,
    GetRenew,
    Increment,
    Keep,
    Operation,
    Outcome,
    Remove,
    Replace,
    Set,
    Text,
    Touch,
)

__all__ = ["Changes", "Row", "draw_version", "replay"]

INT64: Final = range(-(2**63), 2**63)


CLAIMED: Final = 0
"""The `expires_at` of a row that was made to be locked; whoever finds no use for it deletes it again."""


def draw_version() -> int:
    """64 random bits, as the signed number that SQL columns hold."""
    return int.from_bytes(os.urandom(8), "big", signed=True)


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row as it is stored; expired or not."""

    value: Text
    expires_at: int | None
    version: int


class Changes(msgspec.Struct, frozen=True):
    """What to write so that the table says what the outcomes say; keys sorted."""

    inserted: Sequence[tuple[str, Row]]  # no row was seen; if one is there now, all of it must be done again
    updated: Sequence[tuple[str, Row]]
    renewed: Sequence[tuple[str, Row]]  # only the lifetime is new: a large value need not travel twice
    deleted: Sequence[str]


def replay(ops: Sequence[Operation], before: Mapping[str, Row], now: int) -> tuple[list[Outcome], Changes]:
    """Apply the operations to the rows in order, `now` being the deciding clock's milliseconds."""
    play = _Replay(before, now)
    outcomes: list[Outcome] = []
    for op in ops:
        try:
            outcomes.append(_STEPS[type(op)](play, op))
        except (InvalidConversion, ValueError) as exc:  # what `Increment` refuses; it has changed nothing
            outcomes.append(exc)
    return outcomes, play.changes()


class _Replay:
    def __init__(self, before: Mapping[str, Row], now: int) -> None:
        self._before = before
        self._now = now
        self._rows: dict[str, Row | None] = {}  # what the operations have left, where they changed anything

    def changes(self) -> Changes:
        inserted: list[tuple[str, Row]] = []
        updated: list[tuple[str, Row]] = []
        renewed: list[tuple[str, Row]] = []
        deleted: list[str] = []
        for key, row in sorted(self._rows.items(), key=_key):
            old = self._before.get(key)
            if row is None:
                if old is not None:
                    deleted.append(key)
            elif old is None:
                inserted.append((key, row))
            elif old.version == row.version:
                renewed.append((key, row))
            else:
                updated.append((key, row))
        claimed = [
            key for key, row in self._before.items() if row.expires_at == CLAIMED and key not in self._rows
        ]
        return Changes(inserted, updated, renewed, sorted(deleted + claimed))

    # --- one operation each ---

    def get_renew(self, op: GetRenew) -> Text | None:
        row = self._live(op.key)
        if row is None:
            return None
        self._rows[op.key] = Row(row.value, self._until(op.ttl, row), row.version)
        return row.value

    def set(self, op: Set) -> None:
        self._rows[op.key] = Row(op.value, self._until(op.ttl, self._live(op.key)), draw_version())

    def create(self, op: Create) -> bool:
        if self._live(op.key) is not None:
            return False
        self._rows[op.key] = Row(op.value, self._until(op.ttl, None), draw_version())
        return True

    def replace(self, op: Replace) -> str | None:
        row = self._live(op.key)
        if row is None or str(row.version) != op.version:
            return None
        row = self._rows[op.key] = Row(op.value, self._until(op.ttl, row), draw_version())
        return str(row.version)

    def remove(self, op: Remove) -> bool:
        row = self._live(op.key)
        if row is None or (op.version is not None and str(row.version) != op.version):
            return False
        self._rows[op.key] = None
        return True

    def touch(self, op: Touch) -> bool:
        row = self._live(op.key)
        if row is None:
            return False
        self._rows[op.key] = Row(row.value, self._until(op.ttl, row), row.version)
        return True

    def increment(self, op: Increment) -> int:
        row = self._live(op.key)
        if row is None:
            total, until = op.by, self._until(op.ttl, None)
        else:
            total, until = _counter(op.key, row.value) + op.by, row.expires_at
        if total not in INT64:
            raise ValueError(f"increment {op.key!r}: the sum leaves the 64-bit range")
        self._rows[op.key] = Row(str(total).encode(), until, draw_version())
        return total

    def _live(self, key: str) -> Row | None:
        row = self._rows[key] if key in self._rows else self._before.get(key)
        if row is None or (row.expires_at is not None and row.expires_at <= self._now):
            return None
        return row

    def _until(self, ttl: int | Keep | None, live: Row | None) -> int | None:
        if ttl is KEEP:
            return None if live is None else live.expires_at
        return None if ttl is None else self._now + ttl


def _counter(key: str, value: Text) -> int:
    try:
        count = msgspec.json.decode(value, type=int)
    except msgspec.DecodeError:
        count = INT64.stop
    if count not in INT64:
        raise InvalidConversion(f"increment {key!r}: what is stored is not a 64-bit integer")
    return count


def _key(item: tuple[str, Any]) -> str:
    return item[0]


_STEPS: Final[dict[type, Callable[[_Replay, Any], Outcome]]] = {
    GetRenew: _Replay.get_renew,
    Set: _Replay.set,
    Create: _Replay.create,
    Replace: _Replay.replace,
    Remove: _Replay.remove,
    Touch: _Replay.touch,
    Increment: _Replay.increment,
}
