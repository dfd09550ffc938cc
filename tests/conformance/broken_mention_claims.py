"""Webmention drivers with one fault each, in what is due and in what several do at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec

from holdfast.testing import ManualClock
from holdfast.testing.webmention.subject import HOUR
from holdfast.webmention.driver import Change, Document, Put
from holdfast.webmention.drivers.memory import MemoryDriver

from .broken_mentions import Broken, changed


class IsDueByAnotherClock(Broken):
    """Stamped by the store's clock, compared with the machine's."""

    async def claim(self, kind: str, **how: Any) -> list[Document]:
        self.store._now_ms = lambda: time.time_ns() // 1_000_000
        try:
            return await super().claim(kind, **how)
        finally:
            self.store._now_ms = self.clock


class WaitsInSeconds(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write(
            [
                msgspec.structs.replace(each, wait=each.wait // 1000)
                if isinstance(each, Put) and each.wait
                else each
                for each in changes
            ]
        )


class IsDueAMomentEarly(Broken):
    async def claim(self, kind: str, **how: Any) -> list[Document]:
        self.store._now_ms = lambda: self.clock() + 1
        try:
            return await super().claim(kind, **how)
        finally:
            self.store._now_ms = self.clock


class ClaimsWhatIsNotDue(Broken):
    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        claimed = await super().claim(kind, lease=lease, limit=limit, tag=tag)
        return claimed or [each for each in await self.page(kind, tag) if each.due][:limit]


class WaitsFromTheFirstWrite(Broken):
    """ON CONFLICT DO UPDATE without the due time, unless there is none."""

    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            document = super()._document(put, there)
            return changed(document, due=there.due) if there and there.due and document.due else document


class ClaimsTheNewestFirst(Broken):
    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        all_of_them = await super().claim(kind, lease=0, limit=1000, tag=tag)
        chosen = []
        for each in sorted(all_of_them, key=lambda each: each.number, reverse=True)[:limit]:
            wait = lease
            put = Put(kind, each.id, each.data, each.tags, wait)
            await self.store.write([put])
            chosen += await self.store.get(kind, [each.id])
        return [each for each in chosen if each]


class ClaimsAsManyAsItLikes(Broken):
    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        return await super().claim(kind, lease=lease, limit=limit + 1, tag=tag)


class ClaimsWithoutRegardToTheTag(Broken):
    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        return await super().claim(kind, lease=lease, limit=limit)


class DropsTagsOnClaim(Broken):
    async def claim(self, kind: str, **how: Any) -> list[Document]:
        claimed = await super().claim(kind, **how)
        for each in claimed:
            shelf = self.store._shelves[kind]
            shelf.remove(each)
            shelf.add(changed(each, tags=()))
        return [changed(each, tags=()) for each in claimed]


class ClaimsUnderTheOldVersion(Broken):
    class Store(MemoryDriver):
        claiming = False

        async def claim(self, kind: str, **how: Any) -> list[Document]:
            before = {each.id: each.version for each in self._shelf(kind).by_id.values()}
            claimed = [changed(each, version=before[each.id]) for each in await super().claim(kind, **how)]
            for each in claimed:
                shelf = self._shelves[kind]
                shelf.remove(each)
                shelf.add(each)
            return claimed


class ClaimsTwice(Broken):
    """The lease is taken when it is too late: every second claim is handed the same again."""

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        turn: count[int] = self.shared.setdefault("turn", count(1))
        return await super().claim(kind, lease=lease if next(turn) % 2 == 0 else 0, limit=limit, tag=tag)


class LeasesForEver(Broken):
    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        return await super().claim(kind, lease=lease + 1000 * HOUR, limit=limit, tag=tag)


class LeasesOutliveTheirSettlement(Broken):
    """A lease beside the document, which settling does not end."""

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        leases: set[tuple[str, str]] = self.shared.setdefault("leases", set())
        claimed = await super().claim(kind, lease=lease, limit=limit, tag=tag)
        fresh = [each for each in claimed if (kind, each.id) not in leases]
        leases.update((kind, each.id) for each in claimed)
        return fresh


class LeasesTheWholeKind(Broken):
    async def claim(self, kind: str, **how: Any) -> list[Document]:
        busy: dict[str, int] = self.shared.setdefault("busy", {})
        if busy.get(kind.partition(":")[0], 0) > self.clock():
            return []
        claimed = await super().claim(kind, **how)
        if claimed:
            busy[kind.partition(":")[0]] = self.clock() + how["lease"]
        return claimed


class TellsTheLastThatIsDue(Broken):
    async def next_due(self, kind: str) -> int | None:
        self.check()
        dues = [each.due for each in await self.store.page(kind, limit=1000) if each.due is not None]
        return max(0, max(dues) - self.clock()) if dues else None


class TellsANegativeTime(Broken):
    async def next_due(self, kind: str) -> int | None:
        due = await super().next_due(kind)
        return -1 if due == 0 else due


# --- at once ---


class LooksAndThenClaims(Broken):
    """SELECT, then UPDATE, in two round trips."""

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        self.check()
        found = list(self.store._shelf(kind).overdue(self.clock(), tag))[:limit]
        await asyncio.sleep(0)
        claimed = []
        for each in found:
            await self.store.write([Put(kind, each.id, each.data, each.tags, lease)])
            claimed += await self.store.get(kind, [each.id])
        return [each for each in claimed if each]


class LeasesWithinTheProcess(Broken):
    """Leases are remembered, not stored."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.leases: dict[tuple[str, str], int] = {}

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        self.check()
        now = self.clock()
        due = self.store._shelf(kind).overdue(now, tag)
        free = [each for each in due if self.leases.get((kind, each.id), 0) <= now][:limit]
        self.leases.update({(kind, each.id): now + lease for each in free})
        return free


class LooksAndThenWrites(Broken):
    """Versions are compared in one round trip, and written in the next."""

    async def write(self, changes: Sequence[Change]) -> bool:
        self.check()
        if not all(self.store._holds(change) for change in changes):
            return False
        await asyncio.sleep(0)
        return await super().write([msgspec.structs.replace(each, expect=None) for each in changes])


class InsertsWhatItDidNotSee(Broken):
    """A lost race for a unique key is answered with False, though no version was expected."""

    async def write(self, changes: Sequence[Change]) -> bool:
        self.check()
        there = [(await self.store.get(each.kind, [each.id]))[0] for each in changes]
        await asyncio.sleep(0)
        missed = [
            each
            for each, old in zip(changes, there, strict=True)
            if old is None and (await self.store.get(each.kind, [each.id])) != [None]
        ]
        return False if missed else await super().write(changes)


class NumbersWithinTheProcess(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.mine = 0

    async def write(self, changes: Sequence[Change]) -> bool:
        self.store._last_number = self.mine
        done = await super().write(changes)
        self.mine = self.store._last_number
        await asyncio.sleep(0)
        return done


class RemembersWhatItRead(Broken):
    """A read cache in the process, which nobody else invalidates."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.cache: dict[tuple[str, str], Document | None] = {}

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        for id, document in zip(ids, await super().get(kind, ids), strict=True):
            self.cache.setdefault((kind, id), document)
        return [self.cache[kind, id] for id in ids]

    async def write(self, changes: Sequence[Change]) -> bool:
        self.cache.clear()
        return await super().write(changes)


class LocksInTheOrderOfTheWrite(Broken):
    """A transaction whose documents are not sorted: two of them deadlock."""

    async def write(self, changes: Sequence[Change]) -> bool:
        busy: dict[str, asyncio.Lock] = self.shared.setdefault("locks", {})
        held: list[asyncio.Lock] = []
        try:
            for change in changes:
                lock = busy.setdefault(change.id, asyncio.Lock())
                async with asyncio.timeout(0.5):  # as a database's own detector would
                    await lock.acquire()
                held.append(lock)
                await asyncio.sleep(0)
            return await super().write(changes)
        finally:
            for lock in held:
                lock.release()


class GetsOutOfStep(Broken):
    """An answer that nobody waited for is the next question's."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.late: list[Any] = []

    async def write(self, changes: Sequence[Change]) -> bool:
        done = await super().write(changes)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.late.append([Document("", "", 0, "", b"late")])
            raise
        return done

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        answer = await super().get(kind, ids)
        if self.late:
            self.late.append(answer)
            answer = self.late.pop(0)
        return answer


class LeavesCallersWaiting(Broken):
    """Closed while it works, it forgets who asked."""

    async def write(self, changes: Sequence[Change]) -> bool:
        self.check()
        await asyncio.sleep(0)
        if not self.opened:
            await asyncio.get_running_loop().create_future()
        return await super().write(changes)
