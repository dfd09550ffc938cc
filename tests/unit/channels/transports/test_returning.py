"""Whoever was let go for reading too slowly comes back to more than may wait, and gets it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, Limits
from holdfast.channels.socket import Socket
from holdfast.channels.transports.raw import HIGH_WATER, RawSocket
from holdfast.channels.transports.sessions import Sessions
from holdfast.channels.transports.writer import Writing

UNREAD = 128 << 10
JOIN = '["1","1","room:a","phx_join",{"since":"0~"}]'


class Room(Channel):
    topic = "room:*"
    history = 0


class Slow(asyncio.Transport):
    """Takes what is written, and sends nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol
        self.waiting = 0
        self.gone = False

    def write(self, data: Any) -> None:
        before, self.waiting = self.waiting, self.waiting + len(data)
        if before <= HIGH_WATER < self.waiting:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.gone = True
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


def raw(channels: Channels) -> Socket:
    socket, transport = RawSocket(channels.hub, None), Slow()
    transport.protocol = socket
    socket.begin(transport, set())
    return socket


def plain(channels: Channels) -> Socket:
    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    socket = Writing(channels.hub, None, send)
    channels.hub.admit(socket)
    return socket


def polled(channels: Channels) -> Socket:
    return Sessions(channels.hub, 60.0).make(None, None)


@pytest.mark.parametrize("made", [raw, plain, polled])
async def test_a_past_above_the_bound_is_sent_and_what_comes_then_is_bounded(made: Any) -> None:
    async with Channels("memory://", [Room], limits=Limits(unread=UNREAD)) as channels:
        said = {"text": "x" * 8_000}
        for _ in range(4 * UNREAD // 8_000):
            await channels.publish("room:a", "said", said)
        socket = made(channels)
        socket.receive(JOIN)
        async with asyncio.timeout(5):
            while not socket.unread:  # noqa: ASYNC110 - it has joined, in one turn or another
                await asyncio.sleep(0)
        past = socket.unread
        assert past > 3 * UNREAD
        while past + UNREAD > socket.unread + len(json.dumps(said)) + 500:
            await channels.publish("room:a", "said", said)
            for _ in range(3):
                await asyncio.sleep(0)
        assert channels.counts().dropped == 0
        for _ in range(3):
            await channels.publish("room:a", "said", said)
            for _ in range(3):
                await asyncio.sleep(0)
        assert channels.counts().dropped == 1
        assert socket.closed


async def come_back(channels: Channels, socket: Socket, topics: int) -> None:
    """Join so many topics at once, with a position before all that was said there."""
    for n in range(topics):
        socket.receive(JOIN.replace("room:a", f"room:{n}"))
    async with asyncio.timeout(10):
        while channels.counts().joins < topics and not socket.closed:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)


@pytest.mark.parametrize("made", [raw, plain, polled])
async def test_the_pasts_of_many_topics_add_up_and_what_comes_then_is_bounded(made: Any) -> None:
    async with Channels("memory://", [Room]) as channels:
        said = {"text": "x" * 65_000}
        for n in range(20):
            for _ in range(10):
                await channels.publish(f"room:{n}", "said", said)
        socket = made(channels)
        await come_back(channels, socket, 20)
        assert channels.counts().dropped == 0
        past = socket.unread
        assert past > 200 * 65_000
        for _ in range(Limits().unread // 65_000 - 1):
            await channels.publish("room:0", "said", said)
            for _ in range(3):
                await asyncio.sleep(0)
        assert channels.counts().dropped == 0
        for _ in range(3):
            await channels.publish("room:0", "said", said)
            for _ in range(3):
                await asyncio.sleep(0)
        assert channels.counts().dropped == 1


@pytest.mark.parametrize("made", [plain, polled])
async def test_many_small_messages_of_a_past_are_not_too_many(made: Any) -> None:
    async with Channels("memory://", [Room]) as channels:
        for n in range(8):
            for _ in range(1_500):
                await channels.publish(f"room:{n}", "m", {})
        socket = made(channels)
        await come_back(channels, socket, 8)
        assert channels.counts().dropped == 0


@pytest.mark.parametrize("made", [raw, plain, polled])
async def test_who_joins_again_and_again_without_reading_is_granted_no_more_than_one_past_may_be(
    made: Any,
) -> None:
    limits = Limits(unread=UNREAD, missed=30, message=10_000, joins=1_000)
    async with Channels("memory://", [Room], limits=limits) as channels:
        for _ in range(10):
            await channels.publish("room:0", "said", {"text": "x" * 9_000})
        socket = made(channels)
        while not socket.closed:
            before = channels.counts().joins
            await come_back(channels, socket, 1)
            async with asyncio.timeout(5):
                while channels.counts().joins == before and not socket.closed:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0)
            assert socket.granted <= 300_000
        assert channels.counts().joins > 3
        assert channels.counts().dropped == 1


@pytest.mark.parametrize("made", [raw, plain, polled])
async def test_what_was_granted_for_a_past_that_was_read_is_gone(made: Any) -> None:
    async with Channels("memory://", [Room], limits=Limits(unread=UNREAD)) as channels:
        await channels.publish("room:0", "said", {"text": "x" * 1_000})
        socket = made(channels)
        socket.granted = 10 * UNREAD  # of before; nothing of it waits
        await come_back(channels, socket, 1)
        assert 1_000 < socket.granted < 2_000
