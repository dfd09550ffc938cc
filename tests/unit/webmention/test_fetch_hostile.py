"""Sites that drip, flood, lie or hang cost a bounded time and memory, and nobody else's turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import FetchFailed
from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.policy import NetworkPolicy

from .site_lab import Lab, Reply, Request, Site, head


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab() as lab:
        yield lab


@pytest.fixture
async def bob(lab: Lab) -> Site:
    return await lab.site("bob.example")


async def _raises_in_time(web: Fetcher, url: str, seconds: float) -> FetchFailed:
    started = time.monotonic()
    with pytest.raises(FetchFailed) as failed:
        await web.get(url)
    assert time.monotonic() - started < seconds
    return failed.value


async def test_the_deadline_ends_a_site_that_takes_the_connection_and_never_answers(
    lab: Lab, bob: Site
) -> None:
    async def hangs(request: Request) -> None:
        await asyncio.Event().wait()

    bob.answer("/", hangs)
    async with lab.fetcher(deadline=0.2) as web:
        failed = await _raises_in_time(web, bob.url(), 2)
    assert failed.transient
    assert "no end after 0.2 s" in str(failed)


async def test_the_deadline_ends_a_name_that_is_never_resolved(lab: Lab) -> None:
    async def never(name: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with Fetcher(NetworkPolicy(), resolve=never, deadline=0.2) as web:
        assert (await _raises_in_time(web, "http://slow.example/", 2)).transient


@pytest.mark.parametrize("dripping", ["headers", "body", "chunks"])
async def test_the_deadline_ends_a_page_that_drips(lab: Lab, bob: Site, dripping: str) -> None:
    async def drips(request: Request) -> None:
        if dripping == "headers":
            await request.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        else:
            chunked = {"Transfer-Encoding": "chunked"} if dripping == "chunks" else {}
            await request.write(head(200, chunked))
        while True:
            await request.write(b"1\r\nx\r\n" if dripping == "chunks" else b"x")
            await asyncio.sleep(0.02)

    bob.answer("/", drips)
    async with lab.fetcher(deadline=0.3) as web:
        assert (await _raises_in_time(web, bob.url(), 2)).transient


async def test_the_deadline_counts_all_hops_together(lab: Lab, bob: Site) -> None:
    async def slowly(request: Request) -> Reply:
        await asyncio.sleep(0.15)
        return Reply(status=302, headers=[("Location", "/")])

    bob.answer("/", slowly)
    async with lab.fetcher(deadline=0.5) as web:
        await _raises_in_time(web, bob.url(), 2)
    assert len(bob.asked) <= 4


async def test_a_flood_is_read_to_the_bound_and_no_further(lab: Lab, bob: Site) -> None:
    sent = 0

    async def floods(request: Request) -> None:
        nonlocal sent
        await request.write(head(200))
        while True:
            await request.write(b"x" * (1 << 16))
            sent += 1 << 16

    bob.answer("/", floods)
    async with lab.fetcher() as web:
        page = await web.get(bob.url())
    assert (len(page.body), page.cut) == (1 << 20, True)
    assert sent < 16 << 20


@pytest.mark.parametrize(
    "flood",
    [
        b"X-Long: " + b"x" * 20_000,
        b"".join(b"X-%d: y\r\n" % n for n in range(1000)),
        b"".join(b"X-%d: " % n + b"y" * 1000 + b"\r\n" for n in range(100)),
    ],
)
async def test_a_head_beyond_the_bound_is_refused_for_good(lab: Lab, bob: Site, flood: bytes) -> None:
    async def floods(request: Request) -> None:
        await request.write(b"HTTP/1.1 200 OK\r\n" + flood + b"\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    bob.answer("/", floods)
    async with lab.fetcher(deadline=5) as web:
        failed = await _raises_in_time(web, bob.url(), 3)
    assert not failed.transient


async def test_a_head_that_never_ends_is_refused(lab: Lab, bob: Site) -> None:
    async def floods(request: Request) -> None:
        await request.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await request.write(b"X-More: yes\r\n" * 1000)

    bob.answer("/", floods)
    async with lab.fetcher(deadline=5) as web:
        await _raises_in_time(web, bob.url(), 3)


async def test_an_answer_that_is_promised_without_end_is_given_up(lab: Lab, bob: Site) -> None:
    async def promises(request: Request) -> None:
        while True:
            await request.write(b"HTTP/1.1 103 Soon\r\n\r\n" * 1000)

    async def promises_twice(request: Request) -> Reply:
        await request.write(b"HTTP/1.1 103 Soon\r\n\r\n" * 2)
        return Reply("here")

    bob.answer("/", promises)
    bob.answer("/twice", promises_twice)
    async with lab.fetcher(deadline=5) as web:
        failed = await _raises_in_time(web, bob.url(), 3)
        for _ in range(3):  # what was promised to one request is not counted against the next
            assert (await web.get(bob.url("/twice"))).body == b"here"
    assert not failed.transient


async def test_a_body_that_is_mostly_framing_is_read_no_longer_than_an_honest_one(
    lab: Lab, bob: Site
) -> None:
    sent = 0

    async def frames(request: Request) -> None:
        nonlocal sent
        await request.write(head(200, {"Transfer-Encoding": "chunked"}))
        while True:
            await request.write(b"1\r\nx\r\n" * 5000)
            sent += 30_000

    bob.answer("/", frames)
    async with lab.fetcher(deadline=5) as web:
        failed = await _raises_in_time(web, bob.url(), 4)
    assert "no end" not in str(failed)
    assert sent < 16 << 20


async def test_an_honest_body_in_small_chunks_is_read_whole(lab: Lab, bob: Site) -> None:
    async def chunks(request: Request) -> None:
        await request.write(head(200, {"Transfer-Encoding": "chunked"}))
        for _ in range(1024):
            await request.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await request.write(b"0\r\n\r\n")

    bob.answer("/", chunks)
    async with lab.fetcher(deadline=5) as web:
        page = await web.get(bob.url())
    assert (len(page.body), page.cut) == (1 << 20, False)


@pytest.mark.parametrize(
    "answer",
    [
        head(200, {"Content-Length": "1000"}) + b"short",
        head(200, {"Transfer-Encoding": "chunked"}) + b"zz\r\nx\r\n",
        head(200, {"Transfer-Encoding": "chunked"}) + b"5\r\nab\r\n0\r\n\r\n",
        head(200, {"Transfer-Encoding": "chunked"}) + b"5\r\nabcde",
        head(200, {"Content-Length": "-5"}) + b"short",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01" * 100,
        b"HTTP/1.1 200 OK\r\n broken\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"",
    ],
)
async def test_what_lies_about_itself_is_a_failure_and_never_half_a_page(
    lab: Lab, bob: Site, answer: bytes
) -> None:
    async def lies(request: Request) -> None:
        await request.write(answer)

    bob.answer("/", lies)
    async with lab.fetcher(deadline=5) as web:
        await _raises_in_time(web, bob.url(), 3)


async def test_more_than_the_content_length_says_is_not_the_next_answer(lab: Lab, bob: Site) -> None:
    async def smuggles(request: Request) -> None:
        await request.write(head(200, {"Content-Length": "5"}) + b"first" + Reply("smuggled").raw())
        await asyncio.Event().wait()

    bob.answer("/a", smuggles)
    bob.page("/b", "second")
    async with lab.fetcher(deadline=5) as web:
        try:
            assert (await web.get(bob.url("/a"))).body == b"first"
        except FetchFailed:
            pass  # as good
        assert (await web.get(bob.url("/b"))).body == b"second"


async def test_sites_that_hang_take_nobody_elses_turn(lab: Lab, bob: Site) -> None:
    carol = await lab.site("carol.example")

    async def hangs(request: Request) -> None:
        await asyncio.Event().wait()

    bob.answer("/", hangs)
    carol.page("/", "quick")
    async with lab.fetcher(deadline=2) as web:
        hanging = [asyncio.ensure_future(web.get(bob.url())) for _ in range(200)]
        await bob.until(lambda: bob.open_now == 4)
        pages = await asyncio.gather(*(web.get(carol.url()) for _ in range(50)))
        assert {page.body for page in pages} == {b"quick"}
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert bob.most_open == 4
    assert carol.most_open <= 4


async def test_after_a_cancelled_fetch_its_connection_is_gone(lab: Lab, bob: Site) -> None:
    gone = asyncio.Event()

    async def drips(request: Request) -> None:
        try:
            await request.write(head(200))
            while True:
                await request.write(b"x")
                await asyncio.sleep(0.001)
        finally:
            gone.set()

    bob.answer("/", drips)
    async with lab.fetcher() as web:
        task = asyncio.ensure_future(web.get(bob.url()))
        await bob.until(lambda: bool(bob.asked))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await gone.wait()
