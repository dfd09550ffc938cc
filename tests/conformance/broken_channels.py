"""A sound channels driver, to be broken: the faults are in the files beside this one.

`Broken` is a sound driver over memory. Two of a test stand for two processes:
they share what hangs on the clock, and announce to each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Driver,
    Entry,
    Listener,
    Operation,
    Outcome,
    Send,
)
from holdfast.channels.drivers.memory import MemoryDriver
from holdfast.errors import Closed
from holdfast.store import Finding, Health, Migration
from holdfast.testing import ManualClock


class Line:
    """A subscription: the topics that one listener follows."""

    def __init__(self, hub: Hub, listener: Listener) -> None:
        self.hub = hub
        self.listener = listener
        self.keys: set[str] = set()
        hub.lines.append(self)

    async def follow(self, key: str) -> None:
        self.keys.add(key)

    async def unfollow(self, key: str) -> None:
        self.keys.discard(key)

    async def close(self) -> None:
        self.keys.clear()
        if self in self.hub.lines:
            self.hub.lines.remove(self)


class Hub:
    """What the processes of one test have in common."""

    def __init__(self, clock: ManualClock) -> None:
        self.store = MemoryDriver(now_ms=clock)
        self.lines: list[Line] = []


class Broken:
    """Sound; subclasses spoil `ask` (what goes in), `answer` (what comes out) or `announce`."""

    def __init__(self, clock: ManualClock) -> None:
        self.hub: Hub = clock.__dict__.setdefault("hub", Hub(clock))
        self.traits = msgspec.structs.replace(
            self.hub.store.traits, shared="machine", notifies="push", immediate=frozenset()
        )
        self.mine: list[Line] = []
        self.opened = False

    async def open(self) -> None:
        await self.hub.store.open()
        self.opened = True

    async def close(self) -> None:
        self.opened = False
        for line in self.mine:
            await line.close()

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        return Health(self.opened, "memory", 0.0, "" if self.opened else "closed")

    async def describe(self) -> Sequence[Finding]:
        return await self.hub.store.describe()

    async def sweep(self) -> int:
        return 0

    def now(self, op: Operation) -> Outcome:
        raise AssertionError("nothing is immediate here")

    async def subscribe(self, listener: Listener) -> Line:
        if not self.opened:
            raise Closed("not open")
        line = Line(self.hub, listener)
        self.mine.append(line)
        return line

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        if not self.opened:
            raise Closed("not open")
        outcomes: list[Outcome] = []
        for op in batch:
            outcome = await self.one(op)
            outcomes.append(outcome)
            self.tell(op, outcome)
        return outcomes

    async def one(self, op: Operation) -> Outcome:
        return self.answer(op, self.hub.store.now(self.ask(op)))

    def ask(self, op: Operation) -> Operation:
        return op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return outcome

    # --- announcements ---

    def tell(self, op: Operation, outcome: Outcome) -> None:
        """Announce what happened."""
        if isinstance(op, Send):
            self.send(op.key, op.data)
        elif isinstance(outcome, Appended) and isinstance(op, Append) and not outcome.repeated:
            entry = Entry(outcome.offset, op.id, op.event, op.payload, outcome.at)
            self.announce(op.key, outcome.epoch, outcome.offset, entry)
        elif isinstance(outcome, Changed):
            self.announce(op.key, outcome.epoch, outcome.entry.changed or 0, outcome.entry)

    def announce(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        for line in self.hub.lines:
            if self.follows(line, key):
                line.listener.kept(key, epoch, last, entry)

    def send(self, key: str, data: bytes) -> None:
        for line in self.hub.lines:
            if self.follows(line, key):
                line.listener.sent(key, data)

    def follows(self, line: Line, key: str) -> bool:
        return key in line.keys


_: type[Driver] = Broken
