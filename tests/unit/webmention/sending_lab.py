"""What tests of the sending side share: a web of one's own making, a clock, and an outbox over memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from holdfast.errors import FetchFailed
from holdfast.testing.clock import ManualClock
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.outbound import Outbound
from holdfast.webmention.pages import Page
from holdfast.webmention.storage import Outbox
from holdfast.webmention.stored import StoredOutbox
from holdfast.webmention.urls import host_of

SOURCE = "https://alice.example/post"
START = 1_700_000_000


def to(name: str) -> str:
    """A target."""
    return f"https://{name}.example/page"


def post(*names: str) -> str:
    """A post that links to each."""
    return "".join(f'<p><a href="{to(name)}">{name}</a></p>' for name in names)


Answer = Page | Exception | Callable[[], Awaitable[Page]]


class FakeWeb:
    """Every target takes mentions at ``/hook`` of its host with a 202, unless a test says otherwise.

    `pages` and `hooks` are by URL: a page, something to raise, or something to
    await. A list is worked off, its last entry stays.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.hooks: dict[str, Any] = {}
        self.asked: list[str] = []
        self.told: list[tuple[str, str, str]] = []  # endpoint, source, target
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()  # at once, by host; in all under ""

    async def get(self, url: str, **options: Any) -> Page:
        self.asked.append(url)
        return await self._answer(url, self.pages.get(url), page(url, hook=f"https://{host_of(url)}/hook"))

    async def post(self, url: str, fields: Mapping[str, str], **options: Any) -> Page:
        self.told.append((url, fields["source"], fields["target"]))
        return await self._answer(url, self.hooks.get(url), Page(url=url, status=202))

    async def _answer(self, url: str, entry: Any, usual: Page) -> Page:
        names = ("", host_of(url))
        for name in names:
            self.busy[name] += 1
            self.most[name] = max(self.most[name], self.busy[name])
        try:
            await asyncio.sleep(0)  # as the network: others get their turn
            if isinstance(entry, list):
                entry = entry.pop(0) if len(entry) > 1 else entry[0]
            if entry is None:
                return usual
            if isinstance(entry, BaseException):
                raise entry
            return entry if isinstance(entry, Page) else await entry()
        finally:
            for name in names:
                self.busy[name] -= 1

    @property
    def targets(self) -> list[str]:
        """The names of those that were told, in order."""
        return [host_of(target).partition(".")[0] for _, _, target in self.told]

    def refuse(self, name: str, status: int, **headers: str) -> None:
        """The target's endpoint answers so from now on."""
        self.hooks[hook(name)] = answer(name, status, **headers)


def hook(name: str) -> str:
    return f"https://{name}.example/hook"


def answer(name: str, status: int, **headers: str) -> Page:
    pairs = tuple((key.replace("_", "-"), value) for key, value in headers.items())
    return Page(url=hook(name), status=status, headers=pairs)


def page(url: str, *, hook: str | None = None, status: int = 200, **headers: str) -> Page:
    """An HTML page with or without an endpoint."""
    link = f'<link rel="webmention" href="{hook}">' if hook else "<p>no</p>"
    pairs = (
        ("content-type", "text/html"),
        *((key.replace("_", "-"), value) for key, value in headers.items()),
    )
    return Page(url=url, status=status, headers=pairs, body=link.encode())


def offline() -> FetchFailed:
    return FetchFailed("GET: cannot be connected to")


class Lab:
    """An `Outbound` whose time a test moves; `sleep` moves it too."""

    def __init__(self, outbox: Outbox | None = None, **options: Any) -> None:
        self.clock = ManualClock(START * 1000)
        self.driver = MemoryDriver(now_ms=self.clock)
        self.web = FakeWeb()
        self.options = options
        self.outbox: Any = outbox or StoredOutbox(self.driver, "test", now=self.now)
        self.outbound = self.another()

    def now(self) -> float:
        return self.clock() / 1000

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    def another(self, **options: Any) -> Outbound:
        """Another process over the same store and web."""
        chosen = {"jitter": lambda: 0.0, "now": self.now, "sleep": self.sleep, **self.options, **options}
        return Outbound(self.outbox, self.web, **chosen)

    async def row(self, name: str) -> OutgoingMention:
        """The stored mention of this target."""
        rows: list[OutgoingMention] = await self.outbox.of(SOURCE)
        return next(row for row in rows if row.target_url == to(name))

    async def statuses(self) -> dict[str, str]:
        """Target and status of all that is stored."""
        rows = await self.outbox.of(SOURCE)
        return {host_of(row.target_url).partition(".")[0]: row.status for row in rows}


@asynccontextmanager
async def lab(**options: Any) -> AsyncIterator[Lab]:
    made = Lab(**options)
    await made.driver.open()
    try:
        yield made
    finally:
        await made.outbound.close()


async def reached(said: Callable[[], bool], *, most: int = 10_000) -> None:
    """Let others run until it is so."""
    for _ in range(most):
        if said():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")
