"""`get_or_create`: one loader at a time for each key, across tasks and processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from holdfast.errors import Closed, again
from holdfast.persist.driver import Create, Get, Text
from holdfast.persist.lease import Lease, Run, Spawn, give_back, heard

__all__ = ["Loader", "Loaders"]

LEASE_MS = 30_000
FIRST_WAIT = 0.02
LONGEST_WAIT = 0.5
"""Seconds between two looks for a value that another process is loading; jittered."""

Produce = Callable[[], Awaitable[bytes]]
"""Calls the user's loader and encodes what it gave."""


class Loaders:
    """The loads under way in this process: who asks for a key meanwhile waits for the same one."""

    def __init__(self, run: Run, spawn: Spawn) -> None:
        self._run = run
        self._spawn = spawn
        # INVARIANT: a load is here until its task has ended or its last waiter has gone.
        self._under_way: dict[str, Loader] = {}

    async def load(self, key: str, lease_key: str, produce: Produce, ttl: int | None) -> Text:
        """The stored text of `key`, loaded if it is absent; raises what the loader raises, to each its own."""
        loader = self._under_way.get(key)
        if loader is None:
            loader = self._under_way[key] = Loader(self._run, self._spawn, key, lease_key, produce, ttl)
            loader.start(lambda done=loader: self._forget(done))  # type: ignore[misc]
        loader.waiters += 1
        try:
            return await asyncio.shield(loader.task)
        except asyncio.CancelledError:
            if loader.waiters == 1:
                self._forget(loader)
                loader.task.cancel()
            task = asyncio.current_task()
            # `cancelling`: by `Persist.close`. Without, the user's loader raised it, as it may anything.
            if loader.task.cancelled() and loader.task.cancelling() and task and not task.cancelling():
                raise Closed(f"get_or_create {key!r}: closed while loading") from None
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the user's loader raises
            failure = again(exc).with_traceback(exc.__traceback__)  # says where the loader failed
        finally:
            loader.waiters -= 1
        try:
            raise failure  # outside of `except`, so that its context stays the loader's own
        finally:
            del failure  # it refers to this frame

    def _forget(self, loader: Loader) -> None:
        if self._under_way.get(loader.key) is loader:
            del self._under_way[loader.key]


class Loader:
    """One load: look, claim, load, store; or wait for whoever claimed it first."""

    task: asyncio.Task[Text]

    def __init__(
        self, run: Run, spawn: Spawn, key: str, lease_key: str, produce: Produce, ttl: int | None
    ) -> None:
        self._run = run
        self._spawn = spawn
        self.key = key
        self._lease_key = lease_key
        self._produce = produce
        self._ttl = ttl
        self.waiters = 0

    def start(self, ended: Callable[[], None]) -> None:
        self.task = self._spawn(self._load(), f"holdfast load {self.key!r}")
        self.task.add_done_callback(lambda _: ended())
        self.task.add_done_callback(heard)

    async def _load(self) -> Text:
        pause = FIRST_WAIT
        while True:
            lease = Lease(self._run, self._lease_key, LEASE_MS)
            try:
                if await lease.acquire():
                    text = await self._load_as_holder(lease)
                    if text is not None:
                        return text
            finally:
                # Nobody waits for this: the value is there, or the error is on its way.
                self._spawn(give_back(lease), f"holdfast load {self.key!r} lease given back", finish=True)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, LONGEST_WAIT)
            text = await self._run(Get(self.key))
            if text is not None:
                return text  # type: ignore[no-any-return]

    async def _load_as_holder(self, lease: Lease) -> Text | None:
        """The value now stored; None where the lease was lost on the way and the result is discarded."""
        text: Text | None = await self._run(Get(self.key))
        if text is not None:
            return text  # stored between our first look and our lease
        keeper = self._spawn(lease.keep(), f"holdfast load {self.key!r} lease")
        try:
            made = await self._produce()
        finally:
            keeper.cancel()
        if not await lease.renew():
            return None
        # `create`, not `set`: should we have slept since the renewal, a successor's value stands.
        if await self._run(Create(self.key, made, self._ttl), len(made)):
            return made
        return await self._run(Get(self.key)) or made
