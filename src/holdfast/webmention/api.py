"""`Webmention`: mentions sent and received, over one store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast.store import Finding, Health, Migration, masked
from holdfast.webmention.composing import Parts
from holdfast.webmention.driver import Driver, Traits
from holdfast.webmention.lacking import no_inbox
from holdfast.webmention.mentions import (
    MentionType,
    OutgoingMention,
    ReceivedMention,
    Report,
    Rule,
    State,
    Status,
)
from holdfast.webmention.pages import Web
from holdfast.webmention.policy import NetworkPolicy
from holdfast.webmention.registry import driver_for
from holdfast.webmention.storage import Outbox, Storage

if TYPE_CHECKING:
    from holdfast.webmention.archive import Archive, Archived
    from holdfast.webmention.inbound import Inbound, InboxLimits, Targets
    from holdfast.webmention.links import Kind
    from holdfast.webmention.outbound import Outbound
    from holdfast.webmention.replies import App, Receive, Scope, Send
    from holdfast.webmention.verifying import Accept, OnMention

__all__ = ["Webmention"]

SHOWN = 1_000
"""Mentions that `html` shows of one page."""


class Webmention:
    """The mentions of a site: an async context manager, and the ASGI app of its endpoint.

    ::

        mentions = Webmention("sqlite:///app.db", site="https://alice.example")
        async with mentions:
            app.mount("/webmention", mentions)     # takes mentions in
            app.mount("/api", mentions.reading)    # shows them
            await mentions.send("https://alice.example/post", html)

    While it is open it retries, polls and verifies by itself.

    Args:
        store: a URL, or a `webmention` driver made by hand; ``"memory://"`` where nothing else keeps mentions either.
        site: whose URLs are targets, and are not told by its own pages. None: nothing is taken in, unless
            `targets` says so.
        namespace: keeps applications apart in one store.
        storage: a class of one's own for what goes out: the four methods of `Storage`. Without a `store`,
            it can `send` and nothing else.
        outbox: the same, with all of `Outbox`. Without a `store`, it sends and does not receive.
        policy: which addresses may be connected to besides the public internet.
        accept, targets, limits, on_mention: see `Inbound`.
        auto_migrate: make or update tables at opening; None: where the driver says so (memory, SQLite).
        web: what fetches, in place of one made here with `policy`; whoever made it closes it.
        background: whether it retries, polls and verifies by itself; False: `work` does.

    Raises, from operations:
        StorageTooSmall: the storage cannot do this.
        StoreUnavailable: `maybe_applied` tells whether it may have happened.
        Closed: outside `async with`.
        MissingExtra: at once, where what parses and fetches is not installed.
    """

    def __init__(
        self,
        store: str | Driver | None = None,
        *,
        site: str | None = None,
        namespace: str = "holdfast",
        storage: Storage | None = None,
        outbox: Outbox | None = None,
        policy: NetworkPolicy | None = None,
        accept: Accept = "known",
        targets: Targets | None = None,
        limits: InboxLimits | None = None,
        on_mention: OnMention | None = None,
        auto_migrate: bool | None = None,
        web: Web | None = None,
        background: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        if storage is not None and outbox is not None:
            raise ValueError("Webmention: storage or outbox, not both")
        if web is not None and policy is not None:
            raise ValueError("Webmention: policy belongs to what fetches; a web of one's own has its own")
        self.site = site
        keeping = outbox if outbox is not None else storage
        if store is None and keeping is None:
            store = "memory://"
        driver = None if store is None else driver_for(store)
        self._store = masked(store) if isinstance(store, str) else _name(driver, keeping)
        self._namespace, self._now = namespace.replace("%", "%25").replace(":", "%3A"), now
        self._parts = Parts(
            driver,
            keeping,
            web=web,
            policy=policy or NetworkPolicy(),
            site=site,
            namespace=self._namespace,
            receiving={"accept": accept, "targets": targets, "limits": limits, "on_mention": on_mention},
            auto_migrate=auto_migrate,
            background=background,
            now=now,
        )

    # --- life ---

    async def open(self) -> None:
        """Open the store and begin to work off what is due; `async with` does so.

        What was left open on an event loop that has ended since is forgotten first.

        Raises:
            NotMigrated: tables are missing; the message says how to make them.
        """
        await self._parts.open()

    async def close(self) -> None:
        """End what goes on in the background, and close the store. Twice is once.

        What is being told just now gets some seconds to end; the rest is put back.
        """
        await self._parts.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether it is between opening and closing."""
        return self._parts.is_open

    @property
    def store(self) -> str:
        """The store's URL, its password masked; the class's name where it is a storage of one's own."""
        return self._store

    @property
    def traits(self) -> Traits | None:
        """What the store promises; None for a storage of one's own."""
        driver = self._parts.driver
        return None if driver is None else driver.traits

    async def migrate(self) -> Sequence[Migration]:
        """Make or update the tables, opened or not; what was applied, oldest first."""
        return await self._parts.with_driver(lambda driver: driver.migrate())

    async def pending(self) -> Sequence[Migration]:
        """The migrations that the store still lacks, oldest first."""
        return await self._parts.with_driver(lambda driver: driver.pending())

    async def describe(self) -> Sequence[Finding]:
        """What the store promises as it is configured, for `holdfast doctor`."""
        return await self._parts.with_driver(lambda driver: driver.describe())

    async def health(self) -> Health:
        """Whether the store answers. Never raises for a store that is down."""
        driver = self._parts.driver
        if driver is None:
            return Health(True, self._store, 0.0, "a storage of your own is not asked")
        return await driver.health()

    # --- sending ---

    async def send(self, source_url: str, html: str, *, kind: Kind = "html", own: bool = False) -> Report:
        """Tell everybody whom the content links to; returns after the first attempt of each target.

        All targets are stored before anything is fetched. Content that was sent
        before is not sent again; content that changed tells new, kept and
        removed targets. Hand in what a reader would call the post, without the
        page around it: a new footer is no new post. `own`: links to `site` too.

        Raises:
            StoreUnavailable: what was stored goes on by itself; `send` again does the rest.
            ValueError: the source is no http(s) URL.
        """
        return await self._sending().send(source_url, html, kind=kind, own=own)

    async def preview(self, source_url: str, html: str, *, kind: Kind = "html", own: bool = False) -> Report:
        """Whom `send` would tell; nothing is stored or fetched."""
        return await self._sending().preview(source_url, html, kind=kind, own=own)

    async def delete(self, source_url: str) -> Report:
        """Tell all that the source is gone. Its URL should answer 410 by now."""
        return await self._sending().delete(source_url)

    async def retry(self, source_url: str, target_url: str | None = None) -> Report:
        """Try at once what is not sent, also what was given up; with a target, that one, whatever its status.

        Raises:
            UnknownMention: nothing of the kind is stored.
        """
        return await self._sending().retry(source_url, target_url)

    async def work(self, limit: int | None = None) -> int:
        """Do what is due in both directions until nothing is, at most so much of each; how much that was.

        For those who run no server: `Webmention(..., background=False)`.
        """
        sending, inbound = self._sending(), self._parts.inbound
        done = 0
        try:
            if sending.is_whole or inbound is None:
                done = await sending.work(limit)
        finally:  # one's own outbox that is away keeps nobody's mention from being verified
            if inbound is not None:
                done += await inbound.work(limit)
        return done

    def outgoing(
        self, source_url: str | None = None, *, status: Status | None = None
    ) -> AsyncIterator[OutgoingMention]:
        """What was sent and what waits, the newest first; of one source the oldest first."""
        return self._sending().outgoing(source_url, status=status)

    async def outgoing_page(
        self, *, status: Status | None = None, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, OutgoingMention]]:
        """A page of them with their numbers, the newest first, below `after`."""
        return await self._sending().page(status=status, after=after, limit=limit)

    async def outgoing_counts(self) -> dict[Status, int]:
        """How many there are of each status."""
        return await self._sending().statuses()

    # --- receiving ---

    async def receive(self, source: str, target: str, *, client: str | None = None) -> ReceivedMention:
        """Take a mention in, as a POST to the endpoint does; it is verified in the background.

        Raises:
            MentionRefused: it is none of ours, or too many wait.
        """
        received = await self._taking_in().receive(source, target, client=client)
        self._parts.wake_inbox()
        return received

    def received(
        self,
        target: str | None = None,
        *,
        state: State | None = "accepted",
        type: MentionType | None = None,
        newest: bool = True,
        domain: str | None = None,
        after: int | None = None,
    ) -> AsyncIterator[ReceivedMention]:
        """Those of a page (whatever the fragment), or of all, in this state; None: in any."""
        return self._taking_in().received(
            target, state=state, type=type, newest=newest, domain=domain, after=after
        )

    async def get(self, id: str) -> ReceivedMention | None:
        """One by its id, whatever its state."""
        return await self._taking_in().get(id)

    async def counts(self, target: str | None = None) -> dict[MentionType, int]:
        """How many accepted ones there are of each type."""
        return await self._taking_in().counts(target)

    async def states(self) -> dict[State, int]:
        """How many received ones there are in each state."""
        return await self._taking_in().states()

    async def accept(self, id: str) -> ReceivedMention:
        """Show it, and trust where it came from from now on. `UnknownMention`, `MentionRefused`: see `Inbound`."""
        return await self._decided(self._taking_in().accept(id))

    async def decline(self, id: str) -> ReceivedMention:
        """Show it no more, whatever its sender does."""
        return await self._decided(self._taking_in().decline(id))

    async def block(self, pattern: str) -> Rule:
        """Take nothing from a domain or a URL pattern any more, and decline what is there."""
        return await self._taking_in().block(pattern)

    async def allow(self, pattern: str) -> Rule:
        """Accept what comes from there without a moderator."""
        return await self._taking_in().allow(pattern)

    async def unblock(self, pattern: str) -> bool:
        """Forget the rule of this pattern; whether there was one."""
        return await self._taking_in().unblock(pattern)

    async def rules(self) -> tuple[Rule, ...]:
        """All rules."""
        return await self._taking_in().rules()

    async def html(self, target: str, *, heading: str = "Responses", photos: str = "/api") -> str:
        """The accepted mentions of a page as a sanitised section of HTML, the oldest first; the first thousand.

        `photos` is where `reading` is mounted; `rendering.STYLESHEET` goes with it.
        """
        from holdfast.webmention.rendering import render
        from holdfast.webmention.urls import digest

        shown: list[ReceivedMention] = []
        async for mention in self.received(target, newest=False):
            shown.append(mention)
            if len(shown) == SHOWN:
                break
        return render(shown, heading=heading, photo=lambda url: f"{photos}/photo/{digest(url)}")

    @staticmethod
    def photo_url(mention: ReceivedMention, at: str = "/api") -> str | None:
        """Where `reading`, mounted at `at`, has its author's photo or a placeholder; None: the source names none."""
        from holdfast.webmention.urls import digest

        photo = None if mention.mention is None else mention.mention.author.photo
        return None if photo is None else f"{at}/photo/{digest(photo)}"

    async def photo(self, digest: str) -> tuple[str, bytes] | None:
        """Media type and bytes of an author's photo that is kept here."""
        return await self._taking_in().photo(digest)

    # --- taken out and put back ---

    def archived(self) -> AsyncIterator[list[Archived]]:
        """Everything that the store keeps of mentions, some at a time, for `holdfast export`."""
        return self._archive().pages()

    async def restore(self, rows: Sequence[Archived], *, replace: bool = True) -> list[bool | ValueError]:
        """Put back what `archived` gave; for each whether it was stored. Without `replace` what is there stays."""
        return await self._archive().restore(rows, replace=replace)

    async def adopt(self, mentions: Iterable[ReceivedMention]) -> int:
        """Keep what another service received, as `from_dump` reads it, unless it is there already; how many."""
        return await self._archive().adopt(mentions)

    # --- ASGI ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The endpoint: takes mentions in by POST, and says what became of them."""
        from holdfast.webmention.asgi import endpoint

        try:
            await endpoint(self._taking_in())(scope, receive, send)
        finally:
            if scope.get("method") == "POST":
                self._parts.wake_inbox()

    async def reading(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The reading side, an ASGI app for ``/api``: accepted mentions as webmention.io shows them, and photos."""
        from holdfast.webmention.reading import reading

        await reading(self._taking_in())(scope, receive, send)

    def advertise(self, app: App, url: str = "/webmention") -> App:
        """The same app, naming the endpoint in a `Link` header of every answer."""
        from holdfast.webmention.asgi import advertise

        return advertise(app, url)

    # --- within ---

    async def _decided(self, deciding: Awaitable[ReceivedMention]) -> ReceivedMention:
        decided = await deciding
        self._parts.wake_inbox()  # what was declined before is looked at again
        return decided

    def _sending(self) -> Outbound:
        self._parts.check_open()
        return self._parts.outbound

    def _archive(self) -> Archive:
        from holdfast.webmention.archive import Archive

        driver = self._parts.driver
        if driver is None:
            raise no_inbox(self._store)
        self._parts.check_open()
        return Archive(driver, self._namespace, now=self._now)

    def _taking_in(self) -> Inbound:
        inbound = self._parts.inbound
        if inbound is None:
            raise no_inbox(self._store)
        self._parts.check_open()
        return inbound


def _name(driver: Driver | None, keeping: Storage | None) -> str:
    return type(keeping).__name__ if driver is None else driver.traits.name
