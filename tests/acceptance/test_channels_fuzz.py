"""Whatever clients send: no crash, no leak, only clean closes or error replies; parsed as the library would."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import tracemalloc
import weakref
from collections import Counter
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.acceptance.proof.figures import SECONDS, SOAK, record
from tests.acceptance.rooms.app import Room
from tests.acceptance.rooms.frames import VECTORS, chunks, messages, said, stream
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from holdfast.channels import Channels, Limits, User, event
from holdfast.channels.protocol import Frame as Sent
from holdfast.channels.socket import Socket
from holdfast.channels.transports.raw import RawSocket

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800 if SOAK else 300)]
FRAMES = 20_000
STREAMS = 1_500
ENDS = {1002, 1007, 1009}
"""How a server may end a connection over what it was sent."""
ECHOED = {1000, 1001, 1005}
"""And what it answers to a client's own end."""
MOST = 60_000  # bytes of a frame: small, so that some are too large


# Examples that hypothesis makes up in a second are about 280 of frames, and 130 of messages.


class Goal:
    """So much in an ordinary run; in a soak, for so long besides."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._until = time.monotonic() + (SECONDS if SOAK else 0)

    def reached(self, done: int) -> bool:
        return done >= self._least and time.monotonic() >= self._until


class Wire(asyncio.Transport):
    """A transport that goes nowhere, and remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.gone = False
        self.paused = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.gone = True

    def abort(self) -> None:
        self.gone = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def cleaned(payload: dict[str, Any]) -> dict[str, Any]:
    """Without the field that may not be sent back, as an application does that sends back whatever it gets."""
    payload.pop("_holdfast", None)
    return payload


class Fixed(Room):
    """The small application's room, for a few topics only: what grows is then a leak."""

    topic = "room:a"
    max_messages = 50

    @event("echo")
    async def echo(self, payload: dict[str, Any]) -> Any:
        return cleaned(payload)

    @event("shout")
    async def shout(self, payload: dict[str, Any]) -> None:
        await super().shout(cleaned(payload))

    @event("others")
    async def others(self, payload: dict[str, Any]) -> None:
        await super().others(cleaned(payload))

    @event("tell")
    async def tell(self, payload: dict[str, Any]) -> None:
        await super().tell(cleaned(payload))

    @event("crash")
    async def crash(self, payload: dict[str, Any]) -> None:
        """Not here."""


class Other(Fixed):
    topic = "room:b"


def opened() -> Channels:
    return Channels(
        "memory://", [Fixed, Other], limits=Limits(frame=MOST, messages=1 << 30, bytes=1 << 60, joins=1 << 30)
    )


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the loop's handler is told: exceptions that nobody caught."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context))
    return found


def check(frame: Frame) -> int | None:
    """That a client understands it; the code, where it is the end."""
    if frame.opcode is Opcode.CLOSE:
        code = Close.parse(bytes(frame.data)).code
        assert code in ENDS | ECHOED, code
        return code
    if frame.opcode is Opcode.TEXT:
        check_text(bytes(frame.data))
    elif frame.opcode is Opcode.BINARY:
        check_binary(bytes(frame.data))
    else:
        assert frame.opcode is Opcode.PONG, frame
    return None


_decode = msgspec.json.Decoder(tuple[str | None, str | None, str, str, dict[str, Any]], strict=True).decode


def check_text(data: bytes) -> None:
    assert b"channel_crash" not in data, data
    *_, event, payload = _decode(data)
    if event == "phx_reply":
        assert payload.keys() == {"status", "response"}


def check_binary(data: bytes) -> None:
    count = {0: 3, 1: 4, 2: 2}[data[0]]
    assert len(data) >= 1 + count + sum(data[1 : 1 + count])


async def test_a_raw_connection_survives_whatever_is_sent_or_ends_cleanly(
    complaints: list[dict[str, Any]],
) -> None:
    source = random.Random(20261120)
    ends = Counter[int]()
    sent = 0
    goal = Goal(FRAMES)
    async with opened() as channels:
        while not goal.reached(channels.counts().received):
            count = source.randrange(1, 60)
            wire, socket = Wire(), RawSocket(channels.hub, User("fuzz"))
            socket.begin(wire, set())
            for part in chunks(source, stream(source, count)):
                socket.data_received(part)
                if source.random() < 0.05:
                    await asyncio.sleep(0)
                if wire.gone:
                    break
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for frame in said(bytes(wire.written)):
                code = check(frame)
                if code is not None:
                    ends[code] += 1
            socket.connection_lost(None)
            sent += count
        received = channels.counts().received
        assert channels.counts().connections == 0
        assert channels.counts().crashed == 0
    assert complaints == []
    assert ends.keys() == ENDS | ECHOED, ends
    record(
        "rooms: fuzzed connections",
        "memory",
        f"{sent:,} frames, {received:,} understood, {sum(ends.values()):,} clean ends",
    )


class Direct(Socket):
    """A transport whose frames are only looked at."""

    __slots__ = ("code", "sent")

    def __init__(self, channels: Channels) -> None:
        super().__init__(channels.hub, User("fuzz"))
        self.code: int | None = None
        self.sent = 0
        self.hub.admit(self)

    def send_all(self, frames: list[Sent]) -> None:
        for frame in frames:
            (check_binary if frame.binary else check_text)(frame.body)
        self.sent += len(frames)

    def close(self, code: int, reason: str = "") -> None:
        assert code in ENDS
        self.code = code
        self.lost()

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


async def test_what_any_transport_hands_on_is_answered_or_ends_the_connection(
    complaints: list[dict[str, Any]],
) -> None:
    source = random.Random(20261121)
    sent = 0
    goal = Goal(FRAMES)
    async with opened() as channels:
        while not goal.reached(channels.counts().received):
            socket = Direct(channels)
            for data, binary in islice(messages(source), 120):
                if binary:
                    socket.receive_binary(data)
                elif source.random() < 0.5:
                    socket.receive(data)
                else:
                    socket.receive(data.decode(errors="replace"))
                if source.random() < 0.1:
                    await asyncio.sleep(0)
                if socket.code is not None:
                    break
            await asyncio.sleep(0)
            sent += socket.sent
            socket.lost()
        assert channels.counts().connections == 0
        received = channels.counts().received
    assert complaints == []
    assert sent > received / 2, "little was answered"


# --- parsed as the library would ---


class Recorded(RawSocket):
    """The parser alone: what it makes of a stream."""

    def __init__(self, channels: Channels) -> None:
        super().__init__(channels.hub, None)
        self.got: list[tuple[bytes, bool]] = []
        self.wire = Wire()
        self.begin(self.wire, set())

    def receive(self, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self.got.append((data, False))

    def receive_binary(self, data: bytes) -> None:
        self.got.append((data, True))


def by_library(parts: list[bytes]) -> tuple[list[tuple[bytes, bool]], bytes]:
    """What `websockets` alone makes of it, and writes; as its own connections do, message by message."""
    parser = ServerProtocol(state=State.OPEN, max_size=MOST)
    written = bytearray()
    got: list[tuple[bytes, bool]] = []
    begun: tuple[bytes, bool] | None = None
    for part in parts:
        parser.receive_data(part)
        for frame in parser.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                begun = bytes(frame.data), frame.opcode is Opcode.BINARY
            elif frame.opcode is Opcode.CONT and begun is not None:
                begun = begun[0] + frame.data, begun[1]
            else:
                continue
            if frame.fin:
                got.append(begun)
                begun = None
        written += b"".join(parser.data_to_send())
        if parser.state is not State.OPEN:
            break
    return got, bytes(written)


def by_ours(channels: Channels, parts: list[bytes]) -> tuple[list[tuple[bytes, bool]], bytes]:
    socket = Recorded(channels)
    for part in parts:
        socket.data_received(part)
        if socket.wire.gone:
            break
    socket.connection_lost(None)
    return socket.got, bytes(socket.wire.written)


async def test_any_stream_of_bytes_is_parsed_as_by_the_library_alone() -> None:
    source = random.Random(20261122)
    streams = messages_seen = closed = 0
    goal = Goal(STREAMS)
    async with opened() as channels:
        while not goal.reached(streams):
            streams += 1
            parts = list(chunks(source, stream(source, source.randrange(1, 20))))
            ours, library = by_ours(channels, parts), by_library(parts)
            assert ours == library, [part.hex() for part in parts]
            messages_seen += len(ours[0])
            closed += any(frame.opcode is Opcode.CLOSE for frame in said(ours[1]))
    assert messages_seen > streams
    assert closed > streams / 50
    record(
        "rooms: parsed as by `websockets` alone",
        "",
        f"{streams:,} random streams, {messages_seen:,} messages, {closed:,} ends, no difference",
    )


sizes = st.sampled_from([0, 1, 2, 124, 125, 126, 127, 128, 65534, 65535, 65536, 70000]) | st.integers(0, 300)


@st.composite
def wire_frames(draw: st.DrawFn) -> bytes:
    """One frame of any shape that the head can have."""
    head = draw(st.sampled_from([0x81, 0x82, 0x89, 0x8A, 0x01, 0x02, 0x00, 0x80, 0x88])) | draw(
        st.sampled_from([0] * 12 + [0x40, 0x20, 0x10])
    )
    size = draw(sizes)
    length = draw(st.sampled_from(["shortest"] * 6 + ["two", "eight"]))
    masked = draw(st.sampled_from([True] * 4 + [False]))
    bit = 128 if masked else 0
    if length == "eight" or size > 65535:
        start = bytes((head, bit | 127)) + size.to_bytes(8, "big")
    elif length == "two" or size > 125:
        start = bytes((head, bit | 126)) + size.to_bytes(2, "big")
    else:
        start = bytes((head, bit | size))
    mask = draw(st.binary(min_size=4, max_size=4)) if masked else b""
    return (
        start
        + mask
        + draw(st.binary(min_size=min(size, 8), max_size=min(size, 8)))
        + b"x" * (size - min(size, 8))
    )


@settings(
    max_examples=round(SECONDS * 250) if SOAK else 400, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(st.lists(wire_frames(), max_size=8), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_any_shape_of_frame_in_any_pieces_is_parsed_as_by_the_library_alone(
    frames: list[bytes], lengths: list[int]
) -> None:
    data = b"".join(frames)
    parts, at = [], 0
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    parts.append(data[at:])
    parts = [part for part in parts if part]

    async def compared() -> None:
        async with opened() as channels:
            assert by_ours(channels, parts) == by_library(parts)

    asyncio.run(compared())


@settings(
    max_examples=round(SECONDS * 120) if SOAK else 300, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(VECTORS),
            st.tuples(
                *[st.none() | st.text(max_size=300) | st.sampled_from(["6", "room:a", "phx_join"])] * 4
            ).flatmap(
                lambda four: st.dictionaries(
                    st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3
                ).map(lambda payload: msgspec.json.encode([*four, payload]).decode())
            ),
            st.binary(max_size=60),
            st.text(max_size=60),
        ),
        max_size=10,
    )
)
def test_any_message_is_answered_or_ends_the_connection(said_by_client: list[bytes | str]) -> None:
    async def talk() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with opened() as channels:
            socket = Direct(channels)
            for each in said_by_client:
                if socket.code is None:
                    if isinstance(each, bytes):
                        socket.receive_binary(each)
                    socket.receive(each)
                await asyncio.sleep(0)
            socket.lost()
        assert complaints == []

    asyncio.run(talk())


# --- nothing stays ---


async def test_connections_that_ended_badly_leave_nothing_behind() -> None:
    source = random.Random(20261123)
    alive: weakref.WeakSet[RawSocket] = weakref.WeakSet()

    async def some(channels: Channels, connections: int) -> int:
        for _ in range(connections):
            wire, socket = Wire(), RawSocket(channels.hub, User("fuzz"))
            alive.add(socket)
            socket.begin(wire, set())
            for part in chunks(source, stream(source, 30)):
                socket.data_received(part)
            await asyncio.sleep(0)
            socket.connection_lost(None)
        for _ in range(20):
            await asyncio.sleep(0)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async with opened() as channels:
        tracemalloc.start()
        try:
            before = await some(channels, 30)
            after = await some(channels, 1_000 if SOAK else 60)
        finally:
            tracemalloc.stop()
        assert channels.counts().connections == 0
    assert list(alive) == []
    assert after < before + 100_000, f"{after - before:,} bytes more"
