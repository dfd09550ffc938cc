"""docs/how-to/chat.md as it stands: its files, its server killed and started again, and its page in Chromium."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect  # noqa: E402
from tests.acceptance.watched import Watched, launched  # noqa: E402

pytestmark = pytest.mark.browser

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "chat.md"
FILE = re.compile(r'^```\w+ title="(?P<name>[^"]+)"\n(?P<text>.*?)^```', re.M | re.S)
COMMANDS = re.compile(r"^```sh\n(?P<text>.*?)^```", re.M | re.S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What somebody has who has followed the page."""
    text = PAGE.read_text()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    copying = next(found["text"] for found in COMMANDS.finditer(text) if "cp " in found["text"])
    subprocess.run(["sh", "-ec", copying], cwd=tmp_path, env=environment, check=True)
    found = {match["name"]: match["text"] for match in FILE.finditer(text)}
    assert set(found) == {"app.py", "static/index.html", "static/page.js", "test_room.py"}
    for name, content in found.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@contextmanager
def running(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = next(
        found["text"] for found in COMMANDS.finditer(PAGE.read_text()) if found["text"].startswith("uvicorn")
    )
    server = subprocess.Popen(
        [sys.executable, "-m", *command.split(), "--port", str(port), "--log-level", "warning"], cwd=folder
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "it did not start"
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield server
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_page_of_the_how_to_talks_and_comes_back_after_a_kill(folder: Path) -> None:
    port = free_port()
    gone = r"WebSocket connection to 'ws://\S+' failed|ERR_CONNECTION_REFUSED"
    with launched() as chromium:
        windows = []
        with running(folder, port):
            for _ in range(2):
                context = chromium.new_context()
                windows.append(Watched(context.new_page(), f"http://127.0.0.1:{port}", tolerates=gone))
                windows[-1].go("/")
            for window, text in zip(windows, ("<b>one</b>", "two"), strict=True):
                window.page.get_by_label("Message").fill(text)
                window.page.get_by_role("button", name="Send").click()
                expect(windows[0].page.get_by_role("listitem").last).to_have_text(f"Ada: {text}")
        windows[0].page.get_by_label("Message").fill("three")
        windows[0].page.get_by_role("button", name="Send").click()
        with running(folder, port):
            for window in windows:
                expect(window.page.get_by_role("listitem")).to_have_text(
                    ["Ada: <b>one</b>", "Ada: two", "Ada: three"], timeout=30_000
                )
                window.look()
            windows[1].page.reload()
            expect(windows[1].page.get_by_role("listitem")).to_have_count(3)


def test_the_test_of_the_how_to_passes(folder: Path) -> None:
    (folder / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_room.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 passed" in said.stdout
