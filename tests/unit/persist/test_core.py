"""Opening and closing: twice, cancelled, in the middle of something."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Closed, Overloaded, StoreError
from holdfast.persist import Persist
from holdfast.persist.driver import Create, Operation
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.testing.faults import Held, Passing


class Counted(MemoryDriver):
    def __init__(self) -> None:
        super().__init__()
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1
        await asyncio.sleep(0)
        await super().open()

    async def close(self) -> None:
        self.closed += 1
        await super().close()


class Stubborn:
    """A loader that takes its time to be cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await self.go.wait()
        return 1


async def test_of_two_who_open_at_once_one_is_refused_and_one_connection_is_made() -> None:
    driver = Counted()
    persist = Persist(driver)
    outcomes = await asyncio.gather(persist.open(), persist.open(), return_exceptions=True)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], StoreError)
    await persist.close()
    assert (driver.opened, driver.closed) == (1, 1)


async def test_what_was_closed_can_be_opened_again() -> None:
    persist = Persist(Counted())
    for number in range(3):
        async with persist:
            assert await persist.get("k") == (number - 1 if number else None)
            await persist.set("k", number)
            assert await persist.get_or_create("loaded", int, lambda: 1) == 1
            async with persist.lock("job", wait=0) as fence:
                assert fence == number + 1


def test_what_was_left_open_on_a_loop_that_ended_can_be_opened_on_the_next(tmp_path: Path) -> None:
    persist = Persist(f"sqlite:///{tmp_path}/app.db")

    async def leave_open() -> int:
        await persist.open()
        await persist.get_or_create("k", int, lambda: 1)
        return await persist.increment("n")

    async def close() -> None:
        await persist.open()
        await persist.close()

    assert [asyncio.run(leave_open()) for _ in range(3)] == [1, 2, 3]
    asyncio.run(close())


async def test_a_cancelled_close_still_gives_the_connection_back_and_leaves_nobody_waiting() -> None:
    driver = Counted()
    held = Held(driver)
    held.release()
    persist = Persist(held)
    await persist.open()
    load = Stubborn()
    loading = asyncio.create_task(persist.get_or_create("k", int, load))
    await load.started.wait()
    held._gate.clear()
    writing = asyncio.create_task(persist.set("x", 1))
    closing = asyncio.create_task(persist.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert driver.closed == 1
    with pytest.raises(StoreError):
        await asyncio.wait_for(writing, 2)
    load.go.set()
    with pytest.raises(Closed):
        await asyncio.wait_for(loading, 2)


async def test_closing_gives_back_the_lease_of_a_load_so_that_the_next_process_need_not_wait() -> None:
    driver = MemoryDriver()
    persist = Persist(driver)
    await persist.open()
    load = Stubborn()
    load.go.set()
    loading = asyncio.create_task(persist.get_or_create("k", int, load))
    await load.started.wait()
    await persist.close()
    with pytest.raises(Closed):
        await loading
    async with Persist(driver) as another:
        assert await asyncio.wait_for(another.get_or_create("k", int, lambda: 2), 2) == 2


async def test_many_that_are_refused_halfway_raise_only_when_those_already_sent_have_ended() -> None:
    held = Held(MemoryDriver())
    async with Persist(held) as persist:
        assert persist._core._batcher is not None
        persist._core._batcher._lanes[0]._bounds.max_queued_ops = 3
        many = asyncio.create_task(persist.set_many({f"k{number}": number for number in range(9)}))
        await held.arrived(1)
        assert not many.done()
        held.release()
        with pytest.raises(Overloaded):
            await many
        assert await persist.get_many(f"k{number}" for number in range(3)) == {"k0": 0, "k1": 1, "k2": 2}


async def test_the_size_of_a_loaded_value_counts_in_the_queue() -> None:
    sizes: list[int] = []
    async with Persist(Passing(MemoryDriver())) as persist:
        batcher: Any = persist._core._batcher
        submit = batcher.submit

        def watched(op: Operation, size: int = 0) -> asyncio.Future[Any]:
            if isinstance(op, Create) and ":p:" in op.key:
                sizes.append(size)
            return submit(op, size)

        batcher.submit = watched
        await persist.get_or_create("k", str, lambda: "x" * 100)
    assert sizes == [102]
