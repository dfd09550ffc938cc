"""A topic in this process: its members, how far its log has been shown to them, and the latest of it.

What is shown in one turn of the event loop is one write for each member. A push
to one member alone takes its place among the broadcasts of that turn; a reply
comes behind all of them, so that most members get the same bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.channels import protocol
from holdfast.channels.counts import Counts
from holdfast.channels.driver import Append, Entry
from holdfast.channels.protocol import Frame
from holdfast.channels.recovery import EDITED, REMOVED, Position, Step

if TYPE_CHECKING:
    from holdfast.channels.follower import Follower
    from holdfast.channels.joined import Joined
    from holdfast.channels.routing import Route
    from holdfast.channels.socket import Socket

__all__ = ["RING", "Marks", "Room", "Said", "change_tail", "said", "unstored"]

RING: Final = 32
"""Messages that a room has at hand, at least: joins and short absences then ask the store nothing."""


class Marks(msgspec.Struct, omit_defaults=True, gc=False):
    """The field `_holdfast` of a kept event."""

    id: str
    position: str
    at: int | None = None  # milliseconds since 1970 when it was said
    edited: bool = False


class Said(msgspec.Struct, gc=False):
    """A message as members get it."""

    offset: int
    id: str
    tail: bytes


def said(topic: str, epoch: str, entry: Entry) -> Said:
    """The message with its marks, encoded once for live and replay alike."""
    position = f"{entry.offset}~{epoch}"
    id = entry.id or position
    payload = protocol.marked(
        entry.payload or b"{}", Marks(id, position, entry.at, entry.changed is not None)
    )
    return Said(entry.offset, id, protocol.tail(topic, entry.event, payload))


def unstored(topic: str, op: Append, position: Position) -> bytes:
    """A message as members get it before it is stored.

    Its own position is not known yet; this one is before it, so that whoever
    comes back with it misses nothing and may see this one again.
    """
    return protocol.tail(topic, op.event, protocol.marked(op.payload, Marks(op.id or "", str(position))))


class Room:
    """Members and what they are shown; who keeps it up to date is its `Follower`.

    INVARIANT: everything up to `last` was handed to every member that was here
    when it came; `ring` holds the live messages with an offset above `floor`, in order.
    """

    __slots__ = (
        "_counts",
        "_late",
        "_loop",
        "_pending",
        "_scheduled",
        "_special",
        "changed",
        "entering",
        "epoch",
        "floor",
        "follower",
        "held",
        "idle_since",
        "key",
        "last",
        "plain",
        "raw",
        "ready",
        "ring",
        "route",
        "sent",
        "topic",
        "whole",
    )

    def __init__(
        self, topic: str, key: str, route: Route, loop: asyncio.AbstractEventLoop, counts: Counts
    ) -> None:
        self.topic = topic
        self.key = key
        self.route = route
        self._loop = loop
        self._counts = counts
        self.sent = 0
        # Members by how they are written to: with bytes for the wire, or frame by frame.
        self.raw: dict[Socket, Joined] = {}
        self.plain: dict[Socket, Joined] = {}
        self.held: dict[Socket, list[Frame]] = {}  # members whose history is still being read
        self._pending: list[Frame] = []
        self._late: dict[Socket, list[Frame]] = {}  # replies, for the end of the turn
        self._special: dict[Socket, list[tuple[int, Frame | None]]] = {}
        self._scheduled = False
        self.epoch = ""
        self.last = 0
        self.floor = 0
        self.whole = False  # the ring holds everything that lives in the log
        self.changed = 0  # no change of a message that is not in the ring has a higher offset
        self.ring: deque[Said] = deque()
        self.follower: Follower
        self.ready: asyncio.Task[None]  # loads it; failed, the room is gone again
        self.entering = 0  # who waits for it, or was let in and is not yet a member
        self.idle_since = 0  # the hub's second in which its last member went

    def __len__(self) -> int:
        return len(self.raw) + len(self.plain)

    @property
    def position(self) -> Position:
        return Position(self.last, self.epoch)

    def members(self) -> Iterable[Joined]:
        yield from list(self.raw.values())
        yield from list(self.plain.values())

    # --- who is here ---

    def add(self, joined: Joined, *, hold: bool = False) -> None:
        """From now on it gets what comes; with `hold` it is put aside until `release`."""
        self.flush()
        socket = joined.socket
        (self.raw if socket.raw else self.plain)[socket] = joined
        if hold:
            self.held[socket] = []

    def release(self, socket: Socket, first: list[Frame]) -> None:
        """Send `first`, then what came meanwhile."""
        self.flush()
        frames = first + self.held.pop(socket, [])
        if frames:
            socket.send_past(frames)

    def drop(self, joined: Joined) -> None:
        socket = joined.socket
        members = self.raw if socket.raw else self.plain
        if members.get(socket) is joined:
            self.flush()
            members.pop(socket, None)
            self.held.pop(socket, None)

    # --- what they are shown ---

    def show(self, frame: Frame, *, but: Socket | None = None) -> None:
        """To every member, at the end of this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn_ended)
        if but is not None:
            self._special.setdefault(but, []).append((len(self._pending), None))
        self._pending.append(frame)

    def reply(self, socket: Socket, frame: Frame) -> None:
        """To one member, behind what is shown to all in this turn, and before whatever `tell` says next."""
        if self._pending:
            self._late.setdefault(socket, []).append(frame)
        else:
            self.tell(socket, frame)

    def tell(self, socket: Socket, frame: Frame) -> None:
        """To one member, behind what was shown to all before."""
        if self._pending:
            place = len(self._pending)
            marks = self._special.setdefault(socket, [])
            marks += [(place, late) for late in self._late.pop(socket, ())]
            marks.append((place, frame))
        elif socket in self.held:
            self.held[socket].append(frame)
        else:
            socket.send(frame)

    def _turn_ended(self) -> None:
        # Handlers that were woken by the same commit answer within this turn:
        # their replies go out in the same write.
        self._loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Hand out what is pending now."""
        frames = self._pending
        if not frames:
            return
        self._pending = []
        self._counts.sent += len(frames) * len(self)
        self.sent += len(frames)
        special, late = self._special, self._late
        if special or late or self.held:
            self._special, self._late = {}, {}
            self._flush_apart(frames, special, late)
            return
        if self.raw:
            data = frames[0].wire if len(frames) == 1 else b"".join([frame.wire for frame in frames])
            for socket in self.raw:
                socket.write(data)
        for socket in self.plain:
            socket.send_all(frames)

    def _flush_apart(
        self,
        frames: list[Frame],
        special: dict[Socket, list[tuple[int, Frame | None]]],
        late: dict[Socket, list[Frame]],
    ) -> None:
        """The same where members get different things, each in one write."""
        data = b"".join([frame.wire for frame in frames]) if self.raw else b""
        for socket in (*self.raw, *self.plain) if self.plain else self.raw:
            replies = late.get(socket)
            if socket in special or socket in self.held:
                own = _woven(frames, special.get(socket, []))
                own += replies or []
                if socket in self.held:
                    self.held[socket] += own
                else:
                    socket.send_all(own)
            elif not socket.raw:
                socket.send_all(frames if replies is None else frames + replies)
            elif replies is None:
                socket.write(data)
            else:
                socket.write(b"".join([data, *[reply.wire for reply in replies]]))

    # --- the log ---

    def advance(self, step: Step, *, shown: bool = False) -> None:
        """Show the next thing that happened, unless it was `shown`, and remember it."""
        self.last = step.offset
        entry = step.entry
        if step.change:
            self._change(step)
            return
        if entry.payload is None:
            return
        message = said(self.topic, self.epoch, entry)
        self.keep(message)
        if not shown:
            self.show(protocol.broadcast(message.tail))

    def keep(self, message: Said) -> None:
        ring = self.ring
        ring.append(message)
        if len(ring) > max(RING, 2 * self.route.history):
            self.floor = ring.popleft().offset
            self.whole = False

    def cut(self, trimmed: int) -> None:
        """Retention took away everything up to there: joiners get it no more."""
        ring = self.ring
        while ring and ring[0].offset <= trimmed:
            ring.popleft()
        self.floor = max(self.floor, min(trimmed, self.last))

    def _change(self, step: Step) -> None:
        self.changed = step.offset
        entry = step.entry
        for at, message in enumerate(self.ring):
            if message.offset == entry.offset:
                if entry.payload is None:
                    del self.ring[at]
                else:
                    self.ring[at] = said(self.topic, self.epoch, entry)
                break
        self.show(protocol.broadcast(change_tail(self.topic, self.epoch, step)))

    def restart(self, epoch: str) -> None:
        """Another log, or none, has taken the place of the one that was shown."""
        self.epoch, self.last, self.floor, self.changed = epoch, 0, 0, 0
        self.whole = True
        self.ring.clear()


def change_tail(topic: str, epoch: str, step: Step) -> bytes:
    """An edit or a removal as members get it."""
    entry = step.entry
    id = entry.id or f"{entry.offset}~{epoch}"
    position = f"{step.offset}~{epoch}"
    if entry.payload is None:
        payload = protocol.marked(b"{}", Marks(id, position))
        return protocol.tail(topic, REMOVED, payload)
    payload = protocol.marked(entry.payload, Marks(id, position, entry.at, True))
    return protocol.tail(topic, EDITED, payload)


def _woven(frames: list[Frame], marks: list[tuple[int, Frame | None]]) -> list[Frame]:
    """The frames of a turn with those for one member alone in their places, without those it is spared."""
    found: list[Frame] = []
    at = 0
    for place, frame in marks:
        found += frames[at:place]
        if frame is None:
            at = place + 1
        else:
            found.append(frame)
            at = place
    return found + frames[at:]
