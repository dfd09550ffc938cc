"""What a `Webmention` is made of, and its life: store, web, both directions, and what goes on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.errors import Closed, MissingExtra, NotMigrated, StoreError
from holdfast.webmention.background import keep_working
from holdfast.webmention.driver import Driver
from holdfast.webmention.pages import Web
from holdfast.webmention.policy import NetworkPolicy
from holdfast.webmention.storage import Storage
from holdfast.webmention.stored import StoredOutbox

if TYPE_CHECKING:
    from holdfast.webmention.inbound import Inbound
    from holdfast.webmention.outbound import Outbound

__all__ = ["Parts"]

T = TypeVar("T")


class Parts:
    """Opened once, closed once; see `Webmention`.

    INVARIANT: `_opened` has what closing has to undo, exactly while it is open.
    """

    outbound: Outbound
    inbound: Inbound | None
    """None: there is no store to receive into."""

    def __init__(
        self,
        driver: Driver | None,
        storage: Storage | None,
        *,
        web: Web | None,
        policy: NetworkPolicy,
        site: str | None,
        namespace: str,
        receiving: Mapping[str, Any],
        auto_migrate: bool | None,
        background: bool,
        now: Callable[[], float],
    ) -> None:
        self.driver, self.storage = driver, storage
        self._given_web, self._policy, self._site, self._namespace = web, policy, site, namespace
        self._receiving = receiving
        self._auto_migrate, self._background, self._now = auto_migrate, background, now
        self._opened: AsyncExitStack | None = None
        self._changing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._compose()

    def _compose(self) -> None:
        """New for each event loop: locks and connections belong to one."""
        try:
            from holdfast.webmention.inbound import Inbound
            from holdfast.webmention.outbound import Outbound
        except ModuleNotFoundError as exc:
            if isinstance(exc, MissingExtra) or (exc.name or "").startswith("holdfast"):
                raise
            raise MissingExtra(
                f'webmention: {exc.name} is not installed; pip install "holdfast[webmention]"'
            ) from exc
        driver, now, namespace = self.driver, self._now, self._namespace
        self._web = self._given_web if self._given_web is not None else _fetcher(self._policy)
        storage = self.storage
        if storage is None:
            assert driver is not None, "without a storage there is a store"
            storage = StoredOutbox(driver, namespace, now=now)
        self.outbound = Outbound(storage, self._web, site=self._site, now=now)
        self.inbound = None
        if driver is not None:
            self.inbound = Inbound(
                driver,
                self._web,
                site=self._site,
                namespace=namespace,
                now=now,
                policy=None
                if self._given_web is not None
                else self._policy,  # the web that was given has its own
                **self._receiving,
            )
        self._wake_outbox, self._wake_inbox = asyncio.Event(), asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    def check_open(self) -> None:
        """Raises `Closed`."""
        if self._opened is None:
            raise Closed("webmention: not open; use it inside `async with`")

    def wake_inbox(self) -> None:
        """Something came in."""
        self._wake_inbox.set()

    async def open(self) -> None:
        if self._opened is not None and self._loop is not None and self._loop.is_closed():
            await self._forget()
        if self._opened is not None or self._changing:
            raise StoreError("webmention: already open, or being opened or closed")
        self._changing = True
        try:
            if self._loop is not None:
                self._compose()
            async with AsyncExitStack() as opened:
                await self._open_all(opened)
                self._opened = opened.pop_all()
            self._loop = asyncio.get_running_loop()
        finally:
            self._changing = False

    async def _open_all(self, opened: AsyncExitStack) -> None:
        if self.driver is not None:
            await self.driver.open()
            opened.push_async_callback(self.driver.close)
            await self._check_tables(self.driver)
        if self._given_web is None:
            web: Any = self._web
            await opened.enter_async_context(web)
        opened.push_async_callback(self.outbound.close)
        if self._background:
            opened.push_async_callback(_end, self._start())

    def _start(self) -> list[asyncio.Task[None]]:
        out, inbound = self.outbound, self.inbound
        work = []
        if out.is_whole:
            work.append(keep_working("outbox", out.work, out.next_due, self._wake_outbox))
        if inbound is not None:
            work.append(keep_working("inbox", inbound.work, inbound.next_due, self._wake_inbox))
        return [asyncio.create_task(each, name="holdfast webmention background") for each in work]

    async def _check_tables(self, driver: Driver) -> None:
        wanted = driver.traits.auto_migrate if self._auto_migrate is None else self._auto_migrate
        if wanted:
            await driver.migrate()
        elif missing := await driver.pending():
            raise NotMigrated(
                f"{driver.traits.name}: {len(missing)} migration(s) pending "
                f"(next: {missing[0].capability} {missing[0].version}, {missing[0].summary}); "
                "run `holdfast migrate`, `await mentions.migrate()`, or open with auto_migrate=True"
            )

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        self._changing = True
        try:
            await opened.aclose()
        finally:
            self._changing = False

    async def _forget(self) -> None:
        """There is nothing left to finish on a loop that has ended."""
        self._opened = None
        try:
            if self.driver is not None:
                await self.driver.close()
        except Exception:  # noqa: BLE001, S110 - its connections ended with their loop
            pass

    async def with_driver(self, ask: Callable[[Driver], Awaitable[Sequence[T]]]) -> Sequence[T]:
        """Ask it, opened or not; nothing where there is none."""
        if self.driver is None:
            return ()
        if self.is_open:
            return await ask(self.driver)
        await self.driver.open()
        try:
            return await ask(self.driver)
        finally:
            await self.driver.close()


def _fetcher(policy: NetworkPolicy) -> Web:
    from holdfast.webmention.fetch import Fetcher  # only where nobody brings another

    return Fetcher(policy)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
