"""What the tests of the Redis engine share: servers, sentinels, servers that misbehave."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

import uvloop

from holdfast.engines.redis import RedisEngine
from holdfast.errors import StoreUnavailable
from holdfast.store import StoreURL
from holdfast.testing.processes import ServerProcess
from holdfast.testing.servers import RedisServer, redis_binary

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def parsed(url: str) -> StoreURL:
    return StoreURL.parse(url, own=("timeout",), foreign=True)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisEngine]:
    engine = RedisEngine.from_url(parsed(url))
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def connected(engine: RedisEngine) -> None:
    """Until commands are answered again."""
    async with asyncio.timeout(20):
        while True:
            try:
                await engine.call("PING")
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                return


def with_query(url: str, query: str) -> str:
    return f"{url}?{query}"


class SentinelServer(ServerProcess):
    """A sentinel that watches one master, and is quick to give it up."""

    name = "sentinel"

    def __init__(self, master: int) -> None:
        super().__init__(None)
        self._master = master

    def _prepare(self) -> None:
        lines = (
            f"sentinel monitor mymaster 127.0.0.1 {self._master} 1",
            "sentinel down-after-milliseconds mymaster 300",
            "sentinel failover-timeout mymaster 3000",
        )
        (self.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        words = [
            redis_binary(),
            "sentinel.conf",
            "--sentinel",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
        ]
        return subprocess.Popen(words, cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _ready(self) -> bool:
        return bool(RedisServer.command(self, "SENTINEL", "CKQUORUM", "mymaster"))  # type: ignore[arg-type]

    _options: ClassVar[dict[str, str]] = {}


def replicas_of(sentinel: SentinelServer) -> str:
    reply = RedisServer.command(sentinel, "INFO", "sentinel") + RedisServer.command(  # type: ignore[arg-type]
        sentinel, "SENTINEL", "REPLICAS", "mymaster"
    )
    words = reply.decode().split("\r\n")
    return " ".join(f"port={word}" for word in words if word.isdigit())


Answer = Callable[[list[bytes], Callable[[bytes], None]], Awaitable[None]]


@asynccontextmanager
async def fake(answer: Answer) -> AsyncIterator[str]:
    """A server that greets as Redis does and echoes; `answer` may say something else, or leave."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = False

        def send(data: bytes) -> None:
            nonlocal said
            said = True
            writer.write(data)

        try:
            while line := await reader.readline():
                command = []
                for _ in range(int(line[1:])):
                    length = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(length + 2))[:-2])
                said = False
                await answer(command, send)
                if not said:
                    writer.write(_usual(command))
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    before = asyncio.all_tasks()
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.close()
        serving = [task for task in asyncio.all_tasks() - before if "serve" in repr(task.get_coro())]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def _usual(command: list[bytes]) -> bytes:
    if command[0] == b"HELLO":
        head = b"%6" if len(command) > 1 else b"*12"
        words = (b"server", b"redis", b"version", b"7.0.15", b"proto", b"3")
        words += (b"id", b"1", b"mode", b"standalone", b"role", b"master")
        return head + b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    if command[0] == b"PING":
        return b"+PONG\r\n"
    if command[0] == b"ECHO":
        return b"$%d\r\n%b\r\n" % (len(command[1]), command[1])
    return b"+OK\r\n"
