"""Channels drivers that are right alone and wrong together: what two processes see and hear of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Edit,
    Entry,
    Listener,
    Operation,
    Outcome,
    Read,
    Send,
)
from holdfast.testing import ManualClock

from .broken_channels import Broken, Line


class ReadsTheLastOffsetFirst(Broken):
    """SELECT max(offset), then INSERT, in two round trips."""

    async def one(self, op: Operation) -> Outcome:
        if not isinstance(op, Append) or op.id is not None or op.key not in self.hub.store._logs:
            return await super().one(op)
        last = self.hub.store._logs[op.key].last
        await asyncio.sleep(0)
        outcome = await super().one(op)
        return msgspec.structs.replace(outcome, offset=last + 1)


class CommitsLate(Broken):
    """Offsets from a sequence: a slow transaction becomes visible after a faster, higher one."""

    async def one(self, op: Operation) -> Outcome:
        outcome = await super().one(op)
        if not isinstance(op, Append) or outcome.repeated or outcome.offset % 3:
            return outcome
        log = self.hub.store._logs[op.key]
        entry = log.entries.pop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.entries.append(entry)
        log.entries.sort(key=lambda each: each.offset)
        return outcome


class ReadsInTwoRoundTrips(Broken):
    """`last` of one moment, the entries of another."""

    async def one(self, op: Operation) -> Outcome:
        if not isinstance(op, Read):
            return await super().one(op)
        early = self.hub.store.now(op)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return msgspec.structs.replace(await super().one(op), last=early.last, trimmed=early.trimmed)


class LooksForTheIdFirst(Broken):
    async def one(self, op: Operation) -> Outcome:
        if not isinstance(op, Append) or op.id is None:
            return await super().one(op)
        log = self.hub.store._logs.get(op.key)
        known = log is not None and op.id in log.ids
        await asyncio.sleep(0)
        return await super().one(op if known else msgspec.structs.replace(op, id=None))


class BeginsALogOfItsOwn(Broken):
    """Epochs remembered in the process that drew them."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.suffix = str(len(clock.__dict__.setdefault("all", [])))
        clock.__dict__["all"].append(self)

    def answer(self, op: Operation, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Appended):
            return msgspec.structs.replace(outcome, epoch=outcome.epoch[:15] + self.suffix)
        return outcome


class RemembersWhatItRead(Broken):
    """A read cache in the process, which nobody else invalidates."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.cache: dict[Operation, Outcome] = {}

    async def one(self, op: Operation) -> Outcome:
        if isinstance(op, Read):
            if op not in self.cache:
                self.cache[op] = await super().one(op)
            return self.cache[op]
        self.cache.clear()
        return await super().one(op)


class LocksTopicsInTheOrderOfTheBatch(Broken):
    """A transaction over a batch whose topics are not sorted: two of them deadlock."""

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        busy: dict[str, asyncio.Lock] = self.hub.__dict__.setdefault("busy", {})
        held: list[asyncio.Lock] = []
        try:
            for key in dict.fromkeys(op.key for op in batch):
                lock = busy.setdefault(key, asyncio.Lock())
                async with asyncio.timeout(0.5):  # as a database's own detector would
                    await lock.acquire()
                held.append(lock)
                await asyncio.sleep(0)
            return await super().apply(batch, lane)
        finally:
            for lock in held:
                lock.release()


# --- announcements ---


class NeverAnnounces(Broken):
    def announce(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        pass


class NeverAnnouncesEdits(Broken):
    def tell(self, op: Operation, outcome: Outcome) -> None:
        if not isinstance(outcome, Changed):
            super().tell(op, outcome)


class AnnouncesBeforeItCommits(Broken):
    async def one(self, op: Operation) -> Outcome:
        if isinstance(op, Append):
            log = self.hub.store._logs.get(op.key)
            self.announce(op.key, log.epoch if log else "early", log.last + 1 if log else 1, None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return await super().one(op)


class AnnouncesARepeatedIdAgain(Broken):
    def tell(self, op: Operation, outcome: Outcome) -> None:
        if isinstance(outcome, Appended):
            outcome = msgspec.structs.replace(outcome, repeated=False)
        super().tell(op, outcome)


class AnnouncesTheOffsetOfTheMessage(Broken):
    """An edit is announced under the offset of the message that it changed."""

    def announce(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        super().announce(key, epoch, last if entry is None else entry.offset, entry)


class AnnouncesAnotherEpoch(Broken):
    def announce(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        super().announce(key, epoch[::-1], last, entry)


class AnnouncesTheOldPayload(Broken):
    def tell(self, op: Operation, outcome: Outcome) -> None:
        if isinstance(op, Edit) and isinstance(outcome, Changed):
            entry = msgspec.structs.replace(outcome.entry, payload=b'{"message":"one"}')
            outcome = msgspec.structs.replace(outcome, entry=entry)
        super().tell(op, outcome)


class AnnouncesOneInTwenty(Broken):
    """The others are dropped, and nobody is told."""

    told = 0

    def announce(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        self.told += 1
        if self.told % 20:
            super().announce(key, epoch, last, entry)


class AnnouncesFromTheSecondOn(Broken):
    """What follows the end of the log as it is when it is first looked at, a little late."""

    async def subscribe(self, listener: Listener) -> Line:
        line = await super().subscribe(listener)
        self.late: set[str] = set()
        return line

    def follows(self, line: Line, key: str) -> bool:
        seen: set[str] = line.__dict__.setdefault("seen", set())
        first = key in line.keys and key not in seen
        seen |= line.keys & {key}
        return key in line.keys and not first


class IgnoresTheNamespace(Broken):
    def follows(self, line: Line, key: str) -> bool:
        topic = key.partition(":c:")[2]
        return any(topic == each.partition(":c:")[2] for each in line.keys)


class AnnouncesUnderAnotherNamespace(Broken):
    def announce(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        for line in self.hub.lines:
            if self.follows(line, key):
                line.listener.kept(key.replace(":c:", ":p:"), epoch, last, entry)


class TakesTopicsForPatterns(Broken):
    """PSUBSCRIBE."""

    def follows(self, line: Line, key: str) -> bool:
        return key in line.keys or any(each.endswith("*") and key.startswith(each[:-1]) for each in line.keys)


class FollowsForEver(Broken):
    async def subscribe(self, listener: Listener) -> Line:
        line = await super().subscribe(listener)
        line.unfollow = line.follow  # type: ignore[method-assign]
        return line


class CountsFollowers(Broken):
    """Followed twice, it wants to be unfollowed twice."""

    async def subscribe(self, listener: Listener) -> Line:
        counts: dict[str, int] = {}

        class Counting(Line):
            async def follow(self, key: str) -> None:
                counts[key] = counts.get(key, 0) + 1
                await super().follow(key)

            async def unfollow(self, key: str) -> None:
                counts[key] = counts.get(key, 0) - 1
                if counts[key] <= 0 and key != "never":
                    await super().unfollow(key)

        line = Counting(self.hub, listener)
        self.mine.append(line)
        return line


class ClosesNoSubscription(Broken):
    async def close(self) -> None:
        self.opened = False


class ClosedSubscriptionsHear(Broken):
    async def subscribe(self, listener: Listener) -> Line:
        line = await super().subscribe(listener)

        async def close() -> None:
            return None

        line.close = close  # type: ignore[method-assign]
        return line


class HasOneListener(Broken):
    """A second subscription takes the first one's place."""

    async def subscribe(self, listener: Listener) -> Line:
        for line in self.mine:
            await line.close()
        return await super().subscribe(listener)


class DropsLargeSends(Broken):
    """NOTIFY takes 8,000 bytes."""

    def send(self, key: str, data: bytes) -> None:
        if len(data) < 8000:
            super().send(key, data)


class SendsText(Broken):
    def send(self, key: str, data: bytes) -> None:
        super().send(key, data.decode("utf-8", "replace").encode())


class SendsTwice(Broken):
    def send(self, key: str, data: bytes) -> None:
        super().send(key, data)
        super().send(key, data)


class KeepsWhatIsSent(Broken):
    def tell(self, op: Operation, outcome: Outcome) -> None:
        super().tell(op, outcome)
        if isinstance(op, Send):
            self.hub.store.now(Append(op.key, "sent", b"{}"))


class HearsItself(Broken):
    """It says that it announces nothing."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.traits = msgspec.structs.replace(self.traits, shared="process", notifies="no")
