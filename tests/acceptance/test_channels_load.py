"""The shapes of load: readers that stall among those who read, and everybody coming back at once."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.acceptance.proof.figures import SOAK, record
from tests.acceptance.rooms.member import Member, all_until
from tests.acceptance.rooms.server import FAST, STOCK, RoomServer
from tests.acceptance.test_channels_kill import difference, everything

from holdfast.channels import AnyTopic, Channels

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800 if SOAK else 300)]
CLIENTS = 5_000 if SOAK else 500
STALLED = CLIENTS // 10
SAID = 60
TEXT = "x" * 8_000
STORM = 3_000 if SOAK else 300
MISSED = 50
UNREAD = 64 << 10


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    """A connection is a file, here and in the server, which inherits this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/rooms.db"


@asynccontextmanager
async def running(members: list[Member]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(member.run())
        async with asyncio.timeout(120):
            for member in members:
                await member.joined.wait()
        yield
        await asyncio.gather(*(member.end() for member in members))


@pytest.mark.parametrize("ws", [FAST, STOCK], ids=["fast", "plain"])
async def test_a_tenth_that_does_not_read_is_let_go_and_nobody_else_waits(
    store: str, namespace: str, ws: str
) -> None:
    with RoomServer(store, namespace, ws=ws, unread=UNREAD) as server:
        stalled = [Member(server.url, "log:all", f"s{n}", narrow=True) for n in range(STALLED)]
        reading = [Member(server.url, "log:all", f"r{n}") for n in range(CLIENTS - STALLED)]
        process = psutil.Process(server.pid)
        longest = 0.0
        async with running(stalled + reading):
            before = process.memory_info().rss
            for member in stalled:
                member.reading.clear()
            for n in range(SAID):
                start = time.monotonic()
                await reading[n].say(f"m{n}", TEXT)
                await all_until(reading[-1 - n :][:1], partial(has_seen, n + 1))
                longest = max(longest, time.monotonic() - start)
            await all_until(reading, lambda member: len(member.seen) == SAID)
            assert all(member.codes == [] for member in reading), "somebody who reads was let go"
            counts = await asyncio.to_thread(server.counts)
            growth = process.memory_info().rss - before
            assert counts["dropped"] == STALLED
            assert counts["connections"] == CLIENTS - STALLED
            for member in stalled:
                assert len(member.seen) < SAID
                member.reading.set()
            await all_until(stalled, lambda member: len(member.seen) == SAID)
        history = await everything(store, namespace, "log:all")
        for member in stalled + reading:
            assert member.seen == history, difference(member.seen, history)
        assert {len(member.codes) for member in stalled} == {2}, [member.codes for member in stalled]
    assert growth < (60 << 20 if SOAK else 30 << 20), f"{growth >> 20} MiB more"
    record(
        "rooms: a tenth of the readers stalled",
        "sqlite, fast path" if ws == FAST else "sqlite, plain ASGI",
        f"{CLIENTS:,} clients, {STALLED} let go and back by position, each the history exactly; the others saw each "
        f"message within {longest * 1000:.0f} ms; {growth / (1 << 20):.0f} MiB more",
    )


def has_seen(count: int, member: Member) -> bool:
    return len(member.seen) >= count


async def test_everybody_who_comes_back_at_once_after_a_restart_gets_what_was_missed(
    store: str, namespace: str
) -> None:
    with RoomServer(store, namespace) as server:
        members = [Member(server.url, f"log:{n % 10}", f"m{n}") for n in range(STORM)]
        async with running(members):
            for member in members[:10]:
                await member.say(f"first-{member.name}", "x")
            await all_until(members, lambda member: len(member.seen) == 1)
            await asyncio.to_thread(server.kill)
            async with Channels(store, [AnyTopic], namespace=namespace) as channels:
                for n in range(MISSED):
                    said = {"id": "", "text": f"{n}"}
                    await asyncio.gather(
                        *(
                            channels.publish(f"log:{topic}", "said", said, id=f"missed-{n}")
                            for topic in range(10)
                        )
                    )
            await asyncio.to_thread(server.start)
            start = time.monotonic()
            await all_until(members, lambda member: len(member.seen) == 1 + MISSED)
            seconds = time.monotonic() - start
            for member in members[:10]:
                await member.say(f"last-{member.name}", "x")
            await all_until(members, lambda member: len(member.seen) == 2 + MISSED)
        for topic in range(10):
            history = await everything(store, namespace, f"log:{topic}")
            for member in members[topic::10]:
                assert member.seen == history, difference(member.seen, history)
        assert all(member.replies[-1].response["recovered"] for member in members)
    record(
        "rooms: all come back at once",
        "sqlite",
        f"{STORM:,} clients of 10 rooms after `kill -9`, {MISSED} missed by each, all there after {seconds:.1f} s",
    )
