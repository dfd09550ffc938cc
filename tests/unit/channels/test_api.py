"""What an application asks of `Channels` beside publishing: the past, edits, telling, what goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, HistoryLost, Message, MessageTooLarge, TopicRefused, notes
from holdfast.channels.driver import Send, Topics
from holdfast.errors import Closed, StoreError
from holdfast.testing import ChannelClient

from .bus import Bus
from .gated import GatedDriver
from .line import turns

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 10
    max_messages = 20

    async def info(self, message: Any) -> None:
        if isinstance(message, dict):
            message.setdefault("seen", []).append("here")  # its own to change
        await self.push("info", {"message": message})


class Loose(Channel):
    topic = "loose"


@pytest.fixture
async def channels() -> Any:
    async with Channels(GatedDriver(), [Room, Loose]) as channels:
        yield channels


async def said(channels: Channels, *numbers: int) -> list[str]:
    return [str(await channels.publish(TOPIC, "said", {"n": n})) for n in numbers]


def numbers(messages: list[Message]) -> list[int]:
    return [message.payload["n"] for message in messages]


# --- the past ---


async def test_history_is_paged_backwards_and_forwards_oldest_first(channels: Channels) -> None:
    positions = await said(channels, *range(12))
    assert numbers(await channels.history(TOPIC, limit=5)) == [7, 8, 9, 10, 11]
    assert numbers(await channels.history(TOPIC, limit=3, before=positions[7])) == [4, 5, 6]
    assert numbers(await channels.history(TOPIC, before=positions[2])) == [0, 1]
    assert await channels.history(TOPIC, before=positions[0]) == []
    assert numbers(await channels.history(TOPIC, limit=3, after=positions[7])) == [8, 9, 10]
    assert numbers(await channels.history(TOPIC, after="0~")) == list(range(12))
    assert await channels.history(TOPIC, after=positions[-1]) == []
    assert await channels.history("room:never") == []
    assert await channels.history("room:never", after="0~") == []


async def test_a_message_says_what_it_is(channels: Channels) -> None:
    position = await channels.publish(TOPIC, "said", {"n": 1})
    await channels.publish(TOPIC, "said", {"n": 2}, id="two")
    one, two = await channels.history(TOPIC)
    assert (one.id, one.position, one.event, one.payload, one.edited) == (
        position,
        position,
        "said",
        {"n": 1},
        False,
    )
    assert two.id == "two"
    assert two.position != "two"
    assert abs(two.at - asyncio.get_running_loop().time()) > 0  # of the epoch's clock
    assert await channels.message(TOPIC, "two") == two
    assert await channels.message(TOPIC, one.id) == one
    assert await channels.message(TOPIC, "three") is None
    assert await channels.message(TOPIC, "99~" + one.position.partition("~")[2]) is None


async def test_what_came_after_a_position_is_all_there_or_lost(channels: Channels) -> None:
    positions = await said(channels, *range(60))
    with pytest.raises(HistoryLost, match="'room:a'"):
        await channels.history(TOPIC, after=positions[0])
    with pytest.raises(HistoryLost):
        await channels.history(TOPIC, after="1~another")
    assert await channels.history(TOPIC, before="60~another") == []
    assert numbers(await channels.read(TOPIC, after=positions[0], limit=2)) == numbers(
        await channels.read(TOPIC, limit=2)
    )
    assert await channels.read(TOPIC, after="1~another") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limit": 0}, "from 1 to 1000"),
        ({"limit": 1001}, "from 1 to 1000"),
        ({"limit": True}, "from 1 to 1000"),
        ({"before": "1~e", "after": "1~e"}, "not both"),
        ({"before": "nonsense"}, "none of ours"),
        ({"after": "1"}, "none of ours"),
    ],
)
async def test_wrong_questions_say_what_is_wrong(channels: Channels, options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await channels.history(TOPIC, **options)


# --- edits ---


async def test_an_edit_and_a_removal_are_announced_and_remembered(channels: Channels) -> None:
    async with ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        first, second = await said(channels, 1, 2)
        edited = await channels.edit(TOPIC, first, {"n": 11})
        assert edited is not None
        assert (edited.id, edited.payload, edited.edited, edited.position) == (first, {"n": 11}, True, first)
        assert await channels.remove(TOPIC, second) is True
        assert numbers(await channels.history(TOPIC)) == [11]
        await client.until(lambda: len(room.received) == 4, "all")
        assert [each.event for each in room.received] == ["said", "said", "message_edited", "message_removed"]
        last = room.received[-1].payload["_holdfast"]
        assert last["id"] == second
        assert set(room.received[-1].payload) == {"_holdfast"}


async def test_what_is_not_there_cannot_be_changed(channels: Channels) -> None:
    [first] = await said(channels, 1)
    await channels.remove(TOPIC, first)
    for id in (first, "never", "99~e"):
        assert await channels.edit(TOPIC, id, {"n": 2}) is None
        assert await channels.remove(TOPIC, id) is False
    for id in ("", "two words", "1~e~f"):
        with pytest.raises(ValueError, match="it is no id"):
            await channels.edit(TOPIC, id, {})
    with pytest.raises(MessageTooLarge):
        await channels.edit(TOPIC, first, {"x": "y" * 65_536})
    with pytest.raises(TypeError):
        await channels.edit(TOPIC, first, [1])


async def test_a_topic_that_is_cleared_has_no_past(channels: Channels) -> None:
    [position] = await said(channels, 1)
    assert await channels.clear(TOPIC) is True
    assert await channels.clear(TOPIC) is False
    assert await channels.history(TOPIC) == []
    await said(channels, 2)
    with pytest.raises(HistoryLost):
        await channels.history(TOPIC, after=position)


async def test_members_in_other_processes_hear_of_a_clear_before_the_next_message() -> None:
    bus = Bus()
    async with (
        Channels(bus.first, [Room, Loose]) as one,
        Channels(bus.driver(), [Room, Loose]) as other,
        ChannelClient(other) as bob,
    ):
        position = await one.publish(TOPIC, "m", {"n": 1})
        room = await bob.join(TOPIC)
        assert await one.clear(TOPIC) is True
        await bob.until(lambda: room.ended == "phx_error", "the end")
        again = await bob.join(TOPIC, {"since": position})
        assert again.reply.response["reason"] == "history_lost"
        assert not again.received
        followed = len(bus.first.batches)
        assert await one.clear(TOPIC) is False  # there was nothing: nobody is told
        assert len(bus.first.batches) == followed + 1


async def test_a_clear_has_happened_though_nobody_could_be_told() -> None:
    bus = Bus()
    async with Channels(bus.first, [Room, Loose]) as channels:
        await channels.publish(TOPIC, "m", {"n": 1})
        bus.first.fail = lambda op: isinstance(op, Send)
        assert await channels.clear(TOPIC) is True
        assert await channels.history(TOPIC) == []


async def test_a_topic_without_history_has_none_to_ask_for(channels: Channels) -> None:
    asks: list[Any] = [
        channels.history("loose"),
        channels.read("loose"),
        channels.message("loose", "x"),
        channels.edit("loose", "x", {}),
        channels.remove("loose", "x"),
        channels.clear("loose"),
    ]
    for ask in asks:
        with pytest.raises(TopicRefused, match="keeps no history"):
            await ask


async def test_topics_are_listed_by_name_page_after_page(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.channels.api.PAGE", 2)
    for name in ("b", "a", "c", "aa", "ab"):
        await channels.publish(f"room:{name}", "said", {})
    async with ChannelClient(channels) as client:
        await client.join("room:a")
        found = [each async for each in channels.topics("room:a")]
        assert [(each.topic, each.messages, each.members) for each in found] == [
            ("room:a", 1, 1),
            ("room:aa", 1, 0),
            ("room:ab", 1, 0),
        ]
        assert [each.topic async for each in channels.topics()] == [
            f"room:{n}" for n in ("a", "aa", "ab", "b", "c")
        ]
    driver: Any = channels._driver
    assert sum(isinstance(op, Topics) for batch in driver.batches for op in batch) == 2 + 3


async def test_one_store_has_many_namespaces() -> None:
    bus = Bus()
    async with (
        Channels(bus.first, [Room], namespace="one") as one,
        Channels(bus.driver(), [Room], namespace="one:c") as other,
    ):
        await said(one, 1)
        await said(other, 2)
        assert numbers(await one.history(TOPIC)) == [1]
        assert numbers(await other.history(TOPIC)) == [2]
        assert [each.topic async for each in one.topics()] == [TOPIC]


# --- telling ---


async def test_what_is_told_reaches_every_member_in_every_process_as_its_own_value() -> None:
    bus = Bus()
    async with (
        Channels(bus.first, [Room, Loose]) as one,
        Channels(bus.driver(), [Room, Loose]) as other,
        ChannelClient(one) as ada,
        ChannelClient(one) as bob,
        ChannelClient(other) as cleo,
    ):
        rooms = [await client.join(TOPIC) for client in (ada, bob, cleo)]
        for message in ({"n": 1}, "text", None, [1, "x"]):
            await one.tell(TOPIC, message)
            for room in rooms:
                heard = (await room.receive("info"))["message"]
                assert heard == ({"n": 1, "seen": ["here"]} if isinstance(message, dict) else message)


async def test_an_echo_of_what_this_process_said_is_not_heard_again(channels: Channels) -> None:
    async with ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        key = channels.hub.prefix + TOPIC
        for node in (channels.hub.node, "another"):
            channels.hub.hearing.sent(key, notes.write(notes.TELL, node, 1))
            channels.hub.hearing.sent(key, notes.write(notes.BROADCAST, node, "m", {}))
        await turns()
        assert sorted(each.event for each in room.received) == ["info", "m"]


async def test_what_cannot_be_told_is_refused_and_nothing_is_sent(channels: Channels) -> None:
    with pytest.raises(TopicRefused):
        await channels.tell("nowhere", 1)
    with pytest.raises(TypeError):
        await channels.tell(TOPIC, object())
    driver: Any = channels._driver
    assert not any(isinstance(op, Send) for batch in driver.batches for op in batch)


async def test_what_is_only_sent_reaches_other_processes_too() -> None:
    bus = Bus()
    async with (
        Channels(bus.first, [Room, Loose]) as one,
        Channels(bus.driver(), [Room, Loose]) as other,
        ChannelClient(one) as ada,
        ChannelClient(other) as bob,
    ):
        here, there = await ada.join("loose"), await bob.join("loose")
        assert await one.publish("loose", "m", {"n": 1}) is None
        await one.publish("loose", "b", b"\0\xff")
        await turns()
        for room in (here, there):
            assert [(each.event, each.payload) for each in room.received] == [
                ("m", {"n": 1}),
                ("b", b"\0\xff"),
            ]


# --- life ---


async def test_outside_its_life_nothing_is_done_and_that_is_said() -> None:
    channels = Channels("memory://", [Room, Loose])
    for _ in range(2):
        asks: list[Any] = [
            channels.publish(TOPIC, "said", {}),
            channels.publish(TOPIC, "said", {}, keep="behind"),
            channels.publish("loose", "said", {}),
            channels.tell(TOPIC, 1),
            channels.disconnect("ada"),
            channels.history(TOPIC),
            channels.edit(TOPIC, "x", {}),
            channels.clear(TOPIC),
        ]
        for ask in asks:
            with pytest.raises(Closed):
                await ask
        async with channels:
            await channels.publish(TOPIC, "said", {})
    with pytest.raises(StoreError):
        async with channels:
            await channels.open()


async def test_a_driver_is_asked_whether_it_is_open_or_not() -> None:
    driver = GatedDriver()
    channels = Channels(driver, [Room])
    assert await channels.migrate() == await channels.pending() == ()
    assert await channels.describe()
    assert not driver._open
    assert (await channels.health()).ok is False
    async with channels:
        assert await channels.migrate() == ()
        assert (await channels.health()).ok is True
    assert channels.store == "memory"
    assert Channels("redis://:secret@host/0").store == "redis://:***@host/0"
    assert channels.traits.name == "memory"
