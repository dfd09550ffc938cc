"""The raw transport, byte by byte: `RawSocket` on a transport that a test looks into."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from websockets.frames import Close, Frame, Opcode

from holdfast import events
from holdfast.channels import Channel, Channels, Limits, event
from holdfast.channels.transports import raw
from holdfast.channels.transports.raw import RawSocket

TOPIC = "room:a"
LIMITS = Limits(frame=70_000, unread=10_000)


class Room(Channel):
    topic = "room:*"
    lefts: ClassVar[list[str]] = []

    @event("echo")
    async def echo(self, payload: Any) -> Any:
        return payload

    async def left(self, reason: str) -> None:
        self.lefts.append(reason)


class Transport(asyncio.Transport):
    """What was written, and what was asked of it."""

    def __init__(self, socket: RawSocket) -> None:
        super().__init__()
        self.socket = socket
        self.written = bytearray()
        self.writes = 0
        self.waiting = 0  # a reader that does not read: what counts as waiting for it
        self.high = 0
        self.reading = True
        self.closing = self.aborted = False

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written += data
        self.writes += 1

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.socket.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def frames(self) -> list[Any]:
        """What a client reads: lists of five, `bytes` of a binary frame, close codes, pongs."""
        found: list[Any] = []
        data, at = bytes(self.written), 0
        self.written.clear()
        while at < len(data):
            first, size = data[at], data[at + 1]
            assert size < 127
            start = at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            body, at = data[start : start + size], start + size
            if first == 0x81:
                found.append(json.loads(body))
            elif first == 0x82:
                found.append(body)
            elif first == 0x88:
                found.append(Close.parse(body).code)
            else:
                assert first == 0x8A, hex(first)
                found.append(("pong", body))
        return found


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    Room.lefts.clear()
    async with Channels("memory://", [Room], limits=LIMITS) as channels:
        yield channels


def begun(channels: Channels) -> tuple[RawSocket, Transport, set[Any]]:
    socket = RawSocket(channels.hub, None)
    transport, connections = Transport(socket), set[Any]()
    socket.begin(transport, connections)
    return socket, transport, connections


async def joined(channels: Channels) -> tuple[RawSocket, Transport]:
    socket, transport, _ = begun(channels)
    socket.data_received(text("1", "1", TOPIC, "phx_join", {}))
    await turns()
    assert transport.frames() == [ok("1", "1", {})]
    return socket, transport


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def text(*said: Any, split: int = 0) -> bytes:
    """A masked text frame; with `split`, in so many fragments."""
    data = json.dumps(said).encode()
    if not split:
        return Frame(Opcode.TEXT, data).serialize(mask=True)
    return fragments(Opcode.TEXT, data, split)


def fragments(opcode: Opcode, data: bytes, count: int) -> bytes:
    size = -(-len(data) // count)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(
        Frame(Opcode.CONT if at else opcode, part, fin=at == len(parts) - 1).serialize(mask=True)
        for at, part in enumerate(parts)
    )


def ok(join_ref: str | None, ref: str, response: Any, topic: str = TOPIC) -> list[Any]:
    return [join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response}]


BINARY = Frame(Opcode.BINARY, bytes.fromhex("00 01 01 06 04 31 33 726f6f6d3a61 6563686f 0908")).serialize(
    mask=True
)
BINARY_REPLY = bytes.fromhex("01 01 01 06 02 31 33 726f6f6d3a61 6f6b 0908")
STREAMS = {
    "text": (text("1", "2", TOPIC, "echo", {"n": 1}), [ok("1", "2", {"n": 1})]),
    "longer text": (text("1", "2", TOPIC, "echo", {"x": "y" * 200}), [ok("1", "2", {"x": "y" * 200})]),
    "several": (
        text(None, "2", "phoenix", "heartbeat", {})
        + Frame(Opcode.PING, b"hi").serialize(mask=True)
        + Frame(Opcode.PONG, b"").serialize(mask=True)
        + text("1", "3", TOPIC, "echo", {"n": 2}),
        [ok(None, "2", {}, "phoenix"), ("pong", b"hi"), ok("1", "3", {"n": 2})],
    ),
    "fragments": (
        text("1", "2", TOPIC, "echo", {"n": 1}, split=3) + text("1", "3", TOPIC, "echo", {"n": 2}),
        [ok("1", "2", {"n": 1}), ok("1", "3", {"n": 2})],
    ),
    "binary": (BINARY, [BINARY_REPLY]),
    "binary in fragments": (
        fragments(Opcode.BINARY, bytes.fromhex("0001010604 31 33 726f6f6d3a61 6563686f 0908"), 4),
        [BINARY_REPLY],
    ),
    "text behind binary": (BINARY + text("1", "2", TOPIC, "echo", {}), [BINARY_REPLY, ok("1", "2", {})]),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_wherever_a_stream_is_cut_the_same_is_heard(channels: Channels, name: str) -> None:
    stream, answers = STREAMS[name]
    for cut in range(len(stream) + 1):
        socket, transport = await joined(channels)
        for part in (stream[:cut], stream[cut:]):
            if part:
                socket.data_received(part)
        await turns()
        assert transport.frames() == answers, f"cut at {cut}"
        socket.lost()
        socket.connection_lost(None)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_that_comes_byte_by_byte_is_heard(channels: Channels, name: str) -> None:
    stream, answers = STREAMS[name]
    socket, transport = await joined(channels)
    for byte in stream:
        socket.data_received(bytes((byte,)))
    await turns()
    assert transport.frames() == answers


async def test_a_ping_between_fragments_is_answered(channels: Channels) -> None:
    socket, transport = await joined(channels)
    data = json.dumps(["1", "2", TOPIC, "echo", {}]).encode()
    socket.data_received(Frame(Opcode.TEXT, data[:5], fin=False).serialize(mask=True))
    socket.data_received(Frame(Opcode.PING, b"hi").serialize(mask=True))
    assert transport.frames() == [("pong", b"hi")]
    socket.data_received(Frame(Opcode.CONT, data[5:]).serialize(mask=True))
    await turns()
    assert transport.frames() == [ok("1", "2", {})]


# --- what ends it ---


MALFORMED = {
    "unmasked": (bytes.fromhex("8100"), 1002),
    "a reserved bit": (bytes.fromhex("c180 00000000"), 1002),
    "an unknown opcode": (bytes.fromhex("8380 00000000"), 1002),
    "a long ping": (bytes.fromhex("89fe 0080 00000000") + b"x" * 128, 1002),
    "a ping in fragments": (bytes.fromhex("0980 00000000"), 1002),
    "a continuation of nothing": (bytes.fromhex("8080 00000000"), 1002),
    "a text within a text": (bytes.fromhex("0180 00000000 8180 00000000"), 1002),
    "no JSON": (Frame(Opcode.TEXT, b"hello").serialize(mask=True), 1007),
    "no UTF-8": (Frame(Opcode.TEXT, b'["1","1","\xff","e",{}]').serialize(mask=True), 1007),
    "no push": (Frame(Opcode.BINARY, b"\1\0\0\0\0").serialize(mask=True), 1007),
    "too big": (bytes.fromhex("81ff 0000000000011171 00000000"), 1009),
    "too big in fragments": (fragments(Opcode.TEXT, b"x" * 70_001, 2), 1009),
    "too big with a short length": (bytes.fromhex("82fe fff0 00000000") + b"x" * 65_520 + b"", 1007),
    "a close": (Frame(Opcode.CLOSE, Close(1001, "").serialize()).serialize(mask=True), 1001),
    "a close of nothing": (bytes.fromhex("8880 00000000"), 1000),
    "a close with half a code": (bytes.fromhex("8881 00000000 03"), 1002),
}


@pytest.mark.parametrize("cut", [None, 1, 3])
@pytest.mark.parametrize("name", MALFORMED)
async def test_the_end_is_said_and_nothing_is_left(channels: Channels, name: str, cut: int | None) -> None:
    stream, code = MALFORMED[name]
    socket, transport, connections = begun(channels)
    socket.data_received(text("1", "1", TOPIC, "phx_join", {}))
    await turns()
    transport.frames()
    for part in (stream[:cut], stream[cut:]) if cut else (stream,):
        if not transport.closing:
            socket.data_received(part)
    if name == "a close of nothing":
        assert bytes(transport.written) == b"\x88\x00"
    else:
        assert transport.frames() == [code]
    await turns()
    assert socket.closed
    assert Room.lefts == ["closed"]
    assert not channels.hub.sockets
    if code != 1007:  # there, the client's answer is waited for
        assert transport.is_closing()
        assert not connections


async def test_a_close_waits_for_its_answer_and_says_nothing_more(channels: Channels) -> None:
    socket, transport = await joined(channels)
    socket.close(1001, "away")
    ending = socket._ending
    socket.close(1012)
    assert socket._ending is ending
    assert transport.frames() == [1001]
    assert not transport.is_closing()
    await channels.publish(TOPIC, "m", {})
    received = channels.counts().received
    for stream in (text("1", "2", TOPIC, "echo", {}), BINARY):
        socket.data_received(stream + Frame(Opcode.PING, b"hi").serialize(mask=True))
    await turns()
    assert transport.frames() == []
    assert channels.counts().received == received
    assert Room.lefts == ["closed"]
    socket.data_received(Frame(Opcode.CLOSE, Close(1001, "").serialize()).serialize(mask=True))
    assert transport.frames() == []
    assert transport.is_closing()
    await turns()
    assert socket._ending is not None
    assert socket._ending.cancelled()


async def test_who_does_not_answer_a_close_is_cut_off(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "CLOSE_SECONDS", 0.01)
    socket, transport = await joined(channels)
    socket.close(1001)
    async with asyncio.timeout(5):
        while not transport.aborted:  # noqa: ASYNC110 - a timer of a hundredth of a second
            await asyncio.sleep(0)


async def test_a_close_is_said_to_who_is_held_back_and_its_answer_is_read(channels: Channels) -> None:
    socket, transport = await joined(channels)
    socket.hold_back()
    assert not transport.is_reading()
    socket.close(1001)
    assert transport.is_reading()
    socket.go_on()
    assert transport.frames() == [1001]


async def test_the_servers_end_is_the_end(channels: Channels) -> None:
    socket, transport = await joined(channels)
    socket.shutdown()
    assert transport.frames() == [1012]
    await turns()
    assert Room.lefts == ["shutdown"]


async def test_a_connection_that_is_gone_is_forgotten(channels: Channels) -> None:
    socket, transport, connections = begun(channels)
    assert connections == {socket}
    assert not socket.eof_received()
    socket.connection_lost(ConnectionResetError())
    socket.send_all([])
    socket.close(1001)
    assert connections == set()
    assert not channels.hub.sockets
    assert transport.frames() == []


# --- bounds ---


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
async def test_a_frame_may_be_as_long_as_the_limit_and_no_longer(opcode: Opcode) -> None:
    async with Channels("memory://", [Room], limits=Limits(frame=1_000)) as channels:
        for size, code in ((1_000, 1007), (1_001, 1009)):
            socket, transport, _ = begun(channels)
            socket.data_received(Frame(opcode, b"x" * size).serialize(mask=True))
            assert transport.frames() == [code]


async def test_a_slow_reader_is_let_go_and_nobody_else_misses_anything(channels: Channels) -> None:
    members = [await joined(channels) for _ in range(4)]
    told: list[Any] = []
    stop = events.subscribe(told.append)
    slow, line = members[1]
    assert line.high == LIMITS.unread
    slow.resume_writing()  # it has read its welcome
    slow.pause_writing()
    line.waiting = LIMITS.unread
    await channels.publish(TOPIC, "m", {"n": 1}, keep=False)
    await turns()
    assert not line.is_closing()
    line.waiting += 1
    for n in (2, 3):
        await channels.publish(TOPIC, "m", {"n": n}, keep=False)
        await turns()
    stop()
    for socket, transport in members:
        if socket is not slow:
            assert [frame[4] for frame in transport.frames()] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert line.aborted
    assert Room.lefts == ["slow"]
    assert channels.counts().dropped == 1
    assert [each for each in told if isinstance(each, events.ReaderDropped)] == [
        events.ReaderDropped(LIMITS.unread + 1)
    ]
    assert slow not in channels.hub.sockets


async def test_a_reader_that_catches_up_is_watched_no_more(channels: Channels) -> None:
    socket, transport = await joined(channels)
    socket.pause_writing()
    socket.resume_writing()
    transport.waiting = 10 * LIMITS.unread
    await channels.publish(TOPIC, "m", {}, keep=False)
    await turns()
    assert not transport.is_closing()
    assert len(transport.frames()) == 1
    socket.lost()
    for change in (socket.pause_writing, socket.resume_writing):
        change()
        socket.write(b"x")
    assert transport.frames() == []


async def test_pings_and_fragments_count_and_show_that_somebody_is_there() -> None:
    async with Channels("memory://", [Room], limits=Limits(messages=3, idle=5)) as channels:
        ping = Frame(Opcode.PING, b"").serialize(mask=True)
        parts = [Frame(Opcode.TEXT, b"[", fin=False).serialize(mask=True)]
        parts += [Frame(Opcode.CONT, b" ", fin=False).serialize(mask=True)] * 3
        for stream in ([ping] * 4, [BINARY, *[ping] * 3], parts):
            socket, transport, _ = begun(channels)
            for part in stream[:3]:
                socket.data_received(part)
            assert transport.is_reading()
            socket.data_received(stream[3])
            assert not transport.is_reading()
            channels.hub.pulse.beat()
            assert transport.is_reading()
        pinging, transport, _ = begun(channels)
        for _ in range(30):
            pinging.data_received(ping)
            channels.hub.pulse.beat()
        assert channels.hub.sockets.keys() == {pinging}


async def test_what_came_is_handled_though_nothing_more_is_read(channels: Channels) -> None:
    socket, transport = await joined(channels)
    socket.hold_back()
    socket.data_received(text(None, "2", "phoenix", "heartbeat", {}))
    assert len(transport.frames()) == 1
    socket.go_on()
    assert transport.is_reading()


async def test_what_a_turn_brings_to_a_room_is_one_write(channels: Channels) -> None:
    _, transport = await joined(channels)
    before = transport.writes
    for n in range(5):
        await channels.publish(TOPIC, "m", {"n": n}, keep=False)
    await turns()
    assert transport.writes == before + 1
    assert len(transport.frames()) == 5
