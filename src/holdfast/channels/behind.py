"""Messages that are shown before they are stored: one line a topic, so that they are stored in the order shown.

As long as all goes well a message is handed to the store's queue at once. When
one cannot be stored, those behind it are called back: they leave again once it
is stored, which is tried again and again. Repetition is harmless, for each has
an id. Only where a store refuses one message alone (a Redis without memory) may
those that had left with it be stored before it.

A message that is to be stored first (`keep=True`) and comes while its topic has
a line stands in it too, for it must not overtake what was shown before it. It
leaves when everything before it is stored, and what comes later waits for it.
Where something before it cannot be stored, it fails: whoever waits for it is
told at once, and it was not shown.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from holdfast.channels.driver import Append, Appended
from holdfast.errors import Closed, Overloaded, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub

__all__ = ["BEHIND", "Behind"]

BEHIND: Final = 10_000
"""Messages that stand in lines; one more is `Overloaded`, and is not shown."""
FIRST_REST: Final = 0.1
LONGEST_REST: Final = 2.0


class _Standing:
    """A message in a line."""

    __slots__ = ("op", "storing", "waiter")

    def __init__(self, op: Append, waiter: asyncio.Future[Any] | None = None) -> None:
        self.op = op
        self.waiter = waiter  # whoever wants it stored before it is shown; None: it was shown
        self.storing: asyncio.Future[Any]  # set when it leaves


class Behind:
    """All lines of a `Hub`, by the room's key: a topic has one while there is something in it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.lines: dict[str, _Line] = {}
        self.count = 0

    def check(self) -> None:
        """Raises `Overloaded` where no more may stand in lines."""
        if self.count >= BEHIND:
            raise Overloaded(f"channels: {BEHIND} messages are shown and wait to be stored already")

    def shown(self, op: Append) -> None:
        """Store what was shown, however long that takes."""
        self._stand(_Standing(op))

    def keep(self, op: Append) -> asyncio.Future[Any]:
        """Store it once all that stands in its topic's line is stored, or fail with that."""
        self.check()
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._stand(_Standing(op, waiter))
        return waiter

    def _stand(self, message: _Standing) -> None:
        key = message.op.key
        self.count += 1
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = _Line(self, key)
            work = line.work()
            # Not by the loop's factory: an eager task would end before there is anything to do.
            line.task = asyncio.Task(work, loop=asyncio.get_running_loop(), name="holdfast channels behind")
        line.add(message)

    def failed(self, op: Append) -> None:
        """The store did not store it, as is known before anything else leaves its queue."""
        line = self.lines.get(op.key)
        if line is not None:
            line.hold(op)

    async def drain(self) -> None:
        """Wait until everything that was shown is stored, or cannot be."""
        while self.lines:
            for line in self.lines.values():
                line.hurry()
            await asyncio.wait([line.task for line in self.lines.values()])


class _Line:
    """One topic's.

    INVARIANT: what has left is before what waits, in the order of publication;
    it is of one kind, and nothing leaves behind one that is known to have failed.
    """

    def __init__(self, behind: Behind, key: str) -> None:
        self._behind = behind
        self._hub = behind.hub
        self._key = key
        self._left: deque[_Standing] = deque()  # handed to the store's queue
        self._waiting: deque[_Standing] = deque()
        self._failing = False  # the latest try failed: the next is of one message
        self._last_try = False
        self._resting: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None]

    def add(self, message: _Standing) -> None:
        """It is the last in the line; it leaves now if nothing stands in its way."""
        self._waiting.append(message)
        left = self._left
        alone = len(self._waiting) == 1
        if not self._failing and (not left or (alone and left[-1].waiter is None is message.waiter)):
            self._leave()
        elif message.waiter is not None:
            self.hurry()  # somebody waits, and would ask the store now

    def hurry(self) -> None:
        """Try again now."""
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    def _leave(self) -> None:
        """Hand to the store's queue what may go there: all that is of one kind, or one that shows how things are."""
        waiting = self._waiting
        shown = waiting[0].waiter is None
        self._last_try = self._last_try or self._hub.closing
        while waiting and (waiting[0].waiter is None) is shown:
            message = waiting.popleft()
            if message.waiter is not None and message.waiter.done():
                self._behind.count -= 1  # given up before it left
                continue
            self._left.append(message)
            message.storing = self._begun(message.op)
            if message.waiter is not None:
                _tie(message.storing, message.waiter)
            elif self._failing and not self._last_try:
                break

    def _begun(self, op: Append) -> asyncio.Future[Any]:
        try:
            return self._hub.core.begin(op, len(op.payload))
        except StoreError as exc:
            self._failing = True
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refused.set_exception(exc)
            return refused

    def hold(self, op: Append) -> None:
        """It failed: call back what left behind it."""
        place = next((at for at, each in enumerate(self._left) if each.op is op), None)
        if place is None or self._left[place].waiter is not None:
            return
        self._failing = True
        while len(self._left) > place + 1:
            message = self._left.pop()
            if not message.storing.cancel() and not message.storing.cancelled():
                message.storing.exception()  # it is no news any more
            self._waiting.appendleft(message)

    async def work(self) -> None:
        """See everything stored, in order."""
        rest = FIRST_REST
        try:
            while self._left or self._waiting:
                if not self._left:
                    self._leave()
                    continue
                message = self._left[0]
                if not message.storing.done():
                    await asyncio.wait({message.storing})
                error = _error(message.storing)
                if message.waiter is None and isinstance(error, StoreError):
                    if self._again(message, error):
                        await self._pause(rest)
                        rest = min(rest * 2, LONGEST_REST)
                    continue
                self._left.popleft()
                if message.waiter is None:
                    self._settle(message, error)
                    if error is None:
                        self._failing, rest = False, FIRST_REST
                else:
                    self._behind.count -= 1
        finally:
            del self._behind.lines[self._key]
            for message in (*self._left, *self._waiting):  # the loop itself ends
                self._behind.count -= 1
                if message.waiter is not None:
                    message.waiter.cancel()

    def _again(self, message: _Standing, error: StoreError) -> bool:
        """Back into the line with it; whether to rest before it is tried again. At the end of all it is lost."""
        self.hold(message.op)
        self._left.popleft()
        self._waiting.appendleft(message)
        self._refuse(error)
        if not self._hub.closing:
            self._hub.unavailable("store behind", error)
            return True
        if self._last_try:
            while self._waiting:
                self._settle(self._waiting.popleft(), error)
        return False

    def _refuse(self, error: StoreError) -> None:
        """Tell those who wait for what may not be shown before it is stored."""
        shown: deque[_Standing] = deque()
        for message in self._waiting:
            if message.waiter is None:
                shown.append(message)
                continue
            self._behind.count -= 1
            if not message.waiter.done():
                refused = StoreUnavailable(
                    f"channels: {message.op.event!r}: what was shown before it cannot be stored now"
                )
                refused.__cause__ = error
                message.waiter.set_exception(refused)
        self._waiting = shown

    def _settle(self, message: _Standing, error: BaseException | None) -> None:
        """What was shown is stored, or never will be."""
        self._behind.count -= 1
        op = message.op
        kept: Appended | None = message.storing.result() if error is None else None
        room = self._hub.rooms.get(op.key)
        if room is not None and op.id is not None:
            room.follower.settled(op.id, kept)
        if error is not None:
            self._hub.lost_behind(op.event, error)

    async def _pause(self, rest: float) -> None:
        self._resting = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._resting}, timeout=rest * random.uniform(0.5, 1.0))
        self._resting = None


def _error(storing: asyncio.Future[Any]) -> BaseException | None:
    return Closed("channels: cancelled") if storing.cancelled() else storing.exception()


def _tie(storing: asyncio.Future[Any], waiter: asyncio.Future[Any]) -> None:
    """What becomes of the one becomes of the other: an outcome, or that nobody wants it."""

    def stored(_: object) -> None:
        if waiter.done():
            return
        if storing.cancelled():
            waiter.cancel()
        elif (error := storing.exception()) is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(storing.result())

    storing.add_done_callback(stored)
    waiter.add_done_callback(lambda _: storing.cancel() if waiter.cancelled() else None)
