"""What is published, heard: one subscribing connection, however many capabilities listen.

The connection is made when the first channel is followed and ends with the last
`Ear`. Between, it comes back by itself: every channel is subscribed again, and
when the server has confirmed all of them each ear is told `lost()`, for what was
published meanwhile was not heard. The server drops a connection that reads too
slowly (`client-output-buffer-limit pubsub`); that is such a loss too, and the
only bound needed: nothing is kept here.

==========  ===========================================================================
idle        nobody follows anything: no connection
reaching    an attempt is under way: `follow` waits, and fails where it fails
up          `follow` waits for the server's confirmation
resting     the time between two attempts: `follow` fails at once
closed      with the engine
==========  ===========================================================================
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

from holdfast import events
from holdfast.engines.redis.subscribed import SubscribedWire
from holdfast.engines.redis.wire import Wire
from holdfast.errors import Closed, StoreError, StoreUnavailable, again

__all__ = ["Ear", "Listening", "Lost"]

Heard: TypeAlias = Callable[[bytes, bytes], None]
Lost: TypeAlias = Callable[[Wire, str], None]


class Ear:
    """One capability's share of the connection; `engine.listen` makes it.

    Args:
        heard: called with channel and data, on the loop. Must not block.
        lost: called when something may have been missed, after every channel is heard again.
    """

    def __init__(self, listening: Listening, heard: Heard, lost: Callable[[], None]) -> None:
        self._listening = listening
        self.heard = heard
        self.lost = lost
        self.channels: set[bytes] = set()  # that this ear was told it follows

    async def follow(self, channel: bytes) -> None:
        """Hear what is published there from now on. Twice is once.

        Raises:
            StoreError: the server was not reached, or refused; nothing is followed.
        """
        await self._listening.follow(self, channel)

    def unfollow(self, channel: bytes) -> None:
        """Hear no more of it; what was on its way may still come. Never raises."""
        self._listening.unfollow(self, channel)

    async def close(self) -> None:
        """Hear nothing more; with the last ear the connection ends. Twice is once."""
        await self._listening.leave(self)


class _Channel:
    """One channel, while somebody follows it or is about to."""

    __slots__ = ("ears", "waiting")

    def __init__(self) -> None:
        self.ears: tuple[Ear, ...] = ()
        self.waiting: list[tuple[Ear, asyncio.Future[None]]] = []


class Listening:
    """The subscribing connection of one engine.

    Args:
        reach: makes a connection that was greeted; the function given is told of its loss.
        rest: seconds before the next attempt, after so many failures.
        steady: seconds that a connection must live to have been one.
        name: what events and errors call the store.
    """

    def __init__(
        self,
        reach: Callable[[Lost], Awaitable[SubscribedWire]],
        rest: Callable[[int], float],
        *,
        steady: float,
        name: str,
    ) -> None:
        self._reach = reach
        self._rest = rest
        self._steady = steady
        self._name = name
        self._state: Literal["idle", "reaching", "up", "resting", "closed"] = "idle"
        self._why: StoreError = Closed(f"{name}: closed")  # what `follow` is told
        self._wire: SubscribedWire | None = None
        self._ears: set[Ear] = set()
        # INVARIANT: while there is a wire, each of these was subscribed on it, or is owed a confirmation.
        self._channels: dict[bytes, _Channel] = {}
        self._behind: set[bytes] = set()  # followed on an earlier wire, and not yet heard on this one
        self._task: asyncio.Task[None] | None = None

    def ear(self, heard: Heard, lost: Callable[[], None]) -> Ear:
        """A listener that follows nothing yet."""
        ear = Ear(self, heard, lost)
        self._ears.add(ear)
        return ear

    async def close(self) -> None:
        """Hear nothing more; whoever waits is told. Twice is once."""
        if self._state != "closed":
            await self._end("closed")

    def moved(self, peer: Any) -> None:
        """The commands go to this place now. Announcements of another are not those of our writes."""
        wire = self._wire
        if wire is not None and wire.peer != peer:
            wire.fail("commands go to another server now")

    # --- ears ---

    async def follow(self, ear: Ear, channel: bytes) -> None:
        if self._state == "closed" or ear not in self._ears:
            raise Closed(f"{self._name}: closed")
        if channel in ear.channels:
            return
        if self._state == "resting":
            raise again(self._why)
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = _Channel()
            if self._wire is not None:
                self._wire.subscribe(channel)
        if self._wire is not None and not self._wire.owes(channel):
            self._follows(known, ear, channel)
            return
        if self._task is None:
            self._state = "reaching"
            self._task = asyncio.get_running_loop().create_task(
                self._keep(), name=f"holdfast {self._name} listening"
            )
        waiter = asyncio.get_running_loop().create_future()
        known.waiting.append((ear, waiter))
        try:
            await waiter
        finally:
            if (ear, waiter) in known.waiting:  # given up
                known.waiting.remove((ear, waiter))
                self._forget(known, channel)

    def unfollow(self, ear: Ear, channel: bytes) -> None:
        known = self._channels.get(channel)
        if known is None:
            return
        ear.channels.discard(channel)
        known.ears = tuple(each for each in known.ears if each is not ear)
        for each, waiter in known.waiting:
            if each is ear and not waiter.done():
                waiter.set_exception(StoreUnavailable(f"{self._name}: unfollowed meanwhile"))
        self._forget(known, channel)

    async def leave(self, ear: Ear) -> None:
        self._ears.discard(ear)
        for channel, known in list(self._channels.items()):
            if channel in ear.channels or known.waiting:
                self.unfollow(ear, channel)
        if not self._ears and self._state != "closed":
            await self._end("idle")

    def _follows(self, known: _Channel, ear: Ear, channel: bytes) -> None:
        if channel not in ear.channels:
            ear.channels.add(channel)
            known.ears = (*known.ears, ear)

    def _forget(self, known: _Channel, channel: bytes) -> None:
        """Nothing more of this channel, if nobody follows it or is about to."""
        if known.ears or known.waiting or self._channels.get(channel) is not known:
            return
        del self._channels[channel]
        if self._wire is not None:
            self._wire.unsubscribe(channel)
        self._caught_up(channel)

    def _refuse(self, error: StoreError) -> None:
        """Tell everyone who waits for a confirmation that it will not come."""
        for channel, known in list(self._channels.items()):
            self._turn_away(known, channel, error)

    def _turn_away(self, known: _Channel, channel: bytes, error: Exception) -> None:
        waiting, known.waiting = known.waiting, []
        for _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(again(error))
        self._forget(known, channel)

    # --- the connection ---

    async def _keep(self) -> None:
        """Have a connection, for as long as somebody follows something when one is to be made."""
        loop = asyncio.get_running_loop()
        failures = attempts = 0
        while True:
            rest = self._rest(failures)
            if rest:
                self._state = "resting"
                self._refuse(self._why)
                await asyncio.sleep(rest)
            if not self._channels:
                break
            self._state = "reaching"
            attempts += 1
            gone: asyncio.Future[str] = loop.create_future()
            try:
                wire = await self._reach(lambda wire, reason, gone=gone: _tell(gone, reason))  # type: ignore[misc]
            except StoreError as fault:
                failures += 1
                self._why = fault
                self._refuse(fault)
                continue
            try:
                began = time.monotonic()
                self._arrived(wire, attempts)
                reason = await gone
            finally:
                if self._wire is wire:  # or `_end` was here, and another may have come
                    self._wire = None
                await wire.close()
            failures = 1 if time.monotonic() - began >= self._steady else failures + 1
            attempts = 0
            self._why = StoreUnavailable(f"{self._name}: not connected: {reason}")
            self._refuse(self._why)
            if events.listeners:
                events.publish(events.Disconnected(self._name, f"listening: {reason}"))
        self._state, self._task = "idle", None

    def _arrived(self, wire: SubscribedWire, attempts: int) -> None:
        self._wire, self._state = wire, "up"
        wire.listen(self)
        if events.listeners:
            events.publish(events.Connected(self._name, attempts))
        self._behind = {channel for channel, known in self._channels.items() if known.ears}
        for channel in self._channels:
            wire.subscribe(channel)

    async def _end(self, state: Literal["idle", "closed"]) -> None:
        task, self._task = self._task, None
        self._wire, self._state = None, state
        self._refuse(Closed(f"{self._name}: closed"))
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    # --- what the wire tells ---

    def heard(self, channel: bytes, data: bytes) -> None:
        known = self._channels.get(channel)
        for ear in () if known is None else known.ears:
            try:
                ear.heard(channel, data)
            except Exception as exc:  # noqa: BLE001 - its own fault, not that of what comes behind
                self._complain(exc)

    def confirmed(self, channel: bytes) -> None:
        known = self._channels.get(channel)
        if known is not None:
            waiting, known.waiting = known.waiting, []
            for ear, waiter in waiting:
                if not waiter.done():
                    self._follows(known, ear, channel)
                    waiter.set_result(None)
            self._forget(known, channel)  # all of them had given up
        self._caught_up(channel)

    def refused(self, channel: bytes, error: Exception) -> None:
        known = self._channels.get(channel)
        if known is not None:
            if known.ears and self._wire is not None:
                self._wire.fail(str(error))  # who follows it already must not go deaf without a word
            self._turn_away(known, channel, error)

    def _caught_up(self, channel: bytes) -> None:
        """One channel fewer to be heard again; after the last, ears are told that they missed something."""
        if channel not in self._behind:
            return
        self._behind.discard(channel)
        if not self._behind:
            for ear in list(self._ears):
                if ear.channels:
                    try:
                        ear.lost()
                    except Exception as exc:  # noqa: BLE001 - the same
                        self._complain(exc)

    def _complain(self, exc: Exception) -> None:
        told = {"message": f"{self._name}: a listener failed", "exception": exc}
        asyncio.get_running_loop().call_exception_handler(told)


def _tell(gone: asyncio.Future[str], reason: str) -> None:
    if not gone.done():
        gone.set_result(reason)
