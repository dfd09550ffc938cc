"""`Outbound`: the sending side whole, for those who compose it; `Webmention` delegates to it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from holdfast.errors import StoreUnavailable, UnknownMention
from holdfast.webmention import urls
from holdfast.webmention.attempts import Attempts
from holdfast.webmention.delivering import LEASE, Deliveries
from holdfast.webmention.lacking import too_small
from holdfast.webmention.links import Kind, find_links
from holdfast.webmention.mentions import OutgoingMention, Report, Status
from holdfast.webmention.pages import Web
from holdfast.webmention.planning import Plan, plan_delete, plan_retry, plan_send
from holdfast.webmention.small import SmallSending
from holdfast.webmention.storage import Outbox, Storage
from holdfast.webmention.turns import Turns

__all__ = ["Outbound"]

PAGE = 200
LONGEST_PAUSE = 1.0  # seconds between looks at what another process has in hand


class Outbound:
    """Keeps what has to be told, and tells it. No I/O until it is used.

    Args:
        storage: an `Outbox`, or one with the four methods of `Storage`, which can `send` and nothing else.
        web: fetches targets and tells endpoints, each within `deadline` seconds.
        site: whose URLs are one's own: links to them are not told, unless asked for; None: those of the source's host.
        at_once, per_host: how many go out at the same time, in all and to one host.
        lease: seconds for which a mention in hand is this process's own.
    """

    def __init__(
        self,
        storage: Storage,
        web: Web,
        *,
        site: str | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        at_once: int = 256,
        per_host: int = 4,
        deadline: float = 10.0,
        lease: float = LEASE,
    ) -> None:
        self._site, self._now, self._sleep, self._lease = site, now, sleep, lease
        turns = Turns(at_once=at_once, per_host=per_host)
        attempts = Attempts(web, turns, now=now, deadline=deadline, jitter=jitter)
        self._outbox = storage if isinstance(storage, Outbox) else None
        self._deliveries: Deliveries | None = None
        if self._outbox is not None:
            self._deliveries = Deliveries(self._outbox, attempts, now=now, sleep=sleep, lease=lease)
        self._small = SmallSending(storage, attempts, now=now)
        self._sources: dict[str, tuple[asyncio.Lock, int]] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the storage is an `Outbox`."""
        return self._outbox is not None

    # --- sending ---

    async def send(self, source_url: str, html: str, *, kind: Kind = "html", own: bool = False) -> Report:
        """Tell every target of the content, as `planning` says; returns after the first attempt of each.

        All are stored before anything is fetched. Cancelled after that, it goes
        on without the caller, or at the next start. `own`: links to `site` too.

        Raises:
            StoreUnavailable: what was not stored was not told; what was, goes on by itself.
            ValueError: the source is no http(s) URL.
        """
        source, targets, sha = self._read(source_url, html, kind, own)
        if self._outbox is None:
            async with self._alone(source):  # two at once would both `save`, and both tell
                return await self._small.send(source, targets, sha)
        async with self._alone(source):
            rows = await self._outbox.of(source)
            plan = plan_send(rows, source, targets, sha=sha, now=self._now())
            await self._outbox.put(plan.puts)
        return await self._tell(source, plan, lambda row: row.sha == sha)

    async def preview(self, source_url: str, html: str, *, kind: Kind = "html", own: bool = False) -> Report:
        """What `send` would tell, as it would be stored; nothing is stored or fetched."""
        source, targets, sha = self._read(source_url, html, kind, own)
        if self._outbox is None:
            to_tell, rest = await self._small.plan(source, targets, sha)
            return msgspec.structs.replace(rest, mentions=tuple(to_tell))
        plan = plan_send(await self._outbox.of(source), source, targets, sha=sha, now=self._now())
        return Report(source_url=source, mentions=plan.puts, skipped=plan.skipped, unchanged=plan.unchanged)

    async def delete(self, source_url: str) -> Report:
        """Tell every target that was ever told that the source is gone; it should answer 410 by now."""
        return await self._again("delete", source_url, lambda rows: plan_delete(rows, now=self._now()))

    async def retry(self, source_url: str, target_url: str | None = None) -> Report:
        """Try again at once, with all attempts anew: what is not sent, or one target whatever its status.

        Raises:
            UnknownMention: the source never told this target, or, without one, any.
        """
        target = None if target_url is None else urls.clean(target_url) or target_url

        def plan(rows: Sequence[OutgoingMention]) -> Plan:
            found = plan_retry(rows, target, now=self._now())
            if not rows or (target is not None and not found.puts):
                raise UnknownMention(
                    f"retry {source_url!r}: no mention of {target or 'anything'!r} is stored"
                )
            return found

        return await self._again("retry", source_url, plan)

    async def _again(
        self, what: str, source_url: str, plan_of: Callable[[Sequence[OutgoingMention]], Plan]
    ) -> Report:
        outbox = self._whole(what)
        source = _source(source_url)
        async with self._alone(source):
            plan = plan_of(await outbox.of(source))
            await outbox.put(plan.puts)
        told = {put.target_url for put in plan.puts}
        return await self._tell(source, plan, lambda row: row.target_url in told)

    async def _tell(self, source: str, plan: Plan, wanted: Callable[[OutgoingMention], bool]) -> Report:
        """The first attempt of all that the plan put, and what became of them."""
        assert self._deliveries is not None
        await self._deliveries.drain(source_url=source)
        rows = await self._attempted(source)
        return Report(
            source_url=source,
            mentions=tuple(row for row in rows if wanted(row)),
            skipped=plan.skipped,
            unchanged=plan.unchanged,
        )

    async def _attempted(self, source: str) -> Sequence[OutgoingMention]:
        """The source's mentions, once each had its first attempt, whoever made it.

        One that another process has in hand is waited for, until its lease must have ended.
        """
        assert self._deliveries is not None
        outbox = self._whole("send")
        pause, waited, before = 0.05, 0.0, -1
        while True:
            here = self._deliveries.of(source)  # a background worker was faster than this call
            if here:
                await asyncio.wait(here)
            rows = await outbox.of(source)
            untried = sum(row.status == "pending" and not row.attempts for row in rows)
            if not untried:
                return rows
            if untried != before:
                pause, waited, before = 0.05, 0.0, untried
            if waited > 2 * self._lease:
                raise StoreUnavailable("send: the outbox neither hands out nor settles what is due")
            await self._sleep(pause)
            waited += pause
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._deliveries.drain(source_url=source)

    # --- what is due ---

    async def work(self, limit: int | None = None) -> int:
        """Do what is due until nothing is, at most so much: attempts, and looks at status URLs; how many.

        Raises:
            StoreUnavailable: some could not be claimed or settled; they are due again.
        """
        self._whole("work")
        assert self._deliveries is not None
        return await self._deliveries.drain(limit=limit)

    async def next_due(self) -> float | None:
        """Seconds until something is due, 0 if something is; None: nothing will be."""
        return None if self._outbox is None else await self._outbox.next_due()

    async def close(self) -> None:
        """Put back what is in hand and was not told yet; wait for the rest, some seconds. For good; twice is once."""
        if self._deliveries is not None:
            await self._deliveries.close()

    # --- lists ---

    async def of(self, source_url: str) -> Sequence[OutgoingMention]:
        """All of one source."""
        return await self._whole("outgoing").of(_source(source_url))

    async def outgoing(
        self, source_url: str | None = None, *, status: Status | None = None
    ) -> AsyncIterator[OutgoingMention]:
        """The newest first (those of one source: the oldest); what changes meanwhile may be seen or not."""
        outbox = self._whole("outgoing")
        if source_url is not None:
            for row in await self.of(source_url):
                if status is None or row.status == status:
                    yield row
            return
        after: int | None = None
        while True:
            page = await outbox.page(status=status, after=after, limit=PAGE)
            for _, mention in page:
                yield mention
            if len(page) < PAGE:
                return
            after = page[-1][0]

    async def page(
        self, *, status: Status | None = None, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, OutgoingMention]]:
        """One page of those, with their numbers: the next one is below the last."""
        return await self._whole("outgoing").page(status=status, after=after, limit=limit)

    async def statuses(self) -> dict[Status, int]:
        """How many there are of each."""
        names: tuple[Status, ...] = ("pending", "sent", "not_found", "failed")
        return dict(zip(names, await self._whole("outgoing").count(names), strict=True))

    # --- within ---

    def _whole(self, what: str) -> Outbox:
        if self._outbox is None:
            raise too_small(what)
        return self._outbox

    def _read(self, source_url: str, html: str, kind: Kind, own: bool) -> tuple[str, list[str], str]:
        """The source, whom its content links to, and the content's hash."""
        source = _source(source_url)
        targets = find_links(html, base=source, kind=kind, site=self._site, own=own)
        return source, targets, hashlib.sha512(html.encode("utf-8", "surrogatepass")).hexdigest()

    @asynccontextmanager
    async def _alone(self, source: str) -> AsyncIterator[None]:
        """One at a time reads and replaces a source's mentions: two `send` at once would both find none."""
        lock, users = self._sources.get(source) or (asyncio.Lock(), 0)
        self._sources[source] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._sources[source][1] - 1
            if users:
                self._sources[source] = (lock, users)
            else:
                del self._sources[source]


def _source(url: str) -> str:
    clean = urls.clean(url)
    if clean is None:
        raise ValueError(f"source {url!r}: not an absolute http or https URL without a user name")
    return clean
