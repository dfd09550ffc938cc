"""One connection that subscribes: which confirmations it is owed, what it hears, whether it still lives."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from holdfast.engines.redis.refusals import Refusal, as_error
from holdfast.engines.redis.wire import Wire

__all__ = ["SubscribedWire", "Subscriber"]

_PING: Final = b"*1\r\n$4\r\nPING\r\n"


class Subscriber(Protocol):
    """Who is told. Must not raise."""

    def heard(self, channel: bytes, data: bytes) -> None:
        """Something was published."""

    def confirmed(self, channel: bytes) -> None:
        """The channel is subscribed, and no SUBSCRIBE of it is under way."""

    def refused(self, channel: bytes, error: Exception) -> None:
        """It may not be subscribed."""


class SubscribedWire(Wire):
    """A wire on which, from `subscriber` on, nobody waits for a reply: what comes is told to it.

    A server that is gone without a word owes nothing here, so it is asked: when
    nothing came for half the time-out, PING; when nothing comes for a whole one
    after that, the connection is given up.
    """

    _subscriber: Subscriber | None = None

    def listen(self, subscriber: Subscriber) -> None:
        """From here on no more flights."""
        self._subscriber = subscriber
        # INVARIANT: the channels of the SUBSCRIBEs that are not answered, in order; `_owed` counts them by channel.
        self._asked: deque[bytes] = deque()
        self._owed: dict[bytes, int] = {}
        self._pinged: float | None = None
        self._watch = self._loop.call_later(self._timeout / 2, self._look)

    def subscribe(self, channel: bytes) -> None:
        """Ask to hear a channel. One command each: a refusal does not say of which channel it is."""
        self._asked.append(channel)
        self._owed[channel] = self._owed.get(channel, 0) + 1
        self._ask(b"SUBSCRIBE", channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Hear no more of it, unless it is subscribed again behind this."""
        self._ask(b"UNSUBSCRIBE", channel)

    def owes(self, channel: bytes) -> bool:
        """Whether a SUBSCRIBE of it is under way. One behind an UNSUBSCRIBE is another than that in front."""
        return channel in self._owed

    def _ask(self, name: bytes, channel: bytes) -> None:
        self._put(b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(channel), channel))

    def _put(self, data: bytes) -> None:
        """What the socket does not take waits in the transport: names of channels, and no more than are followed."""
        if not self.dead and self._transport is not None:
            self._transport.write(data)

    def _collect(self) -> None:
        subscriber = self._subscriber
        if subscriber is None:
            super()._collect()
            return
        for reply in self.replies():
            if isinstance(reply, list):  # a push of RESP3 is one too
                if reply[0] == b"message":
                    subscriber.heard(reply[1], reply[2])
                elif reply[0] == b"subscribe":
                    self._answered(reply[1], None)
            elif type(reply) is Refusal:
                self._answered(None, reply)
            if self.dead:
                return

    def _answered(self, channel: bytes | None, refusal: Exception | None) -> None:
        asked = self._asked.popleft() if self._asked else None
        if asked is None or (channel is not None and channel != asked):
            self.fail("the server answered what was not asked")
            return
        self._owed[asked] -= 1
        if not self._owed[asked]:
            del self._owed[asked]
        assert self._subscriber is not None
        if refusal is not None:
            self._subscriber.refused(asked, as_error("follow", refusal))
        elif asked not in self._owed:
            self._subscriber.confirmed(asked)

    def _look(self) -> None:
        if self._subscriber is None:
            super()._look()
            return
        now, half = self._loop.time(), self._timeout / 2
        if self._pinged is not None and self._heard < self._pinged:
            if now - self._pinged >= self._timeout:
                self._watch = None
                self.fail(f"no answer for {self._timeout:g} s")
                return
        elif now - self._heard >= half:
            self._pinged = now
            self._put(_PING)
        self._watch = self._loop.call_later(half, self._look)
