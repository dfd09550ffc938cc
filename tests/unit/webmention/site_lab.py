"""Small web sites on loopback that answer as they are told, and remember what they were asked.

::

    async with Lab() as lab:
        bob = await lab.site("bob.example")
        bob.page("/post", '<link rel="webmention" href="/take">')
        async with lab.fetcher() as web:
            await web.get(bob.url("/post"))
        assert bob.asked == [("GET", "/post")]

A path is answered by a `Reply`, by a list of them (one each, the last for ever),
or by a function of the `Request`, which may also write to the socket itself:
raw bytes are what a hostile site is made of.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs

from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.policy import NetworkPolicy


@dataclass
class Request:
    """One request that a site got."""

    method: str
    path: str  # with its query
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class Reply:
    """One answer; its length and its connection are taken care of."""

    body: bytes | str = b""
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    kind: str = "text/html; charset=utf-8"

    def raw(self) -> bytes:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        lines = [f"HTTP/1.1 {self.status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {self.kind}"] if self.kind else []
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Answer: TypeAlias = "Reply | Callable[[Request], Awaitable[Reply | None]]"


@dataclass
class Site:
    """One site; `None` out of a function ends the connection."""

    name: str
    host: str
    port: int = 0
    scheme: str = "http"
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", *, name: str | None = None) -> str:
        """By address, unless a name is given."""
        return f"{self.scheme}://{name or self.host}:{self.port}{path}"

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(each.method, each.path) for each in self.requests]

    @property
    def mentions(self) -> list[tuple[str, str, str]]:
        """Path, source and target of every POST."""
        return [
            (each.path, each.form.get("source", ""), each.form.get("target", ""))
            for each in self.requests
            if each.method == "POST"
        ]

    def answer(self, path: str, *answers: Answer) -> None:
        """What `path` answers from now on: one after the other, the last for ever."""
        self.answers[path] = list(answers)

    def page(self, path: str, body: bytes | str, **how: Any) -> str:
        """Answer with a page; its URL."""
        self.answer(path, Reply(body, **how))
        return self.url(path)

    def redirect(self, path: str, to: str, status: int = 302) -> str:
        self.answer(path, Reply(status=status, headers=[("Location", to)]))
        return self.url(path)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact about connections and requests of this site."""
        async with asyncio.timeout(10):
            while not fact():
                self._stirred.clear()
                await self._stirred.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self._stirred.set()
        try:
            while (request := await _request(reader, writer)) is not None:
                self.requests.append(request)
                self._stirred.set()
                reply = await self._answer_to(request)
                if reply is None:
                    return
                await request.write(reply.raw())
        except (ConnectionError, ssl.SSLError):
            pass  # the other side had enough
        finally:
            self.open_now -= 1
            self._stirred.set()
            writer.transport.abort()

    async def _answer_to(self, request: Request) -> Reply | None:
        path = request.path.partition("?")[0]
        answers = self.answers.get(request.path) or self.answers.get(path)
        if not answers:
            return Reply("no such page", 404, kind="text/plain")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, Reply) else await answer(request)


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in head[1:])
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body, writer)


class Lab:
    """Sites, the names that lead to them, and fetchers that may reach them and nothing else of this machine."""

    def __init__(self) -> None:
        self.sites: list[Site] = []
        self.names: dict[str, Sequence[Any]] = {}
        self.resolved: list[str] = []
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    async def site(
        self, name: str = "", *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> Site:
        """One more, on a free port; `name` is one that the lab's resolver knows from then on."""
        site = Site(name, host, scheme="https" if tls else "http")

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(site.serve(reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        server = await asyncio.start_server(connected, host, port, ssl=tls, backlog=1024)
        self._servers.append(server)
        site.port = server.sockets[0].getsockname()[1]
        self.sites.append(site)
        if name:
            self.names[name] = [host]
        return site

    async def resolve(self, name: str) -> Sequence[str]:
        """As `names` says: addresses, or a list of answers, one for each time it is asked (the last for ever)."""
        self.resolved.append(name)
        answer = self.names.get(name)
        if answer is None:
            raise OSError(f"{name}: no such name")
        if answer and not isinstance(answer[0], str):
            answers: list[Any] = list(answer)
            self.names[name] = answers[1:] if len(answers) > 1 else answers
            return list(answers[0])
        return [str(each) for each in answer]

    @property
    def policy(self) -> NetworkPolicy:
        """Every site so far is an exception, by address."""
        return NetworkPolicy(allow=[site.where for site in self.sites])

    def fetcher(self, policy: NetworkPolicy | None = None, **how: Any) -> Fetcher:
        """One that may reach the sites, and resolves names by the lab."""
        return Fetcher(policy or self.policy, resolve=self.resolve, **how)


def head(status: int = 200, headers: Mapping[str, str] = {}) -> bytes:
    """The raw beginning of an answer, for those who write its body themselves."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
