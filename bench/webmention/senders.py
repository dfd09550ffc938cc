"""Who tells the targets: Holdfast, its peers as their documentation uses them, and a floor without a library.

Each is made in a process of its own; what it imports is imported here when it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from bench.webmention.contestants import CALLERS, PLACES

__all__ = ["SENDERS", "Given", "Send", "kept"]

Send: TypeAlias = Callable[[str, str, Sequence[str]], Any]
"""Tell all targets of a source: its URL, its HTML, and what the HTML links to. Awaited, or in a thread."""


class Given:
    """What a sender is made with."""

    def __init__(self, directory: Path, hosts: Sequence[str]) -> None:
        self.directory = directory
        self.hosts = hosts  # with their port


@asynccontextmanager
async def _holdfast(given: Given, store: str) -> AsyncIterator[Send]:
    from holdfast.webmention import NetworkPolicy, Webmention

    logging.getLogger("holdfast.webmention").setLevel(
        logging.ERROR
    )  # the exceptions of the policy, all of them
    async with Webmention(store, policy=NetworkPolicy(allow=given.hosts)) as mentions:

        async def send(source: str, html: str, targets: Sequence[str]) -> int:
            report = await mentions.send(source, html)
            return sum(each.status == "sent" for each in report.mentions)

        yield send


@asynccontextmanager
async def _floor(at_once: int) -> AsyncIterator[Send]:
    """A GET and a POST on one connection by asyncio's streams; the endpoint is found by searching for it."""
    places = asyncio.Semaphore(at_once)

    async def tell(source: str, target: str) -> bool:
        async with places:
            host = target.split("/")[2]
            address, _, port = host.partition(":")
            reader, writer = await asyncio.open_connection(address, int(port))
            try:
                writer.write(f"GET {target.split(host)[1]} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                _, body = await _answer(reader)
                endpoint = body.partition(b'rel="webmention" href="')[2].partition(b'"')[0].decode()
                form = urlencode({"source": source, "target": target})
                writer.write(
                    f"POST {endpoint.split(host)[1]} HTTP/1.1\r\nHost: {host}\r\n"
                    "Content-Type: application/x-www-form-urlencoded\r\n"
                    f"Content-Length: {len(form)}\r\n\r\n{form}".encode()
                )
                head, _ = await _answer(reader)
                return head.startswith(b"HTTP/1.1 202")
            finally:
                writer.close()

    async def send(source: str, html: str, targets: Sequence[str]) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(tell(source, target)) for target in targets]
        return sum(task.result() for task in tasks)

    yield send


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return head, await reader.readexactly(int(length))


# --- peers ---


@asynccontextmanager
async def _webmentions(given: Given, database: bool) -> AsyncIterator[Send]:
    """Its pool has ten threads. Its guard refuses all of loopback, so it goes without."""
    package, storages = import_module("webmentions"), import_module("webmentions.storage.adapters.db")
    storage = kept() if not database else storages.init_db_storage(f"sqlite:///{given.directory}/peer.db")
    handler = package.WebmentionsHandler(
        storage=storage, base_url="http://blog.example", ssrf_protection=False
    )
    html_format = import_module("webmentions._model").ContentTextFormat.HTML

    def send(source: str, html: str, targets: Sequence[str]) -> int:
        handler.process_outgoing_webmentions(source, text=html, text_format=html_format)
        direction = package.WebmentionDirection.OUT
        return len(storage.retrieve_webmentions(source, direction))

    yield send


def kept() -> Any:
    """A storage for it that is a dict, as it brings none for memory."""
    package: Any = import_module("webmentions.storage")

    class Kept(package.WebmentionsStorage):  # type: ignore[misc]
        def __init__(self) -> None:
            self.mentions: dict[tuple[str, str, Any], Any] = {}

        def store_webmention(self, mention: Any) -> Any:
            self.mentions[mention.source, mention.target, mention.direction] = mention

        def delete_webmention(self, source: str, target: str, direction: Any) -> Any:
            return self.mentions.pop((source, target, direction), None)

        def retrieve_webmentions(self, resource: str, direction: Any) -> list[Any]:
            at = 0 if direction.name == "OUT" else 1
            return [
                each for key, each in self.mentions.items() if key[at] == resource and key[2] is direction
            ]

    return Kept()


@asynccontextmanager
async def _indieweb(threads: int) -> AsyncIterator[Send]:
    package = import_module("indieweb_utils")

    def tell(source: str, target: str) -> bool:
        return bool(package.send_webmention(source, target).status_code == 202)

    yield _one_by_one(tell, threads)


@asynccontextmanager
async def _ronkyuu(threads: int) -> AsyncIterator[Send]:
    package = import_module("ronkyuu")
    validators = import_module("ronkyuu.validators")
    validators.URLValidator()  # compiled once, here

    def tell(source: str, target: str) -> bool:
        answer = package.sendWebmention(source, target)
        return answer is not None and answer.status_code == 202

    def send(source: str, html: str, targets: Sequence[str]) -> int:
        found = package.findMentions(source, content=html)["refs"]
        return int(_one_by_one(tell, threads)(source, html, sorted(found)))

    yield send


def _one_by_one(tell: Callable[[str, str], bool], threads: int) -> Send:
    """A loop as their documentation has it, or as many threads as the caller brings."""

    def send(source: str, html: str, targets: Sequence[str]) -> int:
        if threads == 1:
            return sum(tell(source, target) for target in targets)
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(lambda target: tell(source, target), targets))

    return send


SENDERS: dict[str, Callable[[Given], Any]] = {
    "holdfast": lambda given: _holdfast(given, "memory://"),
    "holdfast-sqlite": lambda given: _holdfast(given, f"sqlite:///{given.directory}/ours.db"),
    "floor": lambda given: _floor(PLACES),
    "floor-all": lambda given: _floor(100_000),
    "webmentions": lambda given: _webmentions(given, database=False),
    "webmentions-sqlite": lambda given: _webmentions(given, database=True),
    "indieweb-utils": lambda given: _indieweb(1),
    "indieweb-utils-threads": lambda given: _indieweb(CALLERS),
    "ronkyuu": lambda given: _ronkyuu(1),
    "ronkyuu-threads": lambda given: _ronkyuu(CALLERS),
}
