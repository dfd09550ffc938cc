"""What joiners get: everything up to a moment, everything after it, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, Limits, event
from holdfast.channels.driver import Append, Read
from holdfast.channels.room import RING
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinedTopic

from .gated import GatedDriver

# Of the driver's two lanes writes take the first; a topic whose reads take the other can be read meanwhile.
TOPIC = next(topic for topic in map("room:{}".format, range(100)) if hash(f"holdfast:c:{topic}") % 2)


class Room(Channel):
    topic = "room:*"
    history = 3

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None:
        await self.broadcast("said", payload)


@asynccontextmanager
async def opened(driver: GatedDriver | None = None, **options: Any) -> AsyncIterator[Channels]:
    async with Channels(driver or GatedDriver(), [Room], **options) as channels:
        yield channels


async def said(channels: Channels, *numbers: int) -> list[str]:
    return [str(await channels.publish(TOPIC, "said", {"n": n})) for n in numbers]


def numbers(room: JoinedTopic) -> list[int]:
    return [each.payload["n"] for each in room.received]


async def test_a_joiner_gets_the_last_messages_oldest_first_after_the_reply() -> None:
    async with opened() as channels, ChannelClient(channels) as client:
        positions = await said(channels, 1, 2, 3, 4, 5)
        room = await client.join(TOPIC)
        assert room.reply.response == {"position": positions[1], "recovered": False}  # before what follows
        assert numbers(room) == [3, 4, 5]
        assert [each.payload["_holdfast"]["position"] for each in room.received] == positions[2:]


async def test_who_comes_back_gets_exactly_what_was_missed() -> None:
    async with opened() as channels, ChannelClient(channels) as client:
        positions = await said(channels, *range(RING * 3))
        for missed in (0, 1, RING // 2, RING * 2, RING * 3 - 1):
            room = await client.join(TOPIC, {"since": positions[-1 - missed]})
            assert numbers(room) == list(range(RING * 3 - missed, RING * 3)), f"{missed} missed"
            assert room.reply.response["recovered"] is True
            await room.leave()


async def test_before_the_first_message_there_is_a_position_too() -> None:
    async with opened() as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        before = room.reply.response["position"]
        await room.leave()
        await said(channels, 1, 2)
        again = await client.join(TOPIC, {"since": before})
        assert numbers(again) == [1, 2]
        assert again.reply.response["recovered"] is True


@pytest.mark.parametrize("since", ["1~otherepoch", "99999~", "nonsense", 7, "5~"])
async def test_a_position_of_another_log_is_lost_history_and_no_error(since: object) -> None:
    async with opened() as channels, ChannelClient(channels) as client:
        await said(channels, 1, 2, 3, 4)
        room = await client.join(TOPIC, {"since": since})
        assert room.reply.status == "ok"
        assert room.reply.response["recovered"] is False
        assert room.reply.response["reason"] == "history_lost"
        assert numbers(room) == [2, 3, 4]


async def test_what_retention_took_away_is_lost_history() -> None:
    class Short(Room):
        max_messages = 3

    async with Channels(GatedDriver(), [Short]) as channels, ChannelClient(channels) as client:
        positions = await said(channels, *range(100))
        room = await client.join(TOPIC, {"since": positions[10]})
        assert room.reply.response["reason"] == "history_lost"
        assert numbers(room) == [97, 98, 99]


async def test_more_than_may_be_missed_is_lost_history() -> None:
    async with opened(limits=Limits(missed=50)) as channels, ChannelClient(channels) as client:
        positions = await said(channels, *range(100))
        assert (await client.join(TOPIC, {"since": positions[49]})).reply.response["recovered"] is True
        room = await client.join(TOPIC, {"since": positions[48]})
        assert room.reply.response["reason"] == "history_lost"


async def test_what_comes_while_the_past_is_read_comes_once_and_in_order() -> None:
    driver = GatedDriver()
    async with (
        opened(driver) as channels,
        ChannelClient(channels) as watcher,
        ChannelClient(channels) as client,
    ):
        positions = await said(channels, *range(RING * 3))
        await watcher.join(TOPIC)  # the room is up to date
        driver.gate = lambda op: isinstance(op, Read)
        joining = asyncio.create_task(client.join(TOPIC, {"since": positions[5]}))
        await driver.waiting.wait()
        late = asyncio.create_task(said(channels, *range(RING * 3, RING * 3 + 5)))
        await late
        driver.open_gate()
        room = await joining
        await client.until(lambda: len(room.received) >= RING * 3 - 1, "everything")
        assert numbers(room) == list(range(6, RING * 3 + 5))


async def test_what_is_read_late_is_not_shown_twice() -> None:
    """The read sees messages that the room has yet to show."""
    driver = GatedDriver()
    async with (
        opened(driver) as channels,
        ChannelClient(channels) as watcher,
        ChannelClient(channels) as client,
    ):
        positions = await said(channels, *range(RING * 3))
        await watcher.join(TOPIC)
        driver.gate = lambda op: isinstance(op, Append)
        publishing = asyncio.create_task(said(channels, RING * 3))
        await driver.waiting.wait()  # stored, not yet acknowledged: the next read sees it, the room does not
        room = await client.join(TOPIC, {"since": positions[0]})
        driver.open_gate()
        await publishing
        await client.until(lambda: len(room.received) >= RING * 3, "everything")
        assert numbers(room) == list(range(1, RING * 3 + 1))


async def test_edits_and_removals_that_were_missed_are_told_in_order() -> None:
    async with opened() as channels, ChannelClient(channels) as client:
        positions = await said(channels, 0, 1, 2, 3)
        last = positions[-1]
        await channels.edit(TOPIC, positions[1], {"n": 11})
        await said(channels, 4)
        await channels.remove(TOPIC, positions[2])
        [five] = await said(channels, 5)
        await channels.edit(TOPIC, five, {"n": 55})
        room = await client.join(TOPIC, {"since": last})
        told = [(each.event, each.payload.get("n")) for each in room.received]
        assert told == [("message_edited", 11), ("said", 4), ("message_removed", None), ("said", 55)]
        assert [each.payload["_holdfast"]["id"] for each in room.received][:1] == [positions[1]]
        assert room.reply.response["recovered"] is True


async def test_what_was_removed_is_in_no_history() -> None:
    async with opened() as channels, ChannelClient(channels) as watcher, ChannelClient(channels) as client:
        await watcher.join(TOPIC)
        positions = await said(channels, 0, 1, 2, 3, 4)
        await channels.remove(TOPIC, positions[3])
        await channels.edit(TOPIC, positions[2], {"n": 22})
        assert numbers(await client.join(TOPIC)) == [1, 22, 4]


async def test_a_join_that_cannot_read_the_past_is_refused_and_may_be_tried_again() -> None:
    driver = GatedDriver()
    async with opened(driver) as channels, ChannelClient(channels) as client:
        await said(channels, 1)
        driver.fail = lambda op: isinstance(op, Read)
        with pytest.raises(AssertionError, match="store unavailable"):
            await client.join(TOPIC)
        driver.fail = lambda op: False
        assert numbers(await client.join(TOPIC)) == [1]


async def test_the_applications_reply_stands_beside_the_position() -> None:
    class Greeting(Room):
        async def join(self, params: dict[str, Any]) -> Any:
            return {"hello": params["name"], "since": "since" in params}

    async with Channels("memory://", [Greeting]) as channels, ChannelClient(channels) as client:
        reply = (await client.join(TOPIC, {"name": "Ada", "since": "0~"})).reply
        assert reply.response == {"hello": "Ada", "since": False, "position": "0~", "recovered": True}


async def test_a_thousand_who_come_back_together_ask_the_store_once() -> None:
    driver = GatedDriver()
    async with opened(driver) as channels:
        positions = await said(channels, *range(RING * 3))
        driver.batches.clear()
        clients = [ChannelClient(channels) for _ in range(100)]
        for client in clients:
            await client.__aenter__()
        rooms = await asyncio.gather(*(client.join(TOPIC, {"since": positions[0]}) for client in clients))
        assert all(numbers(room) == list(range(1, RING * 3)) for room in rooms)
        reads = [op for batch in driver.batches for op in batch if isinstance(op, Read)]
        assert len(reads) <= 3  # the room's own, and one for those who asked the same
        for client in clients:
            await client.disconnect()


class Long(Room):
    """More history than a room has at hand once some of it was erased."""

    history = 20
    max_messages = 60


async def _nothing(channels: Channels) -> str | None:
    return None


async def _few(channels: Channels) -> str | None:
    await said(channels, *range(5))
    return None


async def _many(channels: Channels) -> str | None:
    await said(channels, *range(200))
    return None


async def _missed_a_few(channels: Channels) -> str | None:
    return (await said(channels, *range(50)))[-3]


async def _missed_nothing(channels: Channels) -> str | None:
    return (await said(channels, *range(50)))[-1]


async def _missed_many(channels: Channels) -> str | None:
    return (await said(channels, *range(100)))[50]


async def _missed_changes(channels: Channels) -> str | None:
    positions = await said(channels, *range(30))
    await channels.edit(TOPIC, positions[3], {"n": -3})
    await said(channels, 30)
    await channels.remove(TOPIC, positions[5])
    return positions[-1]


async def _lost(channels: Channels) -> str | None:
    return (await said(channels, *range(200)))[2]


async def _of_another_log(channels: Channels) -> str | None:
    [position] = await said(channels, 0)
    await channels.clear(TOPIC)
    await said(channels, 1, 2)
    return position


async def _cleared(channels: Channels) -> str | None:
    await said(channels, 1, 2)
    await channels.clear(TOPIC)
    return None


async def _erased(channels: Channels) -> str | None:
    """So many that the room does not know the last."""
    positions = await said(channels, *range(60))
    for position in positions[15:45]:
        await channels.remove(TOPIC, position)
    return None


async def _erased_all(channels: Channels) -> str | None:
    for position in await said(channels, *range(3)):
        await channels.remove(TOPIC, position)
    return None


async def _shown_first(channels: Channels) -> str | None:
    await said(channels, 1, 2)
    await channels.publish(TOPIC, "said", {"n": 3}, keep="behind")
    return None


PASTS = [
    _nothing,
    _few,
    _many,
    _missed_a_few,
    _missed_nothing,
    _missed_many,
    _missed_changes,
    _lost,
    _of_another_log,
    _cleared,
    _erased,
    _erased_all,
    _shown_first,
]


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("past", PASTS)
async def test_who_has_nothing_but_the_reply_gets_all_that_followed_it(past: Any, warm: bool) -> None:
    """The connection may end between the two."""
    driver = GatedDriver()
    async with Channels(driver, [Long]) as channels, ChannelClient(channels) as client:
        if warm:  # else the room is loaded by the join
            await (await client.join(TOPIC)).leave()
        since = await past(channels)
        first = await client.join(TOPIC, {} if since is None else {"since": since})
        followed = [(each.event, each.payload.get("n")) for each in first.received]
        await first.leave()
        again = await client.join(TOPIC, {"since": first.reply.response["position"]})
        repeated = [(each.event, each.payload.get("n")) for each in again.received]
        assert again.reply.response["recovered"] is True
        if past is _erased:  # what was erased further back is told of too, to whom it says nothing
            repeated = [each for each in repeated if each[0] == "said"]
        assert repeated == followed
        if again.received:  # and from there it goes on
            last = again.received[-1].payload["_holdfast"]["position"]
            await again.leave()
            assert "said" not in [each.event for each in (await client.join(TOPIC, {"since": last})).received]
