"""Documents in this process's memory: nothing waits, nothing outlives the process.

Guarantees: a call is atomic because no other code runs during it.
Cost: no round trip. Every index is a sorted list: a lookup is a bisection, a
page a slice, a count a length; a change moves what stands behind it.

How much is kept is bounded by nothing here: whoever receives has bounds.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from holdfast.errors import Closed
from holdfast.store import Finding, Health, Migration, StoreURL
from holdfast.webmention.driver import Change, Document, Drop, Put, Traits

__all__ = ["MemoryDriver"]


class _Shelf:
    """The documents of one kind.

    INVARIANT: `numbers[tag]` and `due` name exactly the documents in `by_number` that say so of themselves.
    """

    __slots__ = ("by_id", "by_number", "due", "numbers")

    def __init__(self) -> None:
        self.by_id: dict[str, Document] = {}
        self.by_number: dict[int, Document] = {}
        self.numbers: dict[str, list[int]] = {}  # of each tag, in order; of all under the empty tag
        self.due: list[tuple[int, int]] = []  # when, and the number

    def add(self, document: Document) -> None:
        self.by_id[document.id] = self.by_number[document.number] = document
        for tag in ("", *document.tags):
            insort(self.numbers.setdefault(tag, []), document.number)
        if document.due is not None:
            insort(self.due, (document.due, document.number))

    def remove(self, document: Document) -> None:
        del self.by_id[document.id], self.by_number[document.number]
        for tag in ("", *document.tags):
            numbers = self.numbers[tag]
            del numbers[bisect_left(numbers, document.number)]
            if not numbers:
                del self.numbers[tag]
        if document.due is not None:
            del self.due[bisect_left(self.due, (document.due, document.number))]

    def page(self, tag: str, after: int | None, limit: int, newest: bool) -> Sequence[int]:
        numbers = self.numbers.get(tag, [])
        if newest:
            end = len(numbers) if after is None else bisect_left(numbers, after)
            return numbers[max(0, end - limit) : end][::-1]
        start = 0 if after is None else bisect_right(numbers, after)
        return numbers[start : start + limit]

    def overdue(self, now: int, tag: str) -> Iterator[Document]:
        """What is due and has the tag, the longest due first."""
        for when, number in self.due:
            if when > now:
                return
            document = self.by_number[number]
            if not tag or tag in document.tags:
                yield document


class MemoryDriver:
    """A shelf for each kind. `now_ms` is a clock in milliseconds since 1970, for tests that move time."""

    traits = Traits(name="memory", durable="no", shared="process", clock="process", auto_migrate=True)

    def __init__(self, *, now_ms: Callable[[], int] | None = None) -> None:
        self._now_ms = now_ms or _wall_ms
        self._shelves: dict[str, _Shelf] = {}
        self._open = False
        self._last_number = 0
        self._changes = 0  # ever made: a count is a version that no document had before

    @classmethod
    def from_url(cls, url: StoreURL) -> MemoryDriver:
        return cls()

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        """Forgets nothing: the documents live as long as the driver, so that one can be reopened in a test."""
        self._open = False

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        return Health(self._open, "memory", 0.0, "" if self._open else "closed")

    async def describe(self) -> Sequence[Finding]:
        return (
            Finding("warning", "durability", "every mention is forgotten when this process ends"),
            Finding("note", "sharing", "no other process sees these mentions"),
        )

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        by_id = self._shelf(kind).by_id
        return [by_id.get(id) for id in ids]

    async def write(self, changes: Sequence[Change]) -> bool:
        if not all(self._holds(change) for change in changes):
            return False
        for change in changes:
            self._replace(change)
        return True

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        shelf = self._shelf(kind)
        return [shelf.by_number[number] for number in shelf.page(tag, after, limit, newest)]

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        numbers = self._shelf(kind).numbers
        return [len(numbers.get(tag, ())) for tag in tags]

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        shelf, now = self._shelf(kind), self._now_ms()
        claimed = []
        for document in list(islice(shelf.overdue(now, tag), limit)):
            leased = msgspec.structs.replace(document, version=self._next_version(), due=now + lease)
            shelf.remove(document)
            shelf.add(leased)
            claimed.append(leased)
        return claimed

    async def next_due(self, kind: str) -> int | None:
        due = self._shelf(kind).due
        return max(0, due[0][0] - self._now_ms()) if due else None

    def _shelf(self, kind: str) -> _Shelf:
        if not self._open:
            raise Closed("memory: not open")
        return self._shelves.get(kind) or _Shelf()

    def _holds(self, change: Change) -> bool:
        """Whether the document is as the change expects it."""
        there = self._shelf(change.kind).by_id.get(change.id)
        return change.expect is None or change.expect == (there.version if there else "")

    def _replace(self, change: Change) -> None:
        shelf = self._shelves.setdefault(change.kind, _Shelf())
        there = shelf.by_id.get(change.id)
        if there is not None:
            shelf.remove(there)
        if isinstance(change, Drop):
            if not shelf.by_id:
                del self._shelves[change.kind]
            return
        shelf.add(self._document(change, there))

    def _document(self, put: Put, there: Document | None) -> Document:
        if there is None:
            self._last_number += 1
        return Document(
            put.kind,
            put.id,
            there.number if there else self._last_number,
            self._next_version(),
            put.data,
            tuple(sorted(set(put.tags))),
            None if put.wait is None else self._now_ms() + put.wait,
        )

    def _next_version(self) -> str:
        self._changes += 1
        return str(self._changes)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
