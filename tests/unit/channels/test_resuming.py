"""Clients that come back at different moments with one position."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from holdfast.channels import Channel, Channels, follower
from holdfast.channels.driver import Append, Read
from holdfast.channels.drivers.memory import MemoryDriver
from holdfast.channels.room import RING
from holdfast.testing import ChannelClient

from .gated import GatedDriver

# Of the driver's two lanes writes take the first; a topic whose reads take the other can be read meanwhile.
TOPIC = next(topic for topic in map("room:{}".format, range(100)) if hash(f"holdfast:c:{topic}") % 2)


class Room(Channel):
    topic = "room:*"
    history = 0


async def test_who_asks_what_is_being_asked_already_misses_nothing_that_was_shown_meanwhile() -> None:
    driver = GatedDriver()
    async with (
        Channels(driver, [Room]) as channels,
        ChannelClient(channels) as one,
        ChannelClient(channels) as other,
    ):
        await channels.publish(TOPIC, "said", {"n": 0})
        [first] = await channels.history(TOPIC)
        for n in range(1, RING * 2):
            await channels.publish(TOPIC, "said", {"n": n})
        await (await one.join(TOPIC)).leave()  # the room is there
        driver.gate = lambda op: isinstance(op, Read) and op.changes_after is not None
        early = asyncio.create_task(one.join(TOPIC, {"since": first.position}))
        await driver.waiting.wait()  # its answer is on the way
        driver.gate = lambda op: False
        for n in range(RING * 2, RING * 2 + 5):
            await channels.publish(TOPIC, "said", {"n": n})
        late = asyncio.create_task(other.join(TOPIC, {"since": first.position}))
        while channels.rooms()[0].members < 2:  # noqa: ASYNC110 - it has asked, in the same turn
            await asyncio.sleep(0)
        driver.open_gate()
        wanted = list(range(1, RING * 2 + 5))
        for client, joining in ((one, early), (other, late)):
            room = await joining
            await client.until(lambda room=room: len(room.received) >= len(wanted), "everything")  # type: ignore[misc]
            assert [each.payload["n"] for each in room.received] == wanted
            assert room.reply.response["recovered"] is True


async def test_a_room_that_waits_for_the_store_reads_on_as_soon_as_anything_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses = iter([0.0, 0.0, 0.0, 1e9])  # the second time it waits for ever, unless it is woken
    waiting = asyncio.Event()

    def uniform(low: float, high: float) -> float:
        pause = next(pauses)
        if pause:
            waiting.set()
        return pause

    monkeypatch.setattr(follower, "random", SimpleNamespace(uniform=uniform))
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        for n in range(3):  # as another process would
            await MemoryDriver.apply(driver, [Append(channels.hub.prefix + TOPIC, "said", b'{"n":%d}' % n)])
        driver.fail = lambda op: isinstance(op, Read)
        channels.hub.hearing.lost()
        await waiting.wait()
        driver.fail = lambda op: False
        await channels.publish(TOPIC, "said", {"n": 3})
        await client.until(lambda: len(room.received) >= 4, "everything")
        assert [each.payload["n"] for each in room.received] == [0, 1, 2, 3]
