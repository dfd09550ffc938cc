"""Watchers: one subscription for all of them, a bounded queue for each, and how they end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import Closed, StoreMisconfigured, StoreUnavailable
from holdfast.persist import Change, Persist, Watch, reserved
from holdfast.persist.driver import Listener, Subscription
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.persist.watch import LOST, MAX_CHANGES
from holdfast.testing.faults import Passing


class Store(MemoryDriver):
    """Counts its subscriptions; `refusals` are raised first."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = self.ended = 0
        self.refusals: list[Exception] = []
        self.listener: Listener | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def subscribe(self, listener: Listener) -> Subscription:
        await self.gate.wait()
        if self.refusals:
            raise self.refusals.pop()
        self.begun += 1
        self.listener = listener
        return _Counted(self, await super().subscribe(listener))

    @property
    def heard_by(self) -> Listener:
        assert self.listener is not None
        return self.listener


class _Counted:
    def __init__(self, store: Store, subscription: Subscription) -> None:
        self._store = store
        self._subscription = subscription

    async def close(self) -> None:
        self._store.ended += 1
        await self._subscription.close()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def persist(store: Store) -> AsyncIterator[Persist]:
    async with Persist(store, watch=True) as persist:
        yield persist


async def settled() -> None:
    """Return when whatever is due at once has been done."""
    for _ in range(10):
        await asyncio.sleep(0)


async def gathered(changes: Watch) -> list[Change]:
    return [each async for each in changes]


# --- who may watch ---


async def test_without_watch_true_watching_is_refused_at_once_and_nothing_is_announced(store: Store) -> None:
    async with Persist(store) as persist:
        with pytest.raises(StoreMisconfigured, match="watch=True"):
            persist.watch("user:")
        with pytest.raises(StoreMisconfigured, match="watch=True"):
            persist.namespace("inner").watch()
        await persist.set("k", 1)
    assert store.begun == 0
    assert store._do.keys() == store._operations.keys()
    assert not store._announces


def test_a_driver_that_cannot_announce_is_refused_before_it_is_opened() -> None:
    class Mute(Passing):
        def __init__(self) -> None:
            super().__init__(MemoryDriver())
            self.traits = MemoryDriver.traits.__class__(
                name="mute", durable="no", shared="process", clock="process", version_from_content=False
            )

    with pytest.raises(StoreMisconfigured, match="mute"):
        Persist(Mute(), watch=True)
    assert Persist(Mute()).traits.name == "mute"


async def test_a_watch_needs_an_open_store_and_a_prefix_that_may_start_a_key(store: Store) -> None:
    persist = Persist(store, watch=True)
    with pytest.raises(Closed):
        persist.watch()
    async with persist:
        changes = persist.watch()
        with pytest.raises(ValueError, match="NUL"):
            persist.watch("a\0")
        with pytest.raises(TypeError):
            persist.watch(None)  # type: ignore[arg-type]
        with pytest.raises(StoreMisconfigured):
            reserved(persist).watch()
    with pytest.raises(Closed):
        await anext(changes)


# --- from when on, and until when ---


async def test_nothing_is_asked_of_the_store_before_the_first_step(persist: Persist, store: Store) -> None:
    changes = persist.watch()
    await settled()
    assert store.begun == 0
    await persist.set("before", 1)
    step = asyncio.ensure_future(anext(changes))
    await settled()
    await persist.set("after", 1)
    assert await step == Change("set", "after")
    assert store.begun == 1


async def test_start_begins_and_what_comes_before_the_first_step_waits(persist: Persist) -> None:
    changes = await persist.watch().start()
    assert await changes.start() is changes
    await persist.set("k", 1)
    await persist.remove("k")
    assert [await anext(changes), await anext(changes)] == [Change("set", "k"), Change("removed", "k")]
    await changes.aclose()


async def test_all_watchers_share_one_subscription_which_ends_with_the_last(
    persist: Persist, store: Store
) -> None:
    async with persist.watch() as one, persist.namespace("n").watch() as inner:
        async with persist.watch("k") as two:
            assert store.begun == 1
            await persist.set("k", 1)
            assert await anext(one) == await anext(two) == Change("set", "k")
        await settled()
        assert store.ended == 0
        await persist.namespace("n").set("k", 1)
        assert await anext(inner) == Change("set", "k")
    await settled()
    assert (store.begun, store.ended) == (1, 1)
    async with persist.watch() as again:
        await persist.set("k", 1)
        assert await anext(again) == Change("set", "k")
    assert store.begun == 2


async def test_who_comes_while_the_last_one_leaves_is_heard(persist: Persist, store: Store) -> None:
    for _ in range(3):
        async with persist.watch():
            pass
        async with persist.watch() as changes:
            await persist.set("k", 1)
            assert await anext(changes) == Change("set", "k")
            await settled()
            await persist.set("l", 1)
            assert await anext(changes) == Change("set", "l")
    await settled()
    assert store.begun == store.ended


@pytest.mark.parametrize("where", ["waiting", "reading"])
async def test_a_cancelled_iteration_ends_its_watch(persist: Persist, store: Store, where: str) -> None:
    async def work() -> None:
        async for _ in persist.watch():
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await settled()
    assert (store.begun, store.ended) == (1, 0)
    if where == "reading":
        await persist.set("k", 1)
        await settled()
    task.cancel()
    await settled()
    assert task.cancelled()
    assert store.ended == 1
    assert persist._core.watchers._inboxes == {}


async def test_leaving_the_loop_ends_the_watch(persist: Persist, store: Store) -> None:
    async def first() -> Change:
        async for change in persist.watch():
            return change
        raise AssertionError

    task = asyncio.create_task(first())
    await settled()
    await persist.set("k", 1)
    assert await task == Change("set", "k")
    await settled()
    assert store.ended == 1


def test_a_watch_that_outlives_its_loop_is_dropped_in_silence() -> None:
    async def begin() -> Watch:
        persist = Persist("memory://", watch=True)
        await persist.open()
        return await persist.watch().start()

    kept = asyncio.run(begin())
    assert kept._started
    del kept
    gc.collect()


async def test_a_step_that_timed_out_loses_nothing(persist: Persist) -> None:
    async with persist.watch() as changes:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await anext(changes)
        await persist.set("k", 1)
        assert await anext(changes) == Change("set", "k")
        step = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await persist.set("l", 1)
        step.cancel()  # when the change is there and the step has not run on
        await settled()
        assert await anext(changes) == Change("set", "l")


async def test_two_tasks_cannot_wait_for_one_watchs_next_change(persist: Persist) -> None:
    async with persist.watch() as changes:
        step = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(changes)
        await persist.set("k", 1)
        assert await step == Change("set", "k")


# --- bounds and losses ---


async def test_as_many_as_the_queue_holds_are_read_and_one_more_loses_them_all_once(
    persist: Persist,
) -> None:
    async with persist.watch() as changes, persist.watch("other") as small:
        for number in range(MAX_CHANGES):
            await persist.set(f"k{number}", 1)
        assert [await anext(changes) for _ in range(MAX_CHANGES)] == [
            Change("set", f"k{number}") for number in range(MAX_CHANGES)
        ]
        for number in range(MAX_CHANGES + 1):
            await persist.set(f"k{number}", 1)
        assert [await anext(changes), await anext(changes)] == [LOST, Change("set", f"k{MAX_CHANGES}")]
        for number in range(3 * MAX_CHANGES):
            await persist.set(f"k{number}", 1)
        await persist.set("other", 1)
        found = [await anext(changes)]
        while found[-1].key != "other":
            found.append(await anext(changes))
        assert found[0] == LOST
        assert found.count(LOST) == 1
        assert len(found) <= MAX_CHANGES
        latest = [f"k{number}" for number in range(3 * MAX_CHANGES)][-(len(found) - 2) :]
        assert [each.key for each in found[1:-1]] == latest, "what came after the loss has holes"
        assert await anext(small) == Change("set", "other")
        await persist.remove("other")
        assert await anext(changes) == Change("removed", "other")


async def test_a_loss_is_told_once_however_often_it_happens_and_what_follows_is_new(
    persist: Persist, store: Store
) -> None:
    async with persist.watch() as changes, persist.namespace("n").watch("x") as inner:
        await persist.set("old", 1)
        store.heard_by.lost()
        store.heard_by.lost()
        await persist.set("new", 1)
        assert [await anext(changes), await anext(changes)] == [LOST, Change("set", "new")]
        assert await anext(inner) == LOST
        step = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        store.heard_by.lost()
        assert await step == LOST


async def test_where_the_store_cannot_be_listened_to_the_first_step_says_so_and_may_be_tried_again(
    persist: Persist, store: Store
) -> None:
    store.refusals = [StoreUnavailable("away"), StoreUnavailable("away")]
    changes = persist.watch()
    with pytest.raises(StoreUnavailable):
        await anext(changes)
    with pytest.raises(StoreUnavailable):
        await changes.start()
    assert persist._core.watchers._inboxes == {}
    async with changes:
        await persist.set("k", 1)
        assert await anext(changes) == Change("set", "k")


async def test_a_start_that_is_cancelled_leaves_nothing(persist: Persist, store: Store) -> None:
    store.gate.clear()
    starts = [asyncio.ensure_future(persist.watch().start()) for _ in range(3)]
    await settled()
    starts[0].cancel()
    starts[1].cancel()
    await settled()
    store.gate.set()
    changes = await starts[2]
    assert store.begun == 1
    await changes.aclose()
    await settled()
    assert store.ended == 1


# --- the end ---


async def test_closing_lets_a_watcher_read_what_it_has(store: Store) -> None:
    persist = Persist(store, watch=True)
    await persist.open()
    changes = await persist.watch().start()
    waiting = asyncio.ensure_future(gathered(persist.watch("never")))
    await settled()
    await persist.set("k", 1)
    await persist.close()
    assert await gathered(changes) == [Change("set", "k")]
    assert await gathered(changes) == []
    assert await waiting == []
    assert store.ended == 1
    await persist.open()
    assert await gathered(changes) == [], "an ended watch came back"
    await persist.close()


async def test_closing_while_somebody_begins_leaves_no_subscription(store: Store) -> None:
    persist = Persist(store, watch=True)
    await persist.open()
    store.gate.clear()
    start = asyncio.ensure_future(persist.watch().start())
    late = asyncio.ensure_future(persist.watch().start())
    await settled()
    close = asyncio.ensure_future(persist.close())
    await settled()
    store.gate.set()
    await close
    changes = await start
    assert await gathered(changes) == []
    with pytest.raises(Closed):
        await late
    assert store.begun == store.ended == 1


async def test_aclose_ends_the_iteration_at_once(persist: Persist) -> None:
    changes = await persist.watch().start()
    step = asyncio.ensure_future(gathered(changes))
    await asyncio.sleep(0)
    await changes.aclose()
    await changes.aclose()
    assert await step == []
    await persist.set("k", 1)
    assert await gathered(await changes.start()) == []
    never = persist.watch()
    await never.aclose()
    assert await gathered(never) == []
