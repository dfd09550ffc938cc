"""What all namespaces of one `Persist` share: the driver, the queue in front of it, the tasks behind it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, cast

from holdfast import events
from holdfast.coalesce import Batcher
from holdfast.errors import Closed, NotMigrated, StoreError, StoreMisconfigured
from holdfast.persist.driver import LATER, Driver, Notifying, Operation, Outcome
from holdfast.persist.lease import Lease, give_back
from holdfast.persist.loader import Loaders
from holdfast.persist.turns import Turns
from holdfast.persist.watch import Watchers

__all__ = ["Core"]

SWEEP_LEASE: Final = "holdfast:s:sweep"
"""One for the whole table, whatever namespaces live in it."""
SWEEP_LEASE_MS: Final = 60_000
SWEEP_ROWS: Final = 1_000
SWEEP_PAUSE: Final = 0.2
"""Seconds between two chunks: 5,000 rows a second are looked at, and a writer waits for one chunk at most."""
SWEEP_REST: Final = 60.0
"""Seconds between two walks of the table, and between two tries to become the process that walks it."""
CHUNK: Final = 1_024
"""Operations that one call of ours has in the queue at a time, so that `set_many` cannot crowd others out."""


def _shut(op: Operation) -> Outcome:
    raise Closed("persist: not open; use it inside `async with`")


def _shut_submit(op: Operation, size: int = 0) -> asyncio.Future[Outcome]:
    raise Closed("persist: not open; use it inside `async with`")


def _announcing(driver: Driver, channel: str) -> Notifying:
    """The driver, told to announce."""
    if not driver.traits.notifies:
        raise StoreMisconfigured(f"watch=True: {driver.traits.name} cannot announce changes")
    notifying = cast("Notifying", driver)
    notifying.announce(channel)
    return notifying


class Core:
    """Opened once, closed once; see `Persist`."""

    def __init__(
        self,
        driver: Driver,
        *,
        auto_migrate: bool | None,
        max_bytes: int,
        watch: str | None = None,
        rest: float = SWEEP_REST,
    ) -> None:
        self.driver = driver
        self.traits = driver.traits
        self._notifying = None if watch is None else _announcing(driver, watch)
        self._watchers: Watchers | None = None  # while open
        self.max_bytes = max_bytes
        self._rest = rest
        self._auto_migrate = auto_migrate
        self._batcher: Batcher[Operation] | None = None
        self.turns = Turns()
        self.loaders = Loaders(self.run_inside, self.spawn)
        self._tasks: set[asyncio.Task[Any]] = set()  # cancelled at close
        self._finishing: set[asyncio.Task[Any]] = set()  # awaited at close
        self._changing = False  # being opened or closed
        self.loop: asyncio.AbstractEventLoop | None = None  # that it was opened on
        self.is_open = False
        # Bound once, for the paths where every look-up counts.
        self.submit: Callable[[Operation, int], asyncio.Future[Outcome]] = _shut_submit
        self.now: Callable[[Operation], Outcome] = _shut
        self.immediate: frozenset[type] = driver.traits.immediate

    # --- life ---

    async def open(self) -> None:
        if self.is_open and self.loop is not None and self.loop.is_closed():
            await self._forget()
        if self.is_open or self._changing:
            raise StoreError("persist: already open, or being opened or closed")
        self._changing = True
        try:
            await self.driver.open()
            try:
                await self._check_tables()
            except BaseException:
                await self.driver.close()
                raise
            self._start()
        finally:
            self._changing = False

    def _start(self) -> None:
        traits = self.traits
        self._batcher = Batcher(
            self.driver.apply,
            name=traits.name,
            lanes=traits.lanes,
            writes_in_one_lane=traits.writes_in_one_lane,
            pipeline=traits.pipeline,
            overlap_from=traits.overlap_from,
            max_ops=traits.max_ops,
            max_bytes=traits.max_bytes,
        )
        self._batcher.start()
        self.loop = asyncio.get_running_loop()
        self.submit = self._batcher.submit
        self.now = self.driver.now if self.immediate else _shut
        self.is_open = True
        if self._notifying is not None:
            self._watchers = Watchers(self._notifying, self.spawn)
        if traits.sweeps:
            self.spawn(self._sweep_forever(), f"holdfast {traits.name} sweep")

    async def _check_tables(self) -> None:
        wanted = self.traits.auto_migrate if self._auto_migrate is None else self._auto_migrate
        if wanted:
            await self.driver.migrate()
        elif missing := await self.driver.pending():
            raise NotMigrated(
                f"{self.traits.name}: {len(missing)} migration(s) pending "
                f"(next: {missing[0].capability} {missing[0].version}, {missing[0].summary}); "
                "run `holdfast migrate`, `await persist.migrate()`, or open with auto_migrate=True"
            )

    async def close(self) -> None:
        """Stop what runs by itself, finish what was asked for, give the engine back. Twice is once."""
        if not self.is_open:
            return
        assert self._batcher is not None
        self.is_open, self._changing = False, True
        self.submit, self.now = _shut_submit, _shut
        for task in self._tasks:
            task.cancel()
        try:
            while running := [task for task in (*self._tasks, *self._finishing) if not task.done()]:
                await asyncio.wait(running)
            await self._batcher.close()
        finally:
            self._batcher.abandon()  # where this close was cancelled: nobody may wait for ever
            self._batcher = None
            await self._disconnect()

    async def _disconnect(self) -> None:
        watchers, self._watchers = self._watchers, None
        try:
            if watchers is not None:
                await watchers.close()  # behind the last writes, which they may still hear of
        finally:
            try:
                await self.driver.close()
            finally:
                self._changing = False

    async def _forget(self) -> None:
        """It was opened on an event loop that has ended since, and never closed: there is nothing left to finish."""
        self.is_open, self._batcher, self._watchers = False, None, None
        self.turns, self.loaders = Turns(), Loaders(self.run_inside, self.spawn)
        self._tasks, self._finishing = set(), set()
        try:
            await self.driver.close()
        except Exception:  # noqa: BLE001, S110 - its connections ended with their loop
            pass

    def spawn(self, work: Coroutine[Any, Any, Any], name: str, *, finish: bool = False) -> asyncio.Task[Any]:
        """A task of ours, kept until it ends: cancelled at close, or with `finish` awaited."""
        task = asyncio.create_task(work, name=name)
        owned = self._finishing if finish else self._tasks
        owned.add(task)
        task.add_done_callback(owned.discard)
        if not (self.is_open or finish):
            task.cancel()  # whoever asks for it did not yet hear of the close
        return task

    @property
    def watchers(self) -> Watchers:
        """Who watches; raises where nothing is announced, or while closed."""
        if self._notifying is None:
            raise StoreMisconfigured(
                "watch: writes are not announced; Persist(url, watch=True), wherever this store is written"
            )
        if self._watchers is None or not self.is_open:
            raise Closed("watch: not open; use it inside `async with`")
        return self._watchers

    # --- operations ---

    async def run(self, op: Operation, size: int = 0) -> Outcome:
        """One operation: at once where the driver can, else by the next batch."""
        if type(op) in self.immediate:
            outcome = self.now(op)
            if outcome is not LATER:
                if events.listeners:
                    self.tell(op)
                return outcome
        return await self.submit(op, size)

    async def run_inside(self, op: Operation, size: int = 0) -> Outcome:
        """`run`, and also while closing: for leases, which are to be given back."""
        if self._batcher is None:
            return _shut(op)
        if type(op) in self.immediate and (outcome := self.driver.now(op)) is not LATER:
            if events.listeners:
                self.tell(op)
            return outcome
        return await self._batcher.submit(op, size)

    async def run_many(self, ops: Iterable[tuple[Operation, int]]) -> list[Outcome]:
        """Many, in order, a bounded number in the queue at a time; the first failure is raised after all have ended."""
        outcomes: list[Outcome] = []
        chunk: list[tuple[Operation, int]] = []
        for each in ops:
            chunk.append(each)
            if len(chunk) == CHUNK:
                outcomes += await self._run_chunk(chunk)
                chunk.clear()
        return outcomes + await self._run_chunk(chunk)

    async def _run_chunk(self, chunk: list[tuple[Operation, int]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        waiting: list[tuple[int, asyncio.Future[Outcome]]] = []
        for op, size in chunk:
            outcome: Outcome = LATER
            try:
                if type(op) in self.immediate:
                    outcome = self.now(op)
                    if outcome is not LATER and events.listeners:
                        self.tell(op)
                if outcome is LATER:
                    waiting.append((len(outcomes), self.submit(op, size)))
            except Exception as exc:  # noqa: BLE001 - raised below, when those already sent have ended
                outcomes.append(exc)
                break
            outcomes.append(outcome)
        if waiting:
            answers = await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
            for (at, _), answer in zip(waiting, answers, strict=True):
                outcomes[at] = answer
        else:
            await asyncio.sleep(0)  # where nothing waits, others still have their turn after each chunk
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes

    def tell(self, op: Operation) -> None:
        events.publish(events.OperationApplied(self.traits.name, type(op).__name__.lower()))

    # --- expired rows ---

    async def _sweep_forever(self) -> None:
        """Walk the table, rest, walk again; a store that is away is tried again after the rest."""
        while True:
            await asyncio.sleep(self._rest * random.uniform(0.5, 1.5))
            lease = Lease(self.run_inside, SWEEP_LEASE, SWEEP_LEASE_MS)
            try:
                if await lease.acquire():
                    await self._sweep(lease)
            except StoreError:
                pass  # every caller is told by its own operation; there is nobody here to tell
            except Exception as exc:  # noqa: BLE001 - a fault of the driver's; sweeping goes on after the rest
                told = {"message": f"{self.traits.name}: sweeping failed", "exception": exc}
                asyncio.get_running_loop().call_exception_handler(told)
            finally:
                await give_back(lease)

    async def _sweep(self, lease: Lease) -> None:
        """One walk, for as long as the lease can be renewed."""
        loop = asyncio.get_running_loop()
        cursor: str | None = None
        renewed = loop.time()
        while True:
            swept = await self.driver.sweep(cursor, SWEEP_ROWS)
            if swept.removed and events.listeners:
                events.publish(events.Swept(self.traits.name, swept.removed))
            cursor = swept.cursor
            if cursor is None:
                return
            if loop.time() - renewed > SWEEP_LEASE_MS / 3000:
                if not await lease.renew():
                    return
                renewed = loop.time()
            await asyncio.sleep(SWEEP_PAUSE)
