"""The memory driver by itself: what the suite cannot see from outside."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from holdfast.channels.driver import (
    Append,
    Clear,
    Edit,
    Erase,
    Find,
    Operation,
    Outcome,
    Read,
    Send,
    Topics,
    Trim,
)
from holdfast.channels.drivers.memory import MemoryDriver
from holdfast.channels.registry import driver_for
from holdfast.errors import Closed, StoreMisconfigured
from holdfast.testing import ManualClock

EVERY_KIND: tuple[Operation, ...] = (
    Append("n:c:room", "said", b"{}"),
    Edit("n:c:room", b"{}", id="x"),
    Erase("n:c:room", id="x"),
    Find("n:c:room", id="x"),
    Read("n:c:room", 1),
    Send("n:c:room", b""),
    Trim("n:c:room", 1, None),
    Clear("n:c:room"),
    Topics("n:c:", None, 1),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest_asyncio.fixture
async def driver(clock: ManualClock) -> AsyncIterator[MemoryDriver]:
    made = MemoryDriver(now_ms=clock)
    await made.open()
    yield made
    await made.close()


def say(driver: MemoryDriver, count: int = 1, **rest: object) -> Outcome:
    """Append this many; the last one's outcome."""
    for _ in range(count):
        said = driver.now(Append("n:c:room", "said", b"{}", **rest))  # type: ignore[arg-type]
    return said


def kept(driver: MemoryDriver) -> list[int]:
    return [entry.offset for entry in driver.now(Read("n:c:room", 10_000, changes_after=0)).entries]


def test_the_registry_makes_it_and_knows_no_options() -> None:
    assert isinstance(driver_for("memory://"), MemoryDriver)
    with pytest.raises(StoreMisconfigured):
        driver_for("memory://?size=1")


def test_every_operation_is_immediate() -> None:
    assert MemoryDriver.traits.immediate == {type(op) for op in EVERY_KIND}


@pytest.mark.parametrize("op", EVERY_KIND, ids=lambda op: type(op).__name__)
async def test_nothing_is_answered_before_it_is_opened_or_after_it_is_closed(op: Operation) -> None:
    driver = MemoryDriver()
    for _ in range(2):
        with pytest.raises(Closed):
            driver.now(op)
        with pytest.raises(Closed):
            await driver.apply([op])
        assert not (await driver.health()).ok
        await driver.open()
        driver.now(op)
        await driver.close()


async def test_messages_are_stamped_by_the_computers_clock_unless_another_is_given() -> None:
    driver = MemoryDriver()
    await driver.open()
    before = time.time_ns() // 1_000_000
    at = say(driver).at
    assert before <= at <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(("most", "slack"), [(1, 16), (100, 16), (128, 16), (129, 16), (160, 20), (800, 100)])
async def test_an_eighth_too_many_gather_before_they_are_cut(
    driver: MemoryDriver, most: int, slack: int
) -> None:
    say(driver, most + slack, max_messages=most)
    assert kept(driver) == list(range(1, most + slack + 1))
    say(driver, 1, max_messages=most)
    assert kept(driver) == list(range(slack + 2, slack + 2 + most))


async def test_a_retention_of_nothing_keeps_no_more_than_the_slack(driver: MemoryDriver) -> None:
    say(driver, 17, max_messages=0, max_age=1)
    assert kept(driver) == []
    assert say(driver, 1, max_messages=0, max_age=1).offset == 18


async def test_what_is_an_eighth_too_old_is_cut_with_all_that_is_too_old(
    driver: MemoryDriver, clock: ManualClock
) -> None:
    say(driver, 3, max_age=80_000)
    clock.advance(5)
    say(driver, 3, max_age=80_000)
    clock.advance(85)  # 90 and 85 seconds: over 80, but not over 90
    say(driver, 1, max_age=80_000)
    assert kept(driver) == [1, 2, 3, 4, 5, 6, 7]
    clock.advance(0.001)
    say(driver, 1, max_age=80_000)
    assert kept(driver) == [7, 8]


async def test_what_is_exactly_as_old_as_allowed_stays(driver: MemoryDriver, clock: ManualClock) -> None:
    say(driver)
    clock.advance(1)
    assert driver.now(Trim("n:c:room", None, 1000)) == 0
    clock.advance(0.001)
    assert driver.now(Trim("n:c:room", None, 1000)) == 1


async def test_a_message_that_is_old_already_is_kept_until_the_next(driver: MemoryDriver) -> None:
    say(driver, 1, at=0, max_age=1000)
    assert kept(driver) == [1]
    say(driver, 1, max_age=1000)
    assert kept(driver) == [2]


async def test_what_is_gone_leaves_nothing_behind(driver: MemoryDriver) -> None:
    for number in range(100):
        say(driver, 1, id=f"{number}")
        driver.now(Edit("n:c:room", b"{}", id=f"{number}"))
        driver.now(Erase("n:c:room", id=f"{number - 1}"))
    driver.now(Trim("n:c:room", 3, None))
    log = driver._logs["n:c:room"]
    assert (len(log.entries), len(log.ids), len(log.changed), log.erased) == (3, 3, 3, 2)
    driver.now(Trim("n:c:room", 0, None))
    assert (len(log.entries), len(log.ids), len(log.changed), log.erased) == (0, 0, 0, 0)
    driver.now(Clear("n:c:room"))
    assert driver._logs == {}


async def test_a_log_handed_out_does_not_change_afterwards(driver: MemoryDriver) -> None:
    say(driver, 3)
    log = driver.now(Read("n:c:room", 10))
    say(driver, 3)
    driver.now(Clear("n:c:room"))
    assert [entry.offset for entry in log.entries] == [1, 2, 3]


async def test_a_page_of_topics_is_in_order_and_no_longer_than_asked(driver: MemoryDriver) -> None:
    for name in ("c", "a", "B", "é", "b"):
        driver.now(Append(f"n:c:{name}", "said", b"{}"))
    page = driver.now(Topics("n:c:", None, 2))
    assert ([topic.key for topic in page.topics], page.cursor) == (["n:c:B", "n:c:a"], "n:c:a")
    page = driver.now(Topics("n:c:", "n:c:a", 3))
    assert ([topic.key for topic in page.topics], page.cursor) == (["n:c:b", "n:c:c", "n:c:é"], None)


async def test_logs_outlive_closing(driver: MemoryDriver) -> None:
    epoch = say(driver, 2).epoch
    await driver.close()
    await driver.open()
    assert (say(driver).offset, say(driver).epoch) == (3, epoch)


async def test_it_warns_that_everything_is_forgotten(driver: MemoryDriver) -> None:
    findings = await driver.describe()
    assert [finding.level for finding in findings if finding.subject == "durability"] == ["warning"]
