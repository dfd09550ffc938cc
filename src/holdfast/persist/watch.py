"""`watch`: changes as they happen, for whoever asked, in any process that announces its own.

All watchers of a `Persist` share one subscription of its driver. It begins with
the first of them and ends with the last. Each has a queue of its own, bounded:
who reads too slowly loses its oldest changes and is told so, and nobody waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from holdfast.errors import Closed
from holdfast.persist.driver import Notifying, Subscription
from holdfast.persist.lease import Spawn

__all__ = ["MAX_CHANGES", "Change", "Watch", "Watchers"]

MAX_CHANGES: Final = 1_024
"""That wait for one watcher; one more, and all of them are `lost`."""


class Change(msgspec.Struct, frozen=True):
    """What happened to one value; `lost`: to some, and nobody can say to which."""

    kind: Literal["set", "removed", "lost"]
    key: str | None  # as the caller knows it; None where `kind` is "lost"


LOST: Final = Change("lost", None)


class Inbox:
    """What waits for one watcher."""

    __slots__ = ("changes", "cut", "ended", "place", "start", "waiter")

    def __init__(self, place: str, prefix: str) -> None:
        self.place = place  # what the keys of its namespace start with
        self.cut = len(place)
        self.start = place + prefix
        self.changes: deque[Change] = deque()
        self.waiter: asyncio.Future[None] | None = None  # of who waits for a change
        self.ended = False

    def put(self, change: Change) -> None:
        if len(self.changes) >= MAX_CHANGES:
            self.lose()
        self.changes.append(change)
        self._wake()

    def lose(self) -> None:
        """Whoever is told that something was lost looks at everything anew: what waits says nothing more."""
        self.changes.clear()
        self.changes.append(LOST)
        self._wake()

    def end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Watchers:
    """The watchers of one open `Persist`, and their subscription: the driver's `Listener`."""

    def __init__(self, driver: Notifying, spawn: Spawn) -> None:
        self._driver = driver
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._inboxes: dict[str, list[Inbox]] = {}  # by the start of their namespace's keys
        # INVARIANT: who subscribes or unsubscribes has the turn; there is a subscription
        # while there are inboxes and nobody has the turn.
        self._turn = asyncio.Lock()
        self._subscription: Subscription | None = None
        self._closed = False

    async def join(self, inbox: Inbox) -> None:
        """Put what is announced from now on into the inbox too; raises what `subscribe` raises."""
        there = self._inboxes.setdefault(inbox.place, [])
        if inbox not in there:
            there.append(inbox)  # first: what is heard while others wait for their turn is its own too
        try:
            async with self._turn:
                if self._closed:
                    raise Closed("watch: closed")
                if self._subscription is None:
                    self._subscription = await self._driver.subscribe(self)
        except BaseException:
            self.leave(inbox)
            raise

    def leave(self, inbox: Inbox) -> None:
        """Put nothing more into it. Twice is once."""
        there = self._inboxes.get(inbox.place, [])
        if inbox not in there:
            return
        there.remove(inbox)
        if not there:
            del self._inboxes[inbox.place]
        if not self._inboxes and not self._closed:
            self._spawn(self._unsubscribe(), "holdfast watch end", finish=True)

    def abandon(self, inbox: Inbox) -> None:
        """`leave`, from whatever thread collects garbage."""
        try:
            self._loop.call_soon_threadsafe(self.leave, inbox)
        except RuntimeError:
            pass  # the loop was closed, and everything with it

    async def close(self) -> None:
        """Hear nothing more; every watcher comes to its end when it has read what it has."""
        self._closed = True
        try:
            await self._unsubscribe()
        finally:
            inboxes, self._inboxes = self._inboxes, {}
            for there in inboxes.values():
                for inbox in there:
                    inbox.end()

    async def _unsubscribe(self) -> None:
        async with self._turn:
            if self._closed or not self._inboxes:
                subscription, self._subscription = self._subscription, None
                if subscription is not None:
                    await subscription.close()

    # --- what the driver tells ---

    def changed(self, key: str, removed: bool) -> None:
        there = self._inboxes.get(key[: key.find(":") + 3])
        if there is not None:
            change = None
            for inbox in there:
                if key.startswith(inbox.start):
                    if change is None:
                        change = Change("removed" if removed else "set", key[inbox.cut :])
                    inbox.put(change)

    def lost(self) -> None:
        for there in self._inboxes.values():
            for inbox in there:
                inbox.lose()


class Watch:
    """Changes to the values of one namespace whose keys start with a prefix; `Persist.watch` makes it.

    ::

        async for change in persist.watch("user:"): ...      # begins with the first step

        async with persist.watch("user:") as changes:        # begins here
            ...                                              # what is read now is not out of date unnoticed
            async for change in changes: ...

    Once `start` has returned (`async with` and the first step of `async for`
    call it), every change is seen whose writer was answered after that, and
    perhaps some that were under way. Without `async with`, watching ends when
    the iterator is dropped: by leaving the loop, or with the task that runs it.
    A step that is cancelled loses nothing, so a step may be given a time-out.
    One task at a time may wait for the next change.
    """

    def __init__(self, watchers: Watchers, place: str, prefix: str) -> None:
        self._watchers = watchers
        self._inbox = Inbox(place, prefix)
        self._started = False

    async def start(self) -> Self:
        """Begin now; what was begun goes on.

        Raises:
            StoreUnavailable: the store cannot be listened to; nothing was begun, and it may be tried again.
            StoreMisconfigured: nor can it ever, as it is set up.
            Closed: the `Persist` was closed.
        """
        if not self._started and not self._inbox.ended:
            await self._watchers.join(self._inbox)
            self._started = True
        return self

    async def aclose(self) -> None:
        """See nothing more: the iteration ends at once. Twice is once."""
        self._watchers.leave(self._inbox)
        self._inbox.changes.clear()
        self._inbox.end()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        if not self._started:
            await self.start()
        inbox = self._inbox
        del self  # the traceback of a cancelled step would keep it, and so the watching, alive
        while not inbox.changes:
            if inbox.ended:
                raise StopAsyncIteration
            if inbox.waiter is not None:
                raise RuntimeError("watch: another task waits for the next change already")
            inbox.waiter = asyncio.get_running_loop().create_future()
            try:
                await inbox.waiter
            finally:
                inbox.waiter = None
        return inbox.changes.popleft()

    def __del__(self) -> None:
        if self._started and not self._inbox.ended:
            self._watchers.abandon(self._inbox)
