"""`Channels`: live rooms whose messages are saved before they are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import msgspec

from holdfast.channels import notes
from holdfast.channels.channel import Channel, Connect, Keep, User
from holdfast.channels.counts import ConnectionInfo, Counts, RoomInfo
from holdfast.channels.driver import (
    Changed,
    Clear,
    Driver,
    Edit,
    Erase,
    Find,
    Found,
    Log,
    Read,
    TopicPage,
    Topics,
    Traits,
)
from holdfast.channels.hub import LEASE, Hub
from holdfast.channels.limits import Limits
from holdfast.channels.messages import Message, TopicInfo, message_of, named, position_of
from holdfast.channels.payloads import encode
from holdfast.channels.presence import Presence
from holdfast.channels.recovery import recoverable
from holdfast.channels.registry import driver_for
from holdfast.channels.restoring import restore
from holdfast.channels.routing import Route, Routes, check_topic
from holdfast.channels.socket import AWAY
from holdfast.channels.tail import Heard, tail
from holdfast.errors import HistoryLost, StoreError, TopicRefused
from holdfast.store import Finding, Health, Migration, masked

__all__ = ["Channels"]

T = TypeVar("T")
Authenticate: TypeAlias = Callable[[Connect], User | Awaitable[User | None] | None]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
PAGE = 200


class Channels:
    """Rooms for an application: an async context manager, and an ASGI app for the socket.

    ::

        channels = Channels("sqlite:///app.db", [ChatRoom])
        async with channels:
            app.mount("/socket", channels)     # /socket/websocket and /socket/longpoll
            await channels.publish("chat_room:lobby", "new_message", {"name": "Ada", "message": "Hello"})

    Args:
        store: a URL, or a `channels` driver made by hand.
        channels: the `Channel` classes. Of several whose patterns fit a topic the
            first serves it; one that names it exactly goes before.
        connect: asked about every connection: answers the `User`, or None for
            nobody in particular, or raises `Refuse`. A `StoreError` out of it is a
            503: the client tries again.
        namespace: keeps applications apart in one store.
        origins: whose pages may connect: None, those of the host that is asked;
            ``"*"``, all; or a list such as ``["https://alice.example"]``. Who
            sends no Origin is no browser and is let in.
        hosts: the names by which clients may ask for this server, such as
            ``["alice.example", "*.alice.example"]``; None: not checked here.
        limits: how much a client may ask for.
        auto_migrate: as for `Persist`.
        lease: seconds after which a process that is not heard of is dead, and
            whoever was present through it leaves.

    Raises, from operations:
        TopicRefused: no channel serves the topic, or it keeps no history.
        StoreUnavailable: `maybe_applied` tells whether it may have happened.
        Closed: outside `async with`.
    """

    def __init__(
        self,
        store: str | Driver = "memory://",
        channels: Iterable[type[Channel]] = (),
        *,
        connect: Authenticate | None = None,
        namespace: str = "holdfast",
        origins: str | Sequence[str] | None = None,
        hosts: Sequence[str] | None = None,
        limits: Limits | None = None,
        auto_migrate: bool | None = None,
        lease: float = LEASE,
    ) -> None:
        driver = driver_for(store)
        self._driver = driver
        self._store = masked(store) if isinstance(store, str) else driver.traits.name
        self.connect = connect
        self.origins = origins
        self.hosts = hosts
        self.hub = Hub(
            driver,
            Routes(channels),
            namespace=namespace.replace("%", "%25").replace(":", "%3A"),
            limits=limits or Limits(),
            auto_migrate=auto_migrate,
            lease=lease,
        )
        self.hub.channels = self
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    # --- life ---

    async def open(self) -> None:
        """Open the store; `async with` does so. No connection is served before.

        What was left open on an event loop that has ended since is forgotten first.
        """
        if self.hub.core.orphaned:
            self._app = None  # with the long-poll sessions of that loop
        await self.hub.open()

    async def close(self) -> None:
        """Tell every client to come back (1012), drain what waits to be stored, close the store. Twice is once."""
        await self.hub.close()

    async def drain(self, seconds: float = 10.0) -> None:
        """Tell clients to come back (1012), a thousand a second or, where there are more, all within `seconds`.

        For whoever runs the server, before it stops; `close` tells those that are left at once.
        """
        await self.hub.drain(seconds)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app: ``<mount>/websocket`` and ``<mount>/longpoll``."""
        if self._app is None:
            from holdfast.channels.transports.asgi import endpoint  # the wire is nobody's who only publishes

            self._app = endpoint(self)
        await self._app(scope, receive, send)

    @property
    def store(self) -> str:
        """The store's URL, its password masked."""
        return self._store

    @property
    def traits(self) -> Traits:
        """What the store promises."""
        return self._driver.traits

    async def migrate(self) -> Sequence[Migration]:
        """Make or update the tables, opened or not; what was applied, oldest first."""
        return await self._with_driver(lambda driver: driver.migrate())

    async def pending(self) -> Sequence[Migration]:
        """The migrations that the store still lacks, oldest first."""
        return await self._with_driver(lambda driver: driver.pending())

    async def health(self) -> Health:
        """Whether the store answers. Never raises for a store that is down."""
        return await self._driver.health()

    async def describe(self) -> Sequence[Finding]:
        """What the store promises as it is configured, for `holdfast doctor`."""
        return await self._with_driver(lambda driver: driver.describe())

    async def _with_driver(self, ask: Callable[[Driver], Awaitable[Sequence[T]]]) -> Sequence[T]:
        if self.hub.core.is_open:
            return await ask(self._driver)
        await self._driver.open()
        try:
            return await ask(self._driver)
        finally:
            await self._driver.close()

    # --- saying ---

    async def publish(
        self, topic: str, event: str, payload: Any, *, id: str | None = None, keep: Keep | None = None
    ) -> str | None:
        """Send to everyone in the topic, in all processes; the position where it was kept, else None.

        Kept as the topic's class says, unless `keep` says otherwise; see
        `Channel.broadcast`. With `id`, publishing it again changes nothing and
        answers the first one's position (kept behind, it may be shown again).

        Raises:
            StoreUnavailable: it was not kept, or `maybe_applied`; with an `id` it is safe to try again.
            MessageTooLarge, TypeError, ValueError: nothing was done.
        """
        route = self._route(topic)
        return await self.hub.publishing.publish(route, topic, event, payload, keep=keep, id=id)

    async def tell(self, topic: str, message: Any) -> None:
        """Call `info(message)` of every channel joined to the topic, in all processes. At most once; nothing is kept.

        `message` is what JSON can say; in this process too it is what arrives.
        """
        self._route(topic)
        key = self.hub.prefix + topic
        data = msgspec.json.encode(message)
        room = self.hub.rooms.get(key)
        if room is not None:
            self.hub.told(room, data)
        await self.hub.note(key, notes.TELL, msgspec.Raw(data))

    async def disconnect(self, user_id: str) -> None:
        """End all connections of a user, in all processes; clients come back and are asked anew who they are."""
        self.hub.disconnect(user_id)
        await self.hub.note(None, notes.DISCONNECT, user_id)

    # --- what goes on in this process ---

    def counts(self) -> Counts:
        """What was counted since it was opened."""
        return msgspec.structs.replace(self.hub.counted())

    def rooms(self) -> list[RoomInfo]:
        """The topics with members here."""
        return [
            RoomInfo(room.topic, len(room), str(room.position) if room.route.kept else None, room.sent)
            for room in self.hub.rooms.values()
        ]

    def connections(self) -> list[ConnectionInfo]:
        """Who is connected to this process."""
        now = self.hub.core.loop.time() if self.hub.core.loop is not None else 0.0
        return [
            ConnectionInfo(
                socket.number,
                None if socket.user is None else socket.user.id,
                socket.transport,
                tuple(socket.topics),
                socket.unread,
                now - socket.since,
            )
            for socket in self.hub.sockets
        ]

    def close_connection(self, number: int) -> bool:
        """End a connection of this process, so that the client comes back; whether there was such a one."""
        for socket in self.hub.sockets:
            if socket.number == number:
                socket.close(AWAY, "closed")
                return True
        return False

    @property
    def presence(self) -> Presence:
        """Who is where: `presence.list(topic)`, as known to this process."""
        return self.hub.presence

    # --- what was said ---

    async def history(
        self, topic: str, *, limit: int = 50, before: str | None = None, after: str | None = None
    ) -> list[Message]:
        """Kept messages, oldest first: the latest, those before a position, or those after one.

        Raises:
            HistoryLost: `after` is of a history that is gone, or some of what came after it is.
            ValueError: a position is none; both are given; `limit` is not from 1 to 1,000.
        """
        key = self._kept(topic)
        if isinstance(limit, bool) or not 1 <= limit <= 1000:
            raise ValueError(f"history: limit = {limit!r}: from 1 to 1000")
        if before is not None and after is not None:
            raise ValueError("history: before or after, not both")
        if after is not None:
            since = position_of(after)
            log: Log = await self.hub.run(Read(key, limit, after=max(since.offset, 0)))
            if not recoverable(since, log.epoch, log.last, log.trimmed):
                raise HistoryLost(f"history {topic!r}: what came after that position is no longer all there")
        elif before is not None:
            until = position_of(before)
            log = await self.hub.run(Read(key, limit, before=until.offset))
            if log.epoch != until.epoch:
                return []
        else:
            log = await self.hub.run(Read(key, limit))
        return [message_of(log.epoch or "", entry) for entry in log.entries]

    async def read(self, topic: str, *, after: str | None = None, limit: int = 200) -> list[Message]:
        """Kept messages from the oldest on, or those after a position, for whoever copies a topic or looks through it.

        Unlike `history` it passes over what is no longer there: retention may
        take messages away between two calls. Empty: these were all.
        """
        key = self._kept(topic)
        since = None if after is None else position_of(after)
        log: Log = await self.hub.run(Read(key, limit, after=0 if since is None else since.offset))
        if since is not None and since.epoch != log.epoch:
            return []
        return [message_of(log.epoch or "", entry) for entry in log.entries]

    def tail(self, topic: str, *, since: str | None = None) -> AsyncIterator[Heard]:
        """Every message from now on, as members get it: the last `history` first, or all since a position.

        Raises:
            HistoryLost: what came since is no longer all there.
            Overloaded: the caller was slower than the topic.
        """
        return tail(self.hub, self._route(topic), topic, since)

    async def message(self, topic: str, id: str) -> Message | None:
        """One kept message by its id, or None."""
        key = self._kept(topic)
        found: Found | None = await self.hub.run(Find(key, **named(id)))
        return None if found is None else message_of(found.epoch, found.entry)

    async def edit(self, topic: str, id: str, payload: Any) -> Message | None:
        """Give a kept message another payload and announce it as `message_edited`; None: there is no such one."""
        key = self._kept(topic)
        data = encode("edit", payload, max_bytes=self.hub.limits.message)
        changed: Changed | None = await self.hub.run(Edit(key, data, **named(id)), len(data))
        return None if changed is None else message_of(changed.epoch, changed.entry)

    async def remove(self, topic: str, id: str) -> bool:
        """Erase a kept message's payload and announce it as `message_removed`; whether there was such a one."""
        changed = await self.hub.run(Erase(self._kept(topic), **named(id)))
        return changed is not None

    async def restore(
        self, topic: str, messages: Sequence[Message], *, replace: bool = True
    ) -> list[bool | Exception]:
        """Put messages of an export back: with their ids, times and edits, in their order, under new positions.

        For each whether something was stored (False: it is there as it is), or
        why it could not be. One that is there already is given the export's
        payload, unless `replace` is False; one that was erased here stays so. A
        message known by its position gets an id made from it, and is not put
        back into the very log it is from. An empty `id` is none.
        """
        return await restore(self.hub, self._route(topic), self._kept(topic), messages, replace=replace)

    async def clear(self, topic: str) -> bool:
        """Forget a topic's whole history; whether it had any. Who comes back to it is told that it is lost.

        Members in other processes join anew, and are told so too: at once, or
        where that note is lost, with the next message.
        """
        key = self._kept(topic)
        cleared = bool(await self.hub.run(Clear(key)))
        if cleared:
            try:
                await self.hub.note(key, notes.CLEARED)
            except StoreError:
                pass  # it has happened; others learn of it with the next message
        return cleared

    async def topics(self, prefix: str = "") -> AsyncIterator[TopicInfo]:
        """The topics with a history whose names start with `prefix`, by name."""
        cursor: str | None = None
        while True:
            page, cursor = await self.topic_page(prefix, cursor=cursor, limit=PAGE)
            for each in page:
                yield each
            if cursor is None:
                return

    async def topic_page(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[TopicInfo], str | None]:
        """Some of those topics, and where to go on (None: these were the last). A page may have fewer than `limit`."""
        page: TopicPage = await self.hub.run(Topics(self.hub.prefix + prefix, cursor, limit))
        start, rooms, found = len(self.hub.prefix), self.hub.rooms, []
        for each in page.topics:
            room = rooms.get(each.key)
            members = 0 if room is None else len(room)
            found.append(TopicInfo(each.key[start:], each.kept, each.at / 1000, members))
        return found, page.cursor

    def _route(self, topic: str) -> Route:
        return self.hub.routes.get(check_topic(topic))

    def _kept(self, topic: str) -> str:
        if not self._route(topic).kept:
            raise TopicRefused(f"topic {topic!r}: its channel keeps no history")
        return self.hub.prefix + topic
