"""Whose turn it is: many at once, few of one host, nobody for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from tests.unit.webmention.receiving_lab import POST, Clock

from holdfast.errors import InvalidConversion, StoreUnavailable
from holdfast.webmention import working
from holdfast.webmention.driver import Document, Put
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.inbox import Inbox, held_of, netloc
from holdfast.webmention.lifecycle import new
from holdfast.webmention.working import Workers


class Bench:
    """Documents that are due, and a `process` that counts who is at work."""

    def __init__(self, driver: MemoryDriver, clock: Clock) -> None:
        self.driver, self.clock = driver, clock
        self.inbox = Inbox(driver, "t", now=clock)
        self.workers = Workers(self.inbox, self.process, at_once=4)
        self.at_work: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.reached: dict[int, asyncio.Event] = {}
        self.does: Callable[[Document], Awaitable[None]] | None = None

    async def add(self, count: int, host: str) -> None:
        for number in range(count):
            ident = f"{host}-{number}"
            held = new(ident, f"https://{host}/{number}", POST, client=None, now=self.clock())
            assert await self.inbox.put(held, expect="")

    async def until(self, count: int) -> None:
        """Until so many were at work at once."""
        await asyncio.wait_for(self.reached.setdefault(count, asyncio.Event()).wait(), 10)

    async def process(self, document: Document) -> None:
        host = netloc(held_of(document).mention.source_url)
        for name in (host, "all"):
            self.at_work[name] += 1
            self.most[name] = max(self.most[name], self.at_work[name])
        self.reached.setdefault(self.at_work["all"], asyncio.Event()).set()
        try:
            if host.startswith("hangs"):
                await asyncio.Event().wait()
            if self.does is not None:
                await self.does(document)
            await self.open.wait()
            await asyncio.sleep(0)
            held = msgspec.structs.replace(held_of(document), next_at=None, waiting=False)
            await self.inbox.put(held, expect=document.version)
            self.done.append(document.id)
        finally:
            self.at_work.subtract((host, "all"))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    clock = Clock()
    driver = MemoryDriver(now_ms=clock.ms)
    await driver.open()
    yield Bench(driver, clock)


async def test_what_is_due_is_done_many_at_once_and_each_once() -> None:
    async with bench() as here:
        for number in range(10):
            await here.add(1, f"h{number}.example")
        assert await here.workers.run() == 10
        assert len(set(here.done)) == len(here.done) == 10
        assert here.most["all"] == 4
        assert await here.workers.run() == 0


async def test_at_most_two_of_one_host_are_at_work() -> None:
    async with bench() as here:
        await here.add(10, "one.example")
        assert await here.workers.run() == 10
        assert here.most["one.example"] == 2


async def test_no_more_than_asked_for_are_done() -> None:
    async with bench() as here:
        await here.add(10, "one.example")
        assert await here.workers.run(3) == 3
        assert len(here.done) == 3
        assert await here.workers.run() == 7


async def test_a_host_that_never_answers_takes_nobody_elses_turn() -> None:
    async with bench() as here:
        await here.add(100, "hangs.example")
        for number in range(20):
            await here.add(1, f"h{number}.example")
        all_done = asyncio.Event()
        begun: list[str] = []

        async def count(document: Document) -> None:
            begun.append(document.id)
            if len(begun) == 20:
                all_done.set()

        here.does = count
        running = asyncio.ensure_future(here.workers.run())
        await asyncio.wait_for(all_done.wait(), 10)
        assert here.most["hangs.example"] == 2
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert here.at_work["all"] == 0


async def test_what_was_put_back_is_due_again_soon() -> None:
    async with bench() as here:
        await here.add(working.IN_HAND + 5, "one.example")
        here.open.clear()
        claim, all_claimed = here.driver.claim, asyncio.Event()

        async def claimed(kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
            found = await claim(kind, lease=lease, limit=limit, tag=tag)
            if len(found) < limit:
                all_claimed.set()
            return found

        here.driver.claim = claimed  # type: ignore[method-assign]
        running = asyncio.ensure_future(here.workers.run())
        await asyncio.wait_for(all_claimed.wait(), 10)
        here.open.set()
        first = await running
        assert first < working.IN_HAND + 5
        here.clock.at += 2 * working.PUT_BACK
        assert first + await here.workers.run() == working.IN_HAND + 5


async def test_thousands_of_one_host_are_not_claimed_and_put_back_all_the_time() -> None:
    async with bench() as here:
        await here.add(1000, "one.example")
        here.open.clear()
        running = asyncio.ensure_future(here.workers.run())
        await here.until(2)
        for _ in range(10_000):
            if await here.driver.next_due("t:m:i"):
                break
            await asyncio.sleep(0)
        here.clock.at += 2 * working.PUT_BACK
        again = await here.driver.claim("t:m:i", lease=1000, limit=1000)
        assert len(again) <= working.A_LOT
        here.clock.at += working.PUT_BACK * 10
        again += await here.driver.claim("t:m:i", lease=1_000_000, limit=1000)
        assert len(again) > 900
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_what_comes_while_another_hangs_is_not_left_until_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working, "LOOK", 0.01)
    async with bench() as here:
        await here.add(1, "hangs.example")
        running = asyncio.ensure_future(here.workers.run())
        await here.until(1)
        seen = asyncio.Event()

        async def tell(_: Document) -> None:
            seen.set()

        here.does = tell
        await here.add(1, "late.example")
        await asyncio.wait_for(seen.wait(), 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_two_processes_never_look_at_the_same_one() -> None:
    async with bench() as here:
        for number in range(30):
            await here.add(1, f"h{number}.example")
        other = Workers(here.inbox, here.process, at_once=4)
        counts = await asyncio.gather(here.workers.run(), other.run())
        assert sum(counts) == 30
        assert len(set(here.done)) == len(here.done) == 30


async def test_who_was_killed_loses_nothing_once_the_lease_has_ended() -> None:
    async with bench() as here:
        await here.add(3, "one.example")
        assert len(await here.workers.claim(2)) == 2  # and was heard of no more
        assert await here.workers.run() == 1
        here.clock.at += working.LEASE
        assert await here.workers.run() == 2


async def test_who_is_stopped_gives_back_what_was_under_way_and_in_hand() -> None:
    async with bench() as here:
        await here.add(5, "one.example")
        here.open.clear()
        running = asyncio.ensure_future(here.workers.run())
        await here.until(2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        here.open.set()
        assert await here.driver.next_due("t:m:i") == 0
        assert await Workers(here.inbox, here.process).run() == 5


async def test_who_is_stopped_while_the_store_is_away_stops_all_the_same() -> None:
    async with bench() as here:
        await here.add(1, "hangs.example")
        running = asyncio.ensure_future(here.workers.run())
        await here.until(1)

        async def away(*_: object) -> bool:
            raise StoreUnavailable("write: away")

        here.driver.write = away  # type: ignore[assignment, method-assign]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_store_that_fails_ends_it_after_the_others_have_ended() -> None:
    async with bench() as here:
        for number in range(4):
            await here.add(1, f"h{number}.example")

        async def fails(document: Document) -> None:
            if document.id == "h1.example-0":
                raise StoreUnavailable("write: away")

        here.does = fails
        with pytest.raises(StoreUnavailable):
            await here.workers.run()
        assert len(here.done) == 3
        assert here.at_work["all"] == 0


async def test_a_store_that_claims_no_more_ends_it_after_what_is_under_way() -> None:
    async with bench() as here:
        await here.add(1, "one.example")
        here.open.clear()
        claim, claims = here.driver.claim, 0

        async def away(*given: object, **named: object) -> list[Document]:
            nonlocal claims
            claims += 1
            if claims == 1:
                return await claim(*given, **named)  # type: ignore[arg-type]
            here.open.set()
            raise StoreUnavailable("claim: away")

        here.driver.claim = away  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await here.workers.run()
        assert here.done == ["one.example-0"]


async def test_a_document_that_cannot_be_read_is_told_and_stops_no_other() -> None:
    async with bench() as here:
        await here.driver.write([Put("t:m:i", "broken", b"{}", wait=0)])
        await here.add(2, "one.example")
        with pytest.raises(InvalidConversion):
            await here.workers.run()
        assert await here.workers.run() + len(here.done) >= 2
        assert len(here.done) == 2


async def test_a_claim_that_was_held_too_long_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "PATIENCE", 0.0)
    async with bench() as here:
        await here.add(5, "one.example")
        assert await here.workers.run() == 2
        here.clock.at += working.LEASE
        assert await here.workers.run() == 2


async def test_leases_outlive_what_they_are_for() -> None:
    from holdfast.webmention.verifying import DEADLINE

    assert working.PATIENCE + DEADLINE < working.LEASE
