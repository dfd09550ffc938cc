"""Receiving for real: sockets, hostile sources, a killed process."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from urllib.parse import urlencode

import httpx
from tests.unit.webmention.site_lab import Lab, Reply, Request, Site, head

from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.inbound import Inbound
from holdfast.webmention.mentions import ReceivedMention
from holdfast.webmention.policy import NetworkPolicy

SITE = "https://alice.example"
POST = SITE + "/post"
LINK = f'<a href="{POST}">it</a>'
RECEIVER = Path(__file__).with_name("webmention_receiver.py")


@asynccontextmanager
async def receiving(lab: Lab, policy: NetworkPolicy | None = None, **how: Any) -> AsyncIterator[Inbound]:
    """Over memory, with a fetcher that may reach the lab's sites and nothing else of this machine."""
    driver = MemoryDriver()
    await driver.open()
    try:
        async with lab.fetcher(policy, **how) as web:
            yield Inbound(driver, web, site=SITE, namespace="t", accept="all")
    finally:
        await driver.close()


async def seen(mentions: Inbound, source: str) -> ReceivedMention:
    mention = await mentions.receive(source, POST)
    await mentions.work()
    found = await mentions.get(mention.id)
    assert found is not None
    return found


async def test_a_source_is_fetched_verified_updated_and_gone() -> None:
    async with Lab() as lab:
        bob = await lab.site()
        source = bob.page("/reply", f'<p class="h-entry">{LINK}<span class="p-content">Well said</span></p>')
        async with receiving(lab) as mentions:
            assert (await seen(mentions, source)).state == "accepted"
            assert "text/html" in bob.requests[0].headers["accept"]
            bob.page("/reply", "<p>nothing")
            assert (await seen(mentions, source)).state == "gone"
            bob.page("/reply", LINK)
            assert (await seen(mentions, source)).state == "accepted"
            bob.page("/reply", LINK, status=410)
            assert (await seen(mentions, source)).state == "gone"


async def drip(request: Request) -> None:
    await request.write(head(headers={"content-type": "text/html"}) + b"<p>")
    while True:
        await request.write(b"x")
        await asyncio.sleep(0.02)


async def flood(request: Request) -> None:
    await request.write(head(headers={"content-type": "text/html"}))
    while True:
        await request.write(b"x" * 65536)


async def never(request: Request) -> None:
    await asyncio.Event().wait()


async def test_hostile_sources_cost_a_bounded_time_and_nobody_elses_turn() -> None:
    async with Lab() as lab:
        honest = await lab.site()
        hostile: list[Site] = []
        for answer in (drip, flood, never):
            site = await lab.site()
            for number in range(10):
                site.answer(f"/{number}", answer)
            hostile.append(site)
        async with receiving(lab, deadline=0.5) as mentions:
            for site in hostile:
                for number in range(10):
                    await mentions.receive(site.url(f"/{number}"), POST)
            source = honest.page("/reply", LINK)
            mention = await mentions.receive(source, POST)
            working = asyncio.ensure_future(mentions.work())
            await honest.until(lambda: bool(honest.requests))
            assert not working.done()
            await asyncio.wait_for(working, 60)
            states = await mentions.states()
            assert (states["accepted"], states["queued"] + states["invalid"]) == (1, 30)
            assert (await mentions.get(mention.id)).state == "accepted"  # type: ignore[union-attr]


async def test_no_source_leads_into_this_machine() -> None:
    async with Lab() as lab:
        bob = await lab.site()
        secret = bob.page("/secret", LINK)
        policy = lab.policy
        inner = await lab.site()  # not among the exceptions
        inner.page("/", LINK)
        bob.redirect("/there", inner.url("/"))
        async with receiving(lab, policy) as mentions:
            found = await seen(mentions, bob.url("/there"))
            assert (found.state, inner.requests) == ("invalid", [])
            assert "not fetched" in found.log[-1].says
            assert (await seen(mentions, secret)).state == "accepted"


@contextmanager
def receiver(store: str, *allowed: str) -> Iterator[tuple[Popen[bytes], str]]:
    process = Popen([sys.executable, str(RECEIVER), store, SITE, *allowed], stdout=PIPE)
    try:
        assert process.stdout is not None
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}/webmention"
    finally:
        process.kill()
        process.communicate(timeout=30)


async def send(client: httpx.AsyncClient, endpoint: str, source: str) -> httpx.Response:
    return await client.post(
        endpoint,
        content=urlencode({"source": source, "target": POST}),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )


async def accepted_by(process: Popen[bytes], count: int) -> set[str]:
    """The sources that it says it has accepted, once there are so many."""
    found: set[str] = set()
    assert process.stdout is not None
    while len(found) < count:
        line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60)
        assert line, "it ended; its error is above"
        found.add(line.decode().strip())
    return found


async def test_who_was_killed_in_mid_queue_has_lost_nothing(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mentions.db'}"
    async with Lab() as lab, httpx.AsyncClient(timeout=30, trust_env=False) as client:
        bob = await lab.site()
        answers = asyncio.Event()

        async def late(request: Request) -> Reply:
            await answers.wait()
            return Reply(LINK)

        for number in range(10):
            bob.answer(f"/{number}", late)
        with receiver(store, bob.where) as (process, endpoint):
            where = []
            for number in range(10):
                answer = await send(client, endpoint, bob.url(f"/{number}"))
                assert answer.status_code == 201
                where.append(answer.headers["location"])
            await bob.until(lambda: len(bob.requests) >= 2)
            process.kill()
        answers.set()
        with receiver(store, bob.where) as (process, endpoint):
            assert await accepted_by(process, 10) == {bob.url(f"/{number}") for number in range(10)}
            for each in where:
                page = await client.get(f"{endpoint}/{each.rpartition('/')[2]}")
                assert page.json()["state"] == "accepted"
        times = Counter(path for _, path in bob.asked)
        assert sum(times.values()) <= 12, "only those in flight may be asked twice"
        assert max(times.values()) <= 2
