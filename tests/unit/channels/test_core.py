"""What outlives an event loop, and what does not."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, event
from holdfast.channels.driver import Read
from holdfast.channels.room import RING
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinRefused

from .gated import GatedDriver
from .line import Line, turns
from .transports.lab import Browser

TOPIC = "room:a"
left_behind = pytest.mark.filterwarnings("ignore")  # what was not closed says so when it is collected


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Within the test that left it, not in a later one."""
    yield
    gc.collect()


class Room(Channel):
    topic = "room:*"
    history = 10
    presence = True

    async def joined(self) -> None:
        await self.track(key="ada")

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None:
        await self.broadcast("said", payload)

    @event("hang")
    async def hang(self, payload: dict[str, Any]) -> None:
        await asyncio.Event().wait()


@pytest.fixture(params=["memory", "sqlite", "sqlalchemy", "redis", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://"
    if request.param in ("redis", "postgres"):
        return str(request.getfixturevalue(f"{request.param}_url"))
    prefix = "sqlalchemy+sqlite+aiosqlite" if request.param == "sqlalchemy" else "sqlite"
    return f"{prefix}:///{tmp_path}/app.db"


def dies_with_its_loop(work: Callable[[], Any]) -> Any:
    """As `asyncio.run`, but nothing is cancelled: whatever runs is left where it is."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    try:
        return loop.run_until_complete(work())
    finally:
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()


@left_behind
def test_what_was_left_open_on_a_loop_that_ended_can_be_opened_on_the_next(store: str) -> None:
    channels = Channels(store, [Room], namespace=uuid.uuid4().hex, auto_migrate=True)

    async def leave_open() -> list[int]:
        await channels.open()
        line = Line(channels)
        line.say("1", "1", TOPIC, "phx_join")
        await line.until(lambda: any(frame[3] == "presence_diff" for frame in line.frames))
        assert list(channels.presence.list(TOPIC)) == ["ada"]
        assert len(channels.presence.list(TOPIC)["ada"]["metas"]) == 1
        await channels.publish(TOPIC, "said", {"n": len(await channels.history(TOPIC))})
        await channels.publish(TOPIC, "said", {"n": "shown"}, keep=False)
        await line.until(lambda: bool(line.frames) and line.frames[-1][4].get("n") == "shown")
        line.say("1", "2", TOPIC, "hang")
        counts = channels.counts()
        assert (counts.connections, counts.rooms, counts.joins, counts.kept) == (1, 1, 1, 1)
        return [message.payload["n"] for message in await channels.history(TOPIC)]

    async def close() -> None:
        async with channels:
            pass

    assert [asyncio.run(leave_open()) for _ in range(3)] == [[0], [0, 1], [0, 1, 2]]
    asyncio.run(close())


@left_behind
def test_what_still_ran_when_its_loop_was_closed_does_not_keep_the_next_from_opening() -> None:
    driver = GatedDriver()
    channels = Channels(driver, [Room])

    async def leave_open() -> None:
        await channels.open()
        line = Line(channels)
        line.say("1", "1", TOPIC, "phx_join")
        await line.until(lambda: bool(line.frames))
        line.say("1", "2", TOPIC, "hang")
        driver.gate = lambda op: isinstance(op, Read)
        reading = asyncio.ensure_future(channels.history(TOPIC))
        await channels.publish(TOPIC, "said", {"n": 1}, keep="behind")
        await turns()
        assert not reading.done()
        assert channels.hub.working

    async def use() -> None:
        driver.gate = lambda op: False
        async with channels, ChannelClient(channels) as client:
            room = await client.join(TOPIC)
            await room.push("say", {"n": 2})
            assert (await client.join("room:b")).reply.status == "ok"
            assert len(channels.connections()) == 1

    dies_with_its_loop(leave_open)
    asyncio.run(use())


def test_sessions_of_long_poll_end_with_their_loop() -> None:
    channels = Channels("memory://", [Room])

    async def connect(token: str | None) -> str:
        await channels.open()
        browser = Browser(channels)
        browser.token = token
        if token is not None:
            assert (await browser.get()).status == 500  # to the client: start over
            browser.token = None
        return str((await browser.get()).said["token"])

    token = asyncio.run(connect(None))
    asyncio.run(connect(token))


async def test_counts_begin_anew_with_each_opening() -> None:
    channels = Channels("memory://", [Room])
    for _ in range(2):
        async with channels, ChannelClient(channels) as client:
            await client.join(TOPIC)
            await channels.publish(TOPIC, "said", {"n": 1})
            counts = channels.counts()
            assert (counts.joins, counts.kept) == (1, 1)
            first = counts.received
        assert first == 1


async def test_a_join_is_counted_when_it_makes_a_member_and_not_before() -> None:
    driver = GatedDriver()
    async with Channels(driver, [Room]) as channels, ChannelClient(channels) as client:
        first = await channels.publish(TOPIC, "said", {"n": 0})
        for n in range(2 * RING):
            await channels.publish(TOPIC, "said", {"n": n})
        await client.join(TOPIC)
        driver.fail = lambda op: isinstance(op, Read)
        with pytest.raises(JoinRefused):
            await client.join(TOPIC, {"since": first})
        assert channels.counts().joins == 1
        driver.fail = lambda op: False
        assert (await client.join(TOPIC, {"since": first})).reply.response["recovered"]
        assert channels.counts().joins == 2
