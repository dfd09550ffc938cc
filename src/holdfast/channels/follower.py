"""Keeps one room up to date with its log: loads it, takes what is announced, reads what it missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from holdfast.channels import protocol
from holdfast.channels.driver import Append, Appended, Entry, Log, Operation, Read
from holdfast.channels.recovery import Position, Step, recoverable, steps
from holdfast.channels.room import RING, Room, change_tail, said
from holdfast.errors import Closed, StoreError, StoreUnavailable

__all__ = ["Follower", "Run", "missed"]

Run: TypeAlias = Callable[[Operation], Awaitable[Any]]
PAGE: Final = 500
EARLY: Final = 10_000
"""Messages that may wait for one before them; beyond, they are read again."""
FIRST_REST: Final = 0.05
LONGEST_REST: Final = 2.0
PATIENCE: Final = 5.0
"""Seconds that a client may wait until its room is where it has been already."""


class Follower:
    """One room's; see `Room` for what it keeps true.

    Args:
        run: performs an operation on the store.
        spawn: starts a task that somebody owns.
        broken: called where members can no longer be brought up to date here:
            they must join anew, and are told what is lost.
    """

    def __init__(
        self,
        room: Room,
        run: Run,
        spawn: Callable[..., asyncio.Task[Any]],
        broken: Callable[[Room], None],
        most: int,
    ) -> None:
        self.room = room
        self._run = run
        self._spawn = spawn
        self._broken = broken
        self._most = most
        self._early: dict[int, tuple[str, Entry, bool]] = {}
        self._loaded = False
        # INVARIANT: while a task is here, nobody else reads the log on behalf of all members.
        self._reading: asyncio.Task[None] | None = None
        self._cleared: str | None = None  # the epoch of the log that was there before
        self._again = False  # something was announced that the reading under way may not have seen
        self._resting: asyncio.Future[None] | None = None  # ended early when the store is heard of
        self._asked: dict[Position, asyncio.Future[Log | None]] = {}
        room.follower = self
        self.behind: dict[str, Append] = {}  # by id, what was shown and is not known to be stored yet

    # --- the beginning ---

    async def load(self) -> None:
        """Read how far the log is, and the latest of it. Raises `StoreError`; may then be tried again."""
        room = self.room
        log: Log = await self._run(Read(room.key, max(RING, 2 * room.route.history)))
        room.restart(log.epoch or "")
        for entry in log.entries:
            room.ring.append(said(room.topic, room.epoch, entry))
        room.last = room.changed = log.last
        room.whole = len(log.entries) < max(RING, 2 * room.route.history)
        room.floor = log.trimmed if room.whole or not log.entries else log.entries[0].offset - 1
        self._loaded = True
        self._drain()

    def wake(self) -> None:
        """Somebody is here: read what nobody wanted while the room was empty, or what came while it was loaded."""
        if self._again:
            self.catch_up()

    def restart(self) -> None:
        """The log was cleared: the next message begins another."""
        for _, entry, _ in self._early.values():
            self.behind.pop(entry.id or "", None)
        self._early.clear()
        self._cleared = self.room.epoch or self._cleared
        self.room.restart("")

    # --- what is announced, by this process or another ---

    def hear(self, epoch: str, offset: int, entry: Entry | None, change: bool = False) -> None:
        """The log reaches `offset` now; `entry` is what happened there, if it came along."""
        room = self.room
        if self._loaded and epoch == room.epoch:
            if offset <= room.last:
                return
            if entry is not None and offset == room.last + 1:
                self._advance(Step(offset, entry, change))
                if self._early:
                    self._drain()
                return
        elif self._loaded and room.epoch == "" and offset == 1 and entry is not None:
            if epoch == self._cleared:
                return  # an echo of what was cleared
            room.epoch = epoch
            self._advance(Step(offset, entry, change))
            if self._early:
                self._drain()
            return
        if entry is not None and len(self._early) < EARLY:
            self._early[offset] = (epoch, entry, change)
        elif not self._loaded:
            self._again = True  # the reading under way may be of before it
        if self._loaded:
            if self._resting is not None and not self._resting.done():
                self._resting.set_result(None)  # it is back: at a full pace a second more is thousands behind
            self.catch_up()

    def _advance(self, step: Step) -> None:
        if self.behind and step.entry.id in self.behind:
            self._advance_shown(step)
        else:
            self.room.advance(step)

    def _advance_shown(self, step: Step) -> None:
        """The same for what was shown before it was stored; members are told if it is no longer as they saw it."""
        room, entry = self.room, step.entry
        self.behind.pop(entry.id or "", None)
        room.advance(step, shown=True)
        if entry.changed is not None and not step.change:
            change = Step(step.offset, entry, True)
            room.show(protocol.broadcast(change_tail(room.topic, room.epoch, change)))

    def settled(self, id: str, kept: Appended | None) -> None:
        """What was shown first is stored, or never will be."""
        room = self.room
        # Where what is before it has yet to be read, the room comes to it later, and must know it then. But not
        # where it is of another log, or of one that was cleared before the room came to it.
        if kept is not None and kept.offset > room.last and self._comes_to(kept.epoch):
            return
        self.behind.pop(id, None)

    def _comes_to(self, epoch: str) -> bool:
        """Whether the room may yet read a log of this epoch without being broken."""
        here = self.room.epoch
        return epoch == here if here else epoch != self._cleared

    def _drain(self) -> None:
        """Show what came before its turn."""
        room = self.room
        while self._early:
            found = self._early.pop(room.last + 1, None)
            if found is None:
                break
            epoch, entry, change = found
            if epoch != room.epoch and room.epoch != "":
                self.catch_up()
                break
            room.epoch = epoch
            self._advance(Step(room.last + 1, entry, change))
        if self._early:
            self._early = {at: each for at, each in self._early.items() if at > room.last}
            if self._early:
                self.catch_up()

    def catch_up(self) -> None:
        """Read what was missed, if nobody does so already."""
        self._again = True
        if self._loaded and self._reading is None:
            self._reading = self._spawn(self._catch_up(), f"holdfast channels catch up {self.room.topic}")

    async def _catch_up(self) -> None:
        rest = FIRST_REST
        try:
            while self._again and (len(self.room) or self.room.entering):
                self._again = False
                try:
                    await self._read_on()
                    rest = FIRST_REST
                except StoreError:  # whoever publishes is told; members wait for the store to come back
                    self._again = True
                    self._resting = asyncio.get_running_loop().create_future()
                    await asyncio.sleep(FIRST_REST * random.uniform(0.5, 1.0))
                    await asyncio.wait(
                        {self._resting}, timeout=(rest - FIRST_REST) * random.uniform(0.5, 1.0)
                    )
                    rest = min(rest * 2, LONGEST_REST)
        finally:
            self._reading = None

    async def _read_on(self) -> None:
        room = self.room
        position = room.position
        log = await missed(self._run, room.key, position, self._most)
        if room.epoch != position.epoch and (log is None or log.epoch != room.epoch):
            self._again = True  # the log began, or was cleared, meanwhile
            return
        if log is None:
            self._broken(room)
            return
        if room.epoch == "" and log.epoch is not None:
            room.epoch = log.epoch
        for step in steps(log.entries, room.last):
            self._advance(step)
        room.last = max(room.last, log.last)
        for entry in log.entries:  # shown as it is now, or not at all: others saw it before
            room.changed = max(room.changed, entry.changed or 0)
        self._early = {at: each for at, each in self._early.items() if each[0] == room.epoch}
        self._drain()

    def is_before(self, position: Position) -> bool:
        """Whether a client may have been where this room has not been yet: with another process."""
        room = self.room
        return position.epoch != "" and (position.epoch != room.epoch or position.offset > room.last)

    async def reach(self, position: Position) -> None:
        """Read on to where a client has been, or it would be shown again what it has seen.

        Where the log does not hold what came after the position, nothing is done.

        Raises:
            StoreError: the log cannot be read, or not in time.
        """
        if await self.since(position, 0) is None:
            return
        self.catch_up()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=PATIENCE)
        if self.is_before(position):
            raise StoreUnavailable(f"channels: {self.room.topic!r} is not up to date here yet")

    # --- one member's past ---

    async def since(self, position: Position, at: int) -> Log | None:
        """What happened after a position, up to `at` at least; None: it is no longer all there.

        One question serves all who ask it, but for those to whom its answer is
        too old: what was shown up to `at` before they asked is not to come again.
        """
        while True:
            asked = self._asked.get(position)
            own = asked is None or asked.done()
            if asked is None or own:
                work = self._spawn(
                    missed(self._run, self.room.key, position, self._most), "holdfast channels resume"
                )
                asked = self._asked[position] = work
                work.add_done_callback(lambda done: self._answered(position, done))
            try:
                log: Log | None = await asyncio.shield(asked)
            except asyncio.CancelledError:
                if asked.cancelled():
                    raise Closed("channels: closed while a client was brought up to date") from None
                raise
            if log is None or log.last >= at:
                return log
            if own:
                return None  # asked after it was shown: the store has forgotten what it acknowledged

    def _answered(self, position: Position, done: asyncio.Future[Log | None]) -> None:
        if self._asked.get(position) is done:
            del self._asked[position]


async def missed(run: Run, key: str, since: Position, most: int) -> Log | None:
    """Everything after a position, by as many reads as it takes; None: it is no longer all there, or over `most`."""
    after = since.offset
    found: list[Entry] = []
    epoch: str | None = None
    while True:
        log: Log = await run(Read(key, min(PAGE, most + 1), changes_after=after))
        if not recoverable(since, log.epoch, log.last, log.trimmed) or (epoch or log.epoch) != log.epoch:
            return None
        epoch = log.epoch
        found += log.entries
        if len(found) > most:
            return None
        if len(log.entries) < min(PAGE, most + 1):
            return Log(log.epoch, log.last, log.trimmed, found)
        final = log.entries[-1]
        after = max(final.offset, final.changed or 0)
