"""`kill -9`: nothing that was acknowledged is missing, and nothing happened twice."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.acceptance.conftest import ENGINES
from tests.acceptance.proof.figures import SOAK, record
from tests.acceptance.proof.processes import Worker

from holdfast.errors import StoreUnavailable
from holdfast.persist import Persist
from holdfast.testing.servers import PostgresServer, RedisServer

TASKS = 32
APP_KILLS = 20 if SOAK else 2
ENGINE_KILLS = 20 if SOAK else 2
soak = pytest.mark.soak


@soak
@pytest.mark.parametrize("engine", ENGINES)
async def test_a_killed_app_has_lost_nothing_that_was_acknowledged(
    engine: str, url: str, namespace: str
) -> None:
    acknowledged = 0
    for _ in range(APP_KILLS):
        async with Persist(url, namespace=namespace, auto_migrate=True) as persist:
            await persist.clear()
        with Worker("flow", url, namespace, TASKS) as worker:
            worker.go()
            wanted = random.randrange(200, 1500)
            said = worker.until(lambda lines, wanted=wanted: len(lines) >= wanted)  # type: ignore[misc]
            said += worker.kill()
        acknowledged += await check_flow(url, namespace, [line.split() for line in said])
    record(
        "`kill -9` of the app",
        engine,
        f"{APP_KILLS} kills, {acknowledged:,} acknowledged writes, 0 missing, 0 twice",
    )


async def check_flow(url: str, namespace: str, said: list[list[str]]) -> int:
    """Hold what a killed worker said against the store; how much it was."""
    sets = {(int(words[1]), int(words[2])) for words in said if words[0] == "set"}
    counts = Counter[int]()
    for words in said:
        if words[0] == "count":
            counts[int(words[1])] = int(words[2])
    async with Persist(url, namespace=namespace) as persist:
        found = await persist.get_many([f"value:{task}:{number}" for task, number in sets], dict[str, Any])
        missing = [pair for pair in sets if f"value:{pair[0]}:{pair[1]}" not in found]
        assert not missing, f"{len(missing)} of {len(sets)} acknowledged sets are gone"
        for (task, number), value in zip(sets, found.values(), strict=True):
            assert (value["task"], value["number"], len(value["text"])) == (task, number, 100), "a torn value"
        for task, count in counts.items():
            stored = await persist.get(f"count:{task}", int)
            assert stored in (count, count + 1), f"counter {task}: {stored} stored, {count} acknowledged"
    return len(sets) + sum(counts.values())


class Load:
    """Tasks that count and set without end, and keep book of what they were told."""

    def __init__(self, persist: Persist, tasks: int = TASKS) -> None:
        self.persist = persist
        self.tasks = tasks
        self.acknowledged = Counter[int]()
        self.unknown = Counter[int]()
        self.refused = 0
        self.successes = 0
        self.ending = False

    async def run(self) -> None:
        await asyncio.gather(*map(self._work, range(self.tasks)))

    async def _work(self, task: int) -> None:
        while not self.ending:
            try:
                await self.persist.increment(f"count:{task}")
            except StoreUnavailable as error:
                if error.maybe_applied:
                    self.unknown[task] += 1
                else:
                    self.refused += 1
                await asyncio.sleep(0.01)
            else:
                self.acknowledged[task] += 1
                self.successes += 1

    async def more(self, successes: int) -> None:
        """Until so many more have succeeded: that is what recovery means."""
        wanted = self.successes + successes
        async with asyncio.timeout(60):
            while self.successes < wanted:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.005)

    async def _stored(self, key: str) -> int:
        """What is there; a connection beside the one that recovered may be a moment behind it."""
        async with asyncio.timeout(5):
            while True:
                try:
                    return await self.persist.get(key, int) or 0
                except StoreUnavailable:
                    await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Nothing acknowledged is missing; nothing beyond what is unknown was applied."""
        for task in range(self.tasks):
            stored = await self._stored(f"count:{task}")
            least = self.acknowledged[task]
            most = least + self.unknown[task]
            assert least <= stored <= most, f"counter {task}: {stored} stored, {least} to {most} possible"


async def under_faults(
    url: str, namespace: str, faults: list[Callable[[], None]], *, healthy: int = 300
) -> Load:
    """A load through one fault after another; every call has ended and the books agree."""
    async with Persist(url, namespace=namespace, auto_migrate=True) as persist:
        load = Load(persist)
        running = asyncio.create_task(load.run())
        try:
            for fault in faults:
                await load.more(random.randrange(healthy // 2, healthy))
                await asyncio.to_thread(fault)
            await load.more(healthy)
        finally:
            load.ending = True
            async with asyncio.timeout(30):  # no caller is left hanging
                await running
        await load.check()
        return load


def killed(server: RedisServer | PostgresServer) -> Callable[[], None]:
    def fault() -> None:
        server.kill()
        server.start()

    return fault


def restarted(server: RedisServer | PostgresServer) -> Callable[[], None]:
    def fault() -> None:
        server.stop()
        server.start()

    return fault


def paused(server: RedisServer | PostgresServer, seconds: float) -> Callable[[], None]:
    def fault() -> None:
        server.pause()
        try:
            time.sleep(seconds)  # in a thread, while the load goes on: that nothing answers is the fault
        finally:
            server.resume()

    return fault


def summary(load: Load, faults: str) -> str:
    return (
        f"{faults}; {load.successes:,} acknowledged, {sum(load.unknown.values())} unknown to the caller, "
        f"{load.refused:,} refused, 0 missing, 0 twice, 0 hanging"
    )


@soak
@pytest.mark.parametrize("engine", ["redis", "postgres", "sqlalchemy+postgres"])
async def test_a_killed_engine_has_lost_nothing_and_the_app_goes_on_without_a_restart(
    engine: str, url: str, namespace: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("durable_redis" if engine == "redis" else "durable_postgres")
    load = await under_faults(url, namespace, [killed(server)] * ENGINE_KILLS)
    assert load.refused + sum(load.unknown.values()) > 0, "nobody noticed the kill"
    record("`kill -9` of the engine", engine, summary(load, f"{ENGINE_KILLS} kills"))


@soak
@pytest.mark.parametrize("engine", ["redis", "postgres", "sqlalchemy+postgres"])
async def test_an_engine_that_is_stopped_started_and_paused_under_load_is_found_again(
    engine: str, url: str, namespace: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("durable_redis" if engine == "redis" else "durable_postgres")
    faults = [restarted(server), paused(server, 0.3)]
    if SOAK:  # an hour of a bad day: a fault each minute, without the quiet minutes between
        faults = [killed(server), restarted(server), paused(server, 0.2), paused(server, 1.0)] * 14
        faults += [paused(server, 7.0)] * 4  # longer than the time-out: the connection is given up
        random.shuffle(faults)
    load = await under_faults(url, namespace, faults)
    record("faults under load", engine, summary(load, f"{len(faults)} faults"))
