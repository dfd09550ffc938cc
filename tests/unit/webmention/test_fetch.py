"""Fetching from real sites: what comes back, redirects, what is enough. Hostile sites: `test_fetch_hostile`."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import AddressRefused, Closed, FetchFailed
from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.pages import Page

from .site_lab import Lab, Request, Site, head


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab() as lab:
        yield lab


@pytest.fixture
async def bob(lab: Lab) -> Site:
    return await lab.site("bob.example")


async def test_a_page_comes_back_with_its_headers_in_order(lab: Lab, bob: Site) -> None:
    headers = [("LinK", "<a>; rel=x"), ("X-Name", "Jos\u00e9"), ("link", "<b>")]
    bob.page("/post?a=%2B&b", "<p>hello", headers=headers)
    async with lab.fetcher() as web:
        page = await web.get(bob.url("/post?a=%2B&b#part"))
    assert (page.url, page.status, page.body) == (bob.url("/post?a=%2B&b"), 200, b"<p>hello")
    assert page.media_type == "text/html"
    assert [value for name, value in page.headers if name == "link"] == ["<a>; rel=x", "<b>"]
    assert page.header("x-name") == "Jos\u00e9"
    assert (page.cut, page.redirects) == (False, ())
    assert bob.asked == [("GET", "/post?a=%2B&b")]


async def test_a_header_in_latin_1_is_text_as_well(lab: Lab, bob: Site) -> None:
    async def answers(request: Request) -> None:
        await request.write(b"HTTP/1.1 200 OK\r\nX-Name: Jos\xe9\r\nContent-Length: 0\r\n\r\n")

    bob.answer("/", answers)
    async with lab.fetcher() as web:
        assert (await web.get(bob.url())).header("x-name") == "Jos\u00e9"


async def test_a_request_says_who_asks_and_brings_no_cookies(lab: Lab, bob: Site) -> None:
    bob.page("/", "", headers=[("Set-Cookie", "a=b; Path=/")])
    async with lab.fetcher() as web:
        await web.get(bob.url())
        await web.get(bob.url(), accept="text/plain", headers={"X-More": "1"})
    second = bob.requests[1].headers
    assert "webmention" in second["user-agent"].lower()
    assert second["accept"] == "text/plain"
    assert second["accept-encoding"] == "gzip, deflate"
    assert second["x-more"] == "1"
    assert "cookie" not in second


async def test_a_url_is_asked_for_as_it_is_spelled(lab: Lab, bob: Site) -> None:
    async with lab.fetcher() as web:
        for path in ("/a%7eb/%2e/c?d=%20+%2B;e&f=%c3%a4", "//x", "/a(b)'c"):
            await web.get(bob.url(path))
        await web.get(bob.url("/ä"))
    assert [path for _, path in bob.asked] == [
        "/a%7eb/%2e/c?d=%20+%2B;e&f=%c3%a4",
        "//x",
        "/a(b)'c",
        "/%C3%A4",
    ]


async def test_the_proxies_of_the_environment_are_ignored(
    lab: Lab, bob: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await lab.site()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    monkeypatch.delenv("no_proxy", raising=False)
    bob.page("/", "direct")
    async with lab.fetcher() as web:
        assert (await web.get(bob.url())).body == b"direct"
    assert proxy.connections == 0


async def test_connections_are_kept_for_the_next_request(lab: Lab, bob: Site) -> None:
    bob.redirect("/old", "/new")
    bob.page("/new", "here")
    async with lab.fetcher() as web:
        for _ in range(3):
            await web.get(bob.url("/old"))
    assert (bob.connections, len(bob.asked)) == (1, 6)


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_get_follows_every_redirect_and_says_the_way(lab: Lab, bob: Site, status: int) -> None:
    bob.redirect("/a", "b/", status)
    bob.redirect("/b/", "../c?x", status)
    bob.page("/c", "end")
    async with lab.fetcher() as web:
        page = await web.get(bob.url("/a"))
    assert (page.url, page.body) == (bob.url("/c?x"), b"end")
    assert page.redirects == (bob.url("/a"), bob.url("/b/"))


async def test_twenty_redirects_are_followed_and_not_one_more(lab: Lab, bob: Site) -> None:
    for n in range(21):
        bob.redirect(f"/{n}", f"/{n + 1}")
    bob.page("/21", "end")
    async with lab.fetcher() as web:
        assert len((await web.get(bob.url("/1"))).redirects) == 20
        bob.requests.clear()
        with pytest.raises(FetchFailed, match="20 redirects") as failed:
            await web.get(bob.url("/0"))
    assert not failed.value.transient
    assert len(bob.asked) == 21


@pytest.mark.parametrize(
    "location", ["ftp://bob.example/", "javascript:alert(1)", "http://", "http://a@b.example/"]
)
async def test_a_redirect_to_what_is_no_web_address_ends_the_fetch(
    lab: Lab, bob: Site, location: str
) -> None:
    bob.redirect("/a", location)
    async with lab.fetcher() as web:
        with pytest.raises((FetchFailed, AddressRefused)) as failed:
            await web.get(bob.url("/a"))
    assert not getattr(failed.value, "transient", False)


async def test_the_policy_is_asked_about_the_url_of_every_hop(lab: Lab, bob: Site) -> None:
    """Not of the address alone: there is nothing to connect to here."""
    bob.redirect("/a", "http://127.0.0.1:0/")
    async with lab.fetcher() as web:
        with pytest.raises(AddressRefused, match="port 0"):
            await web.get(bob.url("/a"))


async def test_a_redirect_without_location_is_the_answer(lab: Lab, bob: Site) -> None:
    bob.page("/a", "choose", status=302)
    async with lab.fetcher() as web:
        page = await web.get(bob.url("/a"))
    assert (page.status, page.body) == (302, b"choose")


async def test_credentials_stay_with_the_origin_they_were_given_for(lab: Lab, bob: Site) -> None:
    eve = await lab.site("eve.example")
    bob.redirect("/a", "/b")
    bob.redirect("/b", eve.url("/c"))
    async with lab.fetcher() as web:
        await web.get(bob.url("/a"), headers={"Authorization": "Bearer secret", "X-Plain": "1"})
    assert [each.headers.get("authorization") for each in bob.requests] == ["Bearer secret"] * 2
    assert "authorization" not in eve.requests[0].headers
    assert eve.requests[0].headers["x-plain"] == "1"


# --- POST


async def test_a_post_carries_a_form_and_the_query_stays_in_the_url(lab: Lab, bob: Site) -> None:
    bob.page("/take", "thanks", status=202, kind="text/plain")
    async with lab.fetcher() as web:
        page = await web.post(bob.url("/take?a=b&c"), {"source": "http://a/?x=1&y=ä", "target": "t"})
    request = bob.requests[0]
    assert (page.status, page.body, request.path) == (202, b"thanks", "/take?a=b&c")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.form == {"source": "http://a/?x=1&y=ä", "target": "t"}


@pytest.mark.parametrize("status", [307, 308])
async def test_a_post_is_repeated_where_307_and_308_say_so(lab: Lab, bob: Site, status: int) -> None:
    bob.redirect("/old", "/new", status)
    bob.page("/new", "", status=201)
    async with lab.fetcher() as web:
        page = await web.post(bob.url("/old"), {"source": "s", "target": "t"})
    assert (page.status, page.redirects) == (201, (bob.url("/old"),))
    assert bob.mentions == [("/old", "s", "t"), ("/new", "s", "t")]


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_other_redirects_of_a_post_are_its_answer(lab: Lab, bob: Site, status: int) -> None:
    bob.redirect("/old", "/new", status)
    async with lab.fetcher() as web:
        assert (await web.post(bob.url("/old"), {"source": "s"})).status == status
    assert len(bob.asked) == 1


async def test_a_post_whose_answer_drips_is_delivered_all_the_same(lab: Lab, bob: Site) -> None:
    async def drip(request: Request) -> None:
        await request.write(head(202, {"Content-Type": "text/plain"}) + b"tha")
        await asyncio.Event().wait()

    bob.answer("/take", drip)
    async with lab.fetcher(deadline=0.3) as web:
        page = await web.post(bob.url("/take"), {"source": "s"})
    assert (page.status, page.body, page.cut) == (202, b"tha", True)


async def test_a_post_whose_answer_breaks_is_delivered_all_the_same(lab: Lab, bob: Site) -> None:
    async def breaks(request: Request) -> None:
        await request.write(head(202, {"Content-Length": "100"}) + b"tha")

    bob.answer("/take", breaks)
    async with lab.fetcher() as web:
        page = await web.post(bob.url("/take"), {"source": "s"})
    assert (page.status, page.cut) == (202, True)


async def test_a_post_is_never_sent_twice_by_itself(lab: Lab, bob: Site) -> None:
    async def hangs_up(request: Request) -> None:
        return None

    bob.page("/", "kept alive")
    bob.answer("/take", hangs_up)
    async with lab.fetcher() as web:
        await web.get(bob.url())
        with pytest.raises(FetchFailed) as failed:
            await web.post(bob.url("/take"), {"source": "s"})
    assert failed.value.transient
    assert len(bob.mentions) == 1


# --- as much as is wanted


async def test_a_body_beyond_the_bound_is_cut_which_is_no_error(lab: Lab, bob: Site) -> None:
    bob.page("/", b"x" * 5000)
    async with lab.fetcher(max_bytes=4000) as web:
        assert (len((page := await web.get(bob.url())).body), page.cut) == (4000, True)
        assert (len((page := await web.get(bob.url(), max_bytes=100)).body), page.cut) == (100, True)
        bob.page("/", b"x" * 4000)
        assert (len((page := await web.get(bob.url())).body), page.cut) == (4000, False)


async def test_a_compressed_body_is_decompressed_and_bounded_after_that(lab: Lab, bob: Site) -> None:
    bob.page("/gzip", gzip.compress(b"hello"), headers=[("Content-Encoding", "gzip")])
    bob.page("/deflate", zlib.compress(b"hello"), headers=[("Content-Encoding", "deflate")])
    bob.page("/bomb", gzip.compress(b"\0" * (64 << 20)), headers=[("Content-Encoding", "gzip")])
    bob.page("/brotli", b"?", headers=[("Content-Encoding", "br")])
    async with lab.fetcher() as web:
        assert (await web.get(bob.url("/gzip"))).body == b"hello"
        assert (await web.get(bob.url("/deflate"))).body == b"hello"
        page = await web.get(bob.url("/bomb"))
        assert (len(page.body), page.cut) == (1 << 20, True)
        with pytest.raises(FetchFailed, match="encoding"):
            await web.get(bob.url("/brotli"))


async def test_what_is_enough_ends_the_fetch_before_the_page_does(lab: Lab, bob: Site) -> None:
    async def endless(request: Request) -> None:
        await request.write(head(200, {"Content-Type": "text/html"}) + b"<p>here it is")
        await asyncio.Event().wait()

    bob.answer("/", endless)
    seen: list[bytes] = []

    def enough(page: Page, body: bytes) -> bool:
        seen.append(body)
        return b"here" in body

    async with lab.fetcher(deadline=5) as web:
        page = await web.get(bob.url(), enough=enough)
    assert page.body == b"<p>here it is"
    assert seen[0] == b""


async def test_what_is_enough_before_the_body_ends_the_fetch_there(lab: Lab, bob: Site) -> None:
    async def headers_only(request: Request) -> None:
        await request.write(head(200, {"Link": "<x>"}))
        await asyncio.Event().wait()

    bob.answer("/", headers_only)
    async with lab.fetcher(deadline=5) as web:
        page = await web.get(bob.url(), enough=lambda page, body: page.header("link") == "<x>")
    assert page.body == b""


async def test_the_question_whether_it_is_enough_costs_no_more_than_a_few_times_the_page(
    lab: Lab, bob: Site
) -> None:
    async def in_crumbs(request: Request) -> None:
        await request.write(head(200))
        for _ in range(2000):
            await request.write(b"x" * 50)
            await asyncio.sleep(0)
        return

    bob.answer("/", in_crumbs)
    looked_at = 0

    def enough(page: Page, body: bytes) -> bool:
        nonlocal looked_at
        looked_at += len(body)
        return False

    async with lab.fetcher() as web:
        page = await web.get(bob.url(), enough=enough)
    assert len(page.body) == 100_000
    assert looked_at < 7 * 100_000


# --- being open


async def _raises_in_time(web: Fetcher, url: str, seconds: float) -> FetchFailed:
    started = time.monotonic()
    with pytest.raises(FetchFailed) as failed:
        await web.get(url)
    assert time.monotonic() - started < seconds
    return failed.value


async def test_a_fetcher_that_is_not_open_says_so(lab: Lab, bob: Site) -> None:
    web = lab.fetcher()
    with pytest.raises(Closed):
        await web.get(bob.url())
    async with web:
        await web.get(bob.url())
    with pytest.raises(Closed):
        await web.get(bob.url())


async def test_a_fetch_under_way_fails_when_its_fetcher_is_closed(lab: Lab, bob: Site) -> None:
    async def hangs(request: Request) -> None:
        await asyncio.Event().wait()

    bob.answer("/", hangs)
    web = await lab.fetcher().open()
    task = asyncio.ensure_future(web.get(bob.url()))
    await bob.until(lambda: bool(bob.asked))
    await web.close()
    with pytest.raises(FetchFailed):
        await task


async def test_exceptions_are_logged_once_at_the_start(
    lab: Lab, bob: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "holdfast.webmention"):
        async with lab.fetcher() as web:
            await web.open()
            await web.get(bob.url())
            await web.get(bob.url())
        async with Fetcher():
            pass
    assert [bob.where in record.getMessage() for record in caplog.records] == [True]


async def test_no_connection_and_no_name_are_failures_that_may_pass(lab: Lab, bob: Site) -> None:
    closed = await lab.site("closed.example")
    lab._servers[-1].close()
    async with lab.fetcher() as web:
        for url in (closed.url(), f"http://nobody.example:{bob.port}/"):
            assert (await _raises_in_time(web, url, 2)).transient
