"""Webmention drivers with one fault each, in what they keep and how they find it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.store import Finding, Health, Migration
from holdfast.testing import ManualClock
from holdfast.webmention.driver import Change, Document, Drop, Put
from holdfast.webmention.drivers.memory import MemoryDriver

from .broken_mentions import Broken, changed

# --- of itself ---


class IsAlwaysIll(Broken):
    async def health(self) -> Health:
        return Health(False, self.traits.name, 0.0, "no")


class IsAlwaysWell(Broken):
    async def health(self) -> Health:
        return Health(True, self.traits.name, 0.0)


class DescribesNothingInWords(Broken):
    async def describe(self) -> Sequence[Finding]:
        return (Finding("note", "", ""),)


class NeverFinishesMigrating(Broken):
    async def pending(self) -> Sequence[Migration]:
        return (Migration("webmention", 1, "again", ()),)


class ForgetsWhenItIsClosed(Broken):
    async def close(self) -> None:
        await super().close()
        self.store._shelves.clear()


class ClosesOnlyWhatIsOpen(Broken):
    closed = False

    async def close(self) -> None:
        if not self.opened and not self.closed:
            raise AttributeError("engine")
        self.closed = True
        await super().close()


class AnswersWhenClosed(Broken):
    def check(self) -> None:
        pass


class HasAClockForItself(Broken):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.traits = msgspec.structs.replace(self.traits, shared="network")


# --- what comes back ---


class EncodesDataAnew(Broken):
    def shown(self, document: Document) -> Document:
        return changed(document, data=json.dumps(json.loads(document.data)).encode())


class CutsLongData(Broken):
    def shown(self, document: Document) -> Document:
        return changed(document, data=document.data[:65535])


class LeavesOutWhatIsMissing(Broken):
    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        return [each for each in await super().get(kind, ids) if each]


class AnswersInTheOrderOfTheRows(Broken):
    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        return await super().get(kind, sorted(ids))


class RefusesToDoNothing(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        return bool(changes) and await super().write(changes)


class FoldsCase(Broken):
    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        return await super().get(kind, [id.lower() for id in ids])

    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write([msgspec.structs.replace(each, id=each.id.lower()) for each in changes])


class FindsKindsByTheirBeginning(Broken):
    """LIKE 'kind%'."""

    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        alike = [each for each in list(self.store._shelves) if each.startswith(kind)] or [kind]
        return [found for each in alike for found in await super(type(self), self).page(each, tag, **where)]


class KeepsTags(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        there = [(await self.store.get(each.kind, [each.id]))[0] for each in changes]
        return await super().write(
            [
                msgspec.structs.replace(each, tags=(*each.tags, *old.tags))
                if isinstance(each, Put) and old
                else each
                for each, old in zip(changes, there, strict=True)
            ]
        )


class KeepsTheDueTime(Broken):
    """ON CONFLICT DO UPDATE SET due = coalesce(excluded.due, due)."""

    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            document = super()._document(put, there)
            return changed(document, due=there.due) if there and document.due is None else document


class CountsWhatWasDropped(Broken):
    """Tags that a drop leaves behind."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.left: dict[tuple[str, str], set[str]] = self.shared.setdefault("left", {})

    async def write(self, changes: Sequence[Change]) -> bool:
        for change in changes:
            (there,) = await self.store.get(change.kind, [change.id])
            if isinstance(change, Drop) and there:
                for tag in there.tags:
                    self.left.setdefault((change.kind, tag), set()).add(change.id)
        return await super().write(changes)

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        counts = await super().count(kind, tags)
        return [n + len(self.left.get((kind, tag), ())) for n, tag in zip(counts, tags, strict=True)]


class RemembersTheDueTimeOfTheDropped(Broken):
    """A queue beside the documents, from which a drop takes nothing."""

    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            document = super()._document(put, there)
            dues: dict[tuple[str, str], int] = self.__dict__.setdefault("dues", {})
            if document.due is None and there is None:
                return changed(document, due=dues.get((put.kind, put.id)))
            if document.due is not None:
                dues[put.kind, put.id] = document.due
            return document


class MissesWhatItDrops(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        for change in changes:
            if isinstance(change, Drop) and (await self.store.get(change.kind, [change.id])) == [None]:
                return False
        return await super().write(changes)


# --- numbers and versions ---


class NumbersEachKindFromOne(Broken):
    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            numbers: dict[str, int] = self.__dict__.setdefault("by_kind", {})
            self._last_number = numbers.get(put.kind, 0)
            document = super()._document(put, there)
            numbers[put.kind] = self._last_number
            return document


class GivesANumberAgain(Broken):
    """INTEGER PRIMARY KEY without AUTOINCREMENT: the highest there is, and one."""

    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            shelves = self._shelves.values()
            self._last_number = max((n for shelf in shelves for n in shelf.by_number), default=0)
            return super()._document(put, there)


class NumbersAReplacementAnew(Broken):
    """REPLACE INTO."""

    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            return super()._document(put, None)


class VersionsTellTheContent(Broken):
    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            document = super()._document(put, there)
            return changed(document, version=str(hash((put.data, put.tags, put.wait))))


class VersionsCountFromCreation(Broken):
    """A version that was there before the removal comes back."""

    class Store(MemoryDriver):
        def _document(self, put: Put, there: Document | None) -> Document:
            return changed(super()._document(put, there), version=str(int(there.version) + 1 if there else 1))


class VersionsAreLong(Broken):
    class Store(MemoryDriver):
        def _next_version(self) -> str:
            return super()._next_version().rjust(65, "0")


# --- expectations ---


def unexpecting(change: Change) -> Change:
    return msgspec.structs.replace(change, expect=None)


class ForgetsExpect(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write([unexpecting(each) for each in changes])


class ForgetsExpectOfDrops(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write(
            [unexpecting(each) if isinstance(each, Drop) else each for each in changes]
        )


class TakesEmptyForWhichever(Broken):
    """`if change.expect:`."""

    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write([each if each.expect else unexpecting(each) for each in changes])


class CreatesWhereAVersionWasExpected(Broken):
    """INSERT ... ON CONFLICT DO UPDATE ... WHERE version = ?: inserts where nothing conflicts."""

    async def write(self, changes: Sequence[Change]) -> bool:
        there = [(await self.store.get(each.kind, [each.id]))[0] for each in changes]
        pairs = zip(changes, there, strict=True)
        return await super().write([each if old else unexpecting(each) for each, old in pairs])


class RefusesWhatWasClaimed(Broken):
    """A lease is taken for a lock."""

    async def claim(self, kind: str, **how: Any) -> list[Document]:
        claimed = await super().claim(kind, **how)
        self.shared.setdefault("held", {}).update({(kind, each.id): each.version for each in claimed})
        return claimed

    async def write(self, changes: Sequence[Change]) -> bool:
        held = self.shared.get("held", {})
        if any(each.expect is None and (each.kind, each.id) in held for each in changes):
            return False
        return await super().write(changes)


class WritesUpToTheConflict(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        for change in changes:
            if not await super().write([change]):
                return False
        return True


class WritesOneKindAtATime(Broken):
    """Only those of the first change's."""

    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write([each for each in changes if each.kind == changes[0].kind])


class ForgetsChangesPastTheBatch(Broken):
    async def write(self, changes: Sequence[Change]) -> bool:
        return await super().write(changes[:500])


# --- pages ---


class OrdersById(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        found = await super().page(kind, tag, **where)
        return sorted(found, key=lambda each: each.id, reverse=where.get("newest", False))


class IgnoresAfter(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        return await super().page(kind, tag, **{**where, "after": None})


class BeginsAtAfter(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        if where.get("after") is not None:
            where["after"] += 1 if where.get("newest") else -1
        return await super().page(kind, tag, **where)


class FindsTagsByTheirBeginning(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        found = await super().page(kind, **{**where, "limit": 1000})
        found = [each for each in found if not tag or any(own.startswith(tag) for own in each.tags)]
        return found[: where.get("limit", 100)]


class OrdersByWhenItWasTagged(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        found = await super().page(kind, tag, **where)
        return sorted(found, key=lambda each: int(each.version), reverse=where.get("newest", False))


class ListsWithoutTags(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        return [changed(each, tags=()) for each in await super().page(kind, tag, **where)]


class PagesHaveAtMostTwenty(Broken):
    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        return (await super().page(kind, tag, **where))[:20]


class PagesByHowManyThereWere(Broken):
    """OFFSET: `after` is made a count, which removals shift."""

    async def page(self, kind: str, tag: str = "", **where: Any) -> list[Document]:
        seen: list[int] = self.__dict__.setdefault("seen", [])
        after = where.pop("after", None)
        if after is None or where.get("newest"):
            seen.clear()
            skip = 0
        else:
            skip = next((at + 1 for at, number in enumerate(seen) if number == after), 0)
        found = await super().page(kind, tag, **{**where, "limit": 1000})
        page = found[skip : skip + where.get("limit", 100)]
        seen += [each.number for each in page]
        return page


class CountsEachTagOnce(Broken):
    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        return await super().count(kind, list(dict.fromkeys(tags)))


class WritesOneByOne(Broken):
    """Each change its own transaction."""

    async def write(self, changes: Sequence[Change]) -> bool:
        self.check()
        if not all(self.store._holds(change) for change in changes):
            return False
        for change in changes:
            self.store._replace(unexpecting(change))
            await asyncio.sleep(0)
        return True
