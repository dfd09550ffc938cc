"""One client in one topic: its mailbox, its `Channel`, and how it comes and goes.

What a client says to a topic waits in a mailbox for the one task that works it
off, in order: the join first. The task lives while there is something to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from holdfast.channels import protocol
from holdfast.channels.channel import Channel, Refuse, Reply
from holdfast.channels.payloads import Invalid, Reader, encode
from holdfast.channels.protocol import Frame, Incoming
from holdfast.channels.publishing import check_event
from holdfast.channels.welcome import welcome
from holdfast.errors import MessageTooLarge, Overloaded, StoreError

if TYPE_CHECKING:
    from holdfast.channels.room import Room
    from holdfast.channels.routing import Handler, Route
    from holdfast.channels.socket import Socket

__all__ = ["Joined", "Told"]

PATIENCE: Final = 5.0
"""Seconds that the end of an earlier stay may take before a new one begins without it."""
MOST_TOLD: Final = 1_000
"""Messages that may wait in a mailbox before what `tell` says is passed over."""
_UNAVAILABLE: Final = b'{"reason":"store unavailable"}'
_OVERLOADED: Final = b'{"reason":"overloaded"}'
_TOO_LARGE: Final = b'{"reason":"too large"}'
_SAID: Final = (Invalid, MessageTooLarge)
"""What a client can bring about by what it says: its error, and no crash."""
_params = msgspec.json.Decoder(dict[str, Any])


class Told(msgspec.Struct, frozen=True, gc=False):
    """What `channels.tell` said, in a mailbox."""

    message: bytes | msgspec.Raw  # JSON


class Joined:
    """See the module's docstring. `join_ref` names this stay to the client."""

    __slots__ = (
        "_before",
        "_busy",
        "_channel",
        "_full",
        "_mail",
        "_task",
        "ended",
        "hub",
        "join_ref",
        "room",
        "route",
        "socket",
        "topic",
        "tracked",
    )

    def __init__(self, socket: Socket, route: Route, topic: str, join_ref: str | None) -> None:
        self.hub = socket.hub
        self.socket = socket
        self.route = route
        self.topic = topic
        self.join_ref = join_ref
        self.room: Room | None = None  # set while it is a member
        self.ended: str | None = None  # why it is over
        self.tracked: str | None = None  # its presence's ref
        self._channel: Channel | None = None
        self._mail: list[Incoming | Told] = []
        self._full = False
        self._busy = False  # its task is at work
        self._task: asyncio.Task[None] | None = None
        self._before: Joined | None = None

    # --- what comes in ---

    def receive(self, frame: Incoming | Told, *, replaces: Joined | None = None) -> None:
        """Put it into the mailbox. Beyond the limit, nothing more is read from the client."""
        if self.ended is not None:
            return
        if replaces is not None:
            self._before = replaces
            replaces.end("rejoined")
        if not self._busy:
            self._begin(self._work(frame))
            return
        self._mail.append(frame)
        if not self._full and len(self._mail) > self.hub.limits.waiting:
            self._full = True
            self.socket.hold_back()

    def told(self, message: bytes | msgspec.Raw) -> None:
        """What `channels.tell` said, as JSON; beyond a bound it is not heard."""
        if len(self._mail) < MOST_TOLD:
            self.receive(Told(message))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        # What waits for the store is a task from the start: to begin it here would be work done twice.
        task = (self.hub.later if self.route.keep is True else self.hub.begin)(work)
        if self._busy:  # it may have begun, and ended, at once
            self._task = task
            self.hub.working.add(self)

    async def _work(self, item: Incoming | Told) -> None:
        """Handle it, and what comes meanwhile."""
        try:
            await self._do(item)
            while self._mail and self.ended is None:
                mail, self._mail = self._mail, []
                for each in mail:
                    if self.ended is None:
                        await self._do(each)
                self._emptied()
            if self.ended is not None:
                await self._finish()
        finally:
            self._emptied()
            self._idle()

    def _do(self, item: Incoming | Told) -> Coroutine[Any, Any, None]:
        channel = self._channel
        if type(item) is Told:
            return self._inform(channel, item)
        frame = cast("Incoming", item)
        found = self.route.handlers.get(frame.event)
        if found is None or channel is None:
            return self._protocol(frame)
        return self._handle(channel, found, frame)

    async def _inform(self, channel: Channel | None, told: Told) -> None:
        if channel is not None:
            await self._call(_inform(channel, told.message))

    async def _last(self) -> None:
        try:
            await self._finish()
        finally:
            self._idle()

    def _idle(self) -> None:
        self._busy = False
        self._task = None
        self.hub.working.discard(self)

    def _emptied(self) -> None:
        if self._full:
            self._full = False
            self.socket.go_on()

    async def _protocol(self, frame: Incoming) -> None:
        """What is not for a handler."""
        if frame.event == "phx_join":
            await self._join(frame)
        elif frame.event == "phx_leave":
            self._leave(frame)
        else:
            self._reply(frame.ref, "error", {"reason": "unmatched event", "event": frame.event})

    # --- coming ---

    async def _join(self, frame: Incoming) -> None:
        before, self._before = self._before, None
        if before is not None:
            await before.over()
        answer = await self._admit(frame) if self.ended is None else None
        if answer is not None:
            self.ended = self.ended or "refused"
            self.untrack()
            self.socket.leave(self)
            self.send(protocol.reply(self.join_ref, frame.ref, self.topic, "error", answer))
        if before is not None:
            self.send(protocol.close(before.join_ref, self.topic))

    async def _admit(self, frame: Incoming) -> bytes | None:
        """Ask the application, then take the client in; what it is refused with, or None."""
        hub = self.hub
        try:
            params = _params.decode(frame.payload)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return b'{"reason":"join params are a JSON object"}'
        since = params.pop("since", None)
        try:
            channel = self.route.kind(self)
            try:
                own = await channel.join(params)
            except Refuse as exc:
                return encode("refuse", exc.payload)
            self._channel = channel  # from here on `left` is owed
            response = encode("join", own)
            room = await hub.enter(self)
        except StoreError as exc:
            return self._unavailable("join", exc)
        except _SAID as exc:
            return _why(exc)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - told to the client and the loop's handler
            _unless_cancelled(exc)
            hub.crashed(self, "join", exc)
            return b'{"reason":"join crashed"}'
        if self.ended is not None:
            room.entering -= 1
            return None
        try:
            if not await welcome(hub, self, room, frame.ref, response, since):
                return b'{"reason":"try again"}' if self.ended == "lost" else None
        except StoreError as exc:
            hub.exit(self)
            return self._unavailable("join", exc)
        if self.ended is None:  # it may have read too slowly
            await self._call(channel.joined())
        return None

    def _unavailable(self, where: str, exc: StoreError) -> bytes:
        self.hub.unavailable(where, exc)
        return _OVERLOADED if isinstance(exc, Overloaded) else _UNAVAILABLE

    # --- what is handled ---

    async def _handle(self, channel: Channel, found: tuple[Handler, Reader], frame: Incoming) -> None:
        method, read = found
        try:
            try:
                answer = await method(channel, read(frame.payload))
                if frame.ref is not None:
                    if type(answer) is Reply:
                        self._reply(frame.ref, answer.status, answer.payload)
                    else:
                        self._reply(frame.ref, "ok", answer)
            except Refuse as exc:
                self._reply(frame.ref, "error", exc.payload)
            except _SAID as exc:
                self._reply(frame.ref, "error", msgspec.Raw(_why(exc)))
            except StoreError as exc:
                self._reply(frame.ref, "error", msgspec.Raw(self._unavailable("handle", exc)))
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - told to the client and the loop's handler
            _unless_cancelled(exc)
            self._crash(frame.event, exc)

    async def _call(self, callback: Any) -> None:
        """Run one of the application's callbacks, which nobody waits for."""
        try:
            await callback
        except (StoreError, Refuse, *_SAID) as exc:  # its client is in the topic all the same
            self.hub.unavailable("callback", exc)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - told to the client and the loop's handler
            _unless_cancelled(exc)
            self._crash("callback", exc)

    def _crash(self, where: str, exc: BaseException) -> None:
        self.hub.crashed(self, where, exc)
        self.send(protocol.crashed(self.join_ref, self.topic))
        self.end("crash")

    # --- going ---

    def _leave(self, frame: Incoming) -> None:
        self.send(protocol.reply(self.join_ref, frame.ref, self.topic, "ok", b"{}"))
        self.send(protocol.close(self.join_ref, self.topic))
        self.end("leave")

    def put_out(self) -> None:
        """End it from this side, so that the client does not come back by itself."""
        if self.ended is None:
            self.send(protocol.close(self.join_ref, self.topic))
            self.end("closed")

    def end(self, reason: str) -> None:
        """It is over: nothing more is handled or sent. `left` follows, after what is being handled now."""
        if self.ended is not None:
            return
        self.ended = reason
        self.untrack()
        self.socket.leave(self)
        self.hub.exit(self)
        self._emptied()  # nothing of it will be handled
        if not self._busy and self._channel is not None:
            self._begin(self._last())

    async def _finish(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            try:
                await channel.left(self.ended or "closed")
            except Exception as exc:  # noqa: BLE001 - there is nobody left to tell but the loop's handler
                self.hub.crashed(self, "left", exc)

    async def over(self, patience: float = PATIENCE) -> None:
        """Wait for the end of this stay, for so long; then it is cancelled."""
        task = self._task
        if task is not None and not task.done():
            done, _ = await asyncio.wait({task}, timeout=patience)
            if not done:
                task.cancel()
                await asyncio.wait({task}, timeout=patience)

    # --- what goes out ---

    def send(self, frame: Frame) -> None:
        """To this client, in its place among what the topic shows."""
        if self.room is not None:
            self.room.tell(self.socket, frame)
        elif not self.socket.closed:
            self.socket.send(frame)

    def push(self, event: str, payload: Any) -> None:
        check_event(event)
        if self.ended is not None:
            return
        if self.room is None:  # the reply to its join comes first
            raise RuntimeError(f"push {event!r}: not in `join`; in `joined`, when the client has its reply")
        if type(payload) is bytes:
            self.send(protocol.binary_push(self.join_ref, self.topic, event, payload))
        else:
            data = encode(event, payload)
            self.send(protocol.push(self.join_ref, protocol.tail(self.topic, event, data)))

    def _reply(self, ref: str | None, status: str, payload: Any) -> None:
        if ref is None:
            return
        if type(payload) is bytes:
            frame = protocol.binary_reply(self.join_ref, ref, self.topic, status, payload)
        elif payload is None and status == "ok":
            frame = protocol.done(self.join_ref, ref, self.topic)
        else:
            data = b"{}" if payload is None else encode("reply", payload)
            frame = protocol.reply(self.join_ref, ref, self.topic, status, data)
        if self.room is not None:
            self.room.reply(self.socket, frame)
        else:
            self.send(frame)

    def track(self, key: str | None, meta: Mapping[str, Any] | None) -> None:
        """Be present, or present differently.

        Raises:
            Refuse: too many are.
            ValueError: the class says nothing of presence, or there is no key to be present as.
        """
        if not self.route.kind.presence:
            raise ValueError(f"{self.route.kind.__name__}: track needs presence = True")
        if self.ended is not None:
            return
        user = self.socket.user
        presence = self.hub.presence
        if self.tracked is not None:
            self.tracked = presence.update(self.topic, self.tracked, meta or {}, key=key or None)
            return
        name = key or (user.id if user is not None else key)
        if name is None:
            raise ValueError(f"{self.route.kind.__name__}: track needs a key where nobody is known")
        self.tracked = presence.track(self.topic, name, meta or {})

    def untrack(self) -> None:
        ref, self.tracked = self.tracked, None
        if ref is not None:
            self.hub.presence.untrack(self.topic, ref)


async def _inform(channel: Channel, message: bytes | msgspec.Raw) -> None:
    await channel.info(msgspec.json.decode(message))  # each its own, to do with as it likes


def _why(exc: Invalid | MessageTooLarge) -> bytes:
    """What a client is told of what it said."""
    if isinstance(exc, MessageTooLarge):
        return _TOO_LARGE
    field = {} if exc.field is None else {"field": exc.field}
    return msgspec.json.encode({"reason": "invalid", **field, "message": exc.message})


def _unless_cancelled(exc: BaseException) -> None:
    """Raise it on where this task was cancelled. Else application code awaited something that was: its crash."""
    task = asyncio.current_task()
    if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
        raise exc
