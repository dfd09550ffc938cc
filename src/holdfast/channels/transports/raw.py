"""A connection on the transport itself: no task, no queue and no ASGI message between a client and its rooms.

What a client sends is parsed here where it is what clients send: whole, masked
text frames, pings and pongs. Anything else hands the connection for good to the
`websockets` library, so that the finer points of RFC 6455 are decided there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from websockets.frames import Frame as Parsed
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled part on this platform
    from websockets.utils import apply_mask

from holdfast import events
from holdfast.channels.channel import User
from holdfast.channels.hub import Hub
from holdfast.channels.protocol import Frame
from holdfast.channels.socket import RESTART, Socket

__all__ = ["RawSocket"]

HIGH_WATER: Final = 64 << 10
"""Bytes that may wait in the transport before a reader counts as slow and is watched."""
CLOSE_SECONDS: Final = 5.0
"""How long a client may take to answer a close, or to read what was sent before it."""


class RawSocket(Socket, asyncio.Protocol):
    """A connection on the transport itself."""

    __slots__ = ("_buffer", "_connections", "_ending", "_parser", "_parts", "_transport", "write")

    raw: ClassVar[bool] = True

    def __init__(self, hub: Hub, user: User | None) -> None:
        super().__init__(hub, user)
        self._buffer = b""
        self._connections: set[Any] = set()
        self._ending: asyncio.TimerHandle | None = None  # set once a close was sent
        self._parser: ServerProtocol | None = None  # the library's, once it was needed
        self._parts: list[bytes] | None = None  # of a message in fragments
        self._transport: asyncio.Transport
        self.write: Callable[[bytes], None] = _nowhere

    def begin(self, transport: asyncio.Transport, connections: set[Any]) -> None:
        """The client was told that it is accepted; `connections` is what the server waits for at shutdown."""
        self._transport = transport
        self._connections = connections
        connections.add(self)
        transport.set_write_buffer_limits(high=min(HIGH_WATER, self.hub.limits.unread))
        self.write = transport.write
        self.hub.admit(self)

    # --- what goes out ---

    def send(self, frame: Frame) -> None:
        self.write(frame.wire)

    def send_all(self, frames: list[Frame]) -> None:
        self.write(frames[0].wire if len(frames) == 1 else b"".join([frame.wire for frame in frames]))

    def pause_writing(self) -> None:
        if self.write is not _nowhere:
            self.write = self._write_watched

    def resume_writing(self) -> None:
        self.granted = 0
        if self.write is not _nowhere:
            self.write = self._transport.write

    def _write_watched(self, data: bytes) -> None:
        """To a reader that is behind: past the bound it is let go, to come back and say where it was."""
        self._transport.write(data)
        waiting = self._transport.get_write_buffer_size()
        if waiting > self.hub.limits.unread + self.granted:
            self.hub.counts.dropped += 1
            if events.listeners:
                events.publish(events.ReaderDropped(waiting))
            # In the next turn: now a room is in the midst of handing out frames to its members.
            asyncio.get_running_loop().call_soon(self.lost, "slow")
            self.write = _nowhere
            self._transport.abort()

    @property
    def unread(self) -> int:
        return self._transport.get_write_buffer_size()

    # --- the end ---

    def close(self, code: int, reason: str = "") -> None:
        if self._ending is not None or self._transport.is_closing():
            return
        said = code.to_bytes(2, "big") + reason.encode()[:123]
        self.write(bytes((0x88, len(said))) + said)
        self._ending = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)
        if self.held_back:
            self._transport.resume_reading()  # to see the answer
        self.lost("shutdown" if code == RESTART else "closed")

    def lost(self, reason: str = "closed") -> None:
        self.write = _nowhere
        super().lost(reason)

    def shutdown(self) -> None:
        """The server stops."""
        self.close(RESTART, "restart")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._ending is not None:
            self._ending.cancel()
        self.lost("closed")

    def _hang_up(self) -> None:
        """Both have said that it is over, or one has said what it must not: send what is left, for so long."""
        self.lost("closed")
        if self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)
        self._transport.close()

    # --- what comes in ---

    def pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._parser is not None:
            self._parse(data)
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at, end = 0, len(data)
        while end - at >= 2:
            first, size = data[at], data[at + 1] - 128
            start = at + 6
            if size == 126 and first == 0x81 and end - at >= 4:
                size = data[at + 2] << 8 | data[at + 3]
                start = at + 8
                if size < 126:
                    break
            elif size == 126 and first == 0x81:
                self._buffer = data[at:]
                return
            elif not 0 <= size < 126:  # unmasked, or large
                break
            if first not in _PLAIN or size > self.hub.limits.frame:
                break
            stop = start + size
            if stop > end:
                self._buffer = data[at:]
                return
            at = stop
            if self.closed:  # a close was sent; only its answer is waited for
                continue
            payload = apply_mask(data[start:stop], data[start - 4 : start])
            if first == 0x81:
                self.receive(payload)
            else:
                self.count(size)
                if first == 0x89:
                    self.write(bytes((0x8A, size)) + payload)
        else:
            self._buffer = data[at:]
            return
        self._parser = ServerProtocol(state=State.OPEN, max_size=self.hub.limits.frame)
        self._parse(data[at:])

    def _parse(self, data: bytes) -> None:
        """The same by the library."""
        parser = self._parser
        assert parser is not None
        parser.receive_data(data)
        for parsed in parser.events_received():
            if isinstance(parsed, Parsed) and not self.closed:
                self._take_parsed(parsed)
        said = b"".join(parser.data_to_send())
        if said:
            self.write(said)  # nowhere, if a close was sent
        if parser.state is not State.OPEN:
            self._hang_up()

    def _take_parsed(self, frame: Parsed) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            if frame.fin:
                self._whole(bytes(frame.data), binary=frame.opcode is Opcode.BINARY)
            else:
                self.count(len(frame.data))
                self._parts = [bytes((frame.opcode is Opcode.BINARY,)), bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._parts is not None:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                kind, *parts = self._parts
                self._parts = None
                self._whole(b"".join(parts), binary=kind == b"\1")
            else:
                self.count(len(frame.data))
        else:
            self.count(len(frame.data))

    def _whole(self, data: bytes, *, binary: bool) -> None:
        if binary:
            self.receive_binary(data)
        else:
            self.receive(data)


_PLAIN: Final = frozenset((0x81, 0x89, 0x8A))
"""The first byte of a whole text frame, a ping, a pong."""


def _nowhere(data: bytes) -> None:
    """Where a connection that has ended writes to."""
