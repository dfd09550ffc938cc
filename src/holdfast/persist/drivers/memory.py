"""Values in this process's memory: nothing waits, nothing outlives the process.

Guarantees: an operation is atomic because no other code runs during it. Expiry
is by the monotonic clock, so that setting the computer's clock moves nothing.
Cost: no round trip, no future, no turn of the loop; `api` calls `now` directly.

Expired rows go when they are met, and the rest in the background by `sweep`.
There is no bound on how much is kept: a cache of unknown size belongs in Redis.

Changes are announced within the operation, to this process, which is all there is.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from holdfast.errors import Closed, InvalidConversion
from holdfast.persist.announcing import REMOVED, announced, is_value
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keep,
    Keys,
    Listener,
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
)
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["MemoryDriver"]

INT64: Final = range(-(2**63), 2**63)
FOREVER: Final = 1 << 62
"""The end of what never expires: one comparison serves every row."""

Row: TypeAlias = tuple[bytes, int, int]
"""value, the moment on the driver's clock at which it expires, version"""


def _closed(op: Operation) -> Outcome:
    raise Closed("memory: not open")


class MemoryDriver:
    """A dict with expiry.

    Args:
        now_ms: a clock in milliseconds, for tests that move time. Without it the
            monotonic clock, read in nanoseconds: that is one call into C.
    """

    traits = Traits(
        name="memory",
        durable="no",
        shared="process",
        clock="process",
        version_from_content=False,
        immediate=frozenset(
            {Get, GetEntry, GetRenew, Set, Create, Replace, Remove, Touch, Increment, Keys, Clear}
        ),
        sweeps=True,
        notifies=True,
        auto_migrate=True,
    )

    def __init__(self, *, now_ms: Callable[[], int] | None = None) -> None:
        self._clock = now_ms or time.monotonic_ns
        self._ms = 1 if now_ms else 1_000_000  # ticks of the clock in a millisecond
        self._rows: dict[str, Row] = {}
        # A random start keeps versions of one process from being mistaken for another's.
        self._versions = itertools.count(int.from_bytes(os.urandom(6)))
        self._walk: list[str] = []  # the keys that the sweep under way has still to look at
        self._open = False
        self._operations: dict[type, Callable[[Any], Outcome]] = {
            Get: self._get,
            GetEntry: self._get_entry,
            GetRenew: self._get_renew,
            Set: self._set,
            Create: self._create,
            Replace: self._replace,
            Remove: self._remove,
            Touch: self._touch,
            Increment: self._increment,
            Keys: self._keys,
            Clear: self._clear,
        }
        self._do: dict[type, Callable[[Any], Outcome]] = dict.fromkeys(self._operations, _closed)
        self._announces = False
        self._listeners: list[Listener] = []

    @classmethod
    def from_url(cls, url: StoreURL) -> MemoryDriver:
        return cls()

    async def open(self) -> None:
        self._open, self._do = True, self._operations
        if self._announces:
            self._do = dict.fromkeys(self._operations, self._announced) | {Clear: self._clear_announced}

    async def close(self) -> None:
        """Forgets nothing: the rows live as long as the driver, so that one can be reopened in a test."""
        self._open = False
        self._listeners.clear()
        self._do = dict.fromkeys(self._operations, _closed)

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        return Health(self._open, "memory", 0.0, "" if self._open else "closed")

    async def describe(self) -> Sequence[Finding]:
        return (
            Finding("warning", "durability", "everything is forgotten when this process ends"),
            Finding("note", "sharing", "no other process sees these values"),
        )

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for op in batch:
            try:
                outcomes.append(self.now(op))
            except (InvalidConversion, ValueError) as exc:
                outcomes.append(exc)
        return outcomes

    def now(self, op: Operation) -> Outcome:
        return self._do[type(op)](op)

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        if cursor is None:
            self._walk = list(self._rows)
        chunk, removed, now = self._walk[-limit:], 0, self._clock()
        del self._walk[-limit:]
        for key in chunk:
            row = self._rows.get(key)
            if row is not None and row[1] <= now:
                del self._rows[key]
                removed += 1
        return Sweep(removed, "more" if self._walk else None)

    # --- announcing ---

    def announce(self, channel: str) -> None:
        self._announces = True

    async def subscribe(self, listener: Listener) -> _Hearing:
        if not self._open:
            raise Closed("memory: not open")
        self._listeners.append(listener)
        return _Hearing(self._listeners, listener)

    def _announced(self, op: Operation) -> Outcome:
        outcome = self._operations[type(op)](op)
        letter = announced(op, outcome)
        if letter is not None:
            self._tell(op.key, letter == REMOVED)
        return outcome

    def _clear_announced(self, op: Clear) -> Cleared:
        lived = self._keys(Keys(op.key, None, 0)).keys
        cleared = self._clear(op)
        for key in lived:
            if is_value(key):
                self._tell(key, True)
        return cleared

    def _tell(self, key: str, removed: bool) -> None:
        for listener in tuple(self._listeners):
            listener.changed(key, removed)

    # --- one operation each ---

    def _live(self, key: str) -> Row | None:
        row = self._rows.get(key)
        if row is None:
            return None
        if row[1] <= self._clock():
            del self._rows[key]
            return None
        return row

    def _until(self, ttl: int | Keep | None, key: str) -> int:
        if ttl is None:
            return FOREVER
        if ttl is KEEP:
            row = self._live(key)
            return FOREVER if row is None else row[1]
        return self._clock() + ttl * self._ms

    def _put(self, key: str, value: bytes, until: int) -> int:
        version = next(self._versions)
        self._rows[key] = (value, until, version)
        return version

    def _get(self, op: Get) -> bytes | None:
        row = self._rows.get(op.key)
        if row is None:
            return None
        if row[1] <= self._clock():
            del self._rows[op.key]
            return None
        return row[0]

    def _get_entry(self, op: GetEntry) -> Stored | None:
        row = self._live(op.key)
        if row is None:
            return None
        value, until, version = row
        # It lived a moment ago: should its last tick have passed since, it still has a millisecond to tell.
        ttl = None if until == FOREVER else max(1, -(-(until - self._clock()) // self._ms))
        return Stored(value, ttl, str(version))

    def _get_renew(self, op: GetRenew) -> bytes | None:
        row = self._live(op.key)
        if row is None:
            return None
        self._rows[op.key] = (row[0], self._until(op.ttl, op.key), row[2])
        return row[0]

    def _set(self, op: Set) -> None:
        ttl = op.ttl
        until = self._clock() + ttl * self._ms if type(ttl) is int else self._until(ttl, op.key)
        self._rows[op.key] = (op.value, until, next(self._versions))

    def _create(self, op: Create) -> bool:
        key, ttl = op.key, op.ttl
        if key in self._rows and self._live(key) is not None:
            return False
        until = FOREVER if ttl is None else self._clock() + ttl * self._ms
        self._rows[key] = (op.value, until, next(self._versions))
        return True

    def _replace(self, op: Replace) -> str | None:
        row = self._live(op.key)
        if row is None or str(row[2]) != op.version:
            return None
        return str(self._put(op.key, op.value, self._until(op.ttl, op.key)))

    def _remove(self, op: Remove) -> bool:
        row = self._live(op.key)
        if row is None or (op.version is not None and str(row[2]) != op.version):
            return False
        del self._rows[op.key]
        return True

    def _touch(self, op: Touch) -> bool:
        row = self._live(op.key)
        if row is None:
            return False
        self._rows[op.key] = (row[0], self._until(op.ttl, op.key), row[2])
        return True

    def _increment(self, op: Increment) -> int:
        row = self._live(op.key)
        if row is None:
            self._put(op.key, str(op.by).encode(), self._until(op.ttl, op.key))
            return op.by
        try:
            count = msgspec.json.decode(row[0], type=int)
        except msgspec.DecodeError:
            count = FOREVER << 2
        if count not in INT64:
            raise InvalidConversion(f"increment {op.key!r}: what is stored is not a 64-bit integer")
        if count + op.by not in INT64:
            raise ValueError(f"increment {op.key!r}: the sum leaves the 64-bit range")
        self._put(op.key, str(count + op.by).encode(), row[1])
        return count + op.by

    def _keys(self, op: Keys) -> Page:
        """All of them: they are in memory already, and one page is one moment's truth."""
        now, prefix = self._clock(), op.key
        return Page([key for key, row in self._rows.items() if row[1] > now and key.startswith(prefix)], None)

    def _clear(self, op: Clear) -> Cleared:
        now, removed = self._clock(), 0
        for key in [key for key in self._rows if key.startswith(op.key)]:
            removed += self._rows.pop(key)[1] > now
        return Cleared(removed, None)


class _Hearing:
    """One `Subscription`."""

    def __init__(self, listeners: list[Listener], listener: Listener) -> None:
        self._listeners = listeners
        self._listener = listener

    async def close(self) -> None:
        if self._listener in self._listeners:
            self._listeners.remove(self._listener)
