"""`discover` and `deliver` alone, against real sites on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import AddressRefused, FetchFailed
from holdfast.webmention.client import deliver, discover
from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.policy import NetworkPolicy

from .site_lab import Lab, Reply, Request, Site, head

ENDPOINT = '<link rel="webmention" href="/take">'


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab() as lab:
        yield lab


@pytest.fixture
async def bob(lab: Lab) -> Site:
    return await lab.site("bob.example")


@pytest.fixture
async def web(lab: Lab, bob: Site) -> AsyncIterator[Fetcher]:
    async with lab.fetcher(deadline=5) as web:
        yield web


async def test_a_target_is_asked_once_and_its_endpoint_seen_from_where_it_led(
    bob: Site, web: Fetcher
) -> None:
    bob.redirect("/old", "/new/post")
    bob.page("/new/post", '<a rel=webmention href="take?x=1">here')
    found = await discover(bob.url("/old"), web=web)
    assert (found.endpoint, found.url, found.where) == (bob.url("/new/take?x=1"), bob.url("/new/post"), "a")
    assert bob.asked == [("GET", "/old"), ("GET", "/new/post")]
    assert "200" in found.steps[0]
    assert found.page is not None
    assert found.page.redirects == (bob.url("/old"),)


async def test_a_link_header_is_enough_without_the_body(bob: Site, web: Fetcher) -> None:
    async def hangs(request: Request) -> None:
        await request.write(head(200, {"Link": "</take>; rel=webmention", "Content-Type": "text/html"}))
        await asyncio.Event().wait()

    bob.answer("/post", hangs)
    found = await discover(bob.url("/post"), web=web)
    assert (found.endpoint, found.where) == (bob.url("/take"), "header")


async def test_the_page_is_read_no_further_than_the_first_link_that_says_so(bob: Site, web: Fetcher) -> None:
    async def hangs(request: Request) -> None:
        await request.write(head(200, {"Content-Type": "text/html"}) + f"<html><head>{ENDPOINT}<p>".encode())
        await asyncio.Event().wait()

    bob.answer("/post", hangs)
    found = await discover(bob.url("/post"), web=web)
    assert (found.endpoint, found.where) == (bob.url("/take"), "link")


async def test_a_page_without_endpoint_says_why_in_words(bob: Site, web: Fetcher) -> None:
    found = await discover(bob.page("/post", "<p>hello"), web=web)
    assert (found.endpoint, found.where) == (None, None)
    assert len(found.steps) >= 2
    assert all(step.endswith(".") for step in found.steps)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_answer_that_says_later_has_no_endpoint(bob: Site, web: Fetcher, status: int) -> None:
    found = await discover(bob.page("/post", ENDPOINT, status=status), web=web)
    assert found.endpoint is None
    assert found.page is not None
    assert found.page.status == status
    assert str(status) in found.steps[0]


async def test_what_is_found_may_be_remembered_as_the_answer_says(bob: Site, web: Fetcher) -> None:
    bob.page("/post", ENDPOINT, headers=[("Cache-Control", "max-age=120")])
    assert (await discover(bob.url("/post"), web=web)).fresh_for == 120
    bob.page("/post", ENDPOINT, headers=[("Cache-Control", "no-store")])
    assert (await discover(bob.url("/post"), web=web)).fresh_for == 0
    bob.page("/post", "", headers=[("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")])
    assert (await discover(bob.url("/post"), web=web, now=lambda: 100.0)).fresh_for == 10


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
async def test_any_2xx_is_acceptance(bob: Site, web: Fetcher, status: int) -> None:
    bob.page("/take", "", status=status)
    answer = await deliver(bob.url("/take?a=b#c"), "http://a.example/1", bob.url("/post"), web=web)
    assert (answer.ok, answer.status) == (True, status)
    assert bob.mentions == [("/take?a=b", "http://a.example/1", bob.url("/post"))]


@pytest.mark.parametrize("status", [302, 400, 404, 410, 429, 500])
async def test_everything_else_is_not(bob: Site, web: Fetcher, status: int) -> None:
    headers = [("Location", "/status/1")] if status != 302 else []
    bob.page("/take", "", status=status, headers=headers)
    answer = await deliver(bob.url("/take"), "s", "t", web=web)
    assert (answer.ok, answer.status, answer.location) == (False, status, None)


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("/status/1", "/status/1"),
        ("status", "/in/status"),
        ("javascript:alert(1)", None),
        ("http://a@b/", None),
    ],
)
async def test_where_a_status_may_be_asked_for_is_an_absolute_url(
    bob: Site, web: Fetcher, location: str, seen: str | None
) -> None:
    bob.page("/in/take", "", status=201, headers=[("Location", location)])
    answer = await deliver(bob.url("/in/take"), "s", "t", web=web)
    assert answer.location == (seen and bob.url(seen))


async def test_an_endpoint_may_ask_for_patience(bob: Site, web: Fetcher) -> None:
    bob.page("/take", "", status=429, headers=[("Retry-After", "60")])
    assert (await deliver(bob.url("/take"), "s", "t", web=web)).retry_after == 60
    bob.page("/take", "", status=503, headers=[("Retry-After", "Thu, 01 Jan 1970 00:01:00 GMT")])
    assert (await deliver(bob.url("/take"), "s", "t", web=web, now=lambda: 10.0)).retry_after == 50


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("source does\nnot link\x1b[31m", "text/plain", "source does not link [31m"),
        ('{"error": "no"}', "application/problem+json", '{"error": "no"}'),
        (
            "<html><head><title>Oh</title></head><body><script>1<2</script><p>No &amp; no",
            "text/html",
            "No & no",
        ),
        (b"\x89PNG", "image/png", ""),
        ("x" * 1000, "text/plain", "x" * 300),
        (b"\xff\xfehello", "text/plain", "hello"),
        ("<" * 5000, "text/html", "<" * 300),
    ],
)
async def test_what_an_endpoint_says_is_told_as_plain_text(
    bob: Site, web: Fetcher, body: str | bytes, kind: str, said: str
) -> None:
    bob.page("/take", body, status=400, kind=kind)
    assert (await deliver(bob.url("/take"), "s", "t", web=web)).said == said


async def test_alone_each_opens_connections_of_its_own(lab: Lab, bob: Site) -> None:
    bob.page("/post", ENDPOINT)
    bob.page("/take", "", status=202)
    found = await discover(bob.url("/post"), policy=lab.policy)
    assert found.endpoint is not None
    assert (await deliver(found.endpoint, "s", bob.url("/post"), policy=lab.policy)).ok
    await bob.until(lambda: not bob.open_now)


async def test_the_guard_stands_before_both(lab: Lab, bob: Site) -> None:
    with pytest.raises(AddressRefused):
        await discover(bob.url("/post"))
    with pytest.raises(AddressRefused):
        await deliver(bob.url("/take"), "s", "t")
    assert bob.connections == 0


async def test_a_policy_beside_a_web_that_has_one_is_an_error(web: Fetcher) -> None:
    with pytest.raises(ValueError, match="policy"):
        await discover("http://bob.example/", web=web, policy=NetworkPolicy())


async def test_a_target_that_does_not_answer_is_a_failure_and_not_a_page_without_endpoint(
    lab: Lab, bob: Site
) -> None:
    async def hangs_up(request: Request) -> Reply | None:
        return None

    bob.answer("/post", hangs_up)
    async with lab.fetcher() as web:
        with pytest.raises(FetchFailed) as failed:
            await discover(bob.url("/post"), web=web)
    assert failed.value.transient
