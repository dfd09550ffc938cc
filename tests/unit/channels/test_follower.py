"""A room and its log: what is announced in whatever order is shown in one, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.channels import Channel, Channels
from holdfast.channels.driver import Append, Clear, Entry, Read
from holdfast.errors import StoreUnavailable
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinedTopic

from .gated import GatedDriver

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 0


def numbers(room: JoinedTopic) -> list[int]:
    return [each.payload["n"] for each in room.received]


async def store(driver: GatedDriver, channels: Channels, *values: int) -> list[Any]:
    """As another process would: behind the hub's back."""
    key = channels.hub.prefix + TOPIC
    ops = [Append(key, "said", b'{"n":%d}' % value) for value in values]
    return await GatedDriver.__mro__[1].apply(driver, ops)  # type: ignore[attr-defined, no-any-return]


async def test_what_is_announced_out_of_order_is_shown_in_order() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        stored = await store(driver, channels, 1, 2, 3)
        hub, key = channels.hub, channels.hub.prefix + TOPIC
        driver.gate = lambda op: isinstance(op, Read)  # the log itself answers only later
        for at in (3, 2, 1):
            entry = Entry(at, None, "said", b'{"n":%d}' % at, 0)
            hub.hearing.kept(key, stored[0].epoch, at, entry)
        await client.until(lambda: len(room.received) == 3, "three")
        driver.open_gate()
        await channels.publish(TOPIC, "said", {"n": 4})
        await client.until(lambda: len(room.received) >= 4, "the fourth")
        assert numbers(room) == [1, 2, 3, 4]


async def test_an_announcement_without_content_is_read_and_an_old_one_ignored() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        stored = await store(driver, channels, *range(1200))
        channels.hub.hearing.kept(channels.hub.prefix + TOPIC, stored[0].epoch, 1200, None)
        await client.until(lambda: len(room.received) == 1200, "all")
        channels.hub.hearing.kept(channels.hub.prefix + TOPIC, stored[0].epoch, 7, None)
        channels.hub.hearing.lost()
        await channels.publish(TOPIC, "said", {"n": 1200})
        await client.until(lambda: len(room.received) >= 1201, "one more")
        assert numbers(room) == list(range(1201))


async def test_a_message_whose_fate_was_unknown_is_shown_when_it_is_found() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        driver.fail, driver.applied_but_lost = (lambda op: isinstance(op, Append)), True
        with pytest.raises(StoreUnavailable) as lost:
            await channels.publish(TOPIC, "said", {"n": 1})
        assert lost.value.maybe_applied
        assert (await room.receive("said"))["n"] == 1


async def test_members_whose_past_is_gone_are_told_to_join_anew() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        await channels.publish(TOPIC, "said", {"n": 0})
        room = await client.join(TOPIC)
        key = channels.hub.prefix + TOPIC
        await GatedDriver.__mro__[1].apply(driver, [Clear(key)])  # type: ignore[attr-defined]
        [after] = await store(driver, channels, 1)
        channels.hub.hearing.kept(key, after.epoch, 1, None)
        await client.until(lambda: room.ended is not None, "the end of the stay")
        assert room.ended == "phx_error"
        again = await client.join(TOPIC, {"since": room.position})
        assert again.reply.response["reason"] == "history_lost"


async def test_a_store_that_is_away_is_asked_again_until_it_is_back() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        await store(driver, channels, 1)
        failures = iter([True] * 3 + [False] * 100)
        driver.fail = lambda op: isinstance(op, Read) and next(failures)
        channels.hub.hearing.lost()
        assert (await room.receive("said"))["n"] == 1


async def test_clearing_here_begins_another_log_for_those_who_are_here() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        first = str(await channels.publish(TOPIC, "said", {"n": 1}))
        assert await channels.clear(TOPIC)
        second = str(await channels.publish(TOPIC, "said", {"n": 2}))
        assert first.partition("~")[2] != second.partition("~")[2]
        assert (await room.receive("said"))["n"] == 1
        assert (await room.receive("said"))["n"] == 2
        assert room.ended is None


async def test_messages_of_a_hundred_publishers_at_once_have_one_order() -> None:
    driver = GatedDriver()
    async with (
        Channels(driver, [Room]) as channels,
        ChannelClient(channels) as one,
        ChannelClient(channels) as two,
    ):
        first, second = await one.join(TOPIC), await two.join(TOPIC)
        positions = await asyncio.gather(*(channels.publish(TOPIC, "said", {"n": n}) for n in range(100)))
        await one.until(lambda: len(first.received) == 100 == len(second.received), "all")
        assert (
            numbers(first)
            == numbers(second)
            == [message.payload["n"] for message in await channels.history(TOPIC, limit=100)]
        )
        assert len({*positions}) == 100
