"""What a case talks to: one driver, kinds of its own, and time that can be let pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from holdfast.testing.clock import ManualClock
from holdfast.webmention.driver import Change, Document, Driver, Drop, Put

__all__ = ["DATA", "HOUR", "SHORT", "Subject", "body", "ids", "numbers"]

SHORT = 40
"""A lease that a test can afford to wait for, in milliseconds."""
HOUR = 3_600_000
"""A time that no test reaches."""
DATA = b'{"is":"something"}'


def body(what: int | str) -> bytes:
    """JSON text that says which document it is of."""
    return b'{"document":"%s"}' % str(what).encode()


def ids(documents: Iterable[Document]) -> list[str]:
    return [document.id for document in documents]


def numbers(documents: Iterable[Document]) -> list[int]:
    return [document.number for document in documents]


class Subject:
    """One open driver. Kinds that are handed to it are a word; it puts the namespace in front."""

    def __init__(self, driver: Driver, *, space: str, clock: ManualClock | None = None) -> None:
        self.driver = driver
        self.space = space  # the namespace; all that a case stores starts with it
        self.clock = clock
        self.kinds: set[str] = set()  # whatever was named: what is emptied in the end

    def kind(self, word: str) -> str:
        """The word with the namespace in front."""
        kind = f"{self.space}:m:{word}"
        self.kinds.add(kind)
        return kind

    # --- writing ---

    async def write(self, *changes: Change) -> bool:
        """One write; the kinds in it are words."""
        placed = [msgspec.structs.replace(change, kind=self.kind(change.kind)) for change in changes]
        done = await self.driver.write(placed)
        assert isinstance(done, bool), f"a write answered {done!r}"
        return done

    async def put(self, id: str, data: bytes = DATA, *, kind: str = "o", **rest: Any) -> Document:
        """What is there after it was put there, which must succeed."""
        assert await self.write(Put(kind, id, data, **rest)), f"put {id!r}: refused"
        return await self.there(id, kind)

    async def drop(self, id: str, *, kind: str = "o", expect: str | None = None) -> bool:
        return await self.write(Drop(kind, id, expect))

    async def fill(self, names: Iterable[str], *, kind: str = "o", **rest: Any) -> list[str]:
        """Put these, one after another, each with a body that says which it is; answers the names."""
        made = list(names)
        for name in made:
            assert await self.write(Put(kind, name, body(name), **rest))
        return made

    # --- reading ---

    async def get(self, id: str, kind: str = "o") -> Document | None:
        answers = await self.driver.get(self.kind(kind), [id])
        assert len(answers) == 1, f"{len(answers)} answers for one id"
        return answers[0]

    async def there(self, id: str, kind: str = "o") -> Document:
        """The document, which must be there."""
        document = await self.get(id, kind)
        assert document is not None, f"{id!r} is not there"
        assert (document.kind, document.id) == (self.kind(kind), id), f"asked for {id!r}, got {document}"
        return document

    async def page(self, tag: str = "", *, kind: str = "o", **where: Any) -> list[Document]:
        return await self.driver.page(self.kind(kind), tag, **where)

    async def walk(
        self, tag: str = "", *, kind: str = "o", limit: int = 100, newest: bool = False
    ) -> list[Document]:
        """Every page, one after another."""
        found: list[Document] = []
        after: int | None = None
        for _ in range(10_000):
            page = await self.page(tag, kind=kind, after=after, limit=limit, newest=newest)
            assert len(page) <= limit, f"{len(page)} documents on a page of {limit}"
            found += page
            if len(page) < limit:
                return found
            after = page[-1].number
        raise AssertionError("a walk over the pages does not end")

    async def count(self, *tags: str, kind: str = "o") -> list[int]:
        return await self.driver.count(self.kind(kind), tags)

    # --- what is due ---

    async def claim(
        self, limit: int = 1, *, lease: int = HOUR, kind: str = "o", tag: str = ""
    ) -> list[Document]:
        return await self.driver.claim(self.kind(kind), lease=lease, limit=limit, tag=tag)

    async def settle(self, claimed: Document, **rest: Any) -> bool:
        """Put what was claimed, as whoever claimed it; it is of the kind `o`."""
        return await self.write(Put("o", claimed.id, claimed.data, expect=claimed.version, **rest))

    async def next_due(self, kind: str = "o") -> int | None:
        return await self.driver.next_due(self.kind(kind))

    # --- time ---

    def wall(self) -> int:
        """Milliseconds since 1970, on the test's side."""
        return self.clock() if self.clock else time.time_ns() // 1_000_000

    @property
    def skew(self) -> int:
        """By how many milliseconds the store's clock may differ from the test's."""
        if self.clock is not None:
            return 0
        return 60_000 if self.driver.traits.clock == "server" else 50

    async def pass_time(self, ms: int) -> None:
        """Return when so many milliseconds have passed, and where nobody can tell exactly, a few more."""
        if self.clock is not None:
            self.clock.advance(ms / 1000)
        else:
            await asyncio.sleep((ms + 20) / 1000)

    # --- more of it ---

    def beside(self, driver: Driver) -> Subject:
        """Another driver over the same kinds and the same clock."""
        other = Subject(driver, space=self.space, clock=self.clock)
        other.kinds = self.kinds
        return other

    async def leave_nothing(self) -> None:
        """Drop every document of the kinds that were named."""
        for kind in self.kinds:
            for _ in range(1000):
                left: Sequence[Document] = await self.driver.page(kind, limit=1000)
                if not left:
                    break
                await self.driver.write([Drop(kind, document.id) for document in left])
            else:
                raise AssertionError("documents that were dropped are listed still")
