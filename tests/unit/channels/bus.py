"""Processes on one store, in one process: drivers that share their logs, and a bus between them that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Entry,
    Listener,
    Operation,
    Outcome,
    Send,
    Subscription,
)

from .gated import GatedDriver


class Bus:
    """What one driver says, the others hear: in the next turn, or as a test wants it.

    `carries`: whether an announcement has the message with it. `lose` names keys
    whose announcements are lost, `copies` is how often each comes; while `held`
    is a list they wait there, to be called by the test in any order.
    """

    def __init__(self, *, carries: bool = True) -> None:
        self.carries = carries
        self.followings: list[_Following] = []
        self.lose: Callable[[str], bool] = lambda key: False
        self.copies = 1
        self.held: list[Callable[[], None]] | None = None
        self.first = BusDriver(self)

    def driver(self) -> BusDriver:
        """One more process."""
        other = BusDriver(self)
        other._logs = self.first._logs
        return other

    def say(self, sender: BusDriver, key: str, call: Callable[[Listener], None]) -> None:
        for following in self.followings:
            if following.driver is sender or key not in following.keys or self.lose(key):
                continue
            for _ in range(self.copies):
                hear = _Heard(call, following.listener)
                if self.held is None:
                    asyncio.get_running_loop().call_soon(hear)
                else:
                    self.held.append(hear)

    def release(self) -> None:
        """Let what waits come, in the order in which it was said."""
        held, self.held = self.held or [], None
        for hear in held:
            hear()


class _Heard:
    def __init__(self, call: Callable[[Listener], None], listener: Listener) -> None:
        self.call, self.listener = call, listener

    def __call__(self) -> None:
        self.call(self.listener)


class _Following:
    def __init__(self, driver: BusDriver, listener: Listener) -> None:
        self.driver, self.listener = driver, listener
        self.keys: set[str] = set()

    async def follow(self, key: str) -> None:
        await asyncio.sleep(0)
        self.driver.followed.append(key)
        self.keys.add(key)

    async def unfollow(self, key: str) -> None:
        await self.driver.unfollowing.wait()
        self.driver.followed.append("-" + key)
        self.keys.discard(key)

    async def close(self) -> None:
        self.driver.bus.followings.remove(self)


class BusDriver(GatedDriver):
    """A memory driver that announces; it does not hear itself."""

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.bus = bus
        self.traits = msgspec.structs.replace(self.traits, name="bus", shared="machine", notifies="push")
        self.followed: list[str] = []  # and unfollowed, with a minus
        self.unfollowing = asyncio.Event()
        self.unfollowing.set()

    async def subscribe(self, listener: Listener) -> Subscription:
        following = _Following(self, listener)
        self.bus.followings.append(following)
        return following

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        outcomes = await super().apply(batch, lane)
        for op, outcome in zip(batch, outcomes, strict=True):
            self._announce(op, outcome)
        return outcomes

    def _announce(self, op: Operation, outcome: Outcome) -> None:
        key, bus = op.key, self.bus
        if isinstance(op, Send):
            data = op.data
            bus.say(self, key, lambda listener: listener.sent(key, data))
        elif isinstance(op, Append) and isinstance(outcome, Appended) and not outcome.repeated:
            entry = Entry(outcome.offset, op.id, op.event, op.payload, outcome.at)
            self._kept(key, outcome.epoch, outcome.offset, entry)
        elif isinstance(outcome, Changed) and outcome.entry.changed is not None:
            self._kept(key, outcome.epoch, outcome.entry.changed, outcome.entry)

    def _kept(self, key: str, epoch: str, last: int, entry: Entry) -> None:
        carried = entry if self.bus.carries else None
        self.bus.say(self, key, lambda listener: listener.kept(key, epoch, last, carried))
