"""The one connection that listens: whom it tells, and what happens when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest
import uvloop

from holdfast.engines.postgres import PostgresEngine, listening
from holdfast.errors import StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.store import StoreURL
from holdfast.testing.processes import free_port
from holdfast.testing.servers import PostgresServer, ServerMissing

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
OWN = ("lanes", "timeout", "pgbouncer", "listen")
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1 AS beat'"


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresServer]:
    try:
        started = PostgresServer(fsync="off").start()
    except ServerMissing as exc:
        pytest.skip(str(exc))
    with started:
        yield started


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresEngine]:
    engine = PostgresEngine.from_url(StoreURL.parse(url, own=OWN, foreign=True))
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


class Ear:
    """What was heard, and who waits for more."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.losses = 0
        self._more = asyncio.Event()

    def hear(self, payload: str) -> None:
        self.heard.append(payload)
        self._more.set()

    def lose(self) -> None:
        self.losses += 1
        self._more.set()

    def has_lost(self, losses: int) -> bool:
        return self.losses == losses

    def has_heard(self, payload: str) -> bool:
        return payload in self.heard

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                self._more.clear()
                await self._more.wait()


async def say(engine: PostgresEngine, channel: str, payload: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await engine.fetch(0, "SELECT pg_notify($1, $2)", channel, payload)
                return
            except StoreUnavailable as exc:
                if exc.maybe_applied:
                    raise
                await asyncio.sleep(0.01)  # the lane has not found the server again yet


async def listener(url: str) -> tuple[Any, int]:
    """A connection to meddle with, and the pid of the one backend that listens."""
    other = await asyncpg.connect(url)
    ((pid,),) = await other.fetch(LISTENERS)
    return other, pid


async def test_what_is_announced_in_its_channel_is_heard_in_order(shared: PostgresServer) -> None:
    async with opened(shared.url) as engine:
        ear = Ear()
        await engine.listen("one", ear.hear, ear.lose)
        for n in range(20):
            await say(engine, "two", "not this")
            await say(engine, "one", f"{n}")
        await ear.until(lambda: len(ear.heard) >= 20)
        assert ear.heard == [f"{n}" for n in range(20)]
        assert ear.losses == 0


async def test_several_hearers_share_one_connection(shared: PostgresServer) -> None:
    async with opened(shared.url) as engine:
        ears = [Ear() for _ in range(3)]
        for ear, channel in zip(ears, ("one", "one", "Two"), strict=True):
            await engine.listen(channel, ear.hear, ear.lose)
        other, _ = await listener(shared.url)
        await say(engine, "one", "to two of them")
        await say(engine, "Two", "to the third")
        await ears[2].until(lambda: bool(ears[2].heard))
        assert [ear.heard for ear in ears] == [["to two of them"], ["to two of them"], ["to the third"]]
        await other.close()


async def test_who_has_closed_hears_nothing_while_others_still_do(shared: PostgresServer) -> None:
    async with opened(shared.url) as engine:
        gone, there = Ear(), Ear()
        going = await engine.listen("one", gone.hear, gone.lose)
        staying = await engine.listen("one", there.hear, there.lose)
        await going.close()
        await going.close()
        await say(engine, "one", "first")
        await there.until(lambda: there.heard == ["first"])
        await staying.close()
        last = Ear()
        await engine.listen("two", last.hear, last.lose)
        await say(engine, "one", "to nobody")
        await say(engine, "two", "end")
        await last.until(lambda: last.heard == ["end"])
        assert (gone.heard, there.heard) == ([], ["first"])


async def test_a_connection_that_ended_is_made_again_and_says_that_some_was_lost(
    shared: PostgresServer,
) -> None:
    async with opened(shared.url) as engine:
        one, two = Ear(), Ear()
        hearing = await engine.listen("one", one.hear, one.lose)
        await engine.listen("two", two.hear, two.lose)
        for losses in (1, 2):
            other, pid = await listener(shared.url)
            await other.execute("SELECT pg_terminate_backend($1)", pid)
            await one.until(partial(one.has_lost, losses))
            await hearing.ready()
            await say(engine, "one", f"after {losses}")
            await one.until(partial(one.has_heard, f"after {losses}"))
            await other.close()
        assert two.losses == 2
        await say(engine, "two", "too")
        await two.until(lambda: two.heard == ["too"])


async def test_a_server_that_was_away_is_found_again() -> None:
    with PostgresServer(fsync="off") as server:
        async with opened(f"{server.url}?timeout=0.3") as engine:
            ear = Ear()
            hearing = await engine.listen("one", ear.hear, ear.lose)
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable, match="listening"):
                while True:
                    await hearing.ready()
                    await asyncio.sleep(0.01)
            with pytest.raises(StoreError):
                await engine.listen("two", ear.hear, ear.lose)
            assert ear.losses == 0, "told before it can hear again"
            await asyncio.to_thread(server.start)
            await ear.until(lambda: ear.losses == 1)
            await say(engine, "one", "back")
            await ear.until(lambda: ear.heard == ["back"])


async def test_a_peer_that_fell_silent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "BEAT", 0.05)
    with PostgresServer(fsync="off") as server:
        async with opened(f"{server.url}?timeout=0.5") as engine:
            ear = Ear()
            await engine.listen("one", ear.hear, ear.lose)
            other, pid = await listener(server.url)
            await other.close()
            await asyncio.to_thread(server.pause)
            await asyncio.sleep(0.7)
            await asyncio.to_thread(server.resume)
            await ear.until(lambda: ear.losses == 1)
            other, again = await listener(server.url)
            assert again != pid
            await other.close()


async def test_where_nobody_answers_nothing_is_heard_and_the_next_try_may(shared: PostgresServer) -> None:
    async with opened(
        f"{shared.url}?listen=postgresql://holdfast@127.0.0.1:{free_port()}/postgres"
    ) as engine:
        ear = Ear()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await engine.listen("one", ear.hear, ear.lose)


async def test_listening_goes_where_the_url_says(shared: PostgresServer) -> None:
    with PostgresServer(fsync="off") as elsewhere:
        async with opened(f"{shared.url}?pgbouncer=true&listen={elsewhere.url}") as engine:
            assert engine.listens
            ear = Ear()
            await engine.listen("one", ear.hear, ear.lose)
            there = await asyncpg.connect(elsewhere.url)
            await there.execute("NOTIFY one, 'from elsewhere'")
            await ear.until(lambda: ear.heard == ["from elsewhere"])
            await there.close()


async def test_closing_the_engine_ends_the_connection(shared: PostgresServer) -> None:
    async with opened(shared.url) as engine:
        ear = Ear()
        hearing = await engine.listen("one", ear.hear, ear.lose)
    other = await asyncpg.connect(shared.url)
    async with asyncio.timeout(10):
        while await other.fetch(LISTENERS):  # noqa: ASYNC110 - the server forgets in its own time
            await asyncio.sleep(0.01)
    await other.execute("NOTIFY one, 'too late'")
    await other.close()
    await hearing.close()
    assert ear.heard == []
    assert ear.losses == 0


@pytest.mark.parametrize("listen", ["redis://localhost", "nonsense"])
def test_listen_is_the_url_of_a_postgres(listen: str) -> None:
    url = StoreURL.parse(f"postgresql://localhost/app?listen={listen}", own=OWN, foreign=True)
    with pytest.raises(StoreMisconfigured):
        PostgresEngine.from_url(url)


@pytest.mark.parametrize(("query", "listens"), [("", True), ("?pgbouncer=true", False)])
def test_behind_a_pgbouncer_nobody_listens_unless_told_where(query: str, listens: bool) -> None:
    url = StoreURL.parse(f"postgresql://localhost/app{query}", own=OWN, foreign=True)
    assert PostgresEngine.from_url(url).listens is listens
