"""What a webmention driver promises: a shelf of documents with tags, due times and versions.

What mentions are and what happens to them is decided once, in this package. A
driver knows nothing of it: it keeps documents, finds them by tag, and hands out
those that are due. Mentions come by the dozen and not by the thousand a second,
so there is no Batcher here: each method is one step for its engine.

**Documents.** A document is of a `kind` and has an `id` that is unique in it.
Kinds arrive with their namespace in front (``holdfast:m:out``). Ids and tags are
1 to 200 ASCII characters, compared by bytes; whoever has a URL hands in a hash.
`data` is JSON text of at most 1 MiB, which comes back as it was.

**Order.** `number` is given at creation, grows within the store, and is never
given twice, not after a removal either; within one `write` it grows in the
order of the changes. A page is in its order, and of one moment. Where writers
commit side by side (Postgres, MySQL) a slow one may appear below a number that
a reader has seen already. Tags are a set: their order says nothing.

**Versions.** `version` is opaque, at most 64 ASCII characters, another one after
each `Put` and each `claim`, and never one that this id had before, whatever was
removed and created in between.

**Writing.** `write(changes)` is one atomic step: all changes or none. It answers
False, and has changed nothing, where one of them expected another version. A
`Put` replaces data, tags and due time together; what it does not name is gone.
Changes of one call are of different documents. Acknowledged is durable, as
`traits.durable` says.

**Due.** A document with a `wait` is due when so many milliseconds have passed on
the store's clock (`traits.clock`). `claim` takes what is due, the longest due
first, and in the same step makes it due again when the lease ends and gives it a
new version. So whoever claimed it may settle it with ``expect=version`` as long
as nobody else has claimed it since: a lease is a due time, and a lost lease is a
version conflict. Two callers are never handed one document while a lease lives.

**Failures.** `StoreUnavailable`, with `maybe_applied` as everywhere; a driver
repeats no write whose bytes may have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, Self, TypeAlias

import msgspec

from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["Change", "Document", "Driver", "Drop", "Put", "Traits"]


class Document(msgspec.Struct, frozen=True):
    """One of them, as it is now."""

    kind: str
    id: str
    number: int
    version: str
    data: bytes
    tags: tuple[str, ...] = ()
    due: int | None = None  # milliseconds since 1970 on the store's clock; None: never


class Put(msgspec.Struct, frozen=True):
    """Create it or replace it.

    `expect` is the version that it must have; empty: it must not be there;
    None: whichever.
    """

    kind: str
    id: str
    data: bytes
    tags: tuple[str, ...] = ()
    wait: int | None = None  # milliseconds from now until it is due; 0: at once; None: never
    expect: str | None = None


class Drop(msgspec.Struct, frozen=True):
    """Remove it; what is not there is no error, unless a version was expected."""

    kind: str
    id: str
    expect: str | None = None


Change: TypeAlias = Put | Drop


class Traits(msgspec.Struct, frozen=True):
    """What differs between drivers."""

    name: str
    durable: Literal["no", "yes", "server"]  # "server": as its own settings say
    shared: Literal["process", "machine", "network"]  # who else may use the store at the same time
    clock: Literal["process", "machine", "server"]
    auto_migrate: bool = False  # tables are made at opening unless told otherwise


class Driver(Protocol):
    """See the module's docstring."""

    traits: Traits

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """Without I/O. Raises `StoreMisconfigured`."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def pending(self) -> Sequence[Migration]: ...

    async def migrate(self) -> Sequence[Migration]: ...

    async def health(self) -> Health: ...

    async def describe(self) -> Sequence[Finding]: ...

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        """By position; at most 1,000 at once."""
        ...

    async def write(self, changes: Sequence[Change]) -> bool:
        """All of them (at most 1,000), or none and False."""
        ...

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        """Those with the tag (empty: all of the kind) in order of their numbers.

        Oldest first and above `after`; with `newest`, newest first and below
        it. Fewer than `limit` (at most 1,000): there are no more.
        """
        ...

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        """How many have each tag; the empty tag counts all of the kind."""
        ...

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        """Those that are due and have the tag, now leased for so many milliseconds; see above."""
        ...

    async def next_due(self, kind: str) -> int | None:
        """Milliseconds until something of the kind is due, 0 if something is; None: nothing will be."""
        ...
