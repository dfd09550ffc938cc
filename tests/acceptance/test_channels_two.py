"""Two server processes on one store: one room, whichever of them a client is connected to."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.acceptance.conftest import ENGINES
from tests.acceptance.proof.figures import SOAK, record
from tests.acceptance.rooms.member import Member, all_until
from tests.acceptance.rooms.server import RoomServer
from tests.acceptance.test_channels_kill import difference, everything

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800 if SOAK else 300)]
LEASE = 1.5
MESSAGES = 400 if SOAK else 40  # of each member
KILLS = 5 if SOAK else 1


class Pair:
    """Two processes, and the store that they share."""

    def __init__(self, engine: str, store: str) -> None:
        self.engine = engine
        self.store = store
        self.namespace = f"two-{secrets.token_hex(4)}"
        self.one, self.other = (RoomServer(store, self.namespace, lease=LEASE, window=1.0) for _ in range(2))

    @property
    def urls(self) -> tuple[str, str]:
        return self.one.url, self.other.url


@pytest.fixture(scope="module", params=ENGINES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    engine: str = request.param
    if engine.endswith("sqlite"):
        scheme = "sqlite" if engine == "sqlite" else "sqlalchemy+sqlite+aiosqlite"
        store = f"{scheme}:///{tmp_path_factory.mktemp('two')}/rooms.db"
    elif engine == "redis":
        store = request.getfixturevalue("durable_redis").url
    else:
        store = request.getfixturevalue("durable_postgres").url
        if engine != "postgres":
            store = store.replace("postgresql", "sqlalchemy+postgresql+asyncpg", 1)
    pair = Pair(engine, store)
    with pair.one, pair.other:
        yield pair


@pytest.fixture(scope="module", autouse=True)
def _engines(request: pytest.FixtureRequest) -> None:
    """Both at once, before the first of their tests."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(request.getfixturevalue, ("durable_redis", "durable_postgres")))


@asynccontextmanager
async def running(*members: Member) -> AsyncIterator[None]:
    """They are joined, and stay until the end."""
    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(member.run())
        async with asyncio.timeout(30):
            for member in members:
                await member.joined.wait()
        yield
        for member in members:
            await member.end()


def heard(member: Member, event: str) -> list[Any]:
    return [payload for name, payload in member.heard if name == event]


async def test_what_is_published_in_either_reaches_everybody_in_one_order_once(pair: Pair) -> None:
    members = [Member(url, "log:both", f"{n}") for n in range(3) for url in pair.urls]

    async def say(number: int, member: Member) -> None:
        for n in range(MESSAGES):
            await member.say(f"{number}-{n}", "x")

    async with running(*members):
        await asyncio.gather(*(say(number, member) for number, member in enumerate(members)))
        await all_until(members, lambda member: len(member.seen) >= MESSAGES * len(members))
    history = await everything(pair.store, pair.namespace, "log:both")
    for number, member in enumerate(members):
        assert member.seen == history, difference(member.seen, history)
        own = [kept.id for kept in history if kept.id.startswith(f"{number}-")]
        assert own == [f"{number}-{n}" for n in range(MESSAGES)]
    record("rooms: two processes publish", pair.engine, f"{len(history):,} messages, one order, each once")


async def test_what_is_not_kept_crosses_too_and_so_do_tell_and_disconnect(pair: Pair) -> None:
    ada, ben = (Member(url, "room:notes", name) for url, name in zip(pair.urls, ("ada", "ben"), strict=True))
    async with running(ada, ben):
        for n in range(20):
            await ada.ask("shout", {"n": n})
        await ben.until(lambda: len(heard(ben, "shouted")) >= 20)
        await ben.ask("others", {"n": 20})
        await ben.ask("tell", {"of": "ben"})
        await all_until((ada, ben), lambda member: {"of": "ben"} in heard(member, "told"))
        assert heard(ben, "shouted") == [{"n": n} for n in range(20)]
        assert heard(ada, "shouted") == [{"n": n} for n in range(21)]
        assert heard(ada, "told") == heard(ben, "told") == [{"of": "ben"}]
        await ada.ask("disconnect", {"name": "ben"})
        await ben.until(lambda: ben.codes == [1001] and ben.joined.is_set())
        assert ada.codes == []


def present(member: Member) -> dict[str, list[str]]:
    """Who is there, as the npm client makes it of the state and what came after it; joins before leaves."""
    metas: dict[str, tuple[str, str]] = {}  # by phx_ref
    for event, payload in member.heard:
        if event == "presence_state":
            metas, joins, leaves = {}, payload, {}
        elif event == "presence_diff":
            joins, leaves = payload["joins"], payload["leaves"]
        else:
            continue
        for key, entry in joins.items():
            metas |= {meta["phx_ref"]: (key, meta["status"]) for meta in entry["metas"]}
        for entry in leaves.values():
            for meta in entry["metas"]:
                metas.pop(meta["phx_ref"], None)
    found: dict[str, list[str]] = {}
    for key, status in sorted(metas.values()):
        found.setdefault(key, []).append(status)
    return found


async def until_present(member: Member, wanted: dict[str, list[str]], seconds: float = 15) -> None:
    try:
        await member.until(lambda: present(member) == wanted, seconds)
    except TimeoutError:
        raise AssertionError(f"{present(member)}, not {wanted}, after {seconds} s") from None


async def test_who_is_present_in_one_is_present_in_the_other(pair: Pair) -> None:
    ada, ben = (Member(url, "room:who", name) for url, name in zip(pair.urls, ("ada", "ben"), strict=True))
    async with running(ada):
        async with running(ben):
            for member in (ada, ben):
                await until_present(member, {"ada": ["here"], "ben": ["here"]})
            await ben.ask("update", {"status": "away"})
            await until_present(ada, {"ada": ["here"], "ben": ["away"]})
        await until_present(ada, {"ada": ["here"]})


async def test_a_long_poll_session_is_served_by_whichever_process_is_asked(pair: Pair) -> None:
    """The token names its process; the other one forwards. No sticky routing is needed."""
    here, there = (url.replace("ws:", "http:") + "/longpoll" for url in pair.urls)
    async with httpx.AsyncClient(params={"vsn": "2.0.0"}, timeout=10) as client:
        begun = (await client.get(here)).json()
        assert begun["status"] == 410
        token = {"token": begun["token"]}
        heard: list[list[Any]] = []
        frames = [f'["1","{n}","room:poll","echo",{{"n":{n}}}]' for n in range(2, 6)]
        for n, frame in enumerate(['["1","1","room:poll","phx_join",{}]', *frames]):
            url = (here, there)[n % 2]
            posted = await client.post(
                url, params=token, content=frame, headers={"content-type": "application/x-ndjson"}
            )
            assert posted.json()["status"] == 200
            while len(heard) <= n:
                polled = (await client.get((there, here)[n // 2 % 2], params=token)).json()
                assert polled["status"] in (200, 204), polled
                heard += [
                    each for each in map(json.loads, polled.get("messages") or ()) if each[3] == "phx_reply"
                ]
        assert [each[1] for each in heard] == [str(n) for n in range(1, 6)]
        assert [each[4]["response"] for each in heard[1:]] == [{"n": n} for n in range(2, 6)]


async def test_the_people_of_a_killed_process_leave_within_the_lease_and_miss_nothing_elsewhere(
    pair: Pair,
) -> None:
    longest = 0.0
    for kill in range(KILLS):
        topic = f"room:killed-{kill}"
        ada = Member(pair.one.url, topic, "ada", since="0~")
        ben = Member(pair.other.url, topic, "ben", since="0~")
        moving = Member(list(reversed(pair.urls)), topic, "cleo", since="0~")
        async with running(ada, ben, moving):
            await until_present(ada, {"ada": ["here"], "ben": ["here"], "cleo": ["here"]})
            publishing = asyncio.create_task(flow(ada, 200))
            await all_until([moving], lambda member: len(member.seen) > 50)
            await asyncio.to_thread(pair.other.kill)
            killed = time.monotonic()
            ben.urls = [pair.other.url]
            await all_until([moving], lambda member: len(member.replies) == 2 and member.joined.is_set())
            await until_present(ada, {"ada": ["here"], "cleo": ["here"]})
            longest = max(longest, time.monotonic() - killed)
            await publishing
            await all_until((ada, moving), lambda member: len(member.seen) >= 200)
            await asyncio.to_thread(pair.other.start)
            await all_until([ben], lambda member: len(member.seen) >= 200)
            await until_present(ada, {"ada": ["here"], "ben": ["here"], "cleo": ["here"]})
        history = await everything(pair.store, pair.namespace, topic)
        assert ada.seen == moving.seen == ben.seen == history
    assert longest < 2 * LEASE + 1, f"gone after {longest:.1f} s"
    record(
        "rooms: people of a killed process",
        pair.engine,
        f"gone after {longest:.1f} s at most (a lease of {LEASE} s); who moved to the other process missed nothing",
    )


async def flow(member: Member, count: int) -> None:
    for n in range(count):
        await member.say(f"m{n}", "x")
