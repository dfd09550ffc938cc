"""More drivers with one fault each: what single operations do and answer."""

from __future__ import annotations

import hashlib

import msgspec

from holdfast.errors import Closed
from holdfast.persist.driver import (
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
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
)
from holdfast.store import Finding, Health, Migration
from holdfast.testing import ManualClock

from .broken_drivers import Broken


class CreateOverwrites(Broken):
    def ask(self, op: Operation) -> Operation:
        return Set(op.key, op.value, op.ttl) if isinstance(op, Create) else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return False if isinstance(op, Create) else outcome


class RefusedCreateRenews(Broken):
    """INSERT … ON CONFLICT DO UPDATE SET expires_at, with a WHERE that is too late."""

    def ask(self, op: Operation) -> Operation:
        live = op.key in self.ends and not self.expired(op.key)
        return Touch(op.key, op.ttl) if isinstance(op, Create) and live else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return outcome


class RemoveAlwaysSaysYes(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return True if isinstance(op, Remove) else outcome


class RemoveForgetsTheVersion(Broken):
    def ask(self, op: Operation) -> Operation:
        return Remove(op.key) if isinstance(op, Remove) else op


class RemovesOnlyFromSight(Broken):
    """A tombstone that keeps the row's lifetime, and blocks what comes after it."""

    def ask(self, op: Operation) -> Operation:
        return Set(op.key, b'"\\u0000gone"', None) if isinstance(op, Remove | Clear) else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Clear):
            return Cleared(0, None)
        return True if isinstance(op, Remove) else outcome


class TouchDoesNothing(Broken):
    def ask(self, op: Operation) -> Operation:
        return Get(op.key) if isinstance(op, Touch | GetRenew) else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return outcome is not None if isinstance(op, Touch) else outcome


class TakesNullForAbsence(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return None if isinstance(op, Get | GetRenew) and outcome == b"null" else outcome


class SetNeverOverwrites(Broken):
    def ask(self, op: Operation) -> Operation:
        return (
            Create(op.key, op.value, op.ttl if isinstance(op.ttl, int) else None)
            if isinstance(op, Set)
            else op
        )

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return None if isinstance(op, Set) else outcome


class ReplaceAnswersTheOldVersion(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return op.version if isinstance(op, Replace) and outcome is not None else outcome


class ReplaceNeverExpires(Broken):
    def ask(self, op: Operation) -> Operation:
        return Replace(op.key, op.value, op.version, None) if isinstance(op, Replace) else op


class VersionsChangeAtEachRead(Broken):
    reads = 0

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        self.reads += 1
        return (
            msgspec.structs.replace(outcome, version=f"v{self.reads}")
            if isinstance(outcome, Stored)
            else outcome
        )


class VersionsAreLong(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(outcome, version="v" * 65) if isinstance(outcome, Stored) else outcome


class VersionsAreSecretlyHashes(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Stored):
            return outcome
        return msgspec.structs.replace(outcome, version=hashlib.sha256(bytes(outcome.value)).hexdigest())


class IncrementStartsAtZero(Broken):
    def ask(self, op: Operation) -> Operation:
        return (
            Increment(op.key, 0, op.ttl) if isinstance(op, Increment) and op.key not in self.started else op
        )

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Increment | Set | Create):
            self.started.add(op.key)
        return outcome

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.started: set[str] = set()


class IncrementOnlyCountsItsOwn(Broken):
    """A counter column beside the value."""

    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, key=f"counter {op.key}") if isinstance(op, Increment) else op


class IncrementKeepsTheVersion(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.counted: set[str] = set()

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Increment):
            self.counted.add(op.key)
        if isinstance(outcome, Stored) and op.key in self.counted:
            return msgspec.structs.replace(outcome, version="counter")
        return outcome


class BatchesOfOneAreSpecial(Broken):
    async def apply(self, batch: list[Operation], lane: int = 0) -> list[Outcome]:  # type: ignore[override]
        outcomes = await super().apply(batch, lane)
        single = len(batch) == 1 and isinstance(batch[0], Set)
        return [True] if single else outcomes


class ListsWhatIsNotThere(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(op, Keys):
            return outcome
        return msgspec.structs.replace(outcome, keys=[*outcome.keys, op.key + "ghost"])


class CannotBeReopened(Broken):
    closed = False

    async def open(self) -> None:
        if self.closed:
            raise Closed("once only")
        await super().open()

    async def close(self) -> None:
        self.closed = True
        await super().close()


class CannotBeClosedUnopened(Broken):
    opened = False

    async def open(self) -> None:
        self.opened = True
        await super().open()

    async def close(self) -> None:
        if not self.opened:
            raise RuntimeError("nothing to close")
        await super().close()


class IsAlwaysIll(Broken):
    async def health(self) -> Health:
        return Health(False, "memory", 0.0)


class NeverFinishesMigrating(Broken):
    async def pending(self) -> list[Migration]:
        return [Migration("persist", 1, "again", ())]


class DescribesNothingInWords(Broken):
    async def describe(self) -> list[Finding]:
        return [Finding("ok", "durability", "")]


class HasNoBatchSize(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.traits = msgspec.structs.replace(self.traits, max_ops=0)


class ForgetsTheEntry(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return Stored(b"0", None, "0") if isinstance(op, GetEntry) and outcome is None else outcome
