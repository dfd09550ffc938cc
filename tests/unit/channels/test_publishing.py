"""Kept, shown, or both; and what is refused."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import msgspec
import pytest

from holdfast.channels import Channel, Channels, Limits, MessageTooLarge, TopicRefused, event
from holdfast.channels.driver import Append, Send
from holdfast.channels.room import RING
from holdfast.errors import Closed, StoreUnavailable
from holdfast.testing import ChannelClient

from .bus import Bus
from .gated import GatedDriver
from .line import turns

TOPIC = "room:a"


class Message(msgspec.Struct):
    name: str
    message: str


class Room(Channel):
    topic = "room:*"
    history = 10

    @event("say")
    async def say(self, message: Message) -> None:
        await self.broadcast("said", message)

    @event("others")
    async def others(self, payload: dict[str, Any]) -> None:
        await self.broadcast_from("others", payload)

    @event("bytes")
    async def bytes(self, payload: bytes) -> bytes:
        await self.broadcast("bytes", payload, keep=False)
        return payload[::-1]


class Loose(Channel):
    topic = "loose"


async def test_a_kept_message_is_shown_only_when_it_is_stored() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        driver.gate = lambda op: isinstance(op, Append)
        publishing = asyncio.create_task(channels.publish(TOPIC, "said", {"n": 1}))
        await driver.waiting.wait()
        assert not room.received
        driver.open_gate()
        position = await publishing
        assert (await room.receive())["_holdfast"]["position"] == position


async def test_a_message_that_cannot_be_stored_is_not_shown() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        driver.fail = lambda op: isinstance(op, Append)
        with pytest.raises(StoreUnavailable):
            await channels.publish(TOPIC, "said", {"n": 1})
        reply = await room.push("say", {"name": "Ada", "message": "x"})
        assert (reply.status, reply.response) == ("error", {"reason": "store unavailable"})
        driver.fail = lambda op: False
        await channels.publish(TOPIC, "said", {"n": 2})
        assert (await room.receive())["n"] == 2
        assert room.ended is None


async def test_a_publisher_who_is_cancelled_in_flight_changes_nothing_for_the_others() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        driver.gate = lambda op: isinstance(op, Append)
        publishing = asyncio.create_task(channels.publish(TOPIC, "said", {"n": 1}))
        await driver.waiting.wait()
        publishing.cancel()
        driver.open_gate()
        assert (await room.receive())["n"] == 1


async def test_one_id_is_one_message_however_often_it_is_published() -> None:
    async with Channels("memory://", [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        positions = {await channels.publish(TOPIC, "said", {"n": n}, id="order-7") for n in range(3)}
        await channels.publish(TOPIC, "said", {"n": 9})
        assert len(positions) == 1
        first, second = await room.receive(), await room.receive()
        assert (first["n"], first["_holdfast"]["id"], second["n"]) == (0, "order-7", 9)


async def test_what_is_kept_behind_is_shown_first_and_stored_by_the_end() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        driver.gate = lambda op: isinstance(op, Append)
        assert await channels.publish(TOPIC, "said", {"n": 1}, keep="behind") is None
        shown = await room.receive()
        assert shown["n"] == 1
        await driver.waiting.wait()
        driver.open_gate()
        await channels.close()
        stored = [op for batch in driver.batches for op in batch if isinstance(op, Append)]
        assert [op.id for op in stored] == [shown["_holdfast"]["id"]]


async def test_what_was_shown_before_it_was_stored_is_shown_once() -> None:
    async with Channels(GatedDriver(), [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        for n in range(20):
            await channels.publish(TOPIC, "said", {"n": n}, keep="behind")
        await channels.publish(TOPIC, "said", {"n": 20})
        await client.until(lambda: len(room.received) >= 21, "all")
        assert [each.payload["n"] for each in room.received] == list(range(21))
        assert [message.payload["n"] for message in await channels.history(TOPIC)] == list(range(21))


async def test_what_is_shown_first_is_known_again_among_the_latest_and_kept_once_in_any_case() -> None:
    async with Channels(GatedDriver(), [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)

        async def again() -> int:
            await channels.publish(TOPIC, "said", {"n": 0}, keep="behind", id="zero")
            await channels.hub.publishing.drain()
            return sum(each.payload["n"] == 0 for each in room.received)

        assert [await again(), await again()] == [1, 1]
        for n in range(1, RING):
            await channels.publish(TOPIC, "said", {"n": n})
        assert await again() == 1
        await channels.publish(TOPIC, "said", {"n": RING})
        assert await again() == 2  # as `Channel.broadcast` says
        stored = await channels.history(TOPIC, limit=100)
        assert [message.payload["n"] for message in stored] == list(range(RING + 1))


async def test_the_store_may_be_away_while_messages_are_kept_behind() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        failures = iter([True, True, False, False, False])
        driver.fail = lambda op: isinstance(op, Append) and next(failures)
        await channels.publish(TOPIC, "said", {"n": 1}, keep="behind")
        assert (await room.receive())["n"] == 1
        await channels.hub.publishing.drain()
        assert [message.payload["n"] for message in await channels.history(TOPIC)] == [1]


async def test_a_broadcast_from_spares_its_sender_and_keeps_its_place() -> None:
    async with (
        Channels("memory://", [Room]) as channels,
        ChannelClient(channels) as one,
        ChannelClient(channels) as two,
    ):
        first, second = await one.join(TOPIC), await two.join(TOPIC)
        for n in range(3):
            assert (await first.push("others", {"n": n})).status == "ok"
        await first.push("say", {"name": "Ada", "message": "x"})
        await two.until(lambda: len(second.received) == 4, "four")
        assert [each.event for each in second.received] == ["others"] * 3 + ["said"]
        assert [each.event for each in first.received] == ["said"]


async def test_bytes_are_sent_and_answered_and_never_kept() -> None:
    async with Channels("memory://", [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        assert (await room.push("bytes", b"\x00\xff")).response == b"\xff\x00"
        assert await room.receive("bytes") == b"\x00\xff"
        with pytest.raises(TypeError, match="never kept"):
            await channels.publish(TOPIC, "bytes", b"1")
        reply = await room.push("bytes", {"not": "bytes"})
        assert reply.response["message"] == "binary is expected, not JSON"


async def test_a_payload_that_does_not_fit_is_refused_by_the_name_of_its_field() -> None:
    async with Channels("memory://", [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        missing = (await room.push("say", {"name": "Ada"})).response
        assert (missing["reason"], missing["field"]) == ("invalid", "$.message")
        other = (await room.push("say", {"name": 1, "message": "x"})).response
        assert (other["reason"], other["field"]) == ("invalid", "$.name")
        assert (await room.push("nothing", {})).response["reason"] == "unmatched event"
        assert room.ended is None


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ([1], TypeError),
        ("text", TypeError),
        ({"_holdfast": 1}, ValueError),
        ({"x": object()}, TypeError),
        ({"x": "y" * 65_536}, MessageTooLarge),
    ],
)
async def test_what_is_no_payload_is_refused(payload: Any, error: type[Exception]) -> None:
    async with Channels("memory://", [Room]) as channels:
        with pytest.raises(error):
            await channels.publish(TOPIC, "said", payload)
        assert await channels.history(TOPIC) == []


async def test_what_is_only_shown_is_told_to_other_processes_whether_or_not_anybody_waits() -> None:
    bus = Bus()
    async with (
        Channels(bus.first, [Room]) as one,
        Channels(bus.driver(), [Room]) as other,
        ChannelClient(other) as client,
    ):
        room = await client.join(TOPIC)
        route = one.hub.routes.get(TOPIC)
        for n in range(3):
            one.hub.publishing.publish(route, TOPIC, "shown", {"n": n}, keep=False, id=None)
        await client.until(lambda: len(room.received) == 3, "all")
        assert [each.payload["n"] for each in room.received] == [0, 1, 2]


async def test_that_others_could_not_be_told_is_heard_by_who_waits_and_by_nobody_else() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    bus = Bus()
    bus.first.fail = lambda op: isinstance(op, Send)
    async with Channels(bus.first, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        with pytest.raises(StoreUnavailable):
            await channels.publish(TOPIC, "shown", {}, keep=False)
        route = channels.hub.routes.get(TOPIC)
        channels.hub.publishing.publish(route, TOPIC, "shown", {}, keep=False, id=None)
        await turns()
        gc.collect()
        assert len(room.received) == 2
        assert told == []
    with pytest.raises(Closed):
        await channels.publish(TOPIC, "shown", {}, keep=False)


async def test_wrong_arguments_say_what_is_wrong() -> None:
    async with Channels("memory://", [Room, Loose], limits=Limits(message=10)) as channels:
        with pytest.raises(TopicRefused, match="no channel serves it"):
            await channels.publish("elsewhere", "said", {})
        with pytest.raises(ValueError, match="needs a history"):
            await channels.publish("loose", "said", {}, keep=True)
        with pytest.raises(TopicRefused, match="keeps no history"):
            await channels.history("loose")
        with pytest.raises(ValueError, match="an id is"):
            await channels.publish(TOPIC, "said", {}, id="7~abc")
        with pytest.raises(ValueError, match="phx_"):
            await channels.publish(TOPIC, "phx_reply", {})
        with pytest.raises(MessageTooLarge, match="over the 10"):
            await channels.publish(TOPIC, "said", {"long": "enough"})
        with pytest.raises(ValueError, match="none of ours"):
            await channels.history(TOPIC, before="7")
    with pytest.raises(Closed):
        await channels.publish(TOPIC, "said", {})


async def test_who_joins_between_showing_and_storing_gets_the_message_too_and_once() -> None:
    driver = GatedDriver()
    async with (
        Channels(driver, [Room]) as channels,
        ChannelClient(channels) as one,
        ChannelClient(channels) as two,
    ):
        first = await one.join(TOPIC)
        driver.gate = lambda op: isinstance(op, Append)
        await channels.publish(TOPIC, "said", {"n": 1}, keep="behind", id="early")
        await channels.publish(TOPIC, "said", {"n": 1}, keep="behind", id="early")
        await driver.waiting.wait()
        second = await two.join(TOPIC)
        driver.open_gate()
        await channels.hub.publishing.drain()
        await channels.publish(TOPIC, "said", {"n": 1}, keep="behind", id="early")
        await channels.publish(TOPIC, "said", {"n": 2})
        for client, room in ((one, first), (two, second)):
            await client.until(lambda room=room: len(room.received) >= 2, "both")  # type: ignore[misc]
            assert [each.payload["n"] for each in room.received] == [1, 2]


async def test_who_is_put_out_hears_so_and_nothing_more() -> None:
    class Guarded(Room):
        async def info(self, message: Any) -> None:
            await self.close()

    async with Channels("memory://", [Guarded]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        await channels.tell(TOPIC, "out")
        await client.until(lambda: room.ended is not None, "the end")
        await channels.publish(TOPIC, "said", {"n": 1})
        assert room.ended == "phx_close"
        assert not room.received
        assert channels.rooms()[0].members == 0
