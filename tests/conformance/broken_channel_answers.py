"""More channels drivers with one fault each: what is appended, listed and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
    Edit,
    Erase,
    Find,
    Operation,
    Outcome,
    Read,
    Topic,
    TopicPage,
    Topics,
    Trim,
)
from holdfast.store import Finding, Health, Migration
from holdfast.testing import ManualClock

from .broken_channels import Broken

# --- offsets, epochs, ids ---


class LeavesHoles(Broken):
    """A sequence: what is rolled back leaves a hole."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Append) and outcome.offset % 5 == 3:
            self.hub.store.now(Append(op.key, "hole", b"{}"))
            self.hub.store.now(Erase(op.key, offset=outcome.offset + 1, epoch=outcome.epoch))
        return outcome


class CountsFromZero(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Appended):
            return msgspec.structs.replace(outcome, offset=outcome.offset - 1)
        return outcome


class OrdersById(Broken):
    """UUIDs and ORDER BY id."""

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(op, Read):
            return msgspec.structs.replace(
                outcome, entries=sorted(outcome.entries, key=lambda each: each.id or "")
            )
        return outcome


class AnswersTheEpochOfAnotherTopic(Broken):
    """One epoch a batch."""

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        outcomes = await super().apply(batch, lane)
        epochs = [each.epoch for each in outcomes if isinstance(each, Appended)]
        return [
            msgspec.structs.replace(each, epoch=epochs[0]) if isinstance(each, Appended) else each
            for each in outcomes
        ]


class ReversesABatch(Broken):
    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        return (await super().apply(batch[::-1], lane))[::-1]


class StoresARepeatedIdAgain(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Append) and op.id is not None:
            return msgspec.structs.replace(op, id=None)
        return op


class ForgetsIdsOfTheErased(Broken):
    """A unique index over live rows only."""

    def ask(self, op: Operation) -> Operation:
        found = isinstance(op, Append) and op.id and self.hub.store.now(Find(op.key, id=op.id))
        if isinstance(op, Append) and not found and op.key in self.hub.store._logs:
            self.hub.store._logs[op.key].ids.pop(op.id or "", None)
        return op


class SharesIdsBetweenTopics(Broken):
    ids: ClassVar[dict[str | None, Appended]] = {}

    async def one(self, op: Operation) -> Outcome:
        if isinstance(op, Append) and op.id in self.ids:
            return msgspec.structs.replace(self.ids[op.id], repeated=True)
        outcome = await super().one(op)
        if isinstance(op, Append) and op.id is not None:
            self.ids = {**self.ids, op.id: outcome}
        return outcome


class RepeatsWithoutSayingSo(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(outcome, repeated=False) if isinstance(outcome, Appended) else outcome


class StampsRepeatedMessagesAnew(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Appended) and outcome.repeated:
            return msgspec.structs.replace(outcome, at=outcome.at + 1)
        return outcome


class StampsInSeconds(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Appended):
            return msgspec.structs.replace(outcome, at=outcome.at // 1000)
        return outcome


class IgnoresWhenItWasSaid(Broken):
    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, at=None) if isinstance(op, Append) else op


class TrimsBeforeItLooksForTheId(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Append) and op.max_messages is not None:
            self.hub.store.now(Trim(op.key, op.max_messages, op.max_age))
        return op


# --- text ---


class FoldsCase(Broken):
    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, key=op.key.lower())


class TrimsSpacesOfIds(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Append | Edit | Erase | Find) and op.id is not None:
            return msgspec.structs.replace(op, id=op.id.strip())
        return op


class ReformatsPayloads(Broken):
    """A JSON column type."""

    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Append | Edit):
            text = msgspec.json.encode(msgspec.json.decode(op.payload))
            return msgspec.structs.replace(op, payload=text)
        return op


class CutsLongPayloads(Broken):
    def ask(self, op: Operation) -> Operation:
        if isinstance(op, Append | Edit):
            return msgspec.structs.replace(op, payload=op.payload[:65000])
        return op


class TakesPrefixesForPatterns(Broken):
    """LIKE without ESCAPE, as far as `_` goes."""

    def ask(self, op: Operation) -> Operation:
        return msgspec.structs.replace(op, key=op.key.rstrip("_")) if isinstance(op, Topics) else op


class ListsOnlyTheFirstPage(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(outcome, cursor=None) if isinstance(op, Topics) else outcome


class WalksByNumberOfTopics(Broken):
    """OFFSET: what is cleared behind the cursor shifts the rest past it."""

    def ask(self, op: Operation) -> Operation:
        return Topics(op.key, None, 100_000) if isinstance(op, Topics) else op

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(op, Topics):
            return outcome
        start = int(op.cursor or 0)
        page = outcome.topics[start : start + op.limit]
        return TopicPage(page, str(start + op.limit) if len(page) == op.limit else None)


# --- batches and the rest ---


class DropsTheLastOutcome(Broken):
    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        outcomes = await super().apply(batch, lane)
        return outcomes[:-1] if len(outcomes) > 1 else outcomes


class GroupsByKindWithoutRegardToOrder(Broken):
    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        order = sorted(range(len(batch)), key=lambda at: type(batch[at]).__name__)
        outcomes = await super().apply([batch[at] for at in order], lane)
        answered = dict(zip(order, outcomes, strict=True))
        return [answered[at] for at in range(len(batch))]


class LosesOneMessageInTen(Broken):
    """Acknowledges what it did not do."""

    said = 0

    async def one(self, op: Operation) -> Outcome:
        outcome = await super().one(op)
        if isinstance(op, Append):
            self.said += 1
            if self.said % 10 == 0:
                self.hub.store._logs[op.key].entries.pop()
        return outcome


class TakesOperationsWhenClosed(Broken):
    async def close(self) -> None:
        await super().close()
        self.opened = True


class IsAlwaysWell(Broken):
    async def health(self) -> Health:
        return Health(True, "memory", 0.0)


class NeverFinishesMigrating(Broken):
    async def pending(self) -> Sequence[Migration]:
        return [Migration("channels", 1, "again", ())]


class PollsAtOnce(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.traits = msgspec.structs.replace(self.traits, latency=0.5)


class SweepsMessages(Broken):
    async def sweep(self) -> int:
        return sum(log.cut(1) for log in self.hub.store._logs.values())


class IsAlwaysIll(Broken):
    async def health(self) -> Health:
        return Health(False, "memory", 0.0)


class DescribesNothingInWords(Broken):
    async def describe(self) -> Sequence[Finding]:
        return [Finding("ok", "durability", "")]


class AnswersOtherwiseAtOnce(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.traits = msgspec.structs.replace(self.traits, immediate=frozenset({Read}))

    def now(self, op: Operation) -> Outcome:
        return None


class ListsWhatIsNotThere(Broken):
    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if not isinstance(op, Topics):
            return outcome
        ghost = Topic(op.key + "ghost", "0", 1, 1, 1)
        return msgspec.structs.replace(outcome, topics=[*outcome.topics, ghost])


class GetsOutOfStep(Broken):
    """Answers are handed out in the order of the questions, also to who has stopped waiting for one."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.replies: list[list[Outcome]] = []

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        self.replies.append(await super().apply(batch, lane))
        await asyncio.sleep(0)
        return self.replies.pop(0)


class LeavesCallersWaiting(Broken):
    """Who is under way when it closes is never told."""

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        await asyncio.sleep(0)
        if not self.opened:
            await asyncio.Event().wait()
        return await super().apply(batch, lane)
