"""The public validator's checks, all 26 of senders and both of receivers, against the test site of our own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn
from tests.acceptance.webmention_rocks import DISCOVERIES, Rocks
from tests.unit.webmention.site_lab import Lab, Reply, Site

from holdfast.webmention.api import Webmention
from holdfast.webmention.client import deliver, discover
from holdfast.webmention.fetch import Fetcher


@dataclass
class Stage:
    """Alice's site, which mentions; the test site, which is mentioned; and a way from one to the other."""

    alice: Site
    rocks: Rocks
    web: Fetcher
    posts: dict[str, frozenset[str] | None] = field(default_factory=dict)

    def post(self, path: str, *links: str) -> tuple[str, str]:
        """Publish, or change what was published; its URL and its content."""
        html = "".join(f'<p><a href="{link}">see</a></p>' for link in links)
        url = self.alice.page(path, f'<article class="h-entry">{html}</article>')
        self.posts[url] = frozenset(links)
        return url, html

    def remove(self, path: str) -> str:
        self.alice.answer(path, Reply("gone", 410))
        self.posts[self.alice.url(path)] = None
        return self.alice.url(path)

    def told(self, case: str, part: int) -> list[frozenset[str]]:
        """What the source linked to, each time that this target was told of it."""
        told = self.rocks.told.get(self.rocks.part(case, part), [])
        assert all(each.right and each.fields == {"source", "target"} for each in told)
        return [each.links for each in told]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Lab() as lab:
        alice, site = await lab.site(), await lab.site(host="127.0.0.2")
        async with lab.fetcher() as web:
            stage = Stage(alice, Rocks(site), web)
            stage.rocks.look = lambda source: stage.posts.get(source)
            yield stage


@pytest.fixture
async def mentions(stage: Stage) -> AsyncIterator[Webmention]:
    site = stage.alice.url("").rstrip("/")
    async with Webmention("memory://", site=site, policy=stage.web.policy) as mentions:
        yield mentions


# --- sending


@pytest.mark.parametrize("n", DISCOVERIES)
async def test_discovery_finds_the_right_endpoint_and_the_right_form_reaches_it(stage: Stage, n: int) -> None:
    source, _ = stage.post("/post", target := stage.rocks.target(n))
    found = await discover(target, web=stage.web)
    assert found.endpoint is not None, found.steps
    answer = await deliver(found.endpoint, source, target, web=stage.web)
    assert answer.ok
    assert stage.rocks.judge(n, source) is None


@pytest.mark.parametrize("n", DISCOVERIES)
async def test_each_case_of_discovery_fails_whoever_tells_another_endpoint(stage: Stage, n: int) -> None:
    """The test site can say no: to silence, to a wrong endpoint, to a query in the body, to another target."""
    source, target = "http://alice.example/", stage.rocks.target(n)
    assert stage.rocks.judge(n, source) == "nothing reached the endpoint"
    for path in ("", "/webmention/error"):
        await stage.web.post(stage.rocks.site.url(f"/test/{n}{path}"), {"source": source, "target": target})
    found = await discover(target, web=stage.web)
    assert found.endpoint is not None
    told = stage.rocks.told.setdefault(target, [])
    if n not in (15, 23):
        assert "wrong endpoint" in (stage.rocks.judge(n, source) or "")
    told.clear()
    await stage.web.post(found.endpoint, {"source": source, "target": target, "query": "yes"})
    assert "form" in (stage.rocks.judge(n, source) or "")
    told.clear()
    await deliver(found.endpoint, source, target + "#other", web=stage.web)
    assert "told of" in (stage.rocks.judge(n, source) or "")


async def test_all_23_targets_of_one_post_are_told_at_once(stage: Stage, mentions: Webmention) -> None:
    source, html = stage.post("/post", *(stage.rocks.target(n) for n in DISCOVERIES))
    report = await mentions.send(source, html)
    assert len(report.of("sent")) == 23
    assert {n: found for n in DISCOVERIES if (found := stage.rocks.judge(n, source))} == {}


async def test_update_1_a_link_that_is_added_tells_the_earlier_target_again(
    stage: Stage, mentions: Webmention
) -> None:
    a, b = stage.rocks.part("update/1", 1), stage.rocks.part("update/1", 2)
    await mentions.send(*stage.post("/post", a))
    await mentions.send(*stage.post("/post", a, b))
    assert stage.told("update/1", 1) == [{a}, {a, b}]
    assert stage.told("update/1", 2) == [{a, b}]


async def test_update_2_a_link_that_is_removed_tells_both_targets(stage: Stage, mentions: Webmention) -> None:
    a, b = stage.rocks.part("update/2", 1), stage.rocks.part("update/2", 2)
    await mentions.send(*stage.post("/post", a, b))
    await mentions.send(*stage.post("/post", a))
    assert stage.told("update/2", 1) == [{a, b}, {a}]
    assert stage.told("update/2", 2) == [{a, b}, {a}]


async def test_delete_1_a_post_that_is_gone_tells_its_targets(stage: Stage, mentions: Webmention) -> None:
    a = stage.rocks.part("delete/1", 1)
    await mentions.send(*stage.post("/post", a))
    await mentions.delete(stage.remove("/post"))
    assert stage.told("delete/1", 1) == [{a}, frozenset()]


# --- receiving


@pytest.fixture
async def endpoint(mentions: Webmention) -> AsyncIterator[httpx.AsyncClient]:
    """Served by uvicorn, over a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(mentions, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            yield client
        server.should_exit = True
        await serving


async def test_receiver_1_a_mention_is_taken_and_a_201_says_where_its_status_is(
    stage: Stage, endpoint: httpx.AsyncClient
) -> None:
    target = stage.alice.url("/post")
    source = stage.rocks.site.page("/receive/1", f'<a href="{target}">see</a>')
    answer = await endpoint.post("/", data={"source": source, "target": target})
    assert answer.status_code in (200, 201, 202), answer.text
    if answer.status_code == 201:
        status = await endpoint.get(answer.headers["location"].rpartition("/")[2])
        assert status.json()["source"] == source


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("no url", "/post"),
        ("http://bob.example/", None),
        ("no url", None),
        ("", "/post"),
        ("http://bob.example/", ""),
    ],
)
async def test_receiver_2_what_is_no_url_is_400(
    stage: Stage, endpoint: httpx.AsyncClient, source: str, target: str | None
) -> None:
    whole = "no url either" if target is None else target and stage.alice.url(target)
    answer = await endpoint.post("/", data={"source": source, "target": whole})
    assert answer.status_code == 400
    assert answer.text
