"""`StoredOutbox`: the whole of `Outbox` over any webmention driver.

A mention is one document, its id a hash of source and target. Its tags are its
source (hashed) and its status; its due time is its `next_attempt`. The driver
counts from its own clock, so what is handed to it is a wait.

Cost: one step of the driver a call; `put` is one for each 1,000 mentions, `of`
one for each 1,000 that the source has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from holdfast.errors import InvalidConversion
from holdfast.webmention.driver import Document, Driver, Put
from holdfast.webmention.mentions import OutgoingMention, Status
from holdfast.webmention.storage import Claimed
from holdfast.webmention.urls import digest

__all__ = ["StoredOutbox"]

PAGE = 1000
"""What a driver takes and gives at once."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(OutgoingMention).decode


class StoredOutbox:
    """The shipped storage of what goes out; implements `Outbox`.

    Args:
        driver: open; who opened it closes it.
        namespace: as it stands in front of the document kinds.
        now: seconds since 1970, by the clock that `next_attempt` is of.
    """

    def __init__(self, driver: Driver, namespace: str, *, now: Callable[[], float] = time.time) -> None:
        self._driver = driver
        self._kind = f"{namespace}:m:o"
        self._now = now

    async def save(self, entity: OutgoingMention) -> None:
        """Keep it, new or not: there is one of its source and target."""
        await self._driver.write([self._put(entity)])

    async def update(self, entity: OutgoingMention) -> None:
        """Replace what is kept of its source and target."""
        await self._driver.write([self._put(entity)])

    async def get(self, entity: OutgoingMention) -> OutgoingMention | None:
        """What is kept of its source and target, where the content is the same."""
        document = (await self._driver.get(self._kind, [_id(entity)]))[0]
        if document is None:
            return None
        found = _mention(document)
        return found if found.sha == entity.sha else None

    async def exists(self, entity: OutgoingMention) -> bool:
        """Whether `get` finds it."""
        return await self.get(entity) is not None

    async def put(self, entities: Sequence[OutgoingMention]) -> None:
        """Keep or replace all; one step for each 1,000, the first first. Of two of one target the later counts."""
        puts = list({put.id: put for put in map(self._put, entities)}.values())
        for start in range(0, len(puts), PAGE):
            await self._driver.write(puts[start : start + PAGE])

    async def of(self, source_url: str) -> list[OutgoingMention]:
        """All of one source, in the order in which they came to be."""
        found: list[OutgoingMention] = []
        after: int | None = None
        while True:
            page = await self._driver.page(self._kind, _source_tag(source_url), after=after, limit=PAGE)
            found += map(_mention, page)
            if len(page) < PAGE:
                return found
            after = page[-1].number

    async def claim(self, *, lease: float, limit: int = 1, source_url: str | None = None) -> list[Claimed]:
        """Those that are due, this worker's for so many seconds."""
        tag = "" if source_url is None else _source_tag(source_url)
        documents = await self._driver.claim(
            self._kind, lease=max(1, round(lease * 1000)), limit=min(limit, PAGE), tag=tag
        )
        claimed: list[Claimed] = []
        for document in documents:
            try:
                claimed.append(Claimed(_mention(document), document.version))
            except (
                InvalidConversion
            ):  # whoever lists it is told; here it would keep the others from going out
                await self._driver.write([_parked(document)])
        return claimed

    async def settle(self, claimed: Claimed, entity: OutgoingMention) -> bool:
        """Keep what became of it, unless another has it by now."""
        return await self._driver.write([self._put(entity, expect=claimed.token)])

    async def page(
        self, *, status: Status | None = None, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, OutgoingMention]]:
        """The newest first, with their numbers."""
        tag = "" if status is None else _status_tag(status)
        documents = await self._driver.page(self._kind, tag, after=after, limit=limit, newest=True)
        return [(document.number, _mention(document)) for document in documents]

    async def count(self, statuses: Sequence[Status]) -> list[int]:
        """How many there are of each."""
        return await self._driver.count(self._kind, [_status_tag(status) for status in statuses])

    async def next_due(self) -> float | None:
        """Seconds until one is due."""
        due = await self._driver.next_due(self._kind)
        return None if due is None else due / 1000

    def _put(self, entity: OutgoingMention, *, expect: str | None = None) -> Put:
        at = entity.next_attempt
        return Put(
            self._kind,
            _id(entity),
            _encode(entity),
            (_source_tag(entity.source_url), _status_tag(entity.status)),
            None if at is None else max(0, round((at - self._now()) * 1000)),
            expect,
        )


def _id(entity: OutgoingMention) -> str:
    return digest(entity.source_url, entity.target_url)


def _source_tag(source_url: str) -> str:
    return f"of:{digest(source_url)}"


def _status_tag(status: Status) -> str:
    return f"is:{status}"


def _parked(document: Document) -> Put:
    """The same, never due."""
    return Put(document.kind, document.id, document.data, document.tags, None, document.version)


def _mention(document: Document) -> OutgoingMention:
    try:
        return _decode(document.data)
    except msgspec.DecodeError as exc:
        raise InvalidConversion(f"mention {document.id}: what is stored is no mention that goes out") from exc
