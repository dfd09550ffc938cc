"""One attempt at one mention: find the endpoint, tell it, say how that ended. Or ask how it fares.

Nothing a target or an endpoint does is raised: it is an `Outcome` with its
reason. Only a failing store, and being cancelled, end an attempt otherwise.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from holdfast.errors import AddressRefused, FetchFailed, StoreError
from holdfast.webmention.client import deliver, discover
from holdfast.webmention.client_caching import retry_after
from holdfast.webmention.discoveries import FAILURE, Discoveries
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.outcomes import Outcome, Polled, asked_again, settled
from holdfast.webmention.pages import Page, Web
from holdfast.webmention.planning import is_first
from holdfast.webmention.schedule import DAY
from holdfast.webmention.statuses import status_of
from holdfast.webmention.turns import Turn, Turns
from holdfast.webmention.urls import clean, host_of

__all__ = ["GRACE", "Attempts", "Job"]

GRACE: Final = 2.0
"""Seconds that a fetch gets above its deadline before it is ended from here."""


class Job:
    """One mention in hand. Its turn is left however it ends."""

    __slots__ = ("endpoint", "mention", "turn", "underway", "until")

    def __init__(self, mention: OutgoingMention, turn: Turn, until: float) -> None:
        self.mention = mention
        self.turn = turn
        self.until = until  # on the monotonic clock: what begins has to have ended by then
        self.endpoint: str | None = None  # once it is known
        self.underway = False  # from here on it may have been told: cancelling would not undo it


class Attempts:
    """Makes them; shared by everything that one process sends.

    Args:
        deadline: seconds that `web` gives one fetch, redirects and all.
    """

    def __init__(
        self,
        web: Web,
        turns: Turns,
        *,
        now: Callable[[], float] = time.time,
        deadline: float = 10.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.turns = turns
        self.discoveries = Discoveries(now=now)
        self.allowance = deadline + GRACE
        self._web, self._now, self._jitter = web, now, jitter

    def take(self, mention: OutgoingMention, *, until: float = float("inf")) -> Job:
        """A place in line for it, at the host that is asked first."""
        if mention.status != "pending":
            return Job(mention, self.turns.take(host_of(mention.location or "")), until)
        known = self._known(mention)
        first = known if isinstance(known, str) else mention.target_url
        return Job(mention, self.turns.take(host_of(first)), until)

    async def make(self, job: Job) -> OutgoingMention | None:
        """The mention after the attempt; None: its turn did not come in time, and nothing was sent."""
        try:
            if job.mention.status != "pending":
                return await self._poll(job)
            outcome = await self._attempt(job)
        finally:
            job.turn.leave()
        if outcome is None:
            return None
        return settled(job.mention, outcome, now=self._now(), jitter=self._jitter())

    async def _attempt(self, job: Job) -> Outcome | None:
        await job.turn.come()
        found = self._known(job.mention)
        if found is None:
            await self._at(job, host_of(job.mention.target_url))
            if not self._in_time(job, 2):
                return None
            found = await self._discover(job.mention.target_url)
        if isinstance(found, Outcome):
            return found
        job.endpoint = found
        await self._at(job, host_of(found))
        if not self._in_time(job, 1):
            return None
        job.underway = True
        return await self._deliver(job.mention, found)

    async def _at(self, job: Job, host: str) -> None:
        """Have a place there. Who has one goes on with it: in line anew, it would wait behind others' first steps."""
        if host != job.turn.host:
            job.turn.leave()
            job.turn = self.turns.take(host)
            await job.turn.come()

    def _in_time(self, job: Job, fetches: int) -> bool:
        return job.until - time.monotonic() >= fetches * self.allowance

    # --- finding the endpoint ---

    def _known(self, mention: OutgoingMention) -> str | Outcome | None:
        """What need not be looked for: found since this content, or for another source whose target this is too."""
        if mention.endpoint is not None and mention.attempts == 0:
            return mention.endpoint if self._now() - (mention.updated_at or 0.0) < DAY / 24 else None
        return self.discoveries.get(mention.target_url) if is_first(mention) else None

    async def _discover(self, target: str) -> str | Outcome:
        found, seconds = await self._look(target)
        self.discoveries.put(target, found, seconds)
        return found

    async def _look(self, target: str) -> tuple[str | Outcome, float]:
        """The endpoint or why there is none, and for how long that may be remembered."""
        try:
            async with asyncio.timeout(self.allowance):
                answer = await discover(target, web=self._web, now=self._now)
        except Exception as exc:  # noqa: BLE001 - one target that cannot be read is not to end the job
            return _failed(exc, "looking for its endpoint"), FAILURE
        if answer.endpoint is not None:
            return answer.endpoint, answer.fresh_for
        page = answer.page
        if page is not None and _is_later(page.status):
            wait = retry_after(page, self._now())
            says = f"looking for its endpoint: the target answered {page.status}"
            return Outcome(ended="later", says=says, retry_after=wait), FAILURE
        why = answer.steps[-1] if answer.steps else "it names none"
        return Outcome(ended="not_found", says=f"no endpoint: {why}"), min(answer.fresh_for, FAILURE * 5)

    # --- telling it ---

    async def _deliver(self, mention: OutgoingMention, endpoint: str) -> Outcome:
        try:
            async with asyncio.timeout(self.allowance):
                answer = await deliver(
                    endpoint, mention.source_url, mention.target_url, web=self._web, now=self._now
                )
        except Exception as exc:  # noqa: BLE001 - as above
            return _failed(exc, "telling its endpoint", endpoint=endpoint)
        if answer.ok:
            location = clean(answer.location) if answer.status == 201 and answer.location else None
            return Outcome(ended="sent", endpoint=endpoint, answer=answer.status, location=location)
        words = f": {answer.said}" if answer.said else ""
        return Outcome(
            ended="later" if _is_later(answer.status) else "refused",
            says=f"the endpoint answered {answer.status}{words}",
            endpoint=endpoint,
            answer=answer.status,
            retry_after=answer.retry_after,
        )

    # --- asking how it fares ---

    async def _poll(self, job: Job) -> OutgoingMention | None:
        location = job.mention.location
        if location is None:  # nothing that happens by itself
            return asked_again(
                job.mention, Polled(job.mention.location_says or "", over=True), now=self._now()
            )
        await job.turn.come()
        if not self._in_time(job, 1):
            return None
        return asked_again(job.mention, await self._status(location), now=self._now())

    async def _status(self, location: str) -> Polled:
        try:
            async with asyncio.timeout(self.allowance):
                page: Page = await self._web.get(
                    location, accept="application/json, text/plain;q=0.9, text/html;q=0.8", max_bytes=1 << 16
                )
        except Exception as exc:  # noqa: BLE001 - as above
            failed = _failed(exc, "asking for its status")
            return Polled(failed.says or "", over=failed.ended == "refused")
        return status_of(page)


def _is_later(status: int) -> bool:
    return status >= 500 or status == 429


def _failed(exc: Exception, doing: str, *, endpoint: str | None = None) -> Outcome:
    """What the network did. A store that fails is raised, and what nobody foresaw is told to the loop as well."""
    if isinstance(exc, StoreError):
        raise exc
    if isinstance(exc, AddressRefused):
        return Outcome(ended="refused", says=f"{doing}: {exc}", endpoint=endpoint)
    if isinstance(exc, FetchFailed):
        ended = "later" if exc.transient else "refused"
        return Outcome(ended=ended, says=f"{doing}: {exc}", endpoint=endpoint)  # type: ignore[arg-type]
    if isinstance(exc, TimeoutError):
        return Outcome(ended="later", says=f"{doing}: no answer in time", endpoint=endpoint)
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"webmention: {doing} failed", "exception": exc}
    )
    return Outcome(ended="later", says=f"{doing}: {type(exc).__name__}", endpoint=endpoint)
