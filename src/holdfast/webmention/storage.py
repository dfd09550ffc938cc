"""What a storage of outgoing mentions can do: four methods are enough to send, `Outbox` is all of it.

The four are those of libmention's storage: a class over one's own tables::

    class Mine:
        async def save(self, entity): ...       # insert it
        async def update(self, entity): ...     # the row of its source and target
        async def get(self, entity): ...        # the row of its source, target and sha, or None
        async def exists(self, entity): ...     # whether `get` would find one

`entity` is an `OutgoingMention`; what `get` answers may be anything with the
attributes `source_url`, `target_url`, `endpoint`, `status` and `sha`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from holdfast.webmention.mentions import OutgoingMention, Status

__all__ = ["Claimed", "Outbox", "Storage"]


@runtime_checkable
class Storage(Protocol):
    """Enough to send, to skip what was sent unchanged, and to try the rest again at the next `send`, in one worker."""

    async def save(self, entity: OutgoingMention) -> Any:
        """Keep a new one."""
        ...

    async def update(self, entity: OutgoingMention) -> Any:
        """Replace what is kept of its source and target."""
        ...

    async def get(self, entity: OutgoingMention) -> Any | None:
        """What is kept of its source and target with its `sha`, or None."""
        ...

    async def exists(self, entity: OutgoingMention) -> bool:
        """Whether `get` would find something."""
        ...


class Claimed(msgspec.Struct, frozen=True):
    """A mention that is this worker's until its lease ends; `token` proves it to `settle`."""

    mention: OutgoingMention
    token: str


@runtime_checkable
class Outbox(Storage, Protocol):
    """The larger protocol: removal notices, retries in the background, several workers, lists.

    A mention is one row by source and target, whatever its `sha`.
    """

    async def put(self, entities: Sequence[OutgoingMention]) -> None:
        """Keep or replace all of them in one step, each due at its `next_attempt` (None: never). Leases on them end."""
        ...

    async def of(self, source_url: str) -> Sequence[OutgoingMention]:
        """All of one source."""
        ...

    async def claim(
        self, *, lease: float, limit: int = 1, source_url: str | None = None
    ) -> Sequence[Claimed]:
        """Those that are due, the longest due first, leased for so many seconds; never one that another holds."""
        ...

    async def settle(self, claimed: Claimed, entity: OutgoingMention) -> bool:
        """Keep what became of it, due at its `next_attempt`; False, and nothing is kept, where the lease was lost."""
        ...

    async def page(
        self, *, status: Status | None = None, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, OutgoingMention]]:
        """The newest first, each with its number, below `after`."""
        ...

    async def count(self, statuses: Sequence[Status]) -> Sequence[int]:
        """How many there are of each."""
        ...

    async def next_due(self) -> float | None:
        """Seconds until one is due, 0 if one is; None: none will be."""
        ...
