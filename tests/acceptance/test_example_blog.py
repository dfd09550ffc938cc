"""`examples/blog.py` as its first lines say to run it: a link from one site to another, written, shown, removed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from holdfast.testing.processes import free_port

ROOT = Path(__file__).parents[2]
SECTION = '<section class="hf-mentions"'
EXAMPLE = ROOT / "examples" / "blog.py"
FIRST = EXAMPLE.read_text().split('"""')[1]


class Blogs:
    """The example as a process of its own, in a folder of its own, on two addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alice, self.bob = (f"127.0.0.{n}:{free_port()}" for n in (1, 2))
        self.web = httpx.AsyncClient(timeout=10, trust_env=False)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Return when both answer."""
        self.launch()
        for address in (self.alice, self.bob):
            await self.until(partial(self.page, address, ""))

    def launch(self) -> None:
        assert "python -m examples.blog 127.0.0.1:8001 127.0.0.2:8001" in FIRST
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "examples.blog", self.alice, self.bob],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(30)

    def write(self, who: str, name: str, text: str) -> None:
        """Whole or not at all: the blog looks into the folder while this happens."""
        folder = self.folder / who
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.part").write_text(text)
        (folder / f"{name}.part").rename(folder / f"{name}.md")

    def holdfast(self, who: str, *words: str) -> str:
        command = [sys.executable, "-m", "holdfast", *words, "--store", f"sqlite:///{who}.db", "--json"]
        said = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        return said.stdout

    def listed(self, who: str, *words: str) -> list[dict[str, Any]]:
        said = self.holdfast(who, "webmention", "list", *words)
        return [msgspec.json.decode(line) for line in said.splitlines()]

    async def page(self, address: str, name: str) -> str:
        return (await self.web.get(f"http://{address}/{name}")).text

    async def until(self, fact: Callable[[], Awaitable[Any]]) -> Any:
        """Look again and again, as a reader would, until it is so."""
        async with asyncio.timeout(30):
            while True:
                try:
                    if found := await fact():
                        return found
                except httpx.TransportError:
                    pass  # it has not started yet
                await asyncio.sleep(0.1)


@pytest.fixture
async def blogs(tmp_path: Path) -> AsyncIterator[Blogs]:
    blogs = Blogs(tmp_path)
    try:
        yield blogs
    finally:
        await blogs.web.aclose()
        if blogs._process is not None and blogs._process.poll() is None:
            blogs.end(signal.SIGKILL)


def test_the_example_is_two_blogs_in_less_than_120_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 120


async def test_a_mention_arrives_is_accepted_outlives_a_kill_and_goes_with_its_link(blogs: Blogs) -> None:
    post = f"http://{blogs.alice}/first"
    blogs.write("alice", "first", "# First\n\nHello, world.")
    blogs.write("bob", "reply", f"I have read [this]({post}) <b>twice</b>.")
    await blogs.start()

    async def received(state: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(blogs.listed, "alice", "--received", "--status", state)

    [mention] = await blogs.until(lambda: received("pending"))
    assert mention["source_url"] == f"http://{blogs.bob}/reply"
    assert mention["target_url"] == post
    assert SECTION not in await blogs.page(blogs.alice, "first"), "nobody has accepted it"

    await asyncio.to_thread(blogs.holdfast, "alice", "webmention", "accept", mention["id"])
    shown = await blogs.page(blogs.alice, "first")
    assert re.search(r"<bdi>Bob</bdi>", shown)
    assert "I have read" in shown
    assert "&lt;b&gt;twice&lt;/b&gt;" in shown
    said = (await blogs.web.get(f"http://{blogs.alice}/api/mentions.jf2", params={"target": post})).json()
    assert [each["author"]["name"] for each in said["children"]] == ["Bob"]

    blogs.end(signal.SIGKILL)
    await blogs.start()
    assert await blogs.page(blogs.alice, "first") == shown

    blogs.write("bob", "reply", f"I have read [this]({post}), and changed my mind.")

    async def changed() -> bool:
        return "changed my mind" in await blogs.page(blogs.alice, "first")

    await blogs.until(changed)
    blogs.write("bob", "reply", "I have nothing to say.")

    async def unmentioned() -> bool:
        return SECTION not in await blogs.page(blogs.alice, "first")

    await blogs.until(unmentioned)
    assert len(await received("gone")) == 1
    assert blogs.end(signal.SIGINT) == 0
    assert "Traceback" not in (blogs.folder / "log").read_text()


async def test_a_post_that_is_removed_answers_410_and_its_mention_goes(blogs: Blogs) -> None:
    post = f"http://{blogs.alice}/first"
    blogs.write("alice", "first", "Hello.")
    blogs.write("bob", "reply", f"Read [this]({post}).")
    await blogs.start()

    async def received(state: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(blogs.listed, "alice", "--received", "--status", state)

    await blogs.until(lambda: received("pending"))
    (blogs.folder / "bob" / "reply.md").unlink()
    await blogs.until(lambda: received("gone"))
    assert (await blogs.web.get(f"http://{blogs.bob}/reply")).status_code == 410
    assert (await blogs.web.get(f"http://{blogs.bob}/never")).status_code == 404
