"""`Inbound`: the receiving side whole, for those who compose it; `Webmention` delegates to it."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias, get_args

from holdfast.errors import AddressRefused, MentionRefused
from holdfast.webmention import lifecycle, urls
from holdfast.webmention.driver import Driver
from holdfast.webmention.inbox import Held, Inbox, InboxLimits, client_group, netloc, tag_of
from holdfast.webmention.mentions import MentionType, ReceivedMention, Rule, State
from holdfast.webmention.moderating import Moderator
from holdfast.webmention.pages import Web
from holdfast.webmention.policy import NetworkPolicy
from holdfast.webmention.portraits import Portraits
from holdfast.webmention.rules import Rulebook
from holdfast.webmention.verifying import Accept, OnMention, Verifier
from holdfast.webmention.working import Workers

__all__ = ["Inbound", "InboxLimits", "Targets"]

Targets: TypeAlias = Callable[[str], Awaitable[bool] | bool]
"""Whether a URL (without its fragment) may be mentioned."""

MAX_URL = 2048
TRIES = 8
TYPES: tuple[MentionType, ...] = get_args(MentionType)


class Inbound:
    """Takes mentions in, verifies them, keeps them, and answers for them. No I/O until it is used.

    Args:
        driver: open while this is used.
        web: fetches sources and photos.
        site: whose URLs are targets; None: those that `targets` names.
        namespace: keeps applications apart in one store.
        accept: who needs no moderator: ``"all"``; ``"known"``, who had one accepted before; ``"none"``. What a
            rule of `allow` accepts needs none in any case, and what a rule blocks is never accepted.
        targets: asked about every target, of the site too.
        limits: how much may wait.
        on_mention: called, or awaited (a minute at most), with each mention that was verified and is new or another
            than it was: `state` says which. What it raises goes to the loop's exception handler and changes nothing.
        policy: refuses what is seen without a look-up, such as an address in place of a name, before it is queued.
    """

    def __init__(
        self,
        driver: Driver,
        web: Web,
        *,
        site: str | None,
        namespace: str,
        accept: Accept = "known",
        targets: Targets | None = None,
        limits: InboxLimits | None = None,
        on_mention: OnMention | None = None,
        now: Callable[[], float] = time.time,
        policy: NetworkPolicy | None = None,
    ) -> None:
        if accept not in get_args(Accept):
            raise ValueError(f"accept = {accept!r}: all, known or none")
        self.site = site
        self._targets, self._limits, self._policy = targets, limits or InboxLimits(), policy
        self._now = now
        self._inbox = Inbox(driver, namespace, now=now)
        self._rulebook = Rulebook(driver, f"{namespace}:m:r", now=now)
        self._portraits = Portraits(driver, f"{namespace}:m:p", most=self._limits.photos, now=now)
        self._verifier = Verifier(
            self._inbox,
            web,
            self._rulebook,
            self._portraits,
            accept=accept,
            on_mention=on_mention,
            left_over=self._limits.left_over,
        )
        self._moderator = Moderator(self._inbox, self._rulebook, tell=self._verifier.tell)
        self._workers = Workers(self._inbox, self._verifier.process)
        # INVARIANT: what is being written just now, by the tags that limits count, is counted here.
        self._entering: Counter[str] = Counter()

    # --- taking in ---

    async def receive(self, source: str, target: str, *, client: str | None = None) -> ReceivedMention:
        """Queue it to be verified; one that is known is the same entry, and is looked at again.

        Raises:
            MentionRefused: the sender made a mistake (400), or too much waits already (429, `retry_after`).
            StoreUnavailable: it may not be there; the sender has to try again.
        """
        source, target = self._read(source, target)
        await self._check_target(target)
        if (await self._rulebook.rules()).blocked(source) is not None:
            raise MentionRefused("mentions from this source are not accepted")
        id = urls.digest(source, target)
        for _ in range(TRIES):
            found = await self._inbox.get(id)
            if found is None:
                fresh = lifecycle.new(id, source, target, client=client, now=self._now())
                written = await self._enter(fresh, expect="")
            else:
                before, document = found
                after = lifecycle.asked(before, client=client, now=self._now())
                if before.waiting or not after.waiting:
                    written = after == before or await self._inbox.put(after, expect=document.version)
                else:
                    written = await self._enter(after, expect=document.version)
            if written:
                kept = await self._inbox.get(id)
                return (fresh if found is None else after).mention if kept is None else kept[0].mention
        raise MentionRefused("this mention is being changed by many at once", status=429, retry_after=5)

    def _read(self, source: str, target: str) -> tuple[str, str]:
        """Both as they are compared, or why not."""
        cleaned = []
        for name, url in (("source", source), ("target", target)):
            if not url.strip():
                raise MentionRefused(f"{name} is missing")
            if len(url) > MAX_URL:
                raise MentionRefused(f"{name} is longer than {MAX_URL:,} characters")
            clean = urls.clean(url.strip())
            if clean is None:
                raise MentionRefused(f"{name} is not an absolute http or https URL without a user name")
            cleaned.append(clean)
        source, target = cleaned
        if urls.without_fragment(source) == urls.without_fragment(target):
            raise MentionRefused("source and target are the same page")
        if self._policy is not None:
            try:
                self._policy.check_url(source)
            except AddressRefused as exc:
                raise MentionRefused(f"source is not fetched: {exc}") from exc
        return source, target

    async def _check_target(self, target: str) -> None:
        ours = urls.same_site(target, self.site) if self.site is not None else self._targets is not None
        if ours and self._targets is not None:
            answer = self._targets(urls.without_fragment(target))
            ours = bool(await answer if inspect.isawaitable(answer) else answer)
        if not ours:
            raise MentionRefused("target is not a page here that takes webmentions")

    async def _enter(self, held: Held, *, expect: str) -> bool:
        """Write one that waits from now on, within the limits; those that are entering beside it count too."""
        mention, limits = held.mention, self._limits
        host = urls.digest(netloc(mention.source_url))
        bounds = [("q", limits.queued, 60), (f"q:h:{host}", limits.per_host, 60)]
        if mention.client:
            bounds.append((f"q:c:{urls.digest(client_group(mention.client))}", limits.per_client, 60))
        if mention.state == "queued":
            bounds.append(("s:pending", limits.undecided, 3600))
            bounds.append((f"u:h:{host}", limits.undecided_per_host, 3600))
        tags = [tag for tag, _, _ in bounds]
        self._entering.update(tags)
        try:
            there = await self._inbox.count(*tags)
            for (tag, most, retry_after), number in zip(bounds, there, strict=True):
                if number + self._entering[tag] > most:
                    words = _FULL[tag[:3] if ":" in tag else tag]
                    raise MentionRefused(f"too many {words} already", status=429, retry_after=retry_after)
            return await self._inbox.put(held, expect=expect)
        finally:
            self._entering.subtract(tags)
            for tag in tags:
                if self._entering[tag] <= 0:
                    del self._entering[tag]

    # --- verifying ---

    async def work(self, limit: int | None = None) -> int:
        """Verify what is due, at most so many; how many. Others may do the same beside it."""
        return await self._workers.run(limit)

    async def next_due(self) -> float | None:
        """Seconds until something is due, 0 if something is; None: nothing will be."""
        wait = await self._inbox.driver.next_due(self._inbox.kind)
        return None if wait is None else wait / 1000

    # --- reading ---

    async def get(self, id: str) -> ReceivedMention | None:
        """One by its id, whatever its state, or None."""
        found = await self._inbox.get(id)
        return None if found is None else found[0].mention

    async def received(
        self,
        target: str | None = None,
        *,
        state: State | None = "accepted",
        type: MentionType | None = None,
        newest: bool = True,
        domain: str | None = None,
        after: int | None = None,
    ) -> AsyncIterator[ReceivedMention]:
        """Those of a target (whatever its fragment; None: of all) in this state (None: in any), by their numbers.

        `domain`: of all targets of this host. `after`: beyond this number, in the direction that is read.
        """
        if target is not None and urls.clean(target) is None:
            return
        tag = "" if state is None else tag_of(state, target=_clean(target), domain=domain, type=type)
        page = _page_of(target)
        async for held in self._inbox.each(tag, newest=newest, after=after):
            mention = held.mention
            if mention.private or (state is not None and mention.state != state):
                continue
            if type is not None and (mention.mention is None or mention.mention.type != type):
                continue
            if page is not None and _page_of(mention.target_url) != page:
                continue
            if domain is not None and urls.host_of(mention.target_url) != domain.lower():
                continue
            yield mention

    async def counts(self, target: str | None = None) -> dict[MentionType, int]:
        """How many accepted ones there are of each type."""
        if target is not None and urls.clean(target) is None:
            return dict.fromkeys(TYPES, 0)
        tags = [tag_of("accepted", target=_clean(target), type=each) for each in TYPES]
        return dict(zip(TYPES, await self._inbox.count(*tags), strict=True))

    async def states(self) -> dict[State, int]:
        """How many there are in each state."""
        names: tuple[State, ...] = get_args(State)
        return dict(zip(names, await self._inbox.count(*map(tag_of, names)), strict=True))

    async def photo(self, digest: str) -> tuple[str, bytes] | None:
        """Media type and bytes of the author's photo whose URL has this digest (`urls.digest`), where it is kept."""
        return await self._portraits.get(digest)

    # --- deciding ---

    async def accept(self, id: str) -> ReceivedMention:
        """Show it, and trust its voice from now on. One that was declined is looked at again first chance.

        Raises:
            UnknownMention: there is none with this id.
            MentionRefused: it was not verified, or is gone: there is nothing to show.
        """
        return await self._moderator.accept(id)

    async def decline(self, id: str) -> ReceivedMention:
        """Show it no more, whatever its sender does; `accept` takes that back.

        Raises:
            UnknownMention: there is none with this id.
        """
        return await self._moderator.decline(id)

    async def block(self, pattern: str) -> Rule:
        """Take nothing from there any more, and decline what is there already; see `rules` for patterns.

        Raises:
            ValueError: it is no pattern.
        """
        return await self._moderator.block(pattern)

    async def allow(self, pattern: str) -> Rule:
        """Accept what comes from there without a moderator, and what waits for one already.

        Raises:
            ValueError: it is no pattern.
        """
        return await self._moderator.allow(pattern)

    async def unblock(self, pattern: str) -> bool:
        """Forget the rule of this pattern, of either kind; whether there was one. What it decided stays decided."""
        return await self._rulebook.remove(pattern)

    async def rules(self) -> tuple[Rule, ...]:
        """All of them."""
        return (await self._rulebook.rules()).all


_FULL = {
    "q": "mentions wait to be verified",
    "q:h": "mentions of this source's host wait to be verified",
    "q:c": "mentions from this address wait to be verified",
    "s:p": "mentions wait for a moderator",
    "u:h": "mentions of this source's host wait for a moderator",
}


def _clean(target: str | None) -> str | None:
    return None if target is None else urls.clean(target)


def _page_of(target: str | None) -> str | None:
    clean = _clean(target)
    return None if clean is None else urls.without_fragment(clean)
