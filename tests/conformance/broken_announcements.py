"""Drivers that store what they should and announce something else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from holdfast.persist.driver import (
    Clear,
    Create,
    GetRenew,
    Increment,
    Listener,
    Operation,
    Outcome,
    Remove,
    Replace,
    Set,
    Subscription,
    Touch,
)
from holdfast.testing import ManualClock

from .broken_pairs import Paired

Told = list[tuple[str, bool]]


class AnnouncesRefusals(Paired):
    """The announcement follows the statement, whatever that did."""

    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        if isinstance(op, Create | Replace | Remove | Increment):
            return [(op.key, isinstance(op, Remove))]
        return super().says(op, outcome, gone)


class ForgetsToAnnounceRemovals(Paired):
    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        return [] if isinstance(op, Remove) else super().says(op, outcome, gone)


class AnnouncesTwice(Paired):
    """Publishes in the script, and again when the answer is there."""

    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        return super().says(op, outcome, gone) * 2


class AnnouncesEveryStatement(Paired):
    """A trigger on UPDATE."""

    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        if isinstance(op, Touch | GetRenew):
            return [(op.key, False)]
        return super().says(op, outcome, gone)


class AnnouncesDeletedRows(Paired):
    """A trigger on DELETE: what expired long ago is removed once more."""

    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        return [(op.key, True)] if isinstance(op, Remove) else super().says(op, outcome, gone)


class AnnouncesLocks(Paired):
    """Every family, as if it were values."""

    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        if isinstance(op, Set | Create | Replace | Increment) and outcome:
            namespace, _, rest = op.key.partition(":")
            return [(op.key if rest.startswith("p:") else f"{namespace}:p:{rest}", False)]
        return super().says(op, outcome, gone)


class TellsOnlyOthers(Paired):
    """Skips what it said itself."""

    def tell(self, key: str, removed: bool) -> None:
        for listener in self.ears:
            if listener not in self.mine:
                listener.changed(key, removed)


class SplitsAtLineBreaks(Paired):
    """Line by line is how it reads what it hears."""

    def tell(self, key: str, removed: bool) -> None:
        super().tell(key.split("\n", 1)[0], removed)


class CutsLongAnnouncements(Paired):
    """What does not fit into 8,000 bytes is left out."""

    told = 0

    def tell(self, key: str, removed: bool) -> None:
        self.told += len(key)
        if self.told < 8_000:
            super().tell(key, removed)


class ClearsInSilence(Paired):
    def says(self, op: Operation, outcome: Outcome, gone: Sequence[str]) -> Told:
        return [] if isinstance(op, Clear) else super().says(op, outcome, gone)


class AnnouncesBeforeItStores(Paired):
    """Two round trips: the first one tells."""

    async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Outcome]:
        for op in batch:
            if self.announces and isinstance(op, Set | Remove):
                super().tell(op.key, isinstance(op, Remove))
                await asyncio.sleep(0.005)
        return await super()._pass(batch, lane, number)

    def tell(self, key: str, removed: bool) -> None:
        """It was told already."""


class AnnouncesLaterInAnyOrder(Paired):
    """After the commit, each change in a task of its own."""

    def tell(self, key: str, removed: bool) -> None:
        asyncio.get_running_loop().call_later(0.0 if removed else 0.002, super().tell, key, removed)


class ForgetsTheInnerNamespace(Paired):
    def tell(self, key: str, removed: bool) -> None:
        namespace, _, rest = key.partition(":")
        super().tell(f"{namespace.partition('/')[0]}:{rest}", removed)


class BeginsLate(Paired):
    """SUBSCRIBE was sent; nobody waited for the confirmation."""

    async def subscribe(self, listener: Listener) -> Subscription:
        subscription = await super().subscribe(listener)
        self.ears.remove(listener)
        asyncio.get_running_loop().call_later(0.005, self.ears.append, listener)
        return subscription

    async def close(self) -> None:
        self.ears.clear()
        self.mine.clear()


class AnnouncesUnasked(Paired):
    """Always, `watch=True` or not."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.announces = True


class TellsTheLatestListenerAlone(Paired):
    def tell(self, key: str, removed: bool) -> None:
        for listener in self.ears[-1:]:
            listener.changed(key, removed)


class StaysDeafWhenOpenedAgain(Paired):
    closed = False

    async def close(self) -> None:
        self.closed = True
        await super().close()

    async def subscribe(self, listener: Listener) -> Subscription:
        subscription = await super().subscribe(listener)
        if self.closed:
            self.ears.remove(listener)
            self.mine.remove(listener)
        return subscription
