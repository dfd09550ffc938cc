"""What all connections of one process share: rooms, the way to the store, and the word from other processes.

A message that is kept goes to the store first. When its batch is acknowledged,
and before anybody who waits for it goes on, it is shown to the members of its
topic here, in the order of the log; other processes hear of it by the store's
announcement, and read what an announcement left out. Whether a publisher still
waits makes no difference to what is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast import events
from holdfast.channels import notes, protocol
from holdfast.channels.core import NOTHING, Core
from holdfast.channels.counts import Counts
from holdfast.channels.driver import (
    Driver,
    Send,
    Subscription,
)
from holdfast.channels.follower import Follower
from holdfast.channels.hearing import Hearing
from holdfast.channels.joined import Joined
from holdfast.channels.limits import Limits
from holdfast.channels.presence import Presence
from holdfast.channels.publishing import Publishing
from holdfast.channels.pulse import Pulse
from holdfast.channels.retention import Retention
from holdfast.channels.room import Room
from holdfast.channels.routing import Route, Routes
from holdfast.channels.socket import AWAY, RESTART, Socket
from holdfast.channels.stepping import Beginning
from holdfast.errors import Closed, Overloaded, StoreError

if TYPE_CHECKING:
    from holdfast.channels.api import Channels

__all__ = ["Hub"]

LEASE: Final = 15.0
"""Seconds after which a process that was not heard of is dead."""
DRAINED_AT_ONCE: Final = 50
"""Clients in a twentieth of a second that are told to come back."""
GOODBYE: Final = 2.0
"""Seconds that channels may take to end at shutdown."""
FOREVER: Final = 1e7
"""Seconds that a timer may run: a connection does not live longer."""


class Hub:
    """Rooms, connections and notes; `Channels` opens and closes it.

    INVARIANT: a room is in `rooms` exactly while its topic is followed, or about to be.
    """

    def __init__(
        self,
        driver: Driver,
        routes: Routes,
        *,
        namespace: str,
        limits: Limits,
        auto_migrate: bool | None,
        lease: float = LEASE,
    ) -> None:
        self.channels: Channels  # whose hub it is
        self.routes = routes
        self.limits = limits
        self.lease = lease
        self.prefix = f"{namespace}:c:"
        self.control = f"{namespace}:n:"
        self.hearing = Hearing(self)
        self.core = Core(
            driver, auto_migrate=auto_migrate, written=self.hearing.written, failed=self.hearing.failed
        )
        self.run = self.core.run
        self.spawn = self.core.spawn
        self.node = notes.new_node()
        self.shared = driver.traits.shared != "process"
        self.rooms: dict[str, Room] = {}  # by key
        self.sockets: dict[Socket, None] = {}
        self.begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None]
        self.later: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
        self.working: set[Joined] = set()  # those that have a task
        self.presence = Presence(self)
        self.publishing = Publishing(self)
        self.retention = Retention(self.run, driver.sweep, routes, self.rooms, self.prefix)
        self.relayed: Callable[[notes.Note], None] | None = None  # long-poll's
        self.second = 0  # counts while there are connections
        self.pulse = Pulse(self)
        self.throttle = self.pulse.throttle
        self.counts = Counts()
        self._numbers = 0
        self._subscription: Subscription | None = None
        self._beginning: asyncio.Task[Any] | None = None
        self._unfollowing: dict[str, asyncio.Task[Any]] = {}
        self.closing = False

    # --- life ---

    async def open(self) -> None:
        if self.core.orphaned:
            self._forget()
        await self.core.open()
        self.closing = False
        self.node = notes.new_node()
        self.counts = Counts()
        self._beginnings = Beginning(asyncio.get_running_loop())
        self.begin, self.later = self._beginnings.begin, asyncio.get_running_loop().create_task
        self.spawn(self.retention.work(), "holdfast channels retention")

    async def close(self) -> None:
        """End every connection with 1012, let channels finish for a moment, give everything back."""
        if not self.core.is_open:
            return
        self.closing = True
        self.pulse.stop()
        for socket in list(self.sockets):
            socket.close(RESTART, "restart")
            socket.lost("shutdown")
        ending = [asyncio.ensure_future(joined.over(GOODBYE)) for joined in self.working]
        if ending:
            await asyncio.wait(ending)
        try:
            async with asyncio.timeout(GOODBYE):
                await self.presence.close()
        except (TimeoutError, StoreError):
            pass  # what did not end in time is cancelled; others learn of it by the lease
        await self.publishing.drain()
        subscription, self._subscription = self._subscription, None
        self._beginning = None
        try:
            if subscription is not None:
                await subscription.close()
        finally:
            self.rooms.clear()
            self._beginnings.close()
            await self.core.close()

    def _forget(self) -> None:
        """Let go of what an event loop that has ended left behind: there is nobody to tell."""
        self.pulse.stop()
        for socket in self.sockets:
            socket.closed = True
        self.sockets.clear()
        self.rooms.clear()
        self.working.clear()
        self._unfollowing.clear()
        self._subscription = self._beginning = None
        self.presence.forget()
        self.publishing.forget()

    async def drain(self, seconds: float) -> None:
        """Tell clients to come back, spread over a time that grows with their number and ends after `seconds`.

        All at once they would all come back at once, to whoever serves next.
        """
        waiting = list(self.sockets)
        pause = 0.05
        each = max(DRAINED_AT_ONCE, round(len(waiting) * pause / max(seconds, pause)) + 1)
        while waiting:
            for socket in waiting[:each]:
                socket.close(RESTART, "restart")
            waiting = waiting[each:]
            if waiting:
                await asyncio.sleep(pause)

    # --- connections ---

    def admit(self, socket: Socket) -> None:
        """A connection was made; it ends when its user expires."""
        assert self.core.loop is not None
        self._numbers += 1
        socket.number = self._numbers
        socket.heard = self.second
        socket.since = self.core.loop.time()
        self.sockets[socket] = None
        expires = None if socket.user is None else socket.user.expires
        if expires is not None:
            seconds = expires.total_seconds() if isinstance(expires, timedelta) else float(expires)
            wait = min(seconds, FOREVER) if seconds > 0 else 0.0
            socket.expiry = self.core.loop.call_later(wait, socket.close, AWAY, "expired")
        if self.closing or not self.core.is_open:
            self.core.loop.call_soon(socket.close, RESTART, "restart")  # it was let in a moment too late
            return
        self.pulse.start()

    def forget(self, socket: Socket) -> None:
        self.sockets.pop(socket, None)
        if socket.expiry is not None:
            socket.expiry.cancel()

    def counted(self) -> Counts:
        """The counts, with what is so now."""
        counts = self.counts
        counts.connections, counts.rooms = len(self.sockets), len(self.rooms)
        counts.unread = sum(socket.unread for socket in self.sockets)
        return counts

    def disconnect(self, user_id: str) -> int:
        """End this user's connections here, so that they come back and say anew who they are; how many."""
        found = [each for each in self.sockets if each.user is not None and each.user.id == user_id]
        for socket in found:
            socket.close(AWAY, "disconnected")
        return len(found)

    # --- rooms ---

    async def enter(self, joined: Joined) -> Room:
        """The room of a topic, up to date; whoever has it calls `exit` in the end.

        Raises:
            StoreError: it cannot be known how far its log is.
        """
        key = self.prefix + joined.topic
        room = self.rooms.get(key)
        if room is None:
            if len(self.rooms) >= self.limits.topics:
                raise Overloaded(f"channels: {len(self.rooms)} topics have members in this process already")
            room = self._new_room(joined.topic, key, joined.route)
        room.entering += 1
        try:
            if not room.ready.done():
                await asyncio.shield(room.ready)
            room.ready.result()
        except BaseException as exc:
            room.entering -= 1
            if isinstance(exc, asyncio.CancelledError) and room.ready.cancelled():
                raise Closed("channels: closed while a topic was looked up") from None
            raise
        return room

    def _new_room(self, topic: str, key: str, route: Route) -> Room:
        assert self.core.loop is not None
        room = self.rooms[key] = Room(topic, key, route, self.core.loop, self.counts)
        room.idle_since = self.second
        Follower(room, self.run, self.spawn, self._broken, self.limits.missed)
        room.ready = self.spawn(self._load(room), f"holdfast channels load {topic}")
        return room

    async def _load(self, room: Room) -> None:
        try:
            if (ending := self._unfollowing.get(room.key)) is not None:
                await asyncio.wait({ending})
            if self.shared:
                subscription = await self._begun()
                await subscription.follow(room.key)
            if room.route.kept:
                await room.follower.load()
        except BaseException:
            self.drop(room)
            raise

    async def listen(self) -> None:
        """Hear what other processes say to all, from now on. Raises `StoreError`."""
        if self.shared:
            await self._begun()

    async def _begun(self) -> Subscription:
        """The subscription of this process, made when the first room needs it."""
        if self._subscription is None:
            if self._beginning is None:
                self._beginning = self.spawn(self._begin(), "holdfast channels subscribe")
            await asyncio.shield(self._beginning)
        assert self._subscription is not None
        return self._subscription

    async def _begin(self) -> None:
        try:
            subscription = await self.core.driver.subscribe(self.hearing)
            try:
                await subscription.follow(self.control)
            except BaseException:
                await subscription.close()
                raise
            self._subscription = subscription
            await self.presence.begin()
        finally:
            self._beginning = None

    def exit(self, joined: Joined) -> None:
        """It is a member no more."""
        room, joined.room = joined.room, None
        if room is not None:
            room.drop(joined)
            if not len(room):
                room.idle_since = self.second

    def drop(self, room: Room) -> None:
        """Nobody is in it any more, or it cannot go on."""
        key = room.key
        if self.rooms.get(key) is not room:
            return
        del self.rooms[key]
        if self._subscription is not None:
            task = self.spawn(self._subscription.unfollow(key), "holdfast channels unfollow")
            self._unfollowing[key] = task
            task.add_done_callback(lambda _: self._unfollowing.pop(key, None))

    def _broken(self, room: Room) -> None:
        """Its members cannot be brought up to date together: each joins anew, and is told what is lost."""
        for joined in room.members():
            joined.send(protocol.crashed(joined.join_ref, joined.topic))
            joined.end("lost")
        self.drop(room)  # the next to join begins another, with the log as it is now

    # --- what is said to others ---

    def told(self, room: Room, message: bytes | msgspec.Raw) -> None:
        for joined in room.members():
            joined.told(message)

    def note(self, key: str | None, kind: str, *says: Any) -> Awaitable[Any]:
        """Say something to the other processes that follow the topic; None: to all. Returns when it is under way."""
        if not self.core.is_open:
            raise Closed("channels: not open; use it inside `async with`")
        if not self.shared:
            return NOTHING
        data = notes.write(kind, self.node, *says)
        return self.core.send(Send(self.control if key is None else key, data), len(data))

    # --- what went wrong ---

    def crashed(self, joined: Joined, where: str, exc: BaseException) -> None:
        """Application code raised: the loop's handler is told, which logs it."""
        self.counts.crashed += 1
        loop = self.core.loop
        if loop is not None:
            said = f"{joined.route.kind.__qualname__}: {where} failed in topic {joined.topic!r}"
            loop.call_exception_handler({"message": said, "exception": exc})
        if events.listeners:
            events.publish(events.ChannelCrashed(joined.topic, where, type(exc).__name__))

    def lost_behind(self, event: str, exc: BaseException) -> None:
        """A message that was shown could not be stored before the end."""
        loop = self.core.loop
        if loop is not None:
            loop.call_exception_handler(
                {"message": f"channels: {event!r} was shown and not stored", "exception": exc}
            )

    def unavailable(self, where: str, exc: Exception) -> None:
        """What a client asked for was not done; the client is told where it waits, and so is who counts."""
        if events.listeners:
            events.publish(events.MessageRefused(where, type(exc).__name__))
