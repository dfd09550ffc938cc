"""The memory driver by itself: what the suite cannot see from outside."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

from holdfast.errors import Closed, StoreMisconfigured
from holdfast.testing import ManualClock
from holdfast.webmention.driver import Change, Drop, Put
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.registry import driver_for

KIND = "holdfast:m:o"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest_asyncio.fixture
async def driver(clock: ManualClock) -> AsyncIterator[MemoryDriver]:
    made = MemoryDriver(now_ms=clock)
    await made.open()
    yield made
    await made.close()


def test_the_registry_makes_it_and_knows_no_options() -> None:
    assert isinstance(driver_for("memory://"), MemoryDriver)
    with pytest.raises(StoreMisconfigured):
        driver_for("memory://?size=1")


async def test_nothing_is_answered_before_it_is_opened() -> None:
    with pytest.raises(Closed):
        await MemoryDriver().get(KIND, ["a"])


async def test_without_a_clock_time_is_the_computers() -> None:
    driver = MemoryDriver()
    await driver.open()
    before = time.time_ns() // 1_000_000
    await driver.write([Put(KIND, "a", b"{}", wait=5)])
    after = time.time_ns() // 1_000_000
    (document,) = await driver.get(KIND, ["a"])
    assert document is not None
    assert document.due is not None
    assert before <= document.due - 5 <= after


async def test_what_was_dropped_leaves_nothing_behind(driver: MemoryDriver) -> None:
    await driver.write([Put(KIND, f"d{at}", b"{}", ("all", f"t{at}"), at) for at in range(50)])
    await driver.write([Drop(KIND, f"d{at}") for at in range(1, 50)])
    assert set(driver._shelves[KIND].numbers) == {"", "all", "t0"}
    await driver.write([Drop(KIND, "d0")])
    assert driver._shelves == {}


async def test_a_look_leaves_nothing_behind(driver: MemoryDriver) -> None:
    await driver.get(KIND, ["a"])
    await driver.page(KIND, "x")
    await driver.count(KIND, ["x"])
    await driver.claim(KIND, lease=1)
    await driver.write([Drop(KIND, "a")])
    assert not await driver.write([Put(KIND, "a", b"{}", expect="1")])
    assert driver._shelves == {}


async def test_the_indexes_say_what_the_documents_say(driver: MemoryDriver, clock: ManualClock) -> None:
    random = Random(4)
    for _ in range(400):
        id, tags = f"d{random.randrange(20)}", tuple(random.sample("xyz", random.randrange(4)))
        change: Change = Put(KIND, id, b"{}", tags, random.choice((None, 0, 5)))
        if random.random() < 0.3:
            change = Drop(KIND, id)
        await driver.write([change])
        if random.random() < 0.2:
            await driver.claim(KIND, lease=3, limit=2)
        clock.advance(0.001)
    shelf = driver._shelves[KIND]
    documents = sorted(shelf.by_id.values(), key=lambda each: each.number)
    assert documents
    assert shelf.by_number == {each.number: each for each in documents}
    assert shelf.due == sorted((each.due, each.number) for each in documents if each.due is not None)
    for tag in ("", "x", "y", "z"):
        having = [each.number for each in documents if not tag or tag in each.tags]
        assert shelf.numbers.get(tag, []) == having


async def test_a_tag_that_is_named_twice_is_one(driver: MemoryDriver) -> None:
    await driver.write([Put(KIND, "a", b"{}", ("x", "x"))])
    assert await driver.count(KIND, ["x"]) == [1]
    await driver.write([Drop(KIND, "a")])
    assert await driver.count(KIND, ["x"]) == [0]
