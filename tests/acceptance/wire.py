"""Servers that run an app as their users do, and a client that speaks frames."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).parents[2]
SECONDS = 10.0
_UVICORN = ("-m", "uvicorn", "{app}", "--port", "{port}", "--log-level", "warning", "--ws")
SERVERS: dict[str, tuple[str, ...]] = {
    "uvicorn": (*_UVICORN, "websockets-sansio"),
    "uvicorn-websockets": ("-W", "ignore", *_UVICORN, "websockets"),
    "uvicorn-wsproto": (*_UVICORN, "wsproto"),
    "uvicorn-holdfast": (*_UVICORN, "holdfast.channels.transports.uvicorn:WebSocketProtocol"),
    "hypercorn": ("-m", "hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--graceful-timeout", "2"),
    "granian": ("-m", "granian", "--interface", "asgi", "--port", "{port}", "{app}"),
}
"""Each server's command line, behind the interpreter."""
NEEDS = {"uvicorn-wsproto": "wsproto", "hypercorn": "hypercorn", "granian": "granian"}


def is_installed(server: str) -> bool:
    return importlib.util.find_spec(NEEDS.get(server, "uvicorn")) is not None


class Server:
    """One process of one of `SERVERS` on a free port; ended by SIGTERM."""

    def __init__(self, name: str, folder: Path, *options: str, store: str = "memory://") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.name = name
        self._errors = folder / f"{name}.log"
        words = (word.format(app="tests.acceptance.wire_app:app", port=self.port) for word in SERVERS[name])
        self._command = [*words, *options]
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "WIRE_STORE": self._store},
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, f"{self.name} does not listen:\n{self.log}"
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def terminate(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()

    @property
    def log(self) -> str:
        return self._errors.read_text()

    def url(self, query: str = "vsn=2.0.0", path: str = "/socket/websocket") -> str:
        return f"ws://127.0.0.1:{self.port}{path}?{query}"

    def client(self, query: str = "vsn=2.0.0", **more: Any) -> Client:
        return Client(self.url(query), **more)


class Client:
    """Frames in and out, as lists of five or bytes. Waiting is bounded."""

    connection: ClientConnection

    def __init__(self, url: str, **more: Any) -> None:
        self._opening = lambda: connect(url, max_size=None, **more)

    def __enter__(self) -> Self:
        self._context = self._opening()
        self.connection = self._context.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)

    def send(self, *frame: Any) -> None:
        self.connection.send(json.dumps(frame, ensure_ascii=False))

    def receive(self) -> Any:
        data = self.connection.recv(timeout=SECONDS)
        return json.loads(data) if isinstance(data, str) else data

    def join(self, topic: str = "room:a", ref: str = "1", **params: Any) -> Any:
        """Join, and the reply."""
        self.send(ref, ref, topic, "phx_join", params)
        reply = self.receive()
        assert reply[:4] == [ref, ref, topic, "phx_reply"], reply
        return reply[4]

    def is_silent(self) -> None:
        """What was asked for last has no answer: that of a heartbeat sent behind it comes first."""
        self.send(None, "silence", "phoenix", "heartbeat", {})
        assert self.receive()[1] == "silence"

    def closed(self) -> tuple[int | None, str]:
        """Read to the end; the code and reason that the server closed with."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                self.connection.recv(timeout=SECONDS)
            except ConnectionClosed as exc:
                return (None, "") if exc.rcvd is None else (exc.rcvd.code, exc.rcvd.reason)
        raise AssertionError("it is still open")
