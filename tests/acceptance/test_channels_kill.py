"""`kill -9` of a server of rooms, or of its engine, in full flow: what anybody saw is in the history, in that order.

Clients publish and listen without a pause. Whatever ends their connections they
come back, say which position they saw last, and say again, by the same id, what
was not acknowledged. In the end what each saw, over all its connections, is the
history exactly: nothing missing, nothing twice, nothing in another order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.conftest import ENGINES
from tests.acceptance.proof.figures import SOAK, record
from tests.acceptance.rooms.member import BEGINNING, Kept, Member, all_until, until
from tests.acceptance.rooms.server import RoomServer

from holdfast.channels import AnyTopic, Channels
from holdfast.testing.servers import PostgresServer, RedisServer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800 if SOAK else 300)]
KILLS = 20 if SOAK else 2
MEMBERS = 24  # in each topic
TOPICS = ("log:one", "log:two")
AT_ONCE = 3  # messages that one member has under way


class Flow:
    """Members of two topics, publishing until `quiet`."""

    def __init__(self, server: RoomServer) -> None:
        self.members = [
            Member(server.url, topic, f"m{number}") for topic in TOPICS for number in range(MEMBERS)
        ]
        self._said = 0
        self._quiet = False
        self._publishing: list[asyncio.Task[None]] = []

    @property
    def seen(self) -> int:
        return sum(len(member.seen) for member in self.members)

    async def _publish(self, member: Member) -> None:
        while not self._quiet:
            self._said += 1
            await member.say(f"{member.name}-{self._said}", "x" * random.randrange(200))

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """From the first message until everybody has seen the last."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(member.run()) for member in self.members]
            for member in self.members:
                await member.joined.wait()
            publishing = [
                tasks.create_task(self._publish(member)) for member in self.members for _ in range(AT_ONCE)
            ]
            yield
            self._quiet = True
            async with asyncio.timeout(60):
                await asyncio.gather(*publishing)
            for topic in TOPICS:
                here = [member for member in self.members if member.topic == topic]
                last = {id for member in here for id in member.acknowledged}
                await all_until(here, partial(_has_seen, len(last)))
            for member in self.members:
                await member.end()
            await asyncio.gather(*running)

    async def more(self) -> None:
        """Go on for a while: until everybody has seen something new, and then some."""
        try:
            await self._more()
        except TimeoutError:
            stuck = [
                f"{m.name} {m.topic}: connected {m.ws is not None}, joined {m.joined.is_set()}, seen {len(m.seen)}, "
                f"at {m.position}, ended {m.codes}, joins {m.replies[-2:]}, waits for {len(m.asked)}"
                for m in self.members
            ]
            raise AssertionError("no more comes:\n" + "\n".join(stuck)) from None

    async def _more(self) -> None:
        wanted = self.seen + random.randrange(40, 120) * len(self.members)
        before = [len(member.seen) for member in self.members]
        await until(
            lambda: (
                self.seen >= wanted
                and all(len(member.seen) > was for member, was in zip(self.members, before, strict=True))
            ),
            20,
        )

    async def check(self, url: str, namespace: str) -> int:
        """Hold what everybody saw, and was told, against the history; how many messages it has."""
        total = 0
        for topic in TOPICS:
            history = await everything(url, namespace, topic)
            stored = {kept.id: kept.position for kept in history}
            assert len(stored) == len(history), "a message is there twice"
            for member in self.members:
                if member.topic == topic:
                    assert member.seen == history, difference(member.seen, history)
                    for id, position in member.acknowledged.items():
                        assert stored.get(id) == position, f"{id} was acknowledged at {position}"
            total += len(history)
        return total


def _has_seen(count: int, member: Member) -> bool:
    return len(member.seen) >= count


async def everything(url: str, namespace: str, topic: str) -> list[Kept]:
    """The topic's whole history, read by another process's means."""
    found: list[Kept] = []
    async with Channels(url, [AnyTopic], namespace=namespace) as channels:
        after = BEGINNING
        while page := await channels.history(topic, limit=1000, after=after):
            found += [Kept(each.position, each.id, each.payload["text"]) for each in page]
            after = page[-1].position
    return found


def difference(seen: list[Kept], history: list[Kept]) -> str:
    missing = [kept.position for kept in history if kept not in seen]
    beyond = [kept.position for kept in seen if kept not in history]
    return f"{len(seen)} seen, {len(history)} stored; not seen {missing[:9]}, not stored {beyond[:9]}"


async def under(
    faults: list[Callable[[], Awaitable[None]]], server: RoomServer, url: str, namespace: str
) -> Flow:
    flow = Flow(server)
    async with flow.flowing():
        for fault in faults:
            await flow.more()
            await fault()
        await flow.more()
    await flow.check(url, namespace)
    return flow


def killed(server: RoomServer | RedisServer | PostgresServer) -> Callable[[], Awaitable[None]]:
    async def fault() -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    return fault


def stopped(server: RoomServer | RedisServer | PostgresServer) -> Callable[[], Awaitable[None]]:
    async def fault() -> None:
        await asyncio.to_thread(server.restart)

    return fault


def summary(flow: Flow, faults: str) -> str:
    connections = sum(len(member.codes) for member in flow.members)
    stored = sum(
        len({id for m in flow.members if m.topic == topic for id in m.acknowledged}) for topic in TOPICS
    )
    return (
        f"{faults}; {stored:,} messages, seen {flow.seen:,} times by {len(flow.members)} clients over "
        f"{connections:,} connections, each the history exactly"
    )


@pytest.mark.parametrize("engine", ENGINES if SOAK else ENGINES[:3])
async def test_what_anybody_saw_of_a_killed_server_is_in_the_history_and_who_returns_misses_nothing(
    engine: str, url: str, namespace: str
) -> None:
    with RoomServer(url, namespace) as server:
        flow = await under([killed(server)] * KILLS, server, url, namespace)
    assert all(len(member.codes) > KILLS for member in flow.members), "somebody did not notice"
    record("rooms: `kill -9` of the server", engine, summary(flow, f"{KILLS} kills"))


@pytest.mark.parametrize(
    "engine", ["redis", "postgres", "sqlalchemy+postgres"] if SOAK else ["redis", "postgres"]
)
async def test_an_engine_that_is_killed_under_rooms_takes_nothing_with_it_that_anybody_saw(
    engine: str, url: str, namespace: str, request: pytest.FixtureRequest
) -> None:
    store = request.getfixturevalue("durable_redis" if engine == "redis" else "durable_postgres")
    faults = [killed(store), stopped(store)] * (KILLS // 2)
    with RoomServer(url, namespace) as server:
        flow = await under(faults, server, url, namespace)
    refused = sum(member.refused for member in flow.members)
    assert refused > 0, "nobody noticed"
    record(
        "rooms: `kill -9` or restart of the engine",
        engine,
        summary(flow, f"{len(faults)} times, {refused:,} refused"),
    )


async def test_a_server_that_is_stopped_in_full_flow_loses_nothing_either(
    tmp_path: Path, namespace: str
) -> None:
    url = f"sqlite:///{tmp_path}/rooms.db"
    with RoomServer(url, namespace) as server:
        flow = await under([stopped(server)] * (KILLS // 2), server, url, namespace)
    codes = {code for member in flow.members for code in member.codes[:-1]}
    assert codes == {1012}, codes
