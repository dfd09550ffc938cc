"""A claim on a name that ends by itself: what loaders and locks are built from.

A lease is an ordinary value with an expiry, under a key of its own family. It
holds a token that nobody else has, so that "is it mine?" is a question about
content, whichever way an earlier, unanswered write may have gone.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, Protocol

from holdfast.errors import StoreError
from holdfast.persist.driver import Create, GetEntry, Operation, Remove, Replace

__all__ = ["Lease", "Run", "Spawn", "give_back", "heard"]

CERTAIN: Final = 0.9 / 1000
"""Of a lease's milliseconds, the seconds that its holder counts on: clocks and wake-ups are not exact."""


class Run(Protocol):
    """Does one operation and answers its outcome; `size` is its bytes on the wire, roughly."""

    def __call__(self, op: Operation, size: int = 0) -> Awaitable[Any]: ...


class Spawn(Protocol):
    """Starts a named task that `Persist` owns: cancelled at close, or with `finish` awaited."""

    def __call__(
        self, work: Coroutine[Any, Any, Any], name: str, *, finish: bool = False
    ) -> asyncio.Task[Any]: ...


class Lease:
    """One claim on `key` for `ttl` milliseconds at a time.

    `ends` is the moment, on `time.monotonic`, up to which the claim is certain:
    counted from before the request that obtained it was sent, so a slow answer
    shortens what we believe and never lengthens it; and a tenth short of `ttl`,
    so that who must stop has heard of it before anybody else can begin.
    """

    def __init__(self, run: Run, key: str, ttl: int) -> None:
        self._run = run
        self._key = key
        self._ttl = ttl
        self._value = f'{{"owner":"{os.urandom(12).hex()}"}}'.encode()
        self._version: str | None = None
        self._maybe_mine = False  # also true while an `acquire` is unanswered
        self.ends = 0.0

    async def acquire(self) -> bool:
        """Whether the name was free and is ours now."""
        asked = time.monotonic()
        self._maybe_mine = True
        self._maybe_mine = bool(await self._run(Create(self._key, self._value, self._ttl)))
        if self._maybe_mine:
            self.ends = asked + self._ttl * CERTAIN
        return self._maybe_mine

    async def confirm(self) -> bool:
        """Whether the store still says that it is ours; learns the version on the way."""
        stored = await self._run(GetEntry(self._key))
        text = None if stored is None else stored.value
        mine = (text.encode() if isinstance(text, str) else text) == self._value
        self._version = stored.version if mine else None
        return mine

    async def renew(self) -> bool:
        """Whether it is ours for a full `ttl` from now."""
        for _ in range(2):  # twice: an unanswered renewal may have changed the version
            if self._version is None and not await self.confirm():
                return False
            assert self._version is not None
            asked = time.monotonic()
            self._version = await self._run(Replace(self._key, self._value, self._version, self._ttl))
            if self._version is not None:
                self.ends = asked + self._ttl * CERTAIN
                return True
        return False

    async def release(self) -> bool:
        """Give it back. Whether it was still ours."""
        for _ in range(2):  # twice: a renewal that was cancelled in flight may have changed the version
            if not self._maybe_mine or (self._version is None and not await self.confirm()):
                return False
            version, self._version = self._version, None
            if await self._run(Remove(self._key, version)):
                return True
        return False

    async def keep(self) -> None:
        """Renew at every third of the lease, and return as soon as it is no longer certain.

        While the store does not answer, the claim holds until it would have
        ended by itself: nobody else can have it before.
        """
        pause = wait = self._ttl / 3000
        while (left := self.ends - time.monotonic()) > 0:
            await asyncio.sleep(min(wait, left))
            try:
                async with asyncio.timeout(max(0.0, self.ends - time.monotonic())):
                    if not await self.renew():
                        return
                wait = pause
            except (StoreError, TimeoutError):
                wait = pause / 4


async def give_back(lease: Lease) -> None:
    """Release what may or may not have been obtained; if the store is away, the lease ends by itself."""
    try:
        await lease.release()
    except StoreError:
        pass  # the caller already has its answer, and this one could change nothing about it


def heard(task: asyncio.Task[Any]) -> None:
    """For a task whose waiters may all have been cancelled: then its failure is nobody's, and no warning either."""
    if not task.cancelled():
        task.exception()
