import asyncio
from typing import Any

import pytest
from tests.unit.webmention.sending_lab import reached

from holdfast import events
from holdfast.errors import StoreUnavailable
from holdfast.webmention import background
from holdfast.webmention.background import keep_working


class Shop:
    """Due as the list says, one entry a look."""

    def __init__(self, *due: float | Exception | None) -> None:
        self.due = list(due)
        self.worked = 0
        self.looks = 0

    async def next_due(self) -> float | None:
        self.looks += 1
        found = self.due.pop(0) if len(self.due) > 1 else self.due[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def work(self) -> None:
        self.worked += 1


async def run(shop: Shop, until: Any, *, nap: float = 5.0, wake: asyncio.Event | None = None) -> None:
    task = asyncio.create_task(
        keep_working("outbox", shop.work, shop.next_due, wake or asyncio.Event(), nap=nap)
    )
    await reached(until, most=10_000_000)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_what_is_due_is_worked_off_and_what_is_not_is_left() -> None:
    shop = Shop(0, None)
    await run(shop, lambda: shop.looks == 2)
    assert shop.worked == 1


async def test_it_sleeps_until_the_next_is_due() -> None:
    shop = Shop(0.01, 0, None)
    await run(shop, lambda: shop.worked == 1)


async def test_it_looks_every_few_seconds_although_nothing_is_due() -> None:
    shop = Shop(None)
    await run(shop, lambda: shop.looks == 3, nap=0.01)
    assert shop.worked == 0


async def test_who_is_woken_looks_at_once() -> None:
    shop, wake = Shop(None, 0, None), asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, wake.set)
    await run(shop, lambda: shop.worked == 1, wake=wake)


async def test_a_store_that_fails_is_told_as_an_event_and_asked_again() -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    try:
        shop = Shop(StoreUnavailable("down"), 0, None)
        await run(shop, lambda: shop.worked == 1)
    finally:
        stop()
    assert heard == [events.WorkFailed("outbox", "StoreUnavailable")]


async def test_a_storage_that_raises_anything_does_not_end_it() -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    shop = Shop(ZeroDivisionError(), 0, None)
    await run(shop, lambda: shop.worked == 1)
    assert [type(each["exception"]) for each in heard] == [ZeroDivisionError]


async def test_a_store_that_is_away_for_a_night_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    shop = Shop(*[StoreUnavailable("down")] * 1100, 0, None)
    await run(shop, lambda: shop.worked == 1)
    assert max(slept) == background.LONGEST
