"""Logs in this process's memory: nothing waits, nothing outlives the process.

Guarantees: an operation is atomic because no other code runs during it. There
is nobody else to tell, so nothing is announced.
Cost: no round trip, no future, no turn of the loop; `api` calls `now` directly.
An append is a list's append; retention lets an eighth too many gather, so that
one cut takes many away at a time.

How much is kept is bounded by each topic's retention and by nothing else.
"""

from __future__ import annotations

import heapq
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Found,
    Listener,
    Log,
    Operation,
    Outcome,
    Read,
    Send,
    Subscription,
    Topic,
    TopicPage,
    Topics,
    Traits,
    Trim,
)
from holdfast.errors import Closed
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["MemoryDriver"]

_offset = attrgetter("offset")
_NOTHING = Log(None, 0, 0, ())


class _Log:
    """One topic. Messages stand in `entries` by offset, with gaps where an edit or a removal took one."""

    __slots__ = ("at", "changed", "entries", "epoch", "erased", "ids", "last", "trimmed")

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(8)
        self.last = 0
        self.trimmed = 0
        self.at = 0
        self.entries: list[Entry] = []
        self.ids: dict[str, int] = {}  # of messages in `entries`: where each stands
        self.changed: dict[int, int] = {}  # message -> its latest change, in the order of the changes
        self.erased = 0  # how many of `entries`

    def index(self, offset: int) -> int:
        """Where the first entry at or above this offset stands."""
        entries = self.entries
        guess = offset - self.trimmed - 1  # right where nothing was ever changed
        if 0 <= guess < len(entries) and entries[guess].offset == offset:
            return guess
        return bisect_left(entries, offset, key=_offset)

    def live(self, op: Edit | Erase | Find) -> int | None:
        """Where the message named stands in `entries`, unless there is none or it was erased."""
        offset = op.offset if op.epoch == self.epoch else None
        if op.id is not None:
            offset = self.ids.get(op.id)
        if offset is None:
            return None
        at = self.index(offset)
        if at == len(self.entries) or self.entries[at].offset != offset:
            return None
        return None if self.entries[at].payload is None else at

    def change(self, at: int, payload: bytes | None) -> Changed:
        """Give the entry standing there another payload, under the next offset."""
        old = self.entries[at]
        self.last += 1
        entry = Entry(old.offset, old.id, old.event, payload, old.at, self.last)
        self.entries[at] = entry
        self.changed.pop(old.offset, None)  # so that it goes to the end
        self.changed[old.offset] = self.last
        return Changed(self.epoch, entry)

    def cut(self, count: int) -> int:
        """Let retention take the oldest `count` away."""
        if count <= 0:
            return 0
        gone = self.entries[:count]
        del self.entries[:count]
        self.trimmed = gone[-1].offset
        if self.ids or self.changed:
            for entry in gone:
                if entry.id is not None:
                    del self.ids[entry.id]
                self.changed.pop(entry.offset, None)
                self.erased -= entry.payload is None
        return len(gone)

    def older(self, than: int) -> int:
        """How many of the oldest were said before that moment."""
        count = 0
        for entry in self.entries:
            if entry.at >= than:
                break
            count += 1
        return count

    # --- stretches ---

    def newest(self, end: int, limit: int) -> Sequence[Entry]:
        """The last live ones in front of that place."""
        if not self.erased:
            return self.entries[max(0, end - limit) : end]
        backwards = (self.entries[at] for at in range(end - 1, -1, -1))
        found = list(islice((entry for entry in backwards if entry.payload is not None), limit))
        found.reverse()
        return found

    def onwards(self, start: int, limit: int) -> Sequence[Entry]:
        """The first live ones from that place."""
        if not self.erased:
            return self.entries[start : start + limit]
        forwards = islice(self.entries, start, None)
        return list(islice((entry for entry in forwards if entry.payload is not None), limit))

    def changes(self, after: int, limit: int) -> Sequence[Entry]:
        """What happened above that offset, in the order in which it happened."""
        start = self.index(after + 1)
        if not self.changed:
            return self.entries[start : start + limit]
        later = []
        for offset, change in reversed(self.changed.items()):
            if change <= after:
                break
            later.append(self.entries[self.index(offset)])
        plain: Iterable[Entry] = (entry for entry in self.entries[start:] if entry.changed is None)
        merged = heapq.merge(plain, reversed(later), key=lambda entry: entry.changed or entry.offset)
        return list(islice(merged, limit))


def _closed(op: Operation) -> Outcome:
    raise Closed("memory: not open")


class _Silence:
    """A subscription in a process that is alone."""

    async def follow(self, key: str) -> None:
        pass

    async def unfollow(self, key: str) -> None:
        pass

    async def close(self) -> None:
        pass


class MemoryDriver:
    """A list of messages a topic.

    Args:
        now_ms: a clock in milliseconds since 1970, for tests that move time.
            Without it the computer's, read in nanoseconds: that is one call into C.
    """

    traits = Traits(
        name="memory",
        durable="no",
        shared="process",
        clock="process",
        notifies="no",
        immediate=frozenset({Append, Edit, Erase, Find, Read, Send, Trim, Clear, Topics}),
        auto_migrate=True,
    )

    def __init__(self, *, now_ms: Callable[[], int] | None = None) -> None:
        self._clock = now_ms or time.time_ns
        self._ms = 1 if now_ms else 1_000_000  # ticks of the clock in a millisecond
        self._logs: dict[str, _Log] = {}
        self._open = False
        self._operations: dict[type, Callable[[Any], Outcome]] = {
            Append: self._append,
            Edit: self._edit,
            Erase: self._erase,
            Find: self._find,
            Read: self._read,
            Send: self._send,
            Trim: self._trim,
            Clear: self._clear,
            Topics: self._topics,
        }
        self._do: dict[type, Callable[[Any], Outcome]] = dict.fromkeys(self._operations, _closed)

    @classmethod
    def from_url(cls, url: StoreURL) -> MemoryDriver:
        return cls()

    async def open(self) -> None:
        self._open, self._do = True, self._operations

    async def close(self) -> None:
        """Forgets nothing: the logs live as long as the driver, so that one can be reopened in a test."""
        self._open = False
        self._do = dict.fromkeys(self._operations, _closed)

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        return Health(self._open, "memory", 0.0, "" if self._open else "closed")

    async def describe(self) -> Sequence[Finding]:
        return (
            Finding("warning", "durability", "every message is forgotten when this process ends"),
            Finding("note", "sharing", "no other process sees these topics"),
        )

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        return [self._do[type(op)](op) for op in batch]

    def now(self, op: Operation) -> Outcome:
        return self._do[type(op)](op)

    async def subscribe(self, listener: Listener) -> Subscription:
        if not self._open:
            raise Closed("memory: not open")
        return _Silence()

    async def sweep(self) -> int:
        return 0

    # --- one operation each ---

    def _append(self, op: Append) -> Appended:
        log = self._logs.get(op.key)
        if log is None:
            log = self._logs[op.key] = _Log()
        entries, message, at = log.entries, op.id, op.at
        if message is not None and message in log.ids:
            known = log.ids[message]
            return Appended(known, log.epoch, entries[log.index(known)].at, True)
        if at is None:
            at = self._clock() // self._ms
        log.at = at
        log.last = offset = log.last + 1
        entries.append(Entry(offset, message, op.event, op.payload, at))
        if message is not None:
            log.ids[message] = offset
        most = op.max_messages
        if most is not None and len(entries) > most + (most >> 3 if most > 128 else 16):
            log.cut(len(entries) - most)
        if op.max_age is not None and entries:
            now = self._clock() // self._ms
            if entries[0].at < now - op.max_age - (op.max_age >> 3):
                log.cut(min(log.older(now - op.max_age), len(entries) - 1))
        return Appended(offset, log.epoch, at)

    def _edit(self, op: Edit) -> Changed | None:
        log = self._logs.get(op.key)
        at = None if log is None else log.live(op)
        return None if log is None or at is None else log.change(at, op.payload)

    def _erase(self, op: Erase) -> Changed | None:
        log = self._logs.get(op.key)
        at = None if log is None else log.live(op)
        if log is None or at is None:
            return None
        log.erased += 1
        return log.change(at, None)

    def _find(self, op: Find) -> Found | None:
        log = self._logs.get(op.key)
        at = None if log is None else log.live(op)
        return None if log is None or at is None else Found(log.epoch, log.entries[at])

    def _read(self, op: Read) -> Log:
        log = self._logs.get(op.key)
        if log is None:
            return _NOTHING
        if op.changes_after is not None:
            entries = log.changes(op.changes_after, op.limit)
        elif op.after is not None:
            entries = log.onwards(log.index(op.after + 1), op.limit)
        else:
            end = len(log.entries) if op.before is None else log.index(op.before)
            entries = log.newest(end, op.limit)
        return Log(log.epoch, log.last, log.trimmed, entries)

    def _send(self, op: Send) -> None:
        """Nobody else is there to hear it."""

    def _trim(self, op: Trim) -> int:
        log = self._logs.get(op.key)
        if log is None:
            return 0
        count = 0 if op.max_messages is None else len(log.entries) - op.max_messages
        if op.max_age is not None:
            count = max(count, log.older(self._clock() // self._ms - op.max_age))
        return log.cut(count)

    def _clear(self, op: Clear) -> bool:
        return self._logs.pop(op.key, None) is not None

    def _topics(self, op: Topics) -> TopicPage:
        after, prefix = op.cursor, op.key
        named = (key for key in self._logs if key.startswith(prefix) and (after is None or key > after))
        keys = heapq.nsmallest(op.limit + 1, named)
        page = [
            Topic(key, log.epoch, log.last, len(log.entries), log.at)
            for key, log in ((key, self._logs[key]) for key in keys[: op.limit])
        ]
        return TopicPage(page, page[-1].key if len(keys) > op.limit else None)
