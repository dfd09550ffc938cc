"""One client's connection, whatever carries it: which topics it is in, and what becomes of what it says.

A transport subclasses `Socket`, feeds it what comes in, and says how frames go
out. Everything else (routing, limits, joins, the protocol's table of states) is
here, the same for every transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from holdfast.channels import protocol
from holdfast.channels.joined import Joined
from holdfast.channels.protocol import Frame, Incoming, Malformed

if TYPE_CHECKING:
    from holdfast.channels.channel import User
    from holdfast.channels.hub import Hub
    from holdfast.channels.routing import Route

__all__ = ["AWAY", "BAD_DATA", "BAD_FRAME", "RESTART", "SMALLEST", "TOO_BIG", "TOO_SLOW", "Socket"]

SMALLEST: Final = 100
"""Bytes that a kept message takes at least, with its marks."""

# Close codes (RFC 6455, 7.4.1, and IANA's registry). Never 1000: clients before
# npm phoenix 1.8.16 take that for the end and do not come back.
AWAY: Final = 1001  # come back and say anew who you are
BAD_FRAME: Final = 1002
BAD_DATA: Final = 1007
TOO_SLOW: Final = 1013
TOO_BIG: Final = 1009
RESTART: Final = 1012


class Socket:
    """A connection that was let in.

    A transport says by `raw` how its frames go out: with `write` as bytes of the
    wire, any number of frames at once; or frame by frame, with `send_all`.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_count",
        "_joins",
        "_second",
        "closed",
        "expiry",
        "granted",
        "heard",
        "held_back",
        "hub",
        "number",
        "since",
        "topics",
        "user",
    )

    write: Callable[[bytes], None]  # where `raw`
    raw: ClassVar[bool] = False
    transport: ClassVar[str] = "websocket"
    idles: ClassVar[bool] = True  # ended by the hub when nothing is heard from it

    def __init__(self, hub: Hub, user: User | None) -> None:
        self.hub = hub
        self.user = user
        self.topics: dict[str, Joined] = {}
        self.closed = False
        self.heard = 0  # the hub's tick when something was last received
        self.expiry: Any = None  # the timer that ends it
        self.number = 0  # the hub's, to be named in the dashboard
        self.since = 0.0  # loop time when it was made
        self.granted = (
            0  # bytes that may wait beyond the bound; the transport forgets them once they are sent
        )
        self.held_back = 0  # how many of its topics have too much waiting
        self._second = -1
        self._count = self._bytes = self._joins = 0

    # --- for the transport to define ---

    def send_all(self, frames: list[Frame]) -> None:
        """Send frames in order; what a reader that is too slow makes of it is the transport's to notice."""
        raise NotImplementedError

    def send(self, frame: Frame) -> None:
        """Send one."""
        self.send_all([frame])

    def close(self, code: int, reason: str = "") -> None:
        """Begin to end the connection; `lost` follows. Twice is once."""
        raise NotImplementedError

    def pause(self) -> None:
        """Read nothing more for now."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read on."""
        raise NotImplementedError

    @property
    def unread(self) -> int:
        """Bytes that wait for the client, as far as this process knows."""
        return 0

    def send_past(self, frames: list[Frame]) -> None:
        """What a joiner gets first. It comes at once, and however much it is, that says nothing of its reader.

        Those of several topics add up, to as much as one may be at most; of what
        was granted before, no more can be left than waits.
        """
        limits = self.hub.limits
        left = min(self.granted, self.unread)
        past = sum([len(frame.body) for frame in frames])
        if not left or left + past <= limits.missed * limits.message:
            left += past
        self.granted = left
        self.send_all(frames)

    # --- for the transport to call ---

    def receive(self, data: bytes | str) -> None:
        """A text frame came in. May close the connection; raises nothing."""
        hub = self.hub
        if self._second != hub.second:
            self._next_second()
        self._count += 1
        self._bytes += len(data)
        if self._count > hub.limits.messages or self._bytes > hub.limits.bytes:
            hub.throttle(self)
        try:
            frame = protocol.parse(data)
        except Malformed as exc:
            self.close(BAD_DATA, str(exc))
            return
        self._take(frame)

    def receive_binary(self, data: bytes) -> None:
        """The same of a binary frame."""
        self.count(len(data))
        try:
            frame = protocol.parse_binary(data)
        except Malformed as exc:
            self.close(BAD_DATA, str(exc))
            return
        self._take(frame)

    def count(self, size: int) -> None:
        """Something of this size came in; `receive` has the same in place."""
        hub = self.hub
        if self._second != hub.second:
            self._next_second()
        self._count += 1
        self._bytes += size
        if self._count > hub.limits.messages or self._bytes > hub.limits.bytes:
            hub.throttle(self)

    def _next_second(self) -> None:
        self._second = self.heard = self.hub.second
        self._count = self._bytes = self._joins = 0

    def lost(self, reason: str = "closed") -> None:
        """The connection has ended. Twice is once."""
        if self.closed:
            return
        self.closed = True
        self.hub.forget(self)
        topics, self.topics = self.topics, {}
        for joined in topics.values():
            joined.end(reason)

    # --- the protocol ---

    def _take(self, frame: Incoming) -> None:
        hub = self.hub
        hub.counts.received += 1
        joined = self.topics.get(frame.topic)
        event = frame.event
        if joined is not None and event != "phx_join":
            if frame.join_ref is not None and frame.join_ref != joined.join_ref:
                return  # said to an earlier stay in this topic
            joined.receive(frame)
            return
        if event == "heartbeat" and frame.topic == protocol.HEARTBEAT:
            self.send(protocol.heartbeat(frame.ref))
        elif event == "phx_join":
            self._join(frame, joined)
        elif event == "phx_leave":
            self.send(protocol.reply(frame.join_ref, frame.ref, frame.topic, "ok", b"{}"))
        else:
            self.send(protocol.reply(None, frame.ref, frame.topic, "error", b'{"reason":"unmatched topic"}'))

    def _join(self, frame: Incoming, before: Joined | None) -> None:
        if self.closed:
            return  # nobody would end what began now
        route = self.hub.routes.find(frame.topic)
        refused = self._refused(route, before)
        if refused is not None:
            self.send(protocol.reply(None, frame.ref, frame.topic, "error", refused))
            return
        assert route is not None
        joined = Joined(self, route, frame.topic, frame.join_ref or frame.ref)
        self.topics[frame.topic] = joined
        joined.receive(frame, replaces=before)

    def _refused(self, route: Route | None, before: Joined | None) -> bytes | None:
        limits = self.hub.limits
        self._joins += 1
        if route is None:
            return b'{"reason":"unmatched topic"}'
        if before is None and len(self.topics) >= limits.channels:
            return b'{"reason":"too many channels joined"}'
        if self._joins > limits.joins:
            return b'{"reason":"too many joins"}'
        return None

    def leave(self, joined: Joined) -> None:
        """It is in that topic no more, unless it has joined again."""
        if self.topics.get(joined.topic) is joined:
            del self.topics[joined.topic]

    def hold_back(self) -> None:
        """One more of its topics has too much waiting."""
        self.held_back += 1
        if self.held_back == 1:
            self.pause()

    def go_on(self) -> None:
        """One fewer."""
        self.held_back -= 1
        if self.held_back == 0 and not self.closed:
            self.heard = self.hub.second  # what it said meanwhile is still to be read
            self.resume()
