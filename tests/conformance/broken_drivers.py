"""Drivers with one fault each, as they were seen in the field or are easily written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    GetEntry,
    Increment,
    Keys,
    Operation,
    Outcome,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
)
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.testing import ManualClock
from holdfast.testing.faults import Passing


class Broken(Passing):
    """A sound driver; subclasses spoil `ask` (what goes in) or `answer` (what comes out)."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(MemoryDriver(now_ms=clock))
        self.clock = clock
        self.ends: dict[str, int] = {}  # when what was last stored under a key ends, kept when it has ended

    def ask(self, op: Operation) -> Operation:
        return op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return outcome

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        outcomes = []
        for op in batch:
            (outcome,) = await self.driver.apply([self.ask(op)])
            outcomes.append(self.answer(op, outcome))
            ttl = getattr(op, "ttl", KEEP)
            if isinstance(op, Remove | Clear) or ttl is None:
                self.ends.pop(op.key, None)
            elif isinstance(ttl, int) and outcome is not False:
                self.ends[op.key] = self.clock() + ttl
        return outcomes

    def expired(self, key: str) -> bool:
        return key in self.ends and self.ends[key] <= self.clock()


class ForgetsExpiryOnCreate(Broken):
    def ask(self, op: Operation) -> Operation:
        return Create(op.key, op.value, None) if isinstance(op, Create) else op


class SetTakesTheExpiryOfTheDead(Broken):
    def ask(self, op: Operation) -> Operation:
        stillborn = isinstance(op, Set) and op.ttl is KEEP and self.expired(op.key)
        return Remove(op.key) if stillborn else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return None if isinstance(op, Set) else outcome


class ExpiredRowsBlockCreate(Broken):
    def ask(self, op: Operation) -> Operation:
        return Touch(op.key, 1) if isinstance(op, Create) and self.expired(op.key) else op


class AnswersOutOfOrder(Broken):
    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        return (await super()._pass(batch, lane, number))[::-1]


class DropsTheLastOutcome(Broken):
    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        outcomes = await super()._pass(batch, lane, number)
        return outcomes[:-1] if len(outcomes) > 1 else outcomes


class SwallowsErrors(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return None if isinstance(outcome, Exception) else outcome


class OneErrorFailsTheWholeBatch(Broken):
    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        outcomes = await super()._pass(batch, lane, number)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        return failed[:1] * len(outcomes) if failed else outcomes


class GroupsByKindWithoutRegardToOrder(Broken):
    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        order = sorted(range(len(batch)), key=lambda at: type(batch[at]).__name__)
        outcomes = await super()._pass([batch[at] for at in order], lane, number)
        answered = dict(zip(order, outcomes, strict=True))
        return [answered[at] for at in range(len(batch))]


class FoldsCase(Broken):
    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, key=op.key.lower())


class TrimsSpaces(Broken):
    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, key=op.key.rstrip())


class RoundsLifetimesUpToSeconds(Broken):
    def ask(self, op: Operation) -> Operation:
        ttl = getattr(op, "ttl", None)
        if not isinstance(ttl, int):
            return op
        return msgspec.structs.replace(op, ttl=-(-ttl // 1000) * 1000)


class TellsLifetimesInSeconds(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Stored) or outcome.ttl is None:
            return outcome
        return msgspec.structs.replace(outcome, ttl=outcome.ttl // 1000 * 1000)


class CountsVersionsFromOneAgain(Broken):
    """A version column that starts at 1 with each row, as an optimistic lock often does."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.counts: dict[str, list[str]] = {}

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        for op in batch:
            (stored,) = await self.driver.apply([GetEntry(op.key)])
            if stored is not None:
                self._number(op.key, stored.version)
        return await super()._pass(batch, lane, number)

    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Remove | Replace) and op.version is not None:
            known = self.counts.get(op.key, [])
            at = int(op.version) - 1 if op.version.isdigit() and len(op.version) < 9 else -1
            return msgspec.structs.replace(op, version=known[at] if 0 <= at < len(known) else "none")
        return op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Remove) and outcome:
            self.counts.pop(op.key, None)
        if isinstance(outcome, Stored):
            return msgspec.structs.replace(outcome, version=self._number(op.key, outcome.version))
        if isinstance(op, Replace) and outcome is not None:
            return self._number(op.key, outcome)
        return outcome

    def _number(self, key: str, version: str) -> str:
        known = self.counts.setdefault(key, [])
        if version not in known:
            known.append(version)
        return str(known.index(version) + 1)


class ReplacesWhateverTheVersion(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return "0" if isinstance(op, Replace) and outcome is None else outcome


class RenewsCountersAtEachIncrement(Broken):
    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        outcomes = await super()._pass(batch, lane, number)
        for op, outcome in zip(batch, outcomes, strict=True):
            if isinstance(op, Increment) and type(outcome) is int and op.ttl is not None:
                await self.driver.apply([Touch(op.key, op.ttl)])
        return outcomes


class ListsOnlyTheFirstPage(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return Page(outcome.keys[: op.limit], None) if isinstance(op, Keys) else outcome


class ListsAKeyTwice(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return Page([*outcome.keys, *outcome.keys[-1:]], None) if isinstance(op, Keys) else outcome


class WalksByNumberOfRows(Broken):
    """OFFSET: what is removed behind the cursor shifts the rest past it."""

    def ask(self, op: Operation) -> Operation:
        return Keys(op.key, None, op.limit) if isinstance(op, Keys) else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(op, Keys):
            return outcome
        start = int(op.cursor or 0)
        names = sorted(outcome.keys)[start : start + op.limit]
        return Page(names, str(start + op.limit) if len(names) == op.limit else None)


class TakesPrefixesForPatterns(Broken):
    """LIKE without ESCAPE, as far as `_` goes."""

    def ask(self, op: Operation) -> Operation:
        return Keys(op.key.rstrip("_"), None, op.limit) if isinstance(op, Keys) else op


class ClearCountsTheDead(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(op, Clear):
            return outcome
        dead = sum(self.expired(key) for key in self.ends if key.startswith(op.key))
        return Cleared(outcome.removed + dead, outcome.cursor)


class ReadsAFloat(Broken):
    """Values through a JSON type that keeps numbers as numbers: 1.0 and 1e22 come back as integers."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, bytes) and outcome.endswith(b".0"):
            return outcome[:-2]
        return outcome


class LosesOneWriteInTen(Broken):
    """Acknowledges what it did not do."""

    sets = 0

    def ask(self, op: Operation) -> Operation:
        if not isinstance(op, Set):
            return op
        self.sets += 1
        return GetEntry(op.key) if self.sets % 10 == 0 else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return None if isinstance(op, Set) else outcome
