"""Mentions in the server: who may send them, what anybody may read, and what is counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from tests.unit.webmention.site_lab import Lab, Request, Site
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from holdfast.errors import NotMigrated, StoreMisconfigured
from holdfast.settings import Settings
from holdfast.web import server
from holdfast.web.mentions import Mentions
from holdfast.webmention import Webmention

from .conftest import TOKEN, app_of, serving

SITE = "https://alice.example"
TARGET = f"{SITE}/post"


@pytest.fixture
async def bob() -> AsyncIterator[Site]:
    """Another site, with a page that mentions ours."""
    async with Lab() as lab:
        site = await lab.site()
        site.page("/reply", f'<a href="{TARGET}">hm</a>')
        yield site


@pytest.fixture
async def client(store_url: str, bob: Site) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(store=store_url, token=TOKEN, site=SITE, webmention_accept="all")
    async with serving(settings, base=SITE, allow=[bob.where]) as client:
        yield client


def mentions_of(client: httpx.AsyncClient) -> Webmention:
    mentions = app_of(client).state.mentions
    assert isinstance(mentions, Mentions)
    return mentions.webmention


async def sent(client: httpx.AsyncClient, source: str, path: str = "/webmention") -> httpx.Response:
    answer = await client.post(path, data={"source": source, "target": TARGET})
    await mentions_of(client).work()
    return answer


@pytest.mark.parametrize("path", ["/webmention", "/webmention/"])
async def test_a_mention_comes_in_without_a_token_is_verified_and_is_shown(
    client: httpx.AsyncClient, bob: Site, path: str
) -> None:
    answer = await sent(client, bob.url("/reply"), path)
    assert (answer.status_code, "location" in answer.headers) == (201, True)
    assert answer.headers["location"].startswith(f"{SITE}/webmention/")
    assert (await client.get(answer.headers["location"])).json()["state"] == "accepted"
    assert (await client.get("/api/count", params={"target": TARGET})).json()["count"] == 1
    shown = (await client.get("/api/mentions.jf2", params={"target": TARGET})).json()
    assert [each["wm-source"] for each in shown["children"]] == [bob.url("/reply")]


async def test_a_senders_mistakes_are_told_and_nothing_is_redirected(client: httpx.AsyncClient) -> None:
    for fields in ({}, {"source": "x", "target": TARGET}, {"source": "https://b.example/", "target": "x"}):
        assert (await client.post("/webmention", data=fields)).status_code == 400
    stranger = {"source": "https://b.example/", "target": "https://other.example/"}
    assert (await client.post("/webmention/", data=stranger)).status_code == 400


async def test_other_origins_may_read_and_the_pages_keep_a_policy_that_fits_them(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/api/mentions", "/api/mentions.html", f"/api/photo/{'a' * 40}", "/webmention"):
        headers = (await client.get(path, headers={"Accept": "text/html"})).headers
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].count("default-src") == 1
    page = await client.get("/api/mentions.html")
    assert "frame-ancestors *" in page.headers["content-security-policy"]
    assert page.headers["access-control-allow-origin"] == "*"


async def test_without_a_site_there_is_no_endpoint_and_no_page(store_url: str) -> None:
    async with serving(Settings(store=store_url, token=TOKEN)) as client:
        for path in ("/webmention", "/webmention/", "/api/mentions", "/api/count", "/outbox", "/mentions"):
            assert (await client.get(path)).status_code == 404
        assert app_of(client).state.mentions is None


async def test_the_sites_host_is_answered_and_another_is_not(client: httpx.AsyncClient) -> None:
    assert (await client.get("/webmention")).status_code == 200
    assert (await client.get("/webmention", headers={"Host": "evil.example"})).status_code == 421


@pytest.mark.parametrize(("trusted", "client_is"), [("127.0.0.1", "203.0.113.9"), ("10.0.0.5", "127.0.0.1")])
async def test_who_sent_it_is_what_a_trusted_proxy_says(
    client: httpx.AsyncClient, bob: Site, trusted: str, client_is: str
) -> None:
    app: Any = ProxyHeadersMiddleware(
        cast("Any", app_of(client)), trusted
    )  # as `--forwarded-allow-ips` has it
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=SITE) as behind:
        sent = {"source": bob.url("/reply"), "target": TARGET}
        answer = await behind.post("/webmention", data=sent, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 201
    mention = await mentions_of(client).get(answer.headers["location"].rpartition("/")[2])
    assert mention is not None
    assert mention.client == client_is


async def test_below_a_root_path_the_status_page_is_below_it_too(store_url: str) -> None:
    settings = Settings(store=store_url, token=TOKEN, site=SITE, root_path="/store")
    async with serving(settings, base=f"{SITE}/store") as client:
        answer = await client.post("/webmention", data={"source": "https://bob.example/", "target": TARGET})
        assert answer.headers["location"].startswith(f"{SITE}/store/webmention/")
        assert (await client.get(answer.headers["location"])).status_code == 200


async def test_metrics_count_mentions_in_both_directions(client: httpx.AsyncClient, bob: Site) -> None:
    await sent(client, bob.url("/reply"))
    bob.page("/target", '<a rel="webmention" href="/take">')
    bob.page("/take", "thanks")
    await mentions_of(client).send(TARGET, f'<a href="{bob.url("/target")}">bob</a>')
    text = (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).text
    for line in (
        'holdfast_webmention_outgoing{status="sent"} 1.0',
        'holdfast_webmention_incoming{state="accepted"} 1.0',
        'holdfast_webmention_attempts_total{status="sent"} 1.0',
        'holdfast_webmention_received_total{state="accepted",type="mention"} 1.0',
    ):
        assert line in text


# --- starting ---


async def test_what_the_guard_lets_through_is_named_one_by_one_and_never_by_the_environment() -> None:
    settings = Settings(site=SITE)
    assert Mentions(settings).policy.allow == ()
    assert Mentions(settings, allow=["127.0.0.1:8931"]).policy.allow == ("127.0.0.1:8931",)
    with pytest.raises(ValueError, match="one host with one port"):
        Mentions(settings, allow=["127.0.0.0/8"])
    assert not any(
        "ALLOW" in name and "HOST" not in name for name in settings.environment() if "IPS" not in name
    )


def test_an_exception_of_the_guard_needs_a_site_and_one_worker() -> None:
    with pytest.raises(StoreMisconfigured, match="nothing without --site"):
        server.run(Settings(), allow=["127.0.0.1:1"])
    with pytest.raises(StoreMisconfigured, match="one worker"):
        server.run(Settings(site=SITE, workers=2, store="sqlite:///x.db"), allow=["127.0.0.1:1"])


def test_a_store_without_the_tables_is_told_at_the_start(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    with pytest.raises(NotMigrated, match="holdfast migrate"):
        server.run(Settings(store=store, site=SITE, auto_migrate=False, port=0, token=TOKEN))


@pytest.mark.parametrize(
    ("settings", "allow", "says"),
    [
        (Settings(site=SITE), (), f"of {SITE}$"),
        (Settings(site=SITE, webmention_accept="all"), (), "accepting all"),
        (Settings(site=SITE, dry_outbox=True), (), "a rehearsal: nobody is told"),
        (Settings(site=SITE), ("127.0.0.1:8931",), "may reach 127.0.0.1:8931"),
    ],
)
def test_the_start_says_what_is_special_about_its_mentions(
    settings: Settings, allow: tuple[str, ...], says: str
) -> None:
    assert re.search(says, server._mentions(settings, allow))


async def test_closing_waits_for_an_endpoint_only_so_long_and_loses_nothing(
    tmp_path: Path, bob: Site
) -> None:
    async def hang(request: Request) -> None:
        await request.writer.wait_closed()

    settings = Settings(store=f"sqlite:///{tmp_path}/store.db", site=SITE)
    target = bob.page("/target", '<a rel="webmention" href="/take">')
    bob.answer("/take", hang)
    async with Mentions(settings, allow=[bob.where], background=False) as mentions:
        sending = asyncio.create_task(mentions.webmention.send(TARGET, f'<a href="{target}">bob</a>'))
        await bob.until(lambda: bool(bob.mentions))
        sending.cancel()
        start = asyncio.get_running_loop().time()
        mentions.end_by(start + 0.2)
    assert 0.1 < asyncio.get_running_loop().time() - start < 3
    async with Mentions(settings, background=False) as mentions:
        (kept,) = [each async for each in mentions.webmention.outgoing()]
    assert kept.status == "pending"
