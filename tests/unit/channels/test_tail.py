"""A topic from inside the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, Heard, HistoryLost, Limits, TopicRefused, event
from holdfast.channels.driver import Read
from holdfast.channels.tail import SPARE
from holdfast.errors import Closed, Overloaded, StoreUnavailable
from holdfast.testing import ChannelClient

from .gated import GatedDriver
from .line import turns

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 2
    presence = True

    @event("push")
    async def on_push(self, payload: dict[str, Any]) -> None:
        await self.push("pushed", payload)


@pytest.fixture
def driver() -> GatedDriver:
    return GatedDriver()


@pytest.fixture
async def channels(driver: GatedDriver) -> AsyncIterator[Channels]:
    async with Channels(driver, [Room], limits=Limits(missed=20)) as channels:
        yield channels


async def say(channels: Channels, *numbers: int) -> list[str]:
    return [str(await channels.publish(TOPIC, "said", {"n": n})) for n in numbers]


async def take(heard: AsyncIterator[Heard], count: int) -> list[Any]:
    async with asyncio.timeout(5):
        return [(await anext(heard)).payload.get("n") for _ in range(count)]


def nothing_left(channels: Channels) -> None:
    assert not channels.hub.sockets
    assert all((len(room), room.entering) == (0, 0) for room in channels.hub.rooms.values())


async def closed(heard: Any) -> None:
    await heard.aclose()


async def test_it_hears_the_latest_and_then_all_that_comes(channels: Channels) -> None:
    positions = await say(channels, 1, 2, 3)
    heard = channels.tail(TOPIC)
    first = await anext(heard)
    assert (first.event, first.payload, first.id, first.position) == (
        "said",
        {"n": 2},
        positions[1],
        positions[1],
    )
    assert first.at is not None
    assert await take(heard, 1) == [3]
    await say(channels, 4)
    await channels.publish(TOPIC, "noise", {"n": 5}, keep=False)
    await channels.publish(TOPIC, "bytes", b"\0\1", keep=False)
    await channels.edit(TOPIC, positions[2], {"n": 33})
    assert await take(heard, 2) == [4, 5]
    assert await anext(heard) == Heard("bytes", b"\0\1")
    edit = await anext(heard)
    assert (edit.event, edit.payload, edit.id) == ("message_edited", {"n": 33}, positions[2])
    await closed(heard)
    nothing_left(channels)


async def test_it_goes_on_where_it_was(channels: Channels) -> None:
    positions = await say(channels, *range(10))
    heard = channels.tail(TOPIC, since=positions[3])
    assert await take(heard, 6) == [4, 5, 6, 7, 8, 9]
    await say(channels, 10)
    assert await take(heard, 1) == [10]
    await closed(heard)


async def test_it_hears_no_presence_and_is_no_member_that_others_see(channels: Channels) -> None:
    heard = channels.tail(TOPIC)
    waiting = asyncio.ensure_future(take(heard, 1))
    await turns()
    async with ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        await room.push("push", {"n": 0})
        channels.presence.track(TOPIC, "ada", {})
        assert (await room.receive("presence_state")) == {}
    await channels.tell(TOPIC, "hello")
    await say(channels, 7)
    assert await waiting == [7]
    await closed(heard)


async def test_what_is_lost_is_said(channels: Channels) -> None:
    await say(channels, 1)
    for since in ("1~another", "nonsense"):
        heard = channels.tail(TOPIC, since=since)
        with pytest.raises(HistoryLost, match="'room:a'"):
            await anext(heard)
    heard = channels.tail(TOPIC)
    await take(heard, 1)
    channels.hub._broken(channels.hub.rooms[channels.hub.prefix + TOPIC])
    with pytest.raises(HistoryLost):
        await anext(heard)
    nothing_left(channels)


async def test_a_slow_caller_is_told_and_nobody_else_misses_anything(channels: Channels) -> None:
    heard = channels.tail(TOPIC)
    waiting = asyncio.ensure_future(take(heard, 1))
    await turns()
    async with ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        most = 2 * 20 + SPARE
        for n in range(most + 50):
            await say(channels, n)
            await turns(4)
            if n == 0:
                await waiting
        assert len([each for each in room.received if each.event == "said"]) == most + 50
        with pytest.raises(Overloaded, match="more came than was taken"):
            await take(heard, most + 2)
        assert len(channels.hub.sockets) == 1


async def test_all_that_may_be_missed_is_not_too_much(channels: Channels) -> None:
    await say(channels, *range(20))
    heard = channels.tail(TOPIC, since="0~")
    assert await take(heard, 20) == list(range(20))
    await say(channels, 20)
    assert await take(heard, 1) == [20]
    await closed(heard)


@pytest.mark.parametrize("end", ["close", "close_connection"])
async def test_the_end_of_the_process_or_of_it_is_said(channels: Channels, end: str) -> None:
    heard = channels.tail(TOPIC)
    waiting = asyncio.ensure_future(anext(heard))
    await turns()
    [connection] = channels.connections()
    assert connection.transport == "inside"
    if end == "close":
        await channels.close()
    else:
        assert channels.close_connection(connection.number)
    with pytest.raises(Closed, match="'room:a'"):
        await waiting
    nothing_left(channels)


@pytest.mark.parametrize("past", [False, True])
async def test_it_may_end_while_it_begins(channels: Channels, driver: GatedDriver, past: bool) -> None:
    positions = await say(channels, *range(70))
    if past:
        async with ChannelClient(channels) as client:
            await client.join(TOPIC)
    driver.gate = lambda op: isinstance(op, Read)
    waiting = asyncio.ensure_future(anext(channels.tail(TOPIC, since=positions[55])))
    if past:
        driver.gate = lambda op: isinstance(op, Read) and op.changes_after is not None
    await turns()
    [connection] = channels.connections()
    channels.close_connection(connection.number)
    driver.open_gate()
    with pytest.raises(Closed):
        await waiting
    await say(channels, 70)
    await turns()
    nothing_left(channels)


async def test_a_caller_that_goes_is_forgotten(channels: Channels) -> None:
    heard = channels.tail(TOPIC)
    waiting = asyncio.ensure_future(anext(heard))
    await turns()
    waiting.cancel()
    await asyncio.wait({waiting})
    nothing_left(channels)


async def test_a_store_that_is_away_is_said(channels: Channels, driver: GatedDriver) -> None:
    driver.fail = lambda op: isinstance(op, Read)
    with pytest.raises(StoreUnavailable):
        await anext(channels.tail(TOPIC))
    nothing_left(channels)


async def test_silence_does_not_end_it(channels: Channels) -> None:
    heard = channels.tail(TOPIC)
    waiting = asyncio.ensure_future(take(heard, 1))
    await turns()
    for _ in range(200):
        channels.hub.pulse.beat()
    await say(channels, 1)
    assert await waiting == [1]
    await closed(heard)


async def test_a_topic_that_nobody_serves_is_refused(channels: Channels) -> None:
    with pytest.raises(TopicRefused):
        channels.tail("nowhere")
