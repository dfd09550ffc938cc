"""One connection: bytes go out, replies come back in order, a watchdog sees that they do.

The connection is redis-py's; `Wire` takes its transport over and never gives it
back. What redis-py keeps (the finaliser that closes the socket, a protocol that
waits for `connection_lost`) is held on to and told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, cast

import hiredis

from holdfast.errors import StoreMisconfigured, StoreUnavailable

__all__ = ["Flight", "Wire"]

_NOTHING: Final = object()  # what the reader says for "no whole reply yet"; 0, False and None are replies
_PUSH: Final[type] = getattr(hiredis, "PushNotification", type(_NOTHING))


class Flight:
    """Some commands that left, or will leave, together; who waits for them, and how their replies are read."""

    __slots__ = ("expected", "future", "read", "replies", "sent")

    def __init__(
        self, future: asyncio.Future[Any], expected: int, read: Callable[[list[Any]], Any] | None
    ) -> None:
        self.future = future
        self.expected = expected
        self.read = read
        self.replies: list[Any] = []
        self.sent = 0.0

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Wire(asyncio.Protocol):
    """The protocol on a transport that redis-py made.

    Args:
        connection: redis-py's, connected, nothing asked of it since.
        timeout: seconds without a byte from the server, while something is
            unanswered, after which the connection is aborted. Any byte counts:
            a slow answer that is arriving is not a dead server.
        lost: told once, with the reason, when the connection is of no more use.
        resumed: told when the transport takes bytes again.
        settle: resolves a flight whose replies are all there.
    """

    def __init__(
        self,
        connection: Any,
        timeout: float,
        *,
        lost: Callable[[Wire, str], None],
        resumed: Callable[[Wire], None],
        settle: Callable[[Flight], None],
    ) -> None:
        self.connection = connection  # kept: its finaliser closes the socket
        self.paused = False
        self.dead = False
        self.retiring: str | None = None  # why no more is sent, once what is under way is answered
        self._timeout = timeout
        self._lost = lost
        self._resumed = resumed
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        # INVARIANT: replies belong to these in order, oldest first; only `_collect` and `fail` take from the left.
        self._flying: deque[Flight] = deque()
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._reader.setmaxbuf(1 << 20)  # freed after every read beyond 16 KiB otherwise
        self._resp3 = str(getattr(connection, "protocol", 2)) == "3"

    async def take_over(self) -> None:
        """Become the protocol of the connection's transport.

        Bytes that redis-py read from the socket but not yet as replies come
        first; they can only be pushes, anything else is out of place.
        """
        stream, writer = getattr(self.connection, "_reader", None), getattr(self.connection, "_writer", None)
        if stream is None or writer is None:
            raise StoreMisconfigured(
                "redis: this redis-py keeps its connection where Holdfast cannot find it"
            )
        if self._resp3 and not hasattr(hiredis, "PushNotification"):
            raise StoreMisconfigured("redis: RESP3 needs hiredis 3.2 or later, or protocol=2")
        parsed = getattr(getattr(self.connection, "_parser", None), "_reader", None)
        while isinstance(parsed, hiredis.Reader) and parsed.has_data():
            if type(parsed.gets(False)) is not _PUSH:
                raise StoreUnavailable("redis: the server sent more than it was asked for")
        self._transport = transport = cast("asyncio.Transport", writer.transport)
        self._former: asyncio.BaseProtocol = transport.get_protocol()
        transport.set_protocol(self)
        # Whatever the socket does not take at once stays with the engine, where it is known not to have
        # left; and uvloop would hold even a small write back until the end of the loop's turn. Not 0, at
        # which asyncio's TLS pauses with an empty buffer and never resumes.
        transport.set_write_buffer_limits(high=1)
        stream.feed_eof()
        early = await stream.read()
        if early:
            self.data_received(early)

    def send(self, data: bytes, flight: Flight) -> None:
        """Hand the commands to the transport. From here on they may have been applied."""
        flight.sent = self._loop.time()
        self._flying.append(flight)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._look)
        assert self._transport is not None
        try:
            self._transport.write(data)
        except Exception as exc:  # noqa: BLE001 - a transport that is gone says so in many ways
            self.fail(f"write failed: {type(exc).__name__}")

    def retire(self, reason: str) -> None:
        """Be lost as soon as what is under way is answered: this server is the wrong one."""
        if self.retiring is None:
            self.retiring = reason
            if not self._flying:
                self.fail(reason)

    def fail(self, reason: str) -> None:
        """Drop the connection; whatever is under way may have been applied."""
        if self.dead:
            return
        self.dead = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        flying, self._flying = self._flying, deque()
        if self._transport is not None:
            self._transport.abort()
        self._lost(
            self, reason
        )  # first, so that what a waiter does next already queues behind the new attempt
        for flight in flying:
            flight.fail(StoreUnavailable(f"redis: {reason}", maybe_applied=True))

    def replies(self) -> Iterator[Any]:
        """Every whole reply that has arrived."""
        return iter(self._reader.gets, _NOTHING)

    @property
    def peer(self) -> Any:
        """The server's address, as the socket knows it."""
        return None if self._transport is None else self._transport.get_extra_info("peername")

    async def close(self) -> None:
        """Say goodbye; returns when the transport is closed, or soon after. Nobody is told of a loss."""
        if not self.dead:
            self._lost = lambda wire, reason: None
            self.fail("closed")
        await asyncio.wait({self._gone}, timeout=1)
        await self.discard()

    async def discard(self) -> None:
        """Make redis-py forget the connection, or its finaliser complains."""
        try:
            await self.connection.disconnect(nowait=True)
        except Exception:  # noqa: BLE001, S110 - it is gone already: there is nobody left to tell
            pass

    # --- what the transport calls ---

    def data_received(self, data: bytes) -> None:
        if self.dead:
            return
        self._heard = self._loop.time()
        try:
            self._reader.feed(data)
            self._collect()
        except hiredis.ProtocolError as exc:
            self.fail(f"not the protocol of Redis: {exc}")

    def eof_received(self) -> bool:
        self.fail("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(f"connection lost: {exc}" if exc else "the server closed the connection")
        self._former.connection_lost(exc)  # or redis-py's disconnect() waits out its time-out
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if not self.dead:
            self._resumed(self)

    # --- replies ---

    def _collect(self) -> None:
        flying, gets = self._flying, self._reader.gets
        arrived = iter(gets, _NOTHING)
        while flying:
            flight = flying[0]
            replies = flight.replies
            replies.extend(islice(arrived, flight.expected - len(replies)))
            if self._resp3:
                while _PUSH in map(type, replies):  # a push may come between any two replies
                    replies[:] = [reply for reply in replies if type(reply) is not _PUSH]
                    replies.extend(islice(arrived, flight.expected - len(replies)))
            if len(replies) < flight.expected:
                return
            flying.popleft()
            self._settle(flight)
            if self.dead:
                return
        for reply in arrived:
            if type(reply) is not _PUSH:
                self.fail("the server sent more than it was asked for")
                return
        if self.retiring is not None:
            self.fail(self.retiring)

    def _look(self) -> None:
        """The watchdog: armed while something is under way, at no cost to a single operation."""
        self._watch = None
        if not self._flying:
            return
        silent = self._loop.time() - max(self._flying[0].sent, self._heard)
        if silent >= self._timeout:
            self.fail(f"no answer for {self._timeout:g} s")
        else:
            self._watch = self._loop.call_later(self._timeout - silent, self._look)
