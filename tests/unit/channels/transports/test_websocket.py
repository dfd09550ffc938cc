import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.unit.channels.transports.lab import SECONDS, Connection, Room, Wire, joined

from holdfast.channels import Channels, Connect, Limits, User

SAY = '["1","2","room:a","say",{"text":"hello"}]'


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Room], limits=Limits(frame=200)) as channels:
        yield channels


async def test_a_client_joins_says_and_hears(channels: Channels) -> None:
    async with Connection(channels) as wire:
        await joined(wire)
        wire.text(SAY)
        await wire.got(4)
        reply, said, answer = map(msgspec.json.decode, wire.frames)
        assert reply[:4] == ["1", "1", "room:a", "phx_reply"]
        assert reply[4]["response"]["welcome"] is True
        assert said[:4] == [None, None, "room:a", "said"]
        assert said[4]["text"] == "hello"
        assert answer == ["1", "2", "room:a", "phx_reply", {"status": "ok", "response": {}}]


async def test_binary_goes_both_ways_byte_for_byte(channels: Channels) -> None:
    async with Connection(channels) as wire:
        await joined(wire, "room:a", "6")
        wire.data(bytes.fromhex("0001020605") + b"6" + b"17" + b"room:a" + b"bytes" + b"\x09\x08")
        await wire.got(5)
        assert wire.frames[1:] == [
            b"\x00\x01\x06\x066room:apushed\x09\x08",
            b"\x02\x06\x05room:ashown\x09\x08",
            b"\x01\x01\x02\x06\x02617room:aok\x08\x09",
        ]


@pytest.mark.parametrize(
    ("send", "closed"),
    [
        (lambda wire: wire.text("x" * 201), 1009),
        (lambda wire: wire.text("\u00e9" * 101), 1009),
        (lambda wire: wire.data(b"\0" * 201), 1009),
        (lambda wire: wire.text("x" * 200), 1007),
        (lambda wire: wire.text("\u00e9" * 100), 1007),
        (lambda wire: wire.data(b"\1" * 200), 1007),
        (lambda wire: wire.data(b""), 1007),
        (lambda wire: wire.text('{"topic":"room:a"}'), 1007),
    ],
)
async def test_what_is_too_big_or_malformed_ends_the_connection(
    channels: Channels, send: object, closed: int
) -> None:
    connection = Connection(channels)
    async with connection as wire:
        await wire.got(1)
        send(wire)  # type: ignore[operator]
        wire.text(SAY)
        async with asyncio.timeout(SECONDS):
            await connection.task
        assert [each["code"] for each in wire.closes] == [closed]
        assert wire.frames == []
    assert not channels.hub.sockets


async def test_a_client_that_goes_leaves_its_topics(channels: Channels) -> None:
    connection = Connection(channels)
    async with connection as wire:
        await joined(wire)
        (socket,) = channels.hub.sockets
        assert socket.topics
        wire.gone()
        async with asyncio.timeout(SECONDS):
            await connection.task
        assert socket.closed
        assert not socket.topics
        assert not channels.hub.sockets
        assert wire.closes == []


async def test_a_receive_that_raises_is_a_client_that_has_gone(channels: Channels) -> None:
    connection = Connection(channels)
    async with connection as wire:
        await joined(wire)
        wire.put(RuntimeError("transport closed"))
        async with asyncio.timeout(SECONDS):
            await connection.task
    assert not channels.hub.sockets


async def test_a_server_that_cancels_the_app_leaves_nothing_behind(channels: Channels) -> None:
    connection = Connection(channels)
    await connection.__aenter__()
    await joined(connection.wire)
    before = asyncio.all_tasks()
    connection.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connection.task
    assert not channels.hub.sockets
    left = {task.get_name() for task in before if not task.done()}
    assert not any(name.startswith(("holdfast channels reader", "holdfast channels writer")) for name in left)


async def test_nothing_is_received_while_it_is_paused(channels: Channels) -> None:
    async with Connection(channels) as wire:
        await joined(wire)
        (socket,) = channels.hub.sockets
        socket.pause()
        wire.text('[null,"8","phoenix","heartbeat",{}]')
        await wire.got(3)  # what was being received when it was paused
        asked = wire.receiving
        wire.text('[null,"9","phoenix","heartbeat",{}]')
        await asyncio.sleep(0)
        assert wire.receiving == asked
        socket.resume()
        await wire.got(4)
        assert '"9"' in wire.frames[-1]


@pytest.mark.parametrize(("limits", "binary"), [(Limits(messages=3), False), (Limits(bytes=100), True)])
async def test_who_says_too_much_in_a_second_is_not_read_until_it_is_over(
    limits: Limits, binary: bool
) -> None:
    async with Channels("memory://", [Room], limits=limits) as channels, Connection(channels) as wire:
        await wire.got(1)
        (socket,) = channels.hub.sockets
        for _ in range(6):
            if binary:
                wire.data(b"\0\0\1\7\x099phoenixheartbeat{}")
            else:
                wire.text('[null,"9","phoenix","heartbeat",{}]')
        await wire.until(lambda: socket.held_back)
        answered = len(wire.frames)
        assert 2 < answered < 6
        asked = wire.receiving
        await asyncio.sleep(0)
        assert wire.receiving == asked
        await wire.until(lambda: len(wire.frames) > answered)


async def test_a_paused_connection_can_be_closed(channels: Channels) -> None:
    connection = Connection(channels)
    async with connection as wire:
        await joined(wire)
        (socket,) = channels.hub.sockets
        socket.pause()
        wire.text('[null,"8","phoenix","heartbeat",{}]')
        await wire.got(3)
        socket.close(1001, "disconnected")
        async with asyncio.timeout(SECONDS):
            await connection.task
        assert [each["code"] for each in wire.closes] == [1001]


async def test_nobody_receives_any_more_when_the_close_is_sent(channels: Channels) -> None:
    """granian would not send it."""

    class Granian(Wire):
        pending = 0

        async def receive(self) -> object:
            self.pending += 1
            try:
                return await super().receive()
            finally:
                await asyncio.sleep(0)
                self.pending -= 1

        async def send(self, message: dict[str, object]) -> None:
            if message["type"] == "websocket.close":
                assert not self.pending
            await super().send(message)

    connection = Connection(channels, wire=Granian())
    async with connection as wire:
        await joined(wire)
        (socket,) = channels.hub.sockets
        socket.close(1001)
        async with asyncio.timeout(SECONDS):
            await connection.task
        assert [each["code"] for each in wire.closes] == [1001]


async def test_a_user_that_expires_is_sent_away_to_come_back() -> None:
    async def connect(_: Connect) -> User:
        return User("ada", expires=0.01)

    async with Channels("memory://", [Room], connect=connect) as channels:
        connection = Connection(channels)
        async with connection as wire:
            async with asyncio.timeout(SECONDS):
                await connection.task
            assert wire.closes == [{"type": "websocket.close", "code": 1001, "reason": "expired"}]


async def test_a_disconnected_user_is_sent_away_to_come_back() -> None:
    async with (
        Channels("memory://", [Room], connect=lambda _: User("ada")) as channels,
        Connection(channels) as wire,
    ):
        await joined(wire)
        await channels.disconnect("ada")
        await wire.until(lambda: wire.closes)
        assert wire.closes[0]["code"] == 1001


async def test_at_the_end_clients_are_told_to_come_back() -> None:
    channels = Channels("memory://", [Room])
    await channels.open()
    connection = Connection(channels)
    async with connection as wire:
        await joined(wire)
        await channels.close()
        async with asyncio.timeout(SECONDS):
            await connection.task
        assert [each["code"] for each in wire.closes] == [1012]


async def test_a_slow_reader_is_dropped_and_the_room_goes_on() -> None:
    async with Channels("memory://", [Room], limits=Limits(unread=500)) as channels:
        slow, quick = Connection(channels), Connection(channels)
        async with slow as slow_wire, quick as quick_wire:
            await joined(slow_wire)
            await joined(quick_wire)
            slow_wire.holds = True
            for n in range(20):
                await channels.publish("room:a", "said", {"n": n, "padding": "x" * 50})
            await quick_wire.got(22)
            assert channels.counts().dropped == 1
            assert len(channels.hub.sockets) == 1
            slow_wire.let(1000)
            async with asyncio.timeout(SECONDS):
                await slow.task
            assert [each["code"] for each in slow_wire.closes] == [1013]
            assert len(slow_wire.frames) < 21
