"""A sound webmention driver, to be broken: the faults are in the files beside this one.

`Broken` is a sound driver over memory. Two of a test stand for two processes:
they share the store that hangs on the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from holdfast.errors import Closed
from holdfast.store import Finding, Health, Migration, StoreURL
from holdfast.testing import ManualClock
from holdfast.webmention.driver import Change, Document, Driver
from holdfast.webmention.drivers.memory import MemoryDriver


class Broken:
    """Sound; subclasses spoil what goes in, what comes out (`shown`), or the store itself (`Store`)."""

    Store: ClassVar[type[MemoryDriver]] = MemoryDriver

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.shared: dict[str, Any] = clock.__dict__.setdefault("shared", {})  # by all processes of a test
        self.store: MemoryDriver = self.shared.setdefault("store", self.Store(now_ms=clock))
        self.traits = msgspec.structs.replace(self.store.traits, shared="machine", clock="machine")
        self.opened = False

    @classmethod
    def from_url(cls, url: StoreURL) -> Broken:
        raise NotImplementedError

    async def open(self) -> None:
        await self.store.open()
        self.opened = True

    async def close(self) -> None:
        self.opened = False

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        return Health(self.opened, self.traits.name, 0.0, "" if self.opened else "closed")

    async def describe(self) -> Sequence[Finding]:
        return await self.store.describe()

    def shown(self, document: Document) -> Document:
        """A document on its way out."""
        return document

    def check(self) -> None:
        if not self.opened:
            raise Closed("not open")

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        self.check()
        return [each and self.shown(each) for each in await self.store.get(kind, ids)]

    async def write(self, changes: Sequence[Change]) -> bool:
        self.check()
        return await self.store.write(changes)

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        self.check()
        found = await self.store.page(kind, tag, after=after, limit=limit, newest=newest)
        return [self.shown(each) for each in found]

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        self.check()
        return await self.store.count(kind, tags)

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        self.check()
        return [self.shown(each) for each in await self.store.claim(kind, lease=lease, limit=limit, tag=tag)]

    async def next_due(self, kind: str) -> int | None:
        self.check()
        return await self.store.next_due(kind)


def changed(document: Document, **fields: Any) -> Document:
    return msgspec.structs.replace(document, **fields)


_: type[Driver] = Broken
