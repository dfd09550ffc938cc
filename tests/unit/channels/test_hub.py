"""What all connections of a process share: rooms come and go, connections end, nothing is left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from holdfast import events
from holdfast.channels import Channel, Channels, Limits, User, event
from holdfast.channels.driver import Append, Listener, Outcome, Read, Subscription
from holdfast.channels.joined import Joined
from holdfast.channels.pulse import LINGER, TIDIED
from holdfast.errors import Closed, StoreError, StoreUnavailable
from holdfast.testing import ChannelClient

from .bus import Bus, BusDriver
from .gated import GatedDriver
from .line import Line, error, ok, turns

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 3
    ended: ClassVar[list[str]] = []

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None:
        await self.broadcast("said", payload)

    @event("hang")
    async def hang(self, payload: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("hang")


def seconds(channels: Channels, count: int) -> None:
    for _ in range(count):
        channels.hub.pulse.beat()


async def member(channels: Channels, topic: str = TOPIC) -> Line:
    line = Line(channels)
    line.say("1", "1", topic, "phx_join")
    await line.until(lambda: bool(line.frames))
    line.frames.clear()
    return line


# --- rooms ---


async def test_a_room_stays_a_moment_after_its_last_member_and_is_followed_as_long() -> None:
    bus = Bus()
    async with Channels(bus.first, [Room]) as channels:
        key = channels.hub.prefix + TOPIC
        line = await member(channels)
        seconds(channels, TIDIED + 3)
        assert list(channels.hub.rooms) == [key]
        line.lost()
        seconds(channels, TIDIED - 3)
        assert list(channels.hub.rooms) == [key]
        seconds(channels, LINGER + TIDIED)
        assert not channels.hub.rooms
        await turns()
        assert [each for each in bus.first.followed if TOPIC in each] == [key, "-" + key]
        assert not channels.hub._unfollowing


async def test_who_comes_back_within_the_moment_finds_the_room_as_it_was() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels:
        (await member(channels)).lost()
        room = channels.hub.rooms[channels.hub.prefix + TOPIC]
        driver.batches.clear()
        await member(channels)
        seconds(channels, 3 * LINGER)
        assert channels.hub.rooms[channels.hub.prefix + TOPIC] is room
        assert driver.batches == []


async def test_a_topic_is_followed_again_only_when_it_is_no_longer_followed() -> None:
    bus = Bus()
    async with Channels(bus.first, [Room]) as channels:
        key = channels.hub.prefix + TOPIC
        (await member(channels)).lost()
        bus.first.unfollowing.clear()
        seconds(channels, 2 * LINGER + 5)
        assert not channels.hub.rooms
        joining = asyncio.create_task(member(channels))
        await turns()
        assert not joining.done()
        bus.first.unfollowing.set()
        await joining
        assert [each for each in bus.first.followed if TOPIC in each] == [key, "-" + key, key]
        assert key in bus.followings[0].keys


async def test_a_room_is_not_dropped_while_it_is_loaded_though_who_wanted_it_has_gone() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels:
        driver.gate = lambda op: isinstance(op, Read)
        entering = asyncio.create_task(Line(channels).hub.enter(_stay(channels)))
        await driver.waiting.wait()
        entering.cancel()
        await asyncio.wait({entering})
        [room] = channels.hub.rooms.values()
        assert room.entering == 0
        seconds(channels, 4 * LINGER)
        assert list(channels.hub.rooms.values()) == [room]
        driver.open_gate()
        await room.ready
        seconds(channels, LINGER)
        assert not channels.hub.rooms


def _stay(channels: Channels) -> Any:
    return Joined(Line(channels), channels.hub.routes.get(TOPIC), TOPIC, "1")


async def test_a_room_is_not_dropped_under_who_is_about_to_be_its_member() -> None:
    async with Channels("memory://", [Room]) as channels:
        room = await channels.hub.enter(_stay(channels))
        seconds(channels, 4 * LINGER)
        assert list(channels.hub.rooms.values()) == [room]
        room.entering -= 1
        seconds(channels, LINGER)
        assert not channels.hub.rooms


async def test_a_room_that_cannot_be_loaded_is_gone_and_the_next_to_come_tries_again() -> None:
    bus = Bus()
    async with Channels(bus.first, [Room]) as channels:
        bus.first.fail = lambda op: isinstance(op, Read)
        lines = [Line(channels) for _ in range(3)]
        for line in lines:
            line.say("1", "1", TOPIC, "phx_join")
        for line in lines:
            assert await line.next() == error("1", "1", TOPIC, "store unavailable")
        assert not channels.hub.rooms
        bus.first.fail = lambda op: False
        await member(channels)
        key = channels.hub.prefix + TOPIC
        assert [each for each in bus.first.followed if TOPIC in each] == [key, "-" + key, key]


async def test_a_room_that_breaks_is_followed_no_more() -> None:
    bus = Bus()
    async with Channels(bus.first, [Room]) as channels:
        line = await member(channels)
        room = channels.hub.rooms[channels.hub.prefix + TOPIC]
        channels.hub._broken(room)
        channels.hub._broken(room)
        await turns()
        assert [frame[3] for frame in line.frames] == ["phx_error"]
        assert not channels.hub.rooms
        assert not any(TOPIC in key for key in bus.followings[0].keys)
        await member(channels)
        [again] = channels.hub.rooms.values()
        channels.hub.drop(room)
        await turns()
        assert list(channels.hub.rooms.values()) == [again]
        assert again.key in bus.followings[0].keys


async def test_a_subscription_that_cannot_be_made_is_closed_and_made_by_the_next() -> None:
    class Failing(BusDriver):
        failing = True

        async def subscribe(self, listener: Listener) -> Subscription:
            subscription = await super().subscribe(listener)
            if self.failing:

                async def follow(key: str) -> None:
                    raise StoreUnavailable("away")

                subscription.follow = follow  # type: ignore[method-assign]
            return subscription

    bus = Bus()
    driver = Failing(bus)
    async with Channels(driver, [Room]) as channels:
        line = Line(channels)
        for n in ("1", "2"):
            assert await line.ask(n, n, TOPIC, "phx_join") == error(n, n, TOPIC, "store unavailable")
        assert bus.followings == []
        driver.failing = False
        await member(channels)
        assert len(bus.followings) == 1


async def test_an_append_whose_own_outcome_is_in_doubt_is_looked_for() -> None:
    class Doubting(GatedDriver):
        async def apply(self, batch: Any, lane: int = 0) -> list[Outcome]:
            outcomes = await super().apply(batch, lane)
            lost = StoreUnavailable("lost", maybe_applied=True)
            return [lost if isinstance(op, Append) else out for op, out in zip(batch, outcomes, strict=True)]

    async with Channels(Doubting(), [Room]) as channels:
        line = await member(channels)
        with pytest.raises(StoreUnavailable):
            await channels.publish(TOPIC, "said", {"n": 1})
        [_, _, _, event, payload] = await line.next()
        assert (event, payload["n"]) == ("said", 1)


# --- connections ---


@pytest.mark.parametrize("expires", [0.01, timedelta(milliseconds=10), 0, -5.0, float("nan")])
async def test_a_connection_ends_when_its_user_expires_so_that_it_comes_back(expires: Any) -> None:
    async with Channels("memory://", [Room]) as channels:
        line = Line(channels, User("ada", expires))
        await line.until(lambda: line.code is not None)
        assert line.code == 1001
        assert not channels.hub.sockets


async def test_who_goes_before_expiring_takes_the_timer_along() -> None:
    async with Channels("memory://", [Room]) as channels:
        line = Line(channels, User("ada", 1e300))
        assert line.expiry is not None
        assert not line.expiry.cancelled()
        line.lost()
        assert line.expiry.cancelled()


async def test_a_user_is_disconnected_everywhere_and_nobody_else() -> None:
    bus = Bus()
    async with Channels(bus.first, [Room]) as one, Channels(bus.driver(), [Room]) as other:
        lines = [Line(one, "ada"), Line(one, "bob"), Line(other, "ada"), Line(other)]
        for line in lines:
            line.say("1", "1", TOPIC, "phx_join")
            await line.until(lambda line=line: bool(line.frames))  # type: ignore[misc]
        await one.disconnect("ada")
        await turns()
        assert [line.code for line in lines] == [1001, None, 1001, None]


async def test_a_connection_that_comes_while_all_is_closed_is_told_to_come_back() -> None:
    channels = Channels("memory://", [Room])
    await channels.open()
    await channels.close()
    line = Line(channels)
    await turns()
    assert line.code == 1012
    assert not channels.hub.sockets
    assert channels.hub.pulse._timer is None


async def test_draining_tells_all_to_come_back_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    told: list[int] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        told.append(sum(line.code == 1012 for line in lines))

    async with Channels("memory://", [Room]) as channels:
        lines = [Line(channels) for _ in range(300)]
        monkeypatch.setattr("holdfast.channels.hub.asyncio.sleep", sleep)
        await channels.drain(10)
        assert told == [50, 100, 150, 200, 250]
        assert all(line.code == 1012 for line in lines)
        lines = [Line(channels) for _ in range(300)]
        pauses.clear()
        await channels.drain(0.1)
        assert sum(pauses) <= 0.1
        lines = [Line(channels) for _ in range(300)]
        await channels.drain(0)
        assert all(line.code == 1012 for line in lines)


# --- the end ---


async def test_a_close_ends_all_and_waits_for_none_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.channels.hub.GOODBYE", 0.01)
    bus = Bus()
    channels = Channels(bus.first, [Room])
    await channels.open()
    before = asyncio.all_tasks()
    line = await member(channels)
    line.say("1", "2", TOPIC, "hang")
    await turns()
    await channels.close()
    assert line.code == 1012
    assert Room.ended.pop() == "hang"
    assert not channels.hub.rooms
    assert not channels.hub.sockets
    assert bus.followings == []
    await turns()
    assert asyncio.all_tasks() <= before
    await channels.close()


async def test_a_store_that_hangs_or_fails_at_the_end_does_not_keep_a_process_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast.channels.hub.GOODBYE", 0.01)
    bus = Bus()
    channels = Channels(bus.first, [Room])
    await channels.open()
    await member(channels)
    channels.presence.track(TOPIC, "ada", {})
    bus.first.fail = lambda op: True
    await channels.close()
    assert not channels.hub.core.is_open


async def test_a_join_that_is_under_way_at_the_end_ends_with_it() -> None:
    driver = GatedDriver()
    channels = Channels(driver, [Room])
    await channels.open()
    line = Line(channels)
    driver.gate = lambda op: isinstance(op, Read)
    line.say("1", "1", TOPIC, "phx_join")
    await driver.waiting.wait()
    closing = asyncio.create_task(channels.close())
    await turns()
    driver.open_gate()
    await asyncio.wait_for(closing, 5)
    assert not channels.hub.working


async def test_who_waits_for_a_room_that_will_not_come_is_told_that_all_is_closed() -> None:
    driver = GatedDriver()
    channels = Channels(driver, [Room])
    await channels.open()
    driver.gate = lambda op: isinstance(op, Read)
    entering = asyncio.create_task(channels.hub.enter(_stay(channels)))
    await driver.waiting.wait()
    closing = asyncio.create_task(channels.close())
    await turns()
    with pytest.raises(Closed):
        await entering
    driver.open_gate()
    await closing


async def test_it_can_be_opened_again_and_begins_anew() -> None:
    channels = Channels("memory://", [Room])
    nodes = set()
    for _ in range(2):
        async with channels:
            nodes.add(channels.hub.node)
            line = await member(channels)
            assert (await line.ask("1", "2", TOPIC, "say", {}))[3] == "said"
            assert await line.next() == ok("1", "2", TOPIC)
        assert line.code == 1012
    assert len(nodes) == 2


async def test_opening_twice_is_an_error_and_changes_nothing() -> None:
    async with Channels("memory://", [Room]) as channels:
        line = await member(channels)
        with pytest.raises(StoreError, match="already open"):
            await channels.open()
        assert (await line.ask("1", "2", TOPIC, "say", {}))[3] == "said"


# --- what is counted and told ---


async def test_what_goes_on_is_counted() -> None:
    async with Channels("memory://", [Room], limits=Limits(presences=1)) as channels:
        lines = [await member(channels) for _ in range(3)]
        await channels.publish(TOPIC, "said", {"n": 1})
        await channels.publish(TOPIC, "said", {"n": 2}, keep=False)
        await turns()
        lines[0].say(None, "9", "phoenix", "heartbeat")
        counts = channels.counts()
        assert (counts.connections, counts.rooms, counts.joins) == (3, 1, 3)
        assert (counts.kept, counts.sent, counts.received) == (1, 6, 4)
        [room] = channels.rooms()
        assert (room.topic, room.members, room.sent) == (TOPIC, 3, 2)
        [first, *_] = channels.connections()
        assert (first.topics, first.transport, first.user) == ((TOPIC,), "websocket", None)
        assert channels.close_connection(first.number)
        assert not channels.close_connection(first.number)
        assert len(channels.connections()) == 2


async def test_refusals_and_crashes_are_events() -> None:
    driver = GatedDriver()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        stop = events.subscribe(told.append)
        try:
            driver.fail = lambda op: isinstance(op, Append)
            await room.push("say", {})
            room._client.say(room.join_ref, "99", TOPIC, "say", [1])
            await turns()
        finally:
            stop()
    refused = [each for each in told if isinstance(each, events.MessageRefused)]
    assert [(each.where, each.error) for each in refused] == [("handle", "StoreUnavailable")]


def test_nothing_is_opened_before_it_is_asked_for() -> None:
    channels = Channels("memory://", [Room])
    assert channels.counts().connections == 0
    assert channels.connections() == []
    assert channels.rooms() == []
