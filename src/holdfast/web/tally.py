"""Counts what `events` tells, for `/metrics` and for the dashboard's live figures. One per process."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence

import msgspec

from holdfast import events

__all__ = ["BATCH_OPERATIONS", "BATCH_SECONDS", "Histogram", "Recent", "Tally"]

BATCH_OPERATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BATCH_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

KEPT_SECONDS = 60
READS = frozenset({"get", "getentry", "keys", "find", "read", "topics"})
COMMITS = frozenset({"append", "edit", "erase"})
"""Operations that people wait for to see a message: the time of a batch that holds one is the time of its commit."""


class Histogram:
    """Counts per bucket (`le`, the last is infinity) and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class _Second(msgspec.Struct):
    """What happened in one second of the clock."""

    at: int
    reads: int = 0
    writes: int = 0
    batches: int = 0
    batched: int = 0
    largest: int = 0
    seconds: float = 0.0
    errors: int = 0


class Recent(msgspec.Struct, frozen=True):
    """The last seconds, as rates and means."""

    reads: float  # a second
    writes: float
    batch: float | None  # operations in a round trip; None: there was none
    largest: int
    milliseconds: float | None  # of a round trip
    errors: int  # failed round trips in the last minute
    series: tuple[int, ...]  # operations in each of the last 60 whole seconds, oldest first


class Tally:
    """Subscribe `hear` to the events; all figures are of this process since then."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        # INVARIANT: held while figures change, because an engine may speak from its own thread.
        self._lock = threading.Lock()
        # By store, capability, and kind.
        self.operations: Counter[tuple[str, str, str]] = Counter()
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.connects: Counter[str] = Counter()
        self.disconnects: Counter[str] = Counter()
        self.swept: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()  # by what a client asked for, and why not
        self.mentions_sent: Counter[tuple[str]] = Counter()  # attempts, by what became of them
        self.mentions_received: Counter[tuple[str, str]] = Counter()  # by state and type
        self.work_failed: Counter[tuple[str, str]] = Counter()  # by which work, and why
        # By store and capability.
        self.batch_operations: dict[tuple[str, str], Histogram] = {}
        self.batch_seconds: dict[tuple[str, str], Histogram] = {}
        self.commit_seconds: dict[str, Histogram] = {}  # by store
        self._seconds: deque[_Second] = deque(maxlen=KEPT_SECONDS + 1)

    def hear(self, event: events.Event) -> None:
        """Count one event."""
        with self._lock:
            match event:
                case events.OperationApplied(store, operation, capability):
                    self.operations[store, capability, operation] += 1
                    self._split(self._second(), operation, 1)
                case events.BatchApplied():
                    self._batch(event)
                case events.Connected(store):
                    self.connects[store] += 1
                case events.Disconnected(store):
                    self.disconnects[store] += 1
                case events.Swept(store, removed):
                    self.swept[store] += removed
                case events.MessageRefused(where, error):
                    self.refused[where, error] += 1
                case events.MentionSent():
                    self.mentions_sent[event.status,] += 1
                case events.MentionReceived():
                    self.mentions_received[event.state, event.type] += 1
                case events.WorkFailed(where, error):
                    self.work_failed[where, error] += 1

    def _batch(self, event: events.BatchApplied) -> None:
        second, size = self._second(), 0
        source = (event.store, event.capability)
        for operation, count in event.operations.items():
            self.operations[*source, operation] += count
            self._split(second, operation, count)
            size += count
        if source not in self.batch_operations:
            self.batch_operations[source] = Histogram(BATCH_OPERATIONS)
            self.batch_seconds[source] = Histogram(BATCH_SECONDS)
        self.batch_operations[source].observe(size)
        self.batch_seconds[source].observe(event.seconds)
        if (
            event.error is None
            and event.capability == "channels"
            and not COMMITS.isdisjoint(event.operations)
        ):
            self.commit_seconds.setdefault(event.store, Histogram(BATCH_SECONDS)).observe(event.seconds)
        second.batches += 1
        second.batched += size
        second.largest = max(second.largest, size)
        second.seconds += event.seconds
        if event.error is not None:
            self.errors[*source, event.error] += 1
            second.errors += 1

    def _split(self, second: _Second, operation: str, count: int) -> None:
        if operation in READS:
            second.reads += count
        else:
            second.writes += count

    def _second(self) -> _Second:
        at = int(self._now())
        if not self._seconds or self._seconds[-1].at != at:
            self._seconds.append(_Second(at))
        return self._seconds[-1]

    def recent(self, span: int = 10) -> Recent:
        """Rates over the last `span` whole seconds, and a minute's series."""
        with self._lock:
            now = int(self._now())
            minute = [each for each in self._seconds if now - KEPT_SECONDS <= each.at < now]
            lately = [each for each in minute if each.at >= now - span]
            by_second = {each.at: each.reads + each.writes for each in minute}
        batches = sum(each.batches for each in lately)
        return Recent(
            reads=sum(each.reads for each in lately) / span,
            writes=sum(each.writes for each in lately) / span,
            batch=sum(each.batched for each in lately) / batches if batches else None,
            largest=max((each.largest for each in lately), default=0),
            milliseconds=sum(each.seconds for each in lately) * 1000 / batches if batches else None,
            errors=sum(each.errors for each in minute),
            series=tuple(by_second.get(at, 0) for at in range(now - KEPT_SECONDS, now)),
        )
