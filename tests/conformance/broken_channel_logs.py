"""More channels drivers with one fault each: what is read, changed and taken away."""

from __future__ import annotations

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Clear,
    Edit,
    Erase,
    Find,
    Log,
    Operation,
    Outcome,
    Read,
    Trim,
)
from holdfast.testing import ManualClock

from .broken_channels import Broken

# --- reads ---


class ReadsBeforeTooFar(Broken):
    """<= for <."""

    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Read) and op.before is not None:
            return msgspec.structs.replace(op, before=op.before + 1)
        return op


class ReadsAfterTooEarly(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Read) and op.after is not None:
            return msgspec.structs.replace(op, after=op.after - 1)
        return op


class ReadsTheFirstInsteadOfTheLast(Broken):
    """ORDER BY forgotten: the limit takes the oldest."""

    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Read) and op.before is op.after is op.changes_after is None:
            return msgspec.structs.replace(op, after=0)
        return op


class ReadsNewestFirst(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Read) and op.after is None and op.changes_after is None:
            return msgspec.structs.replace(outcome, entries=outcome.entries[::-1])
        return outcome


class CountsErasedMessagesInItsLimit(Broken):
    """LIMIT first, then the erased are left out."""

    def ask(self, op: Operation) -> Operation:
        self.whole = isinstance(op, Read) and op.after is not None
        if isinstance(op, Read) and op.after is not None:
            return Read(op.key, op.limit, changes_after=op.after)
        return op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if self.whole:
            live = [each for each in outcome.entries if each.payload is not None]
            return msgspec.structs.replace(outcome, entries=live)
        return outcome


class ChangesDropTheErased(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Read) and op.changes_after is not None:
            live = [each for each in outcome.entries if each.payload is not None]
            return msgspec.structs.replace(outcome, entries=live)
        return outcome


class ChangesAreOrderedByOffset(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Read) and op.changes_after is not None:
            return msgspec.structs.replace(
                outcome, entries=sorted(outcome.entries, key=lambda each: each.offset)
            )
        return outcome


class ChangesAreOnlyNewMessages(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Read) and op.changes_after is not None:
            return Read(op.key, op.limit, after=op.changes_after)
        return op


class ReadsLastFromTheEntries(Broken):
    """`last` is the offset of the last message that is there."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Read) and outcome.entries:
            return msgspec.structs.replace(outcome, last=max(each.offset for each in outcome.entries))
        return outcome


class BeginsALogWhenItIsRead(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Read) and self.hub.store.now(op).epoch is None:
            self.hub.store.now(Append(op.key, "begun", b"{}"))
            self.hub.store.now(Trim(op.key, 0, None))
        return op


# --- edits ---


class EditsInPlace(Broken):
    """No new offset: whoever was away never hears of it."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Changed):
            log = self.hub.store._logs[op.key]
            log.last -= 1
        return outcome


class ErasesOnlyFromSight(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.payloads: dict[tuple[str, int], bytes | str | None] = {}

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Append):
            self.payloads.setdefault((op.key, outcome.offset), op.payload)
        if not isinstance(outcome, Log):
            return outcome
        entries = [
            msgspec.structs.replace(each, payload=self.payloads.get((op.key, each.offset)))
            if each.payload is None
            else each
            for each in outcome.entries
        ]
        return msgspec.structs.replace(outcome, entries=entries)


class EditsWhatWasErased(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Edit) and op.key in self.hub.store._logs:
            log = self.hub.store._logs[op.key]
            for at, entry in enumerate(log.entries):
                if entry.id is not None and entry.id == op.id and entry.payload is None:
                    log.entries[at] = msgspec.structs.replace(entry, payload=b"")
                    log.erased -= 1
        return op


class TakesAnyEpoch(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Edit | Erase | Find) and op.epoch and op.key in self.hub.store._logs:
            return msgspec.structs.replace(op, epoch=self.hub.store._logs[op.key].epoch)
        return op


# --- retention ---


class KeepsTooFew(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Append) and op.max_messages:
            self.hub.store.now(Trim(op.key, max(0, op.max_messages - 2), None))
        return op


class NeverTrims(Broken):
    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, max_messages=None) if isinstance(op, Append) else op


class CountsOffsetsInsteadOfMessages(Broken):
    """DELETE ... WHERE position <= last - max."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Append) and op.max_messages is not None:
            log = self.hub.store._logs[op.key]
            log.cut(sum(each.offset <= log.last - op.max_messages for each in log.entries))
        return outcome


class AgesInSeconds(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Trim) and op.max_age is not None:
            return msgspec.structs.replace(op, max_age=-(-op.max_age // 1000) * 1000)
        return op


class ForgetsTrimmed(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(outcome, trimmed=0) if isinstance(outcome, Log) else outcome


class ForgetsTheLogThatWasTrimmedEmpty(Broken):
    """A log is its rows."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if (
            isinstance(op, Trim)
            and op.key in self.hub.store._logs
            and not self.hub.store._logs[op.key].entries
        ):
            self.hub.store.now(Clear(op.key))
        return outcome


class KeepsIdsOfTheTrimmed(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.ids: dict[tuple[str, str | None], Appended] = {}

    async def one(self, op: Operation) -> Outcome:
        if isinstance(op, Clear):
            self.ids = {name: each for name, each in self.ids.items() if name[0] != op.key}
        known = self.ids.get((op.key, op.id)) if isinstance(op, Append) and op.id else None
        if known is not None:
            return msgspec.structs.replace(known, repeated=True)
        outcome = await super().one(op)
        if isinstance(op, Append):
            self.ids[op.key, op.id] = outcome
        return outcome


class ClearKeepsTheEpoch(Broken):
    async def one(self, op: Operation) -> Outcome:
        log = self.hub.store._logs.get(op.key)
        self.epochs: dict[str, str] = getattr(self, "epochs", {})
        if log is not None:
            self.epochs[op.key] = log.epoch
        if log is None and isinstance(op, Append) and op.key in self.epochs:
            await super().one(op)
            self.hub.store._logs[op.key].epoch = self.epochs[op.key]
            return msgspec.structs.replace(
                Appended(1, self.epochs[op.key], self.hub.store._logs[op.key].at), repeated=False
            )
        return await super().one(op)


class ClearLeavesTheIds(KeepsIdsOfTheTrimmed):
    async def one(self, op: Operation) -> Outcome:
        ids = dict(self.ids)
        outcome = await super().one(op)
        self.ids = {**ids, **self.ids}
        return outcome
