"""The way to the store: its driver, the queue in front of it, and who is told what was written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, cast

from holdfast import events
from holdfast.channels.driver import LATER, Driver, Operation, Outcome
from holdfast.coalesce import Batcher
from holdfast.errors import Closed, NotMigrated, StoreError

__all__ = ["NOTHING", "Core"]


class _Nothing:
    def __await__(self) -> Iterator[None]:
        return iter(())


NOTHING: Final = cast("Awaitable[Any]", _Nothing())
"""What there is to wait for where nothing is."""


class Core:
    """Opened once, closed once; see `Channels`.

    Args:
        written: told of every operation of a batch with its outcome, in order,
            once the batch is acknowledged and before anybody who waits goes on.
        failed: told of the operations of a batch that failed, and why, before
            another leaves the queue.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        auto_migrate: bool | None,
        written: Callable[[Sequence[Operation], Sequence[Outcome]], None],
        failed: Callable[[Sequence[Operation], BaseException], None],
    ) -> None:
        self.driver = driver
        self.traits = driver.traits
        self._auto_migrate = auto_migrate
        self._written = written
        self._failed = failed
        self._batcher: Batcher[Operation] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changing = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_open = False

    @property
    def orphaned(self) -> bool:
        """It was opened on an event loop that has ended since, and never closed."""
        return self.is_open and self.loop is not None and self.loop.is_closed()

    async def open(self) -> None:
        if self.orphaned:
            await self._forget()
        if self.is_open or self._changing:
            raise StoreError("channels: already open, or being opened or closed")
        self._changing = True
        try:
            await self.driver.open()
            try:
                await self._check_tables()
            except BaseException:
                await self.driver.close()
                raise
            traits = self.traits
            self._batcher = Batcher(
                self._apply if traits.pipeline == 1 else self._apply_behind,
                name=traits.name,
                capability="channels",
                lanes=traits.lanes,
                writes_in_one_lane=traits.writes_in_one_lane,
                pipeline=traits.pipeline,
                max_ops=traits.max_ops,
                max_bytes=traits.max_bytes,
            )
            self._batcher.start()
            self.loop = asyncio.get_running_loop()
            self.is_open = True
        finally:
            self._changing = False

    async def _check_tables(self) -> None:
        wanted = self.traits.auto_migrate if self._auto_migrate is None else self._auto_migrate
        if wanted:
            await self.driver.migrate()
        elif missing := await self.driver.pending():
            raise NotMigrated(
                f"{self.traits.name}: {len(missing)} migration(s) pending "
                f"(next: {missing[0].capability} {missing[0].version}, {missing[0].summary}); "
                "run `holdfast migrate`, `await channels.migrate()`, or open with auto_migrate=True"
            )

    async def close(self) -> None:
        """Cancel what runs by itself, finish what was asked for, give the engine back. Twice is once."""
        if not self.is_open:
            return
        assert self._batcher is not None
        self.is_open, self._changing = False, True
        try:
            while running := [task for task in self._tasks if not task.done()]:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)
            await self._batcher.close()
        finally:
            self._batcher.abandon()
            self._batcher = None
            try:
                await self.driver.close()
            finally:
                self._changing = False

    async def _forget(self) -> None:
        """There is nothing left to finish on a loop that has ended."""
        self.is_open, self._batcher, self._tasks = False, None, set()
        try:
            await self.driver.close()
        except Exception:  # noqa: BLE001, S110 - its connections ended with their loop
            pass

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task of ours, kept until it ends, cancelled at close."""
        # Not by the loop's factory, which may be eager: whoever spawns keeps the task, to know that it runs.
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- operations ---

    async def run(self, op: Operation, size: int = 0) -> Outcome:
        """One operation: at once where the driver can, else by the next batch."""
        if type(op) in self.traits.immediate and self.is_open:
            outcome = self._now(op)
            if outcome is not LATER:
                return outcome
        return await self._submit(op, size)

    def begin(self, op: Operation, size: int = 0) -> asyncio.Future[Outcome]:
        """The same, submitted before this returns: what is begun later comes later."""
        if type(op) in self.traits.immediate and self.is_open:
            outcome = self._now(op)
            if outcome is not LATER:
                done = asyncio.get_running_loop().create_future()
                done.set_result(outcome)
                return done
        return self._submit(op, size)

    def send(self, op: Operation, size: int = 0) -> asyncio.Future[Outcome]:
        """The same of what nobody need wait for: who does not is not told that it failed, and nor is the loop."""
        sending = self.begin(op, size)
        sending.add_done_callback(_heard_of)
        return sending

    def _now(self, op: Operation) -> Outcome:
        outcome = self.driver.now(op)
        if outcome is not LATER:
            self._written((op,), (outcome,))
            if events.listeners:
                kind = type(op).__name__.lower()
                events.publish(events.OperationApplied(self.traits.name, kind, "channels"))
        return outcome

    def _submit(self, op: Operation, size: int) -> asyncio.Future[Outcome]:
        if self._batcher is None:
            raise Closed("channels: not open; use it inside `async with`")
        return self._batcher.submit(op, size)

    async def _apply(self, batch: Sequence[Operation], lane: int) -> list[Outcome]:
        try:
            outcomes = await self.driver.apply(batch, lane)
        except BaseException as exc:
            self._failed(batch, exc)
            raise
        self._written(batch, outcomes)
        return outcomes

    def _apply_behind(self, batch: Sequence[Operation], lane: int) -> Awaitable[list[Outcome]]:
        """The same for a driver that pipelines: its future is handed on, and heard of first."""
        under_way = asyncio.ensure_future(self.driver.apply(batch, lane))

        def landed(done: asyncio.Future[list[Outcome]]) -> None:
            error = asyncio.CancelledError() if done.cancelled() else done.exception()
            if error is None:
                self._written(batch, done.result())
            else:
                self._failed(batch, error)

        under_way.add_done_callback(landed)  # before the Batcher adds its own
        return under_way


def _heard_of(sending: asyncio.Future[Outcome]) -> None:
    if not sending.cancelled():
        sending.exception()
