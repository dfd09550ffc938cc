"""`get_or_create` on memory: one loader at a time, late results discarded, errors to everyone."""

import asyncio
import gc
import traceback
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import Closed, InvalidConversion, StoreUnavailable
from holdfast.persist import Persist
from holdfast.persist.driver import Create, Remove
from holdfast.persist.drivers.memory import MemoryDriver

LEASE_KEY = "holdfast:o:k"


@pytest.fixture
async def persist() -> AsyncIterator[Persist]:
    async with Persist(MemoryDriver()) as persist:
        yield persist


class Loads:
    """A loader that counts its calls and ends when the test says so."""

    def __init__(self, value: object = 7) -> None:
        self.calls = 0
        self.value = value
        self.go = asyncio.Event()
        self.started = asyncio.Event()

    async def __call__(self) -> object:
        self.calls += 1
        self.started.set()
        await self.go.wait()
        return self.value


async def test_a_hundred_callers_share_one_load(persist: Persist) -> None:
    load = Loads()
    waiting = [asyncio.create_task(persist.get_or_create("k", int, load)) for _ in range(100)]
    await load.started.wait()
    load.go.set()
    assert await asyncio.gather(*waiting) == [7] * 100
    assert load.calls == 1
    assert await persist.get_or_create("k", int, load) == 7
    assert load.calls == 1


async def test_a_plain_function_and_a_stored_null_will_do(persist: Persist) -> None:
    calls = []
    assert await persist.get_or_create("k", None, lambda: calls.append(1)) is None
    assert await persist.get_or_create("k", None, lambda: calls.append(1)) is None
    assert len(calls) == 1


async def test_the_expiry_is_given_to_what_was_loaded(persist: Persist) -> None:
    await persist.get_or_create("k", int, lambda: 1, expires=60)
    entry = await persist.entry("k", int)
    assert entry is not None
    assert entry.ttl is not None
    assert 59 < entry.ttl <= 60


async def test_what_a_loader_raises_reaches_every_waiter_as_its_own_object(persist: Persist) -> None:
    go = asyncio.Event()

    async def load() -> int:
        await go.wait()
        raise LookupError("no such user")

    waiting = [asyncio.create_task(persist.get_or_create("k", int, load)) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, LookupError) for each in errors)
    assert len({id(each) for each in errors}) == 3
    assert await persist.get_or_create("k", int, lambda: 1) == 1


class Answered(Exception):
    """As HTTP clients raise them: it cannot be made from its `args`."""

    def __init__(self, code: int, *, response: object) -> None:
        super().__init__(f"status {code}")
        self.response = response


async def test_what_a_loader_raises_arrives_whole_and_says_where_it_was_raised(persist: Persist) -> None:
    response = object()

    async def fetch_user() -> int:
        try:
            raise KeyError("first")
        except KeyError:
            raise Answered(503, response=response)  # noqa: B904 - the implicit context is to be kept

    with pytest.raises(Answered, match="status 503") as raised:
        await persist.get_or_create("k", int, fetch_user)
    assert raised.value.response is response
    assert isinstance(raised.value.__context__, KeyError)
    assert "fetch_user" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


async def test_a_loader_whose_own_work_was_cancelled_is_not_taken_for_a_close(persist: Persist) -> None:
    async def load() -> int:
        work = asyncio.create_task(asyncio.sleep(60, 1))
        work.cancel()
        return await work

    with pytest.raises(asyncio.CancelledError):
        await persist.get_or_create("k", int, load)
    assert await persist.get_or_create("k", int, lambda: 1) == 1


async def test_one_impatient_waiter_does_not_stop_the_load(persist: Persist) -> None:
    load = Loads()
    first, second = (asyncio.create_task(persist.get_or_create("k", int, load)) for _ in range(2))
    await load.started.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    load.go.set()
    assert await second == 7


async def test_a_load_that_nobody_waits_for_any_more_is_cancelled_and_its_lease_given_back(
    persist: Persist,
) -> None:
    load = Loads()
    only = asyncio.create_task(persist.get_or_create("k", int, load))
    await load.started.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    async with asyncio.timeout(2):
        assert await persist.get_or_create("k", int, lambda: 8) == 8


async def test_a_load_that_fails_when_nobody_waits_any_more_is_no_warning(persist: Persist) -> None:
    started, go, warned = asyncio.Event(), asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: warned.append(context))

    async def load() -> int:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            go.set()
            raise ValueError("in its cleaning up")

    only = asyncio.create_task(persist.get_or_create("k", int, load))
    await started.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    await go.wait()
    await asyncio.sleep(0)
    gc.collect()
    assert not warned


async def test_closing_tells_who_waits_for_a_load() -> None:
    persist = Persist(MemoryDriver())
    await persist.open()
    load = Loads()
    waiting = asyncio.create_task(persist.get_or_create("k", int, load))
    await load.started.wait()
    await persist.close()
    with pytest.raises(Closed):
        await waiting


async def test_another_processs_loader_is_waited_for(persist: Persist) -> None:
    driver = persist._core.driver
    driver.now(Create(LEASE_KEY, b'{"owner":"another process"}', 30_000))
    load = Loads()
    waiting = asyncio.create_task(persist.get_or_create("k", int, load))
    await asyncio.sleep(0.05)
    assert load.calls == 0
    await persist.set("k", 9)
    assert await asyncio.wait_for(waiting, 5) == 9
    assert load.calls == 0


async def test_where_the_other_process_died_a_loader_starts_here(persist: Persist) -> None:
    persist._core.driver.now(Create(LEASE_KEY, b'{"owner":"dead"}', 60))
    assert await asyncio.wait_for(persist.get_or_create("k", int, lambda: 3), 5) == 3


async def test_a_late_result_is_discarded_for_what_a_successor_stored(persist: Persist) -> None:
    load = Loads(value=1)
    waiting = asyncio.create_task(persist.get_or_create("k", int, load))
    await load.started.wait()
    driver = persist._core.driver
    driver.now(Remove(LEASE_KEY))  # our lease ran out while the loader slept,
    driver.now(Create(LEASE_KEY, b'{"owner":"successor"}', 30_000))
    await persist.set("k", 2)  # and a successor was quicker
    load.go.set()
    assert await asyncio.wait_for(waiting, 5) == 2
    assert await persist.get("k", int) == 2


async def test_a_value_set_while_loading_stands(persist: Persist) -> None:
    load = Loads(value=1)
    waiting = asyncio.create_task(persist.get_or_create("k", int, load))
    await load.started.wait()
    await persist.set("k", 2)
    load.go.set()
    assert await waiting == 2


async def test_a_stored_value_of_another_type_is_an_invalid_conversion(persist: Persist) -> None:
    await persist.set("k", "text")
    with pytest.raises(InvalidConversion):
        await persist.get_or_create("k", int, lambda: 1)


async def test_no_load_runs_while_the_store_is_away() -> None:
    class Away(MemoryDriver):
        def now(self, op: object) -> object:
            if isinstance(op, Create):
                raise StoreUnavailable("away")
            return super().now(op)  # type: ignore[arg-type]

    calls = []
    async with Persist(Away()) as persist:
        with pytest.raises(StoreUnavailable):
            await persist.get_or_create("k", int, lambda: calls.append(1) or 1)
    assert not calls
