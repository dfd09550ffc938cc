"""A receiving side over memory, a web that is a dict, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import urlencode

from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.inbound import Inbound
from holdfast.webmention.mentions import ReceivedMention
from holdfast.webmention.pages import Page

SITE = "https://alice.example"
POST = SITE + "/post"
SOURCE = "https://bob.example/reply"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
Answer: TypeAlias = "Page | BaseException | Callable[[], Awaitable[Page]] | None"


class Clock:
    """Seconds; the driver's milliseconds move with it."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at

    def ms(self) -> int:
        return round(self.at * 1000)


class FakeWeb:
    """Answers from `pages`; a `None` there never answers. Counts what was under way at once."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.now = self.most = 0
        self.hanging = asyncio.Event()

    def html(self, url: str, body: str, *, status: int = 200, **headers: str) -> None:
        self.pages[url] = page(url, body.encode(), status, **headers)

    async def get(
        self,
        url: str,
        *,
        accept: str = "",
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 1 << 20,
        enough: Callable[[Page, bytes], bool] | None = None,
    ) -> Page:
        self.asked.append(url)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            answer = self.pages.get(url, page(url, b"", 404))
            if answer is None:
                self.hanging.set()
                await asyncio.Event().wait()
            if isinstance(answer, BaseException):
                raise answer
            await asyncio.sleep(0)
            if isinstance(answer, Page):
                return answer
            assert answer is not None
            return await answer()
        finally:
            self.now -= 1

    async def post(
        self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> Page:
        raise AssertionError("receiving posts nothing")


def page(url: str, body: bytes, status: int = 200, **headers: str) -> Page:
    found = {"content-type": "text/html; charset=utf-8"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Page(url=url, status=status, headers=tuple(found.items()), body=body)


def entry(
    target: str = POST, *, relation: str = "u-in-reply-to", author: str = "", text: str = "Well said"
) -> str:
    """The h-entry of a page that links to the target."""
    return (
        f'<article class="h-entry"><p class="p-author h-card"><a class="u-url p-name" href="/">Bob</a>{author}</p>'
        f'<a class="{relation}" href="{target}">it</a><p class="e-content">{text}</p></article>'
    )


class Lab:
    def __init__(self, driver: MemoryDriver, clock: Clock, **options: Any) -> None:
        self.driver, self.clock, self.web = driver, clock, FakeWeb()
        self.told: list[ReceivedMention] = []
        options.setdefault("on_mention", self.told.append)
        options.setdefault("site", SITE)
        self.options = options
        self.inbound = self.reopened()
        self._numbers = itertools.count()

    def reopened(self) -> Inbound:
        """Another process over the same store."""
        return Inbound(self.driver, self.web, namespace="t", now=self.clock, **self.options)

    async def verified(
        self, source: str = SOURCE, target: str = POST, *, relation: str = "u-in-reply-to", author: str = ""
    ) -> ReceivedMention:
        """Sent and worked off."""
        self.web.html(source, entry(target, relation=relation, author=author))
        mention = await self.inbound.receive(source, target)
        await self.inbound.work()
        found = await self.inbound.get(mention.id)
        assert found is not None
        return found

    async def state(self, mention: ReceivedMention) -> str:
        found = await self.inbound.get(mention.id)
        return "forgotten" if found is None else found.state

    def pass_(self, **parts: float) -> None:
        seconds = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
        self.clock.at += sum(seconds[name] * number for name, number in parts.items())


@asynccontextmanager
async def lab(**options: Any) -> AsyncIterator[Lab]:
    clock = Clock()
    driver = MemoryDriver(now_ms=clock.ms)
    await driver.open()
    try:
        yield Lab(driver, clock, **options)
    finally:
        await driver.close()


async def all_of(mentions: AsyncIterator[ReceivedMention]) -> list[ReceivedMention]:
    return [each async for each in mentions]


class Answered:
    """What an ASGI app answered."""

    def __init__(self, sent: Sequence[Mapping[str, Any]]) -> None:
        start, *rest = sent
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(message["body"] for message in rest)
        self.text = self.body.decode()


async def ask(
    app: Any,
    method: str = "GET",
    path: str = "/webmention",
    *,
    query: str = "",
    form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    body: Sequence[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    root_path: str = "",
    client: tuple[str, int] | None = ("198.51.100.7", 4711),
) -> Answered:
    """One request through the app itself."""
    chunks = list(body) if body is not None else [urlencode(form).encode() if form is not None else b""]
    found = {"host": "alice.example"}
    if form is not None:
        found["content-type"] = "application/x-www-form-urlencoded"
    found |= headers or {}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "query_string": query.encode(),
        "scheme": "https",
        "headers": [(name.encode(), value.encode()) for name, value in found.items()],
        "client": client,
    }
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not chunks:
            return {"type": "http.disconnect"}
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return Answered(sent)
