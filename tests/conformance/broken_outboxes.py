"""Sound storages of outgoing mentions over a list, and such with one fault each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.testing import ManualClock
from holdfast.webmention.mentions import OutgoingMention, Status
from holdfast.webmention.storage import Claimed, Outbox


class Row(msgspec.Struct):
    """One mention."""

    number: int
    mention: OutgoingMention
    due: float | None = None
    version: int = 0


def same(one: OutgoingMention, other: OutgoingMention) -> bool:
    return (one.source_url, one.target_url) == (other.source_url, other.target_url)


class Listed:
    """Sound. Two of a test share the rows, which hang on the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.rows: list[Row] = clock.__dict__.setdefault("rows", [])

    def now(self) -> float:
        return self.clock() / 1000

    def row(self, entity: OutgoingMention) -> Row | None:
        return next((row for row in self.rows if same(row.mention, entity)), None)

    def keep(self, entity: OutgoingMention) -> None:
        row = self.row(entity)
        if row is None:
            self.rows.append(Row(len(self.rows) + 1, entity, entity.next_attempt))
        else:
            row.mention, row.due, row.version = entity, entity.next_attempt, row.version + 1

    # --- four methods ---

    async def save(self, entity: OutgoingMention) -> None:
        self.keep(entity)

    async def update(self, entity: OutgoingMention) -> None:
        self.keep(entity)

    async def get(self, entity: OutgoingMention) -> Any | None:
        row = self.row(entity)
        return row.mention if row and row.mention.sha == entity.sha else None

    async def exists(self, entity: OutgoingMention) -> bool:
        return await self.get(entity) is not None

    # --- and the others ---

    async def put(self, entities: Sequence[OutgoingMention]) -> None:
        for entity in entities:
            self.keep(entity)

    async def of(self, source_url: str) -> Sequence[OutgoingMention]:
        return [row.mention for row in self.rows if row.mention.source_url == source_url]

    def overdue(self, source_url: str | None) -> list[Row]:
        now = self.now()
        due = [row for row in self.rows if row.due is not None and row.due <= now]
        mine = [row for row in due if source_url in (None, row.mention.source_url)]
        return sorted(mine, key=lambda row: row.due or 0)

    def lease(self, rows: Sequence[Row], seconds: float) -> list[Claimed]:
        for row in rows:
            row.due, row.version = self.now() + seconds, row.version + 1
        return [Claimed(row.mention, str(row.version)) for row in rows]

    async def claim(
        self, *, lease: float, limit: int = 1, source_url: str | None = None
    ) -> Sequence[Claimed]:
        return self.lease(self.overdue(source_url)[:limit], lease)

    async def settle(self, claimed: Claimed, entity: OutgoingMention) -> bool:
        row = self.row(entity)
        if row is None or str(row.version) != claimed.token:
            return False
        self.keep(entity)
        return True

    async def page(
        self, *, status: Status | None = None, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, OutgoingMention]]:
        rows = [row for row in reversed(self.rows) if status in (None, row.mention.status)]
        return [(row.number, row.mention) for row in rows if after is None or row.number < after][:limit]

    async def count(self, statuses: Sequence[Status]) -> Sequence[int]:
        return [sum(row.mention.status == status for row in self.rows) for status in statuses]

    async def next_due(self) -> float | None:
        dues = [row.due for row in self.rows if row.due is not None]
        return max(0.0, min(dues) - self.now()) if dues else None


_: type[Outbox] = Listed


# --- four methods ---


class KeepsNoEndpoint(Listed):
    def keep(self, entity: OutgoingMention) -> None:
        super().keep(msgspec.structs.replace(entity, endpoint=None))


class FindsAnyContent(Listed):
    async def get(self, entity: OutgoingMention) -> Any | None:
        row = self.row(entity)
        return row.mention if row else None


class ExistsForEver(Listed):
    async def exists(self, entity: OutgoingMention) -> bool:
        return True


class ExistsAsItWas(Listed):
    """`exists` looks at other rows than `get`: those of the history."""

    def keep(self, entity: OutgoingMention) -> None:
        self.clock.__dict__.setdefault("history", set()).add(
            (entity.source_url, entity.target_url, entity.sha)
        )
        super().keep(entity)

    async def exists(self, entity: OutgoingMention) -> bool:
        history = self.clock.__dict__.get("history", ())
        return (entity.source_url, entity.target_url, entity.sha) in history


class KnowsTwoStatuses(Listed):
    def keep(self, entity: OutgoingMention) -> None:
        status: Status = "sent" if entity.status == "sent" else "pending"
        super().keep(msgspec.structs.replace(entity, status=status))


class UpdatesNothing(Listed):
    async def update(self, entity: OutgoingMention) -> None:
        pass


class UpdatesWithoutTheTarget(Listed):
    """UPDATE ... WHERE source_url = ?"""

    async def update(self, entity: OutgoingMention) -> None:
        for row in self.rows:
            if row.mention.source_url == entity.source_url:
                self.keep(msgspec.structs.replace(entity, target_url=row.mention.target_url))


class FoldsCase(Listed):
    def row(self, entity: OutgoingMention) -> Row | None:
        def low(each: OutgoingMention) -> tuple[str, str]:
            return each.source_url.lower(), each.target_url.lower()

        return next((row for row in self.rows if low(row.mention) == low(entity)), None)


# --- the others ---


class HasNoPages(Listed):
    page = None  # type: ignore[assignment]

    def __init_subclass__(cls) -> None:
        raise TypeError

    def __getattribute__(self, name: str) -> Any:
        if name == "page":
            raise AttributeError(name)
        return super().__getattribute__(name)


class KeepsOnlyTheFive(Listed):
    def keep(self, entity: OutgoingMention) -> None:
        super().keep(entity)
        row = self.row(entity)
        assert row is not None
        row.mention = OutgoingMention(
            source_url=entity.source_url,
            target_url=entity.target_url,
            endpoint=entity.endpoint,
            status=entity.status,
            sha=entity.sha,
        )


class KeepsARowForEachContent(Listed):
    def row(self, entity: OutgoingMention) -> Row | None:
        alike = (row for row in self.rows if same(row.mention, entity) and row.mention.sha == entity.sha)
        return next(alike, None)


class NextIsDueAtOnceWhereNothingIs(Listed):
    async def next_due(self) -> float | None:
        return await super().next_due() or 0.0


class TellsTheLastThatIsDue(Listed):
    async def next_due(self) -> float | None:
        dues = [row.due for row in self.rows if row.due is not None]
        return max(0.0, max(dues) - self.now()) if dues else None


class ListsAHundredOfASource(Listed):
    async def of(self, source_url: str) -> Sequence[OutgoingMention]:
        return (await super().of(source_url))[:100]


class ClaimsWhatIsNotDue(Listed):
    def overdue(self, source_url: str | None) -> list[Row]:
        return super().overdue(source_url) or [row for row in self.rows if row.due is not None]


class ClaimsInAnyOrder(Listed):
    def overdue(self, source_url: str | None) -> list[Row]:
        return sorted(super().overdue(source_url), key=lambda row: row.mention.target_url)


class ClaimsOfAnySource(Listed):
    def overdue(self, source_url: str | None) -> list[Row]:
        return super().overdue(None)


class ClaimsAnEmptyMention(Listed):
    async def claim(self, **how: Any) -> Sequence[Claimed]:
        return [
            Claimed(
                OutgoingMention(source_url=each.mention.source_url, target_url=each.mention.target_url),
                each.token,
            )
            for each in await super().claim(**how)
        ]


class SettlesWithoutADueTime(Listed):
    """The lease goes on where the next attempt should be."""

    async def settle(self, claimed: Claimed, entity: OutgoingMention) -> bool:
        row = self.row(entity)
        due = row.due if row else None
        done = await super().settle(claimed, entity)
        if row:
            row.due = due
        return done


class SettlesWhateverComes(Listed):
    async def settle(self, claimed: Claimed, entity: OutgoingMention) -> bool:
        self.keep(entity)
        return True


class LeasesForEver(Listed):
    def lease(self, rows: Sequence[Row], seconds: float) -> list[Claimed]:
        return super().lease(rows, seconds + 1_000_000)


class PutsUnderTheOldVersion(Listed):
    async def put(self, entities: Sequence[OutgoingMention]) -> None:
        versions = [row.version if (row := self.row(entity)) else 0 for entity in entities]
        await super().put(entities)
        for entity, version in zip(entities, versions, strict=True):
            row = self.row(entity)
            assert row is not None
            row.version = version


class LooksAndThenClaims(Listed):
    async def claim(
        self, *, lease: float, limit: int = 1, source_url: str | None = None
    ) -> Sequence[Claimed]:
        found = self.overdue(source_url)[:limit]
        await asyncio.sleep(0)
        return self.lease(found, lease)


class PagesOldestFirst(Listed):
    async def page(self, **where: Any) -> Sequence[tuple[int, OutgoingMention]]:
        return sorted(await super().page(**where))


class CountsAsTheyWere(Listed):
    """A tally that `settle` and `update` forget."""

    async def put(self, entities: Sequence[OutgoingMention]) -> None:
        tally: list[Status] = self.clock.__dict__.setdefault("tally", [])
        tally += [entity.status for entity in entities if not self.row(entity)]
        await super().put(entities)

    async def count(self, statuses: Sequence[Status]) -> Sequence[int]:
        return [self.clock.__dict__.get("tally", []).count(status) for status in statuses]
