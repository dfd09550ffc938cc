"""Processes of one run: the web on core 1, whoever is measured on core 0."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench.channels.running import on_core
from bench.webmention.posting import Posted, post_all
from bench.webmention.sending import Sent
from holdfast.testing.processes import ServerProcess

__all__ = ["Failed", "Site", "look_through", "post", "send", "web"]

ROOT: Final = Path(__file__).resolve().parents[2]
MEASURED_CORE, WEB_CORE = 0, 1
LONGEST: Final = 180.0
# No proxy of the environment may stand between a peer and loopback.
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "*", "no_proxy": "*"}


class Failed(Exception):
    """Somebody did not do what they should; the message is for the report."""


class Site(msgspec.Struct, frozen=True):
    """Where the web is."""

    port: int
    hosts: int

    def told(self) -> int:
        """How often it was told since this was asked last."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.1.1:{self.port}/_told", timeout=10) as answer:
            return int(answer.read())


@contextmanager
def web(hosts: int, delay: float) -> Iterator[Site]:
    """So many hosts that answer so many seconds late; they end with whoever holds their input."""
    command = _module("site", "--hosts", str(hosts), "--delay", str(delay))
    with on_core(WEB_CORE):
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise Failed("the web did not start")
        yield Site(int(line), hosts)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def send(name: str, site: Site, targets: int) -> Sent:
    """One sender tells so many targets; all of them were told.

    Raises:
        Failed: they were not.
    """
    site.told()
    options = ("--port", site.port, "--hosts", site.hosts, "--targets", targets)
    sent = msgspec.json.decode(_run(_module("sending", name, *map(str, options)), LONGEST), type=Sent)
    told = site.told()
    if sent.sent != targets or told < targets:
        raise Failed(f"{sent.sent} of {targets} were sent, {told} arrived")
    return sent


def look_through(name: str, look: str, shapes: Sequence[str], limit: float) -> list[float] | str:
    """Seconds of CPU for each; in words how it ended otherwise."""
    try:
        told = _run(_module("hostile", name, look, *shapes), limit)
    except subprocess.TimeoutExpired:
        return f"> {limit:g} s"
    except Failed as error:
        return str(error)
    return [float(line) for line in told.split()]


class _Receiver(ServerProcess):
    def __init__(self, name: str, site: Site) -> None:
        super().__init__(None)
        self.name, self._site = name, site

    def start(self) -> _Receiver:
        with on_core(MEASURED_CORE):
            super().start()
        return self

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        options = ("--port", self.port, "--site-port", self._site.port, "--hosts", self._site.hosts)
        return subprocess.Popen(
            _module("receivers", self.name, *map(str, options)),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True


def post(name: str, site: Site, *, queued: int, posts: int) -> Posted:
    """Drive one receiver from core 1."""
    with _Receiver(name, site) as receiver, on_core(WEB_CORE):
        try:
            return asyncio.run(post_all(receiver.port, site.port, site.hosts, queued=queued, posts=posts))
        except (OSError, RuntimeError) as exc:
            raise Failed(f"{exc}; {' '.join(receiver.log().split()[-12:])}") from exc
        finally:
            receiver.kill()  # one whose threads all wait would take its time


def _module(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"bench.webmention.{name}", *options]


def _run(command: Sequence[str], limit: float) -> bytes:
    with on_core(MEASURED_CORE):
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    try:
        out, err = process.communicate(timeout=limit)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        complaint = err.decode(errors="replace").strip().splitlines()[-1:] or [
            f"exit code {process.returncode}"
        ]
        raise Failed(complaint[0][:200])
    return out
