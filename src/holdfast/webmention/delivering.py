"""Claims what is due of an `Outbox`, attempts it, and settles it: the part that must lose nothing.

A mention in hand is leased. Everything that begins is sure to have ended before
the lease does, or it does not begin: what is left of the lease is looked at
before each fetch. One whose turn did not come in time is put back. What became
of it is settled by the lease's token, so a result that comes too late, or is of
content that was replaced meanwhile, changes nothing.

Killed at any point, the leases run out and the mentions are due again: those
that were being told just then are told once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from holdfast import events
from holdfast.errors import Closed, StoreError, StoreUnavailable
from holdfast.webmention.attempts import Attempts, Job
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.outcomes import put_back
from holdfast.webmention.storage import Claimed, Outbox

__all__ = ["Deliveries"]

LEASE: Final = 60.0
SETTLING: Final = 5.0  # seconds of a lease that are kept for settling
IN_HAND: Final = 1_000  # claimed, most of them in line for a busy host
REFILL: Final = 4  # a claim is worth it once this part (a fourth) of the places is free
LOOK: Final = 1.0  # seconds after which, while some are under way, it is asked whether others are due
AGAIN: Final = (0.1, 0.5, 2.0)  # seconds between tries to settle what a store did not take


class Deliveries:
    """Every mention that this process has in hand.

    INVARIANT: `_jobs` has each claimed mention until its task has ended; only
    `close` cancels a task, and never one that may have told its endpoint.
    """

    def __init__(
        self,
        outbox: Outbox,
        attempts: Attempts,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lease: float = LEASE,
    ) -> None:
        if lease < 2 * attempts.allowance + SETTLING:
            raise ValueError(f"lease = {lease:g} s: two fetches of {attempts.allowance:g} s may outlive it")
        self._outbox, self._attempts = outbox, attempts
        self._now, self._sleep, self._lease = now, sleep, lease
        self._jobs: dict[asyncio.Task[None], tuple[Job, Claimed]] = {}
        self._closed = False

    async def drain(self, *, source_url: str | None = None, limit: int | None = None) -> int:
        """Attempt what is due (of the source) until nothing is, at most `limit`; how many were.

        Cancelled, it leaves what is in hand to end by itself; `close` waits for it.

        Raises:
            StoreUnavailable: some could not be claimed or settled. The others were; these are due again.
        """
        mine: set[asyncio.Task[None]] = set()
        failed: StoreError | None = None
        count, look_at = 0, 0.0
        refill = max(1, self._attempts.turns.at_once // REFILL)
        while True:
            room = self._room(None if limit is None else limit - count)
            got = 0
            if failed is None and room and (not mine or (room >= refill and time.monotonic() >= look_at)):
                try:
                    begun = await self._begin(room, source_url)
                except StoreError as exc:
                    failed, begun = exc, []
                mine.update(begun)
                got = len(begun)
                count += got
                look_at = 0.0 if got == room else time.monotonic() + LOOK
                if got == room:
                    continue  # there may be more, for hosts that have room
            if not mine:
                if got == 0 and (room or failed or (limit is not None and count >= limit)):
                    break
                await self._some_end(set(self._jobs))  # others have every place
                continue
            ended, mine = await self._some_end(mine)
            for task in ended:
                failed = failed or _failure(task)
        if failed is not None:
            raise failed
        return count

    def _room(self, left: int | None) -> int:
        room = max(0, min(self._attempts.turns.free, IN_HAND - len(self._jobs)))
        return room if left is None else min(room, left)

    @staticmethod
    async def _some_end(
        tasks: set[asyncio.Task[None]],
    ) -> tuple[set[asyncio.Task[None]], set[asyncio.Task[None]]]:
        if not tasks:
            return set(), set()
        return await asyncio.wait(tasks, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)

    def of(self, source_url: str) -> set[asyncio.Task[None]]:
        """What is in hand of this source."""
        return {task for task, (job, _) in self._jobs.items() if job.mention.source_url == source_url}

    async def _begin(self, limit: int, source_url: str | None) -> list[asyncio.Task[None]]:
        if self._is_closed():
            raise Closed("webmention: closed, or being closed")
        until = (
            time.monotonic() + self._lease - SETTLING
        )  # before the claim: the store counts from a later moment
        claimed = await self._outbox.claim(lease=self._lease, limit=limit, source_url=source_url)
        if self._is_closed():
            return []  # their leases run out
        return [self._start(each, until) for each in claimed]

    def _is_closed(self) -> bool:
        return self._closed

    def _start(self, claimed: Claimed, until: float) -> asyncio.Task[None]:
        job = self._attempts.take(claimed.mention, until=until)
        task = asyncio.create_task(self._one(job, claimed), name="holdfast webmention delivery")
        self._jobs[task] = (job, claimed)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._jobs[task]
        if not task.cancelled():
            task.exception()  # whoever waits is told; the loop need not be

    async def _one(self, job: Job, claimed: Claimed) -> None:
        after = await self._attempts.make(job)
        job.underway = True
        told = after is not None
        if after is None:
            after = put_back(job.mention, endpoint=job.endpoint, now=self._now())
        if await self._settle(claimed, after, job.until) and told and job.mention.status == "pending":
            _announce(after)

    async def _settle(self, claimed: Claimed, after: OutgoingMention, until: float) -> bool:
        """Trying again is safe: the token is good for one change. A result that is not kept is a second delivery."""
        for pause in (*AGAIN, None):
            try:
                return await self._outbox.settle(claimed, after)
            except StoreUnavailable:
                if pause is None or time.monotonic() + pause > until + SETTLING:
                    raise
                await self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """Put back what was not told yet; wait, within two deadlines, for what may have been. Nothing begins after."""
        self._closed = True
        held = dict(self._jobs)
        for task, (job, _) in held.items():
            if not job.underway:
                task.cancel()
        if held:
            await asyncio.wait(held)
        await asyncio.gather(
            *(self._give_back(job, claimed) for task, (job, claimed) in held.items() if task.cancelled())
        )

    async def _give_back(self, job: Job, claimed: Claimed) -> None:
        try:
            await self._outbox.settle(claimed, put_back(job.mention, endpoint=job.endpoint, now=self._now()))
        except StoreError:
            pass  # it is due again when its lease ends


def _failure(task: asyncio.Task[None]) -> StoreError | None:
    """What a task of ours died of; only a store's failure is expected, anything else is raised here and now."""
    if task.cancelled():
        return None
    exc = task.exception()
    if exc is None or isinstance(exc, StoreError):
        return exc
    raise exc


def _announce(after: OutgoingMention) -> None:
    if events.listeners:
        events.publish(events.MentionSent(after.source_url, after.target_url, after.status))
