"""Locks and leases on memory, where a lost lease and an absent store can be arranged exactly."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from holdfast.errors import Closed, LockBusy, LockLost, StoreUnavailable
from holdfast.persist import Persist
from holdfast.persist.driver import Create, Increment, Operation, Remove, Replace
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.persist.lease import Lease
from holdfast.testing.faults import Held, Passing

LOCK_KEY = "holdfast:l:job"


class Store(MemoryDriver):
    """Memory that can be away, or can do something just before an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.away: tuple[type, ...] = ()
        self.before: dict[type, Any] = {}

    def now(self, op: Operation) -> Any:
        if isinstance(op, self.away):
            raise StoreUnavailable("away")
        hook = self.before.pop(type(op), None)
        if hook is not None:
            hook()
        return super().now(op)


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
async def persist(store: Store) -> AsyncIterator[Persist]:
    async with Persist(store) as persist:
        yield persist


async def test_one_holder_at_a_time_and_fences_only_grow(persist: Persist) -> None:
    inside, most, fences = 0, 0, []

    async def work() -> None:
        nonlocal inside, most
        async with persist.lock("job") as fence:
            inside += 1
            most = max(most, inside)
            fences.append(fence)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 1
    assert fences == sorted(set(fences))


async def test_wait_zero_says_busy_at_once(persist: Persist) -> None:
    async with persist.lock("job"):
        with pytest.raises(LockBusy):
            async with persist.lock("job", wait=0):
                raise AssertionError("two holders")
    async with persist.lock("job", wait=0):
        pass


async def test_wait_zero_says_busy_where_another_process_holds_it(persist: Persist, store: Store) -> None:
    store.now(Create(LOCK_KEY, b'{"owner":"another process"}', 60_000))
    with pytest.raises(LockBusy):
        async with persist.lock("job", wait=0):
            raise AssertionError("two holders")


async def test_a_bounded_wait_ends_in_busy(persist: Persist, store: Store) -> None:
    store.now(Create(LOCK_KEY, b'{"owner":"another process"}', 60_000))
    with pytest.raises(LockBusy):
        async with persist.lock("job", wait=0.05):
            raise AssertionError("two holders")


async def test_who_waits_gets_it_when_the_other_process_gives_it_back(persist: Persist, store: Store) -> None:
    store.now(Create(LOCK_KEY, b'{"owner":"another process"}', 60_000))
    asyncio.get_running_loop().call_later(0.03, store.now, Remove(LOCK_KEY))
    async with asyncio.timeout(5), persist.lock("job") as fence:
        assert fence == 1


async def test_a_lost_lease_cancels_the_body_and_raises_lock_lost(persist: Persist, store: Store) -> None:
    finished = False
    with pytest.raises(LockLost):
        async with asyncio.timeout(5), persist.lock("job", expires=0.15):
            store.now(Remove(LOCK_KEY))
            await asyncio.sleep(60)
            finished = True
    assert not finished
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_lease_taken_by_another_is_never_given_back_for_them(persist: Persist, store: Store) -> None:
    with pytest.raises(LockLost):
        async with persist.lock("job", expires=30):
            store.now(Remove(LOCK_KEY))
            store.now(Create(LOCK_KEY, b'{"owner":"another process"}', 60_000))
    assert not store.now(Create(LOCK_KEY, b"{}", None)), "the other holder's lock was removed"


async def test_nobody_gets_in_while_the_store_is_away(persist: Persist, store: Store) -> None:
    store.away = (Create,)
    with pytest.raises(StoreUnavailable):
        async with persist.lock("job"):
            raise AssertionError("let in without a lock")
    store.away = ()
    async with persist.lock("job", wait=0):
        pass


async def test_a_holder_outlives_a_short_absence_of_the_store(persist: Persist, store: Store) -> None:
    async with asyncio.timeout(5), persist.lock("job", expires=0.3):
        store.away = (Replace,)
        await asyncio.sleep(0.15)
        store.away = ()
        await asyncio.sleep(0.3)


async def test_a_holder_is_stopped_before_an_absent_store_could_let_another_in(
    persist: Persist, store: Store
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(LockLost):
        async with asyncio.timeout(5), persist.lock("job", expires=0.2):
            store.away = (Replace,)
            await asyncio.sleep(60)
    assert loop.time() - began < 2


async def test_the_body_hears_of_it_while_the_lease_still_keeps_others_out(
    persist: Persist, store: Store
) -> None:
    free: bool | None = None
    with pytest.raises(LockLost):
        async with persist.lock("job", expires=0.5):
            store.away = (Replace,)
            try:
                await asyncio.sleep(60)
            finally:
                free = store.now(Create(LOCK_KEY, b"{}", None))
    assert free is False


async def test_a_renewal_under_way_at_the_end_of_the_body_is_no_lost_lock() -> None:
    renewing = asyncio.Event()

    class Slow(Passing):
        """A renewal is done, and its answer takes longer than the body."""

        async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Any]:
            outcomes = await super()._pass(batch, lane, number)
            if isinstance(batch[0], Replace):
                renewing.set()
                await asyncio.sleep(0)
            return outcomes

    async with Persist(Slow(MemoryDriver())) as persist:
        async with asyncio.timeout(5), persist.lock("job", expires=0.3):
            await renewing.wait()
        async with persist.lock("job", wait=0):
            pass


async def test_closing_stops_a_holder_whose_lease_nobody_renews_any_more(store: Store) -> None:
    persist = Persist(store)
    await persist.open()
    held = asyncio.Event()

    async def work() -> None:
        async with persist.lock("job"):
            held.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await held.wait()
    await persist.close()
    with pytest.raises(LockLost) as raised:
        await asyncio.wait_for(task, 5)
    assert isinstance(raised.value.__cause__, Closed)
    assert not task.cancelling()


async def test_a_lock_that_is_being_given_back_is_given_back_before_the_store_closes(store: Store) -> None:
    held = Held(store)
    held.release()
    persist = Persist(held)
    await persist.open()
    go = asyncio.Event()

    async def work() -> None:
        async with persist.lock("job"):
            await go.wait()

    task = asyncio.create_task(work())
    await held.arrived(3)
    held._gate.clear()
    go.set()
    await held.arrived(4)  # the removal
    closing = asyncio.create_task(persist.close())
    await asyncio.sleep(0)
    held.release()
    await asyncio.wait_for(task, 5)
    await closing
    async with Persist(store) as again, again.lock("job", wait=0):
        pass


async def test_a_holder_cancelled_while_giving_back_to_a_failing_store_leaves_no_warning() -> None:
    removing, go, warned = asyncio.Event(), asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: warned.append(context))

    class Failing(Passing):
        async def _pass(self, batch: Sequence[Operation], lane: int, number: int) -> list[Any]:
            if isinstance(batch[0], Remove):
                removing.set()
                await go.wait()
                raise StoreUnavailable("gone")
            return await super()._pass(batch, lane, number)

    async def work() -> None:
        async with persist.lock("job"):
            pass

    async with Persist(Failing(MemoryDriver())) as persist:
        task = asyncio.create_task(work())
        await removing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
    gc.collect()
    assert not warned


async def test_one_who_slept_between_lock_and_fence_does_not_hold_it(persist: Persist, store: Store) -> None:
    # The first try obtains the lock; before its fence is drawn another process takes over.
    def taken_over() -> None:
        store.now(Remove(LOCK_KEY))
        store.now(Create(LOCK_KEY, b'{"owner":"successor"}', 40))

    store.before[Increment] = taken_over
    async with asyncio.timeout(5), persist.lock("job") as fence:
        assert fence == 2, "entered with the fence of the try that had lost the lock"


async def test_a_cancelled_waiter_leaves_nothing_behind(persist: Persist, store: Store) -> None:
    async with persist.lock("job"):
        waiting = asyncio.create_task(persist.lock("job").__aenter__())
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with persist.lock("job", wait=0):
        pass


async def test_the_bodys_own_error_and_cancellation_pass_through(persist: Persist) -> None:
    with pytest.raises(KeyError):
        async with persist.lock("job"):
            raise KeyError("own")

    async def hold() -> None:
        async with persist.lock("job"):
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with persist.lock("job", wait=0):
        pass


async def test_a_lock_object_in_use_refuses_a_second_entry(persist: Persist) -> None:
    lock = persist.lock("job")
    async with lock:
        with pytest.raises(RuntimeError):
            await lock.__aenter__()


@pytest.mark.parametrize(("expires", "wait"), [(None, None), (0, None), (1, -1), (1, float("nan"))])
async def test_lifetimes_and_waits_that_make_no_sense_are_refused(
    persist: Persist, expires: Any, wait: Any
) -> None:
    with pytest.raises(ValueError):
        persist.lock("job", expires=expires, wait=wait)


async def test_a_renewal_whose_answer_was_lost_is_recognised_as_ours(persist: Persist, store: Store) -> None:
    lease = Lease(persist._core.run, "holdfast:o:x", 60_000)
    assert await lease.acquire()
    assert await lease.renew()
    # The store applied a renewal of ours that we heard nothing of: the version is another now.
    version = store.now(Replace("holdfast:o:x", lease._value, str(lease._version), 60_000))
    assert version is not None
    assert await lease.renew()
    assert await lease.release()
    assert not await lease.release()
