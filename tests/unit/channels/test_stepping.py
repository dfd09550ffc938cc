"""Work that begins where one stands: what it sees of tasks and context, and who goes on with it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from holdfast.channels.stepping import Beginning

from .line import turns

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


@pytest.fixture
async def beginning() -> AsyncIterator[Beginning]:
    found = Beginning(asyncio.get_running_loop())
    yield found
    found.close()


async def outside(call: Callable[[], Any]) -> Any:
    """Call it where no task runs, as a transport does."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: done.set_result(call()))
    return await done


async def nothing() -> None:
    pass


async def test_what_waits_for_nothing_is_over_at_once_and_takes_no_task(beginning: Beginning) -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("done")

    assert await outside(lambda: (beginning.begin(work()), list(said))) == (None, ["done"])


async def test_what_waits_goes_on_in_the_task_in_whose_name_it_began(beginning: Beginning) -> None:
    tasks: list[Any] = []
    go = asyncio.Event()

    async def work() -> None:
        tasks.append(asyncio.current_task())
        await go.wait()
        tasks.append(asyncio.current_task())

    task = await outside(lambda: beginning.begin(work()))
    assert not task.done()
    go.set()
    await task
    assert tasks == [task, task]


async def test_a_timeout_that_begins_with_it_ends_it_and_nobody_else(beginning: Beginning) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append("in time")

    task = await outside(lambda: beginning.begin(work()))
    await task
    assert ended == ["in time"]
    assert not task.cancelled()


async def test_it_can_be_cancelled(beginning: Beginning) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = await outside(lambda: beginning.begin(work()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_nobody_sees_the_context_variables_of_somebody_before(beginning: Beginning) -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        seen.append(WHO.get())
        WHO.set(name)

    for name in ("ann", "bob", "cy"):
        await outside(lambda name=name: beginning.begin(work(name)))
    assert seen == ["nobody"] * 3
    assert WHO.get() == "nobody"


async def test_within_a_task_it_begins_in_the_next_turn(beginning: Beginning) -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("done")

    task = beginning.begin(work())
    assert task is not None
    assert said == []
    await task
    assert said == ["done"]


async def test_what_it_raises_at_once_is_told_and_the_next_begins(beginning: Beginning) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    said: list[str] = []

    async def fails() -> None:
        raise ValueError("of the work")

    async def work() -> None:
        said.append("done")

    await outside(lambda: beginning.begin(fails()))
    await outside(lambda: beginning.begin(work()))
    assert [str(each) for each in told] == ["of the work"]
    assert said == ["done"]


async def test_many_begin_and_wait_at_the_same_time(beginning: Beginning) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.shield(gate)
        await asyncio.sleep(0)
        done.append(number)

    tasks = await outside(lambda: [beginning.begin(work(number)) for number in range(100)])
    gate.set_result(None)
    await asyncio.gather(*tasks)
    assert done == list(range(100))


async def test_closed_it_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    beginning = Beginning(asyncio.get_running_loop())

    async def work() -> None:
        pass

    for _ in range(3):
        await outside(lambda: beginning.begin(work()))
    assert len(asyncio.all_tasks() - before) == 1
    beginning.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_timeout_that_is_over_at_once_ends_the_work_and_not_its_task(beginning: Beginning) -> None:
    ended: list[str] = []

    async def work() -> None:
        for again in range(2):
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                ended.append(f"in time {again}")

    for _ in range(2):  # of a task that has not run yet, and of one that has waited
        task = await outside(lambda: beginning.begin(work()))
        await asyncio.wait({task})
        assert not task.cancelled()
        await outside(lambda: beginning.begin(nothing()))
        await turns()
    assert ended == ["in time 0", "in time 1"] * 2


@pytest.mark.parametrize("waited", [False, True])
async def test_cancelled_in_the_turn_in_which_it_began_it_cancels_what_it_waits_for(
    beginning: Beginning, waited: bool
) -> None:
    if waited:
        await outside(lambda: beginning.begin(nothing()))
        await turns()
    ended: list[str] = []

    inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await inner
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    def begun_and_cancelled() -> Any:
        task = beginning.begin(work())
        assert task is not None
        task.cancel()
        return task

    task = await outside(begun_and_cancelled)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.cancelled()
    assert ended == ["work"]


async def test_what_is_cancelled_at_once_is_nobody_elses_end(beginning: Beginning) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def work() -> None:
        raise asyncio.CancelledError

    assert await outside(lambda: beginning.begin(work())) is None
    assert told == []


async def test_it_sees_the_variables_of_who_opened_and_not_of_whose_connection_it_is() -> None:
    beginning = Beginning(asyncio.get_running_loop())
    seen: list[str] = []

    async def work() -> None:
        seen.append(WHO.get())

    context = contextvars.copy_context()
    context.run(WHO.set, "ann")
    for one in (context, contextvars.copy_context()):
        await outside(partial(one.run, beginning.begin, work()))
    beginning.close()
    assert seen == ["nobody"] * 2


@pytest.mark.parametrize("waits", [False, True])
async def test_what_cancels_itself_at_once_ends_itself_and_nobody_after_it(
    beginning: Beginning, waits: bool
) -> None:
    ended: list[str] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

    async def after() -> None:
        await asyncio.sleep(0)
        ended.append("after")

    await outside(lambda: beginning.begin(nothing()))
    await turns()
    await outside(lambda: beginning.begin(work()))
    await asyncio.wait({await outside(lambda: beginning.begin(after()))})
    assert ended == (["cancelled", "after"] if waits else ["after"])
