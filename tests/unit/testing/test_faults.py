"""Each fault is the fault that it says."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import StoreUnavailable
from holdfast.persist.driver import Get, Set
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.testing.faults import EVERY, Delayed, Dropping, DyingMidBatch, Failing, Held

SETS = [Set(f"k{number}", b"%d" % number, None) for number in range(4)]
GETS = [Get(f"k{number}") for number in range(4)]


async def memory() -> MemoryDriver:
    driver = MemoryDriver()
    await driver.open()
    return driver


async def test_failing_sends_nothing_and_only_on_the_calls_named() -> None:
    failing = Failing(await memory(), on={2})
    assert await failing.apply(SETS[:1]) == [None]
    with pytest.raises(StoreUnavailable) as caught:
        await failing.apply(SETS)
    assert not caught.value.maybe_applied
    assert await failing.apply(GETS) == [b"0", None, None, None]


async def test_failing_raises_what_it_is_given() -> None:
    failing = Failing(await memory(), on=EVERY, error=lambda: OSError("as told"))
    for _ in range(3):
        with pytest.raises(OSError, match="as told"):
            await failing.apply(GETS)
    assert failing.calls == 3


async def test_dropping_does_it_and_loses_the_answer() -> None:
    dropping = Dropping(await memory())
    with pytest.raises(StoreUnavailable) as caught:
        await dropping.apply(SETS)
    assert caught.value.maybe_applied
    assert await dropping.apply(GETS) == [b"0", b"1", b"2", b"3"]


async def test_dying_mid_batch_does_only_the_first() -> None:
    dying = DyingMidBatch(await memory(), after=3)
    with pytest.raises(StoreUnavailable) as caught:
        await dying.apply(SETS)
    assert caught.value.maybe_applied
    assert await dying.apply(GETS) == [b"0", b"1", b"2", None]


async def test_delayed_sleeps_before_it_sends() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        assert await driver.apply(GETS) == [None] * 4
        slept.append(seconds)

    driver = await memory()
    assert await Delayed(driver, 0.2, sleep=sleep).apply(SETS) == [None] * 4
    assert slept == [0.2]


async def test_held_waits_until_it_is_let_go() -> None:
    driver = await memory()
    held = Held(driver)
    under_way = asyncio.ensure_future(held.apply(SETS))
    await held.arrived()
    assert await driver.apply(GETS) == [None] * 4
    held.release()
    assert await under_way == [None] * 4
    assert await held.apply(GETS) == [b"0", b"1", b"2", b"3"]


async def test_a_wrapped_driver_answers_nothing_immediately() -> None:
    failing = Failing(await memory())
    assert not failing.traits.immediate
    assert failing.traits.pipeline == 1
    assert failing.traits.name == "memory"
