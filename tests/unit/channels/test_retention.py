"""What goes though nobody speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, retention
from holdfast.channels.driver import Append, Topics, Trim
from holdfast.channels.retention import Retention
from holdfast.errors import StoreUnavailable
from holdfast.testing import ChannelClient, ManualClock

from .gated import GatedDriver


class Aging(Channel):
    topic = "aging:*"
    history = 10
    max_age = 60


class Younger(Aging):
    topic = "aging:young"
    max_age = 10


class Lasting(Aging):
    topic = "*"
    max_age = None  # type: ignore[assignment]


class Driver(GatedDriver):
    """What waits to be swept, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self._clock, self._ms = self.clock, 1
        self.unswept: list[int | Exception] = []
        self.swept = 0

    async def sweep(self) -> int:
        self.swept += 1
        found = self.unswept.pop(0) if self.unswept else 0
        if isinstance(found, Exception):
            raise found
        return found


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Channels, Driver]]:
    driver = Driver()
    async with Channels(driver, [Aging, Younger, Lasting]) as channels:
        yield channels, driver


def made(channels: Channels, driver: Driver, **options: Any) -> Retention:
    hub = channels.hub
    return Retention(hub.run, driver.sweep, hub.routes, hub.rooms, hub.prefix, **options)


async def left(channels: Channels, topic: str) -> list[int]:
    return [message.payload["n"] for message in await channels.history(topic)]


async def test_what_is_too_old_goes_from_quiet_topics_by_the_rule_of_each_ones_class() -> None:
    async with opened() as (channels, driver):
        for topic in ("aging:a", "aging:young", "else"):
            await channels.publish(topic, "m", {"n": 1})
        driver.clock.advance(30)
        for topic in ("aging:a", "aging:young", "else"):
            await channels.publish(topic, "m", {"n": 2}, id="second")
        # An append trims by itself what the next one finds too old: here only the young topic's first.
        driver.clock.advance(40)
        assert await channels.hub.retention.trim() == 2
        assert await left(channels, "aging:a") == [2]
        assert await left(channels, "aging:young") == []
        assert await left(channels, "else") == [1, 2]
        assert await channels.hub.retention.trim() == 0


async def test_joiners_get_no_more_what_went_though_it_was_at_hand() -> None:
    async with (
        opened() as (channels, driver),
        ChannelClient(channels) as stays,
        ChannelClient(channels) as one,
    ):
        await stays.join("aging:a")
        first = await channels.publish("aging:a", "m", {"n": 1})
        driver.clock.advance(50)
        second = await channels.publish("aging:a", "m", {"n": 2})
        driver.clock.advance(20)
        await channels.hub.retention.trim()
        room = await one.join("aging:a")
        assert [message.payload["n"] for message in room.received] == [2]
        await room.leave()
        again = await one.join("aging:a", {"since": first})
        assert again.reply.response["recovered"] is True  # all after it is there
        await again.leave()
        lost = await one.join("aging:a", {"since": "0~" + str(second).partition("~")[2]})
        assert lost.reply.response["reason"] == "history_lost"
        await channels.publish("aging:a", "m", {"n": 3})
        assert (await lost.receive())["n"] == 2
        assert (await lost.receive())["n"] == 3


async def test_what_another_process_took_away_goes_too() -> None:
    async with (
        opened() as (channels, driver),
        ChannelClient(channels) as stays,
        ChannelClient(channels) as one,
    ):
        await stays.join("aging:a")
        await channels.publish("aging:a", "m", {"n": 1})
        driver.clock.advance(70)
        await driver.apply([Trim(channels.hub.prefix + "aging:a", None, 60_000)])
        await channels.publish("aging:a", "m", {"n": 2})
        await channels.hub.retention.trim()
        assert [message.payload["n"] for message in (await one.join("aging:a")).received] == [2]


async def test_a_round_goes_through_all_topics_a_page_at_a_time_and_rests_between_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    async with opened() as (channels, driver):
        for n in range(7):
            await channels.publish(f"aging:{n}", "m", {"n": n})
        await channels.publish("aging:young", "m", {"n": 0})
        driver.clock.advance(100)
        looks: list[int] = []

        async def sleep(seconds: float) -> None:
            assert seconds >= retention.BREATH
            looks.append(sum(isinstance(op, Topics) for batch in driver.batches for op in batch))

        driver.batches.clear()
        work = made(channels, driver, sleep=sleep)
        assert await work.trim() == 8
        assert looks == [1, 2, 3]  # four pages of two; those of the class with one topic are another
        trims = [sum(isinstance(op, Trim) for op in batch) for batch in driver.batches]
        assert max(trims) <= 2
        assert await work.trim() == 0


async def test_a_rest_is_as_long_as_the_page_before_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 1)
    async with opened() as (channels, driver):
        for n in range(2):
            await channels.publish(f"aging:{n}", "m", {"n": n})
        hub, clock, rests = channels.hub, ManualClock(), list[float]()

        async def slow(op: Any) -> Any:
            clock.advance(1)
            return await hub.run(op)

        async def sleep(seconds: float) -> None:
            rests.append(seconds)

        seconds: dict[str, Any] = {"sleep": sleep, "time": lambda: clock.ms / 1000}
        work = Retention(slow, driver.sweep, hub.routes, hub.rooms, hub.prefix, **seconds)
        await work.trim()
        assert rests == [2.0]  # a look, and a removal


async def test_thousands_of_topics_are_all_trimmed_in_one_round() -> None:
    async with opened() as (channels, driver):
        for n in range(6_000):
            await driver.apply_now([Append(f"{channels.hub.prefix}aging:{n}", "m", b"{}")])
        driver.clock.advance(100)
        turns = 0

        async def sleep(seconds: float) -> None:
            nonlocal turns
            turns += 1
            await asyncio.sleep(0)

        assert await made(channels, driver, sleep=sleep).trim() == 6_000
        assert turns == 6_000 // retention.PAGE - 1


async def test_announcements_are_swept_until_none_is_left_with_a_pause_for_those_who_write() -> None:
    async with opened() as (channels, driver):
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        driver.unswept = [500, 500, 7]
        assert await made(channels, driver, sleep=sleep).sweep() == 1007
        assert driver.swept == 4
        assert pauses == [retention.PAUSE] * 3
        driver.unswept = [1] * 1000
        assert await made(channels, driver, sleep=sleep).sweep() == retention.SWEEPS


async def test_it_goes_on_whatever_fails_and_says_what_should_not_have() -> None:
    async with opened() as (channels, driver):
        await channels.publish("aging:a", "m", {"n": 1})
        driver.clock.advance(100)
        driver.unswept = [StoreUnavailable("away"), ValueError("a bug")]
        rests: list[float] = []
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        failing = iter([True, False])
        driver.fail = lambda op: isinstance(op, Topics) and next(failing, False)
        third = asyncio.Event()

        async def sleep(seconds: float) -> None:
            rests.append(seconds)
            if len(rests) == 4:
                third.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(made(channels, driver, sleep=sleep, jitter=max).work())
        await third.wait()
        assert rests == [retention.REST * 1.25] * 4
        assert driver.swept == 3
        assert await left(channels, "aging:a") == []
        assert [str(each["exception"]) for each in told] == ["a bug"]
        task.cancel()
        await asyncio.wait({task})


async def test_it_runs_while_channels_are_open_and_no_longer() -> None:
    def running() -> list[Any]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "holdfast channels retention"]

    async with opened():
        assert len(running()) == 1
    assert running() == []
