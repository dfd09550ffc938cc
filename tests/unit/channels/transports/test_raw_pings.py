"""A client that asks for pongs and does not read them: nothing piles up without end, whoever parses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from holdfast.channels import Channel, Channels, Limits
from holdfast.channels.transports.raw import HIGH_WATER, RawSocket

UNREAD = 128 << 10


class Room(Channel):
    topic = "room:*"


class Stalled(asyncio.Transport):
    """Nobody reads at the other end."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.waiting = 0
        self.gone = False

    def write(self, data: Any) -> None:
        before, self.waiting = self.waiting, self.waiting + len(data)
        if before <= HIGH_WATER < self.waiting:
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == HIGH_WATER

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.gone = True
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    close = abort


@pytest.mark.parametrize(
    "first", [b"", Frame(Opcode.BINARY, b"\0\0\0\0\0").serialize(mask=True)], ids=["ours", "library"]
)
async def test_who_pings_without_reading_is_let_go(first: bytes) -> None:
    async with Channels("memory://", [Room], limits=Limits(unread=UNREAD, messages=100_000)) as channels:
        socket = RawSocket(channels.hub, None)
        transport = Stalled(socket)
        socket.begin(transport, set())
        socket.data_received(first)
        ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 100
        for _ in range(50):
            if not transport.gone:
                socket.data_received(ping)
        assert transport.gone
        await asyncio.sleep(0)
        assert transport.waiting < UNREAD + 2 * len(ping)
        assert channels.counts().dropped == 1
        assert channels.counts().connections == 0
