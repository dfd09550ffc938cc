"""`persist.lock(name)`: one holder at a time, across tasks, processes and machines."""

from __future__ import annotations

import asyncio
import random
import time
from types import TracebackType

from holdfast.errors import Closed, LockBusy, LockLost, StoreError
from holdfast.persist.driver import Increment
from holdfast.persist.lease import Lease, Run, Spawn, give_back, heard
from holdfast.persist.turns import Turns

__all__ = ["Lock"]

FIRST_WAIT = 0.01
LONGEST_WAIT = 0.25
"""Seconds between two looks at a lock that another process holds; jittered."""


class Lock:
    """`async with persist.lock("nightly", expires=30) as fence:`; see `Persist.lock`."""

    def __init__(
        self,
        run: Run,
        run_inside: Run,
        spawn: Spawn,
        turns: Turns,
        name: str,
        keys: tuple[str, str],
        *,
        ttl: int,
        wait: float | None,
    ) -> None:
        self._run = run
        self._run_inside = run_inside
        self._spawn = spawn
        self._turns = turns
        self._name = name
        self._key, self._fence_key = keys
        self._ttl = ttl
        self._wait = wait
        self._lease: Lease | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._holder: asyncio.Task[object] | None = None
        self._lost = False
        self._told = False  # the holder was cancelled by us
        self._why: BaseException | None = None  # the keeper's own failure, where that is how it was lost
        self._cancelling = 0  # of the holder before we cancelled it

    async def __aenter__(self) -> int:
        if self._lease is not None:
            raise RuntimeError(
                f"lock {self._name!r}: this lock object is in use; make one for each `async with`"
            )
        if self._wait == 0 and self._turns.taken(self._key):
            raise LockBusy(f"lock {self._name!r}: another task of this process holds it")
        deadline = None if self._wait is None else time.monotonic() + self._wait
        try:
            # Tasks of one process queue here, first come first served; one of them asks the store.
            async with asyncio.timeout(self._wait or None):
                await self._turns.take(self._key)
        except TimeoutError:
            raise LockBusy(f"lock {self._name!r}: not free within {self._wait} s") from None
        try:
            self._lease, fence = await self._obtain(deadline)
        except BaseException:
            self._turns.give(self._key)
            raise
        self._lost, self._told, self._why = False, False, None
        self._holder = asyncio.current_task()
        assert self._holder is not None
        self._cancelling = self._holder.cancelling()
        self._keeper = self._spawn(self._lease.keep(), f"holdfast lock {self._name!r}")
        self._keeper.add_done_callback(self._unkept)
        return fence

    async def _obtain(self, deadline: float | None) -> tuple[Lease, int]:
        pause = FIRST_WAIT
        while True:
            lease = Lease(self._run_inside, self._key, self._ttl)
            try:
                if await lease.acquire():
                    # The fence is drawn while holding and the hold is confirmed after: a
                    # holder that slept between the two cannot come out with a fence that
                    # is larger than its successor's.
                    fence = await self._run(Increment(self._fence_key, 1, None))
                    if await lease.confirm() and time.monotonic() < lease.ends:
                        return lease, int(fence)
            except BaseException:
                # It may have been obtained all the same; if this fails too, the lease ends by itself.
                self._spawn(give_back(lease), f"holdfast lock {self._name!r} given up", finish=True)
                raise
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LockBusy(f"lock {self._name!r}: not free within {self._wait} s")
            wait = pause * random.uniform(0.5, 1.5)
            await asyncio.sleep(wait if left is None else min(wait, left))
            pause = min(pause * 1.5, LONGEST_WAIT)

    def _unkept(self, keeper: asyncio.Task[None]) -> None:
        """Nobody renews the lease any more: whatever the reason, the body must not go on."""
        if keeper is not self._keeper:
            return  # the body has ended
        assert self._holder is not None
        self._lost = True
        if not keeper.cancelled():
            self._why = keeper.exception()
        elif self._holder.cancelling() > self._cancelling:
            return  # the whole loop is being stopped, and the body has been told already
        else:
            self._why = Closed("persist: closed while the lock was held")
        self._told = self._holder.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lease is not None
        assert self._keeper is not None
        assert self._holder is not None
        lease, self._lease = self._lease, None
        keeper, self._keeper = self._keeper, None
        keeper.cancel()
        try:
            if self._lost:
                left = self._holder.uncancel() if self._told else self._holder.cancelling()
                cancelled_by_us = self._told and left <= self._cancelling
                if kind is None or (kind is asyncio.CancelledError and cancelled_by_us):
                    told = f"lock {self._name!r}: the lease ended while its holder was at work"
                    raise LockLost(told) from self._why
                return
            released = self._spawn(lease.release(), f"holdfast lock {self._name!r} release", finish=True)
            released.add_done_callback(heard)
            try:
                mine = await asyncio.shield(released)
            except StoreError:
                if kind is not None:
                    return  # the body's own error says more; the lease ends by itself
                raise
            if not mine and kind is None:
                raise LockLost(f"lock {self._name!r}: the lease was gone before it was given back")
        finally:
            self._turns.give(self._key)
