"""What is shown first is stored in the order in which it was shown, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, behind
from holdfast.channels.driver import Append, Operation, Outcome
from holdfast.errors import Overloaded, StoreUnavailable
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinedTopic

from .gated import GatedDriver
from .line import turns

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 100


class FaultyDriver(GatedDriver):
    """Fails appends in flight: those batches that hold a message of which `fault` says so, once it is told to `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[int], bool] = lambda n: False
        self.refuses: Callable[[int], bool] = lambda n: False  # that message alone
        self.go = asyncio.Event()
        self.tried: list[list[int]] = []

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        appends = [number(op) for op in batch if isinstance(op, Append)]
        if appends:
            self.tried.append(appends)
            self.waiting.set()
            await self.go.wait()
            if any(map(self.fault, appends)):
                raise StoreUnavailable("faulty: lost")
        refused = [op for op in batch if isinstance(op, Append) and self.refuses(number(op))]
        done = iter(await super().apply([op for op in batch if op not in refused], lane))
        return [StoreUnavailable("faulty: refused") if op in refused else next(done) for op in batch]


def number(op: Append) -> int:
    return int(op.payload.partition(b":")[2].rstrip(b"}"))


@asynccontextmanager
async def opened(driver: FaultyDriver) -> AsyncIterator[tuple[Channels, JoinedTopic]]:
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        yield channels, await client.join(TOPIC)
        driver.go.set()


async def show(channels: Channels, *numbers: int) -> None:
    for n in numbers:
        await channels.publish(TOPIC, "said", {"n": n}, keep="behind")


async def kept(channels: Channels) -> list[int]:
    await channels.hub.publishing.drain()
    return [message.payload["n"] for message in await channels.history(TOPIC, limit=100)]


def keeping(channels: Channels, n: int) -> asyncio.Task[str | None]:
    async def keep() -> str | None:
        return await channels.publish(TOPIC, "said", {"n": n})

    return asyncio.create_task(keep())


def times(count: int) -> Callable[[int], bool]:
    """The first so many."""
    left = iter(range(count))
    return lambda n: next(left, None) is not None


@pytest.mark.parametrize("together", [True, False])
async def test_what_waits_in_the_stores_queue_does_not_overtake_what_failed(together: bool) -> None:
    driver = FaultyDriver()
    async with opened(driver) as (channels, room):
        driver.fault = times(2)
        await show(channels, 0)
        if not together:
            await driver.waiting.wait()
        await show(channels, *range(1, 20))
        await turns()
        driver.go.set()
        assert await kept(channels) == list(range(20))
        assert [each.payload["n"] for each in room.received] == list(range(20))


async def test_what_is_shown_while_the_store_is_away_waits_behind_it() -> None:
    driver = FaultyDriver()
    driver.go.set()
    async with opened(driver) as (channels, room):
        driver.fault = times(2)
        await show(channels, 0)
        await turns()
        await show(channels, 1, 2, 3)
        await turns()
        assert driver.tried == [[0]]
        await asyncio.wait_for(room.receive(), 5)
        assert await kept(channels) == [0, 1, 2, 3]
        assert driver.tried == [[0], [0], [0], [1, 2, 3]]


async def test_a_message_that_is_refused_alone_holds_back_those_that_have_not_left() -> None:
    driver = FaultyDriver()
    async with opened(driver) as (channels, _):
        driver.refuses = times(1)
        await show(channels, 0)
        await driver.waiting.wait()
        await show(channels, 1, 2)
        driver.go.set()
        assert await kept(channels) == [0, 1, 2]


async def test_topics_do_not_wait_for_each_other() -> None:
    driver = FaultyDriver()
    driver.go.set()
    async with opened(driver) as (channels, _):
        driver.fault = lambda n: n == 0
        await show(channels, 0)
        await turns()
        await channels.publish("room:b", "said", {"n": 1}, keep="behind")
        await channels.publish("room:b", "said", {"n": 2})
        assert [message.payload["n"] for message in await channels.history("room:b")] == [1, 2]
        driver.fault = lambda n: False


async def test_what_is_stored_first_stands_where_it_was_published() -> None:
    driver = FaultyDriver()
    async with opened(driver) as (channels, room):
        await show(channels, 0)
        await driver.waiting.wait()
        first, second = keeping(channels, 1), keeping(channels, 2)
        await turns()
        await show(channels, 3)
        await turns()
        driver.go.set()
        positions = [await first, await second]
        assert await kept(channels) == [0, 1, 2, 3]
        assert [message.position for message in await channels.history(TOPIC)][1:3] == positions
        assert [each.payload["n"] for each in room.received] == [0, 3, 1, 2]
        assert driver.tried == [[0], [1, 2], [3]]
        assert channels.hub.publishing._behind.count == 0


async def test_what_would_overtake_what_cannot_be_stored_fails_and_is_not_shown() -> None:
    driver = FaultyDriver()
    async with opened(driver) as (channels, room):
        driver.fault = lambda n: True
        await show(channels, 0)
        await driver.waiting.wait()
        keep = keeping(channels, 1)
        await turns()
        driver.go.set()
        with pytest.raises(StoreUnavailable, match="before it") as refused:
            await keep
        assert not refused.value.maybe_applied
        with pytest.raises(
            StoreUnavailable, match="before it"
        ):  # asks the store now, and does not wait for a rest
            await asyncio.wait_for(keeping(channels, 2), 5)
        driver.fault = lambda n: False
        await channels.publish(TOPIC, "said", {"n": 3})
        assert await kept(channels) == [0, 3]
        assert [each.payload["n"] for each in room.received] == [0, 3]


async def test_who_gives_up_in_the_line_is_never_stored() -> None:
    driver = FaultyDriver()
    async with opened(driver) as (channels, _):
        await show(channels, 0)
        await driver.waiting.wait()
        keep = keeping(channels, 1)
        await turns()
        keep.cancel()
        await turns()
        await show(channels, 2)
        driver.go.set()
        assert await kept(channels) == [0, 2]
        assert channels.hub.publishing._behind.count == 0


async def test_a_line_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "BEHIND", 3)
    driver = FaultyDriver()
    async with opened(driver) as (channels, room):
        await show(channels, 0, 1, 2)
        for keep in ("behind", True):
            with pytest.raises(Overloaded):
                await channels.publish(TOPIC, "said", {"n": 3}, keep=keep)
        driver.go.set()
        assert await kept(channels) == [0, 1, 2]
        assert len(room.received) == 3


async def test_a_shutdown_stores_in_order_what_could_not_be_stored_before() -> None:
    driver = FaultyDriver()
    driver.go.set()
    async with opened(driver) as (channels, _):
        driver.fault = times(1)
        await show(channels, 0, 1, 2)
        await turns()
        await show(channels, 3)
        await channels.close()
        async with channels:
            assert await kept(channels) == [0, 1, 2, 3]


async def test_a_shutdown_ends_where_the_store_does_not_come_back_and_says_what_is_lost() -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(context["message"]))
    driver = FaultyDriver()
    driver.go.set()
    async with opened(driver) as (channels, _):
        driver.fault = lambda n: True
        await show(channels, 0, 1)
        await turns()
        await asyncio.wait_for(channels.close(), 5)
        assert len(told) == 2
        assert "was shown and not stored" in told[0]
        assert driver.tried == [[0, 1], [0, 1]]
        driver.fault = lambda n: False


async def test_a_store_that_takes_nothing_more_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FaultyDriver()
    driver.go.set()
    async with opened(driver) as (channels, _):
        core, full = channels.hub.core, times(2)
        begin = core.begin

        def refuse(op: Any, size: int = 0) -> Any:
            if full(0):
                raise Overloaded("full")
            return begin(op, size)

        monkeypatch.setattr(core, "begin", refuse)
        await show(channels, 0, 1, 2)
        assert await kept(channels) == [0, 1, 2]


async def test_what_is_stored_first_does_not_leave_because_another_is_shown_behind_it() -> None:
    driver = FaultyDriver()
    async with opened(driver) as (channels, room):
        driver.fault = times(1)
        await show(channels, 0)
        await driver.waiting.wait()
        keep = keeping(channels, 1)
        await turns()
        await show(channels, 2)
        driver.go.set()
        with pytest.raises(StoreUnavailable, match="before it"):
            await keep
        assert await kept(channels) == [0, 2]
        assert [each.payload["n"] for each in room.received] == [0, 2]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="loops have no eager tasks")
async def test_a_line_is_worked_off_where_tasks_begin_at_once() -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
    async with Channels("memory://", [Room]) as channels, ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        for _ in range(3):
            await show(channels, 1, 2)
            await turns()
        assert channels.hub.publishing._behind.count == 0
        assert len(await kept(channels)) == 6
        assert [each.payload["n"] for each in room.received] == [1, 2] * 3
        follower = channels.hub.rooms[channels.hub.prefix + TOPIC].follower
        follower.catch_up()
        await turns()
        assert follower._reading is None
