"""Members of several processes on one store: each sees all that was said, in one order, once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, follower
from holdfast.channels.driver import Append, Clear, Entry, Read
from holdfast.channels.room import RING
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinedTopic, Received

from .bus import Bus
from .line import turns

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 50
    max_messages = None


@asynccontextmanager
async def processes(bus: Bus, count: int = 2) -> AsyncIterator[list[Channels]]:
    async with AsyncExitStack() as stack:
        drivers = [bus.first, *(bus.driver() for _ in range(count - 1))]
        yield [await stack.enter_async_context(Channels(driver, [Room])) for driver in drivers]


async def say(channels: Channels, *numbers: int, **options: Any) -> list[str]:
    return [str(await channels.publish(TOPIC, "said", {"n": n}, **options)) for n in numbers]


def events(room: JoinedTopic) -> list[tuple[str, Any]]:
    return [(each.event, each.payload.get("n")) for each in room.received]


def numbers(room: JoinedTopic) -> list[int]:
    return [each.payload["n"] for each in room.received]


@pytest.mark.parametrize("carries", [True, False])
async def test_what_one_process_says_members_of_the_other_see_in_order_once(carries: bool) -> None:
    bus = Bus(carries=carries)
    async with processes(bus) as [one, other], ChannelClient(one) as here, ChannelClient(other) as there:
        first, second = await here.join(TOPIC), await there.join(TOPIC)
        bus.copies = 2
        for n in range(0, 40, 2):
            await asyncio.gather(say(one, n), say(other, n + 1))
        await there.until(lambda: len(first.received) >= 40 <= len(second.received), "all")
        await turns()
        assert numbers(first) == numbers(second)
        assert sorted(numbers(first)) == list(range(40))


@pytest.mark.parametrize("carries", [True, False])
async def test_who_joins_a_room_that_was_empty_misses_nothing_of_meanwhile(carries: bool) -> None:
    """Nobody reads the log for a room without members; the first to come sees to it."""
    bus = Bus(carries=carries)
    async with processes(bus) as [one, other], ChannelClient(other) as client:
        await (await client.join(TOPIC)).leave()
        await say(one, 1, 2)
        await turns()
        room = await client.join(TOPIC)
        await client.until(lambda: len(room.received) >= 2, "both")
        assert numbers(room) == [1, 2]


async def test_what_was_lost_while_a_room_was_empty_is_read_by_the_first_to_come() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], ChannelClient(other) as client:
        before = (await client.join(TOPIC)).position
        await client.join(TOPIC)
        await client._topics[TOPIC].leave()
        bus.lose = lambda key: True
        await say(one, *range(2 * RING))
        other.hub.hearing.lost()
        await turns()
        room = await client.join(TOPIC, {"since": before})
        await client.until(lambda: len(room.received) >= 2 * RING, "all")
        assert numbers(room) == list(range(2 * RING))


@pytest.mark.parametrize("lost", [True, False])
async def test_what_is_announced_while_a_room_is_loaded_is_not_missed(lost: bool) -> None:
    bus = Bus(carries=False)
    async with processes(bus) as [one, other], ChannelClient(other) as client:
        await say(one, 1)
        driver: Any = other._driver
        driver.gate = lambda op: isinstance(op, Read)
        joining = asyncio.create_task(client.join(TOPIC))
        await driver.waiting.wait()  # it has been read, and its answer is under way
        bus.lose = lambda key: lost
        await say(one, 2)
        if lost:
            other.hub.hearing.lost()
        await turns()
        driver.open_gate()
        room = await joining
        await client.until(lambda: len(room.received) >= 2, "both")
        assert numbers(room) == [1, 2]


@pytest.mark.parametrize("removed", [True, False])
async def test_who_saw_a_message_elsewhere_is_told_of_its_change_though_it_came_changed_here(
    removed: bool,
) -> None:
    bus = Bus()
    async with (
        processes(bus) as [one, other],
        ChannelClient(one) as client,
        ChannelClient(other) as stays,
    ):
        here, there = await client.join(TOPIC), await stays.join(TOPIC)
        bus.lose = lambda key: True
        [seen] = await say(one, 1)
        await here.receive("said")
        if removed:
            await one.remove(TOPIC, seen)
        else:
            await one.edit(TOPIC, seen, {"n": 11})
        await say(one, 2)
        other.hub.hearing.lost()  # it reads all of it at once
        await stays.until(
            lambda: bool(there.received) and there.received[-1].payload.get("n") == 2, "the last"
        )
        assert events(there) == ([("said", 2)] if removed else [("said", 11), ("said", 2)])
        async with ChannelClient(other) as again:
            room = await again.join(TOPIC, {"since": seen})
            change = ("message_removed", None) if removed else ("message_edited", 11)
            await again.until(lambda: len(room.received) >= 2, "both")
            assert events(room) == [change, ("said", 2)]
            assert room.reply.response["recovered"] is True


async def test_an_echo_of_a_cleared_log_is_not_shown_again() -> None:
    bus = Bus()
    async with processes(bus, 1) as [one], ChannelClient(one) as client:
        room = await client.join(TOPIC)
        await say(one, 1)
        hub, key = one.hub, one.hub.prefix + TOPIC
        [entry] = (await bus.first.apply([Read(key, 1)]))[0].entries
        epoch = hub.rooms[key].epoch
        await one.clear(TOPIC)
        hub.hearing.kept(key, epoch, 1, entry)
        await say(one, 2)
        await client.until(lambda: len(room.received) >= 2, "both")
        assert numbers(room) == [1, 2]
        assert room.ended is None


async def test_a_log_that_is_cleared_while_it_is_read_is_read_again() -> None:
    bus = Bus()
    async with processes(bus, 1) as [one], ChannelClient(one) as client:
        room = await client.join(TOPIC)
        await say(one, 1)
        driver: Any = bus.first
        driver.gate = lambda op: isinstance(op, Read)
        one.hub.hearing.lost()
        await driver.waiting.wait()
        key = one.hub.prefix + TOPIC
        await driver.apply_now([Append(key, "said", b'{"n":7}'), Clear(key)])
        one.hub.rooms[key].follower.restart()  # as when `clear` was acknowledged
        driver.open_gate()
        await turns()
        await say(one, 2)
        await client.until(lambda: len(room.received) >= 2, "the next")
        assert numbers(room) == [1, 2]
        assert room.ended is None


async def test_what_is_announced_of_a_log_that_is_gone_is_looked_into_once() -> None:
    bus = Bus()
    async with processes(bus, 1) as [one], ChannelClient(one) as client:
        room = await client.join(TOPIC)
        await say(one, 1)
        bus.first.batches.clear()
        one.hub.hearing.kept(one.hub.prefix + TOPIC, "gone", 50, Entry(50, None, "said", b"{}", 0))
        await turns(100)
        assert len(bus.first.batches) == 1
        await say(one, 2)
        await client.until(lambda: len(room.received) >= 2, "the next")
        assert numbers(room) == [1, 2]


async def test_a_log_of_another_epoch_that_was_announced_while_a_room_was_loaded_is_looked_into() -> None:
    bus = Bus()
    async with processes(bus, 1) as [one], ChannelClient(one) as client:
        await say(one, 1)
        driver: Any = bus.first
        key = one.hub.prefix + TOPIC
        driver.gate = lambda op: isinstance(op, Read)
        joining = asyncio.create_task(client.join(TOPIC))
        await driver.waiting.wait()
        one.hub.hearing.kept(key, "other", 2, (await driver.apply_now([Read(key, 1)]))[0].entries[0])
        await driver.apply_now([Clear(key), Append(key, "said", b'{"n":2}')])
        driver.open_gate()
        room = await joining
        await client.until(lambda: room.ended is not None, "the end of the stay")
        again = await client.join(TOPIC)
        assert numbers(again) == [2]


async def test_what_was_shown_before_it_was_stored_is_shown_once_though_others_came_between() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], ChannelClient(one) as client:
        room = await client.join(TOPIC)
        bus.held = []
        await say(other, 1)  # of which this process has not heard
        await say(one, 2, keep="behind")
        await one.hub.publishing.drain()
        bus.release()
        await say(one, 3)
        await client.until(lambda: len(room.received) >= 3, "all")
        await turns()
        assert sorted(numbers(room)) == [1, 2, 3]


@pytest.mark.parametrize("removed", [True, False])
async def test_what_was_shown_before_it_was_stored_and_changed_elsewhere_since_is_told(removed: bool) -> None:
    bus = Bus()
    async with processes(bus) as [one, other], ChannelClient(one) as client, ChannelClient(one) as again:
        room = await client.join(TOPIC)
        early = await again.join(TOPIC)
        bus.lose = lambda key: True
        await say(other, 1)
        await say(one, 2, id="two", keep="behind")
        await one.hub.publishing.drain()
        shown = await early.receive("said")
        assert shown["n"] == 2
        await early.leave()
        if removed:
            await other.remove(TOPIC, "two")
        else:
            await other.edit(TOPIC, "two", {"n": 22})
        one.hub.hearing.lost()
        bus.lose = lambda key: False
        await client.until(lambda: len(room.received) >= 3, "all")
        change = ("message_removed", None) if removed else ("message_edited", 22)
        assert events(room) == [("said", 2), ("said", 1), change]
        early = await again.join(TOPIC, {"since": shown["_holdfast"]["position"]})
        await again.until(lambda: len(early.received) >= 2, "both")
        assert events(early) == [("said", 1), change if removed else ("said", 22)]
        await (await again.join(TOPIC)).leave()
        assert not one.hub.rooms[one.hub.prefix + TOPIC].follower.behind


async def test_a_joiner_is_given_what_is_not_stored_yet_where_the_room_is_now() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], ChannelClient(one) as stays, ChannelClient(one) as client:
        await stays.join(TOPIC)
        bus.first.fail = lambda op: isinstance(op, Append)
        await say(one, 1, id="late", keep="behind")
        await turns()  # it has failed once
        [position] = await say(other, 2)
        await turns()
        room = await client.join(TOPIC)
        assert events(room) == [("said", 2), ("said", 1)]
        assert room.received[-1].payload["_holdfast"] == {"id": "late", "position": position}
        await room.leave()
        bus.first.fail = lambda op: False
        await one.hub.publishing.drain()
        again = await client.join(TOPIC, {"since": position})
        assert events(again) == [("said", 1)]


@pytest.mark.parametrize(("before", "early"), [(0, 10), (1, 10), (1, 0)])
async def test_what_was_shown_and_is_stored_in_the_moment_of_a_clear_is_gone(
    monkeypatch: pytest.MonkeyPatch, before: int, early: int
) -> None:
    monkeypatch.setattr(follower, "EARLY", early)
    bus = Bus()
    async with processes(bus) as [one, other], ChannelClient(one) as stays, ChannelClient(one) as client:
        await stays.join(TOPIC)
        await say(one, *range(before))
        bus.held = []
        await say(other, 7)  # which is not heard of yet, so that what follows comes before its turn
        await asyncio.gather(say(one, 8, id="late", keep="behind"), one.clear(TOPIC))
        await one.hub.publishing.drain()
        await turns()
        room = await client.join(TOPIC)
        await say(one, 9)
        await client.until(lambda: bool(room.received), "the next")
        assert events(room) == [("said", 9)]


class Reader:
    """A client that keeps what it has seen, and comes back with its position."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.stay: set[str] = set()  # what it was shown since it came
        self.position: str | None = None
        self.client: ChannelClient | None = None
        self.room: JoinedTopic | None = None

    async def come(self, channels: Channels) -> None:
        self.stay.clear()
        self.client = ChannelClient(channels)
        await self.client.__aenter__()
        self.room = await self.client.join(TOPIC, {} if self.position is None else {"since": self.position})
        assert self.position is None or self.room.reply.response["recovered"] is True
        if self.position is None:
            self.position = self.room.position

    def look(self) -> None:
        assert self.room is not None
        while self.room.received:
            self.take(self.room.received.popleft())

    def take(self, message: Received) -> None:
        marks = message.payload["_holdfast"]
        if message.event == "said":
            assert marks["id"] not in self.stay, "shown twice in one stay"
            self.stay.add(marks["id"])
            # What was shown before it was stored may be seen again by who comes back.
            assert marks["id"] not in self.seen or marks["id"].startswith("behind"), "shown twice"
            self.seen[marks["id"]] = message.payload["n"]
        elif message.event == "message_edited":
            if marks["id"] in self.seen:
                self.seen[marks["id"]] = message.payload["n"]
        else:
            self.seen.pop(marks["id"], None)
        self.position = marks["position"]

    async def go(self) -> None:
        self.look()
        assert self.client is not None
        await self.client.disconnect()
        self.client = self.room = None


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("seed", range(25))
async def test_whatever_is_lost_delayed_and_doubled_every_reader_has_the_whole_in_the_end(
    seed: int, behind: bool
) -> None:
    chance = random.Random(seed)
    bus = Bus(carries=chance.random() < 0.5)
    async with processes(bus, 3) as all:
        readers = [Reader() for _ in range(5)]
        ids: list[str] = []
        for n in range(120):
            bus.copies = chance.choice([1, 1, 2])
            lossy = chance.random() < 0.1
            bus.lose = (lambda key: chance.random() < 0.7) if lossy else (lambda key: False)
            at, action = chance.choice(all), chance.random()
            if action < 0.15 and behind and len(ids) < 45:
                ids.append(f"behind:{n}")
                await say(at, n, id=ids[-1], keep="behind")
                if chance.random() < 0.5:
                    await at.hub.publishing.drain()
            elif action < 0.4 and len(ids) < 45:
                ids += await say(at, n)
            elif action < 0.5 and ids:
                await at.edit(TOPIC, chance.choice(ids), {"n": n})
            elif action < 0.55 and ids:
                await at.remove(TOPIC, chance.choice(ids))
            elif action < 0.9:
                reader = chance.choice(readers)
                await (reader.come(at) if reader.client is None else reader.go())
            elif bus.held is None:
                bus.held = []
            else:
                if chance.random() < 0.5:
                    chance.shuffle(bus.held)
                bus.release()
            if lossy:  # whoever cannot be sure says so
                await turns(4)
                for each in all:
                    each.hub.hearing.lost()
            for reader in readers:
                if reader.room is not None:
                    reader.look()
        bus.lose = lambda key: False
        bus.release()
        for reader in readers:
            if reader.client is None:
                await reader.come(chance.choice(all))
        for each in all:
            await each.hub.publishing.drain()
        await say(all[0], 1000)
        await turns(200)
        history = {message.id: message.payload["n"] for message in await all[0].history(TOPIC, limit=100)}
        for reader in readers:
            reader.look()
            assert reader.seen == history
            assert behind or list(reader.seen) == list(history)
            await reader.go()
