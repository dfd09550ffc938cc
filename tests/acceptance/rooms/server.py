"""`app.py` under uvicorn as a process: killed, and started again on the same port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec

from holdfast.testing.processes import ServerProcess

ROOT = Path(__file__).parents[3]
FAST = "holdfast.channels.transports.uvicorn:WebSocketProtocol"
STOCK = "websockets-sansio"


class RoomServer(ServerProcess):
    """One process that serves the rooms of a store.

    Args:
        ws: uvicorn's protocol class: `FAST`, or `STOCK` for plain ASGI.
        window: seconds that a poll waits.
        limits: what differs from `Limits()`.
    """

    name = "rooms"

    def __init__(
        self,
        store: str,
        namespace: str,
        *,
        ws: str = FAST,
        lease: float = 15.0,
        window: float = 10.0,
        **limits: float,
    ) -> None:
        super().__init__(None)
        self._ws = ws
        self._environment = {
            **os.environ,
            "HOLDFAST_STORE": store,
            "HOLDFAST_NAMESPACE": namespace,
            "ROOMS_LEASE": str(lease),
            "ROOMS_WINDOW": str(window),
            "ROOMS_LIMITS": msgspec.json.encode(limits).decode(),
            "PYTHONWARNINGS": "error",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/socket"

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        module = ("-m", "uvicorn", "tests.acceptance.rooms.app:app")
        options = ("--log-level", "warning", "--backlog", "4096", "--port", str(self.port), "--ws", self._ws)
        return subprocess.Popen(
            [sys.executable, *module, *options],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 5):
            return True

    def counts(self) -> dict[str, Any]:
        """What the process counted."""
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/counts", timeout=30).json()
        return found

    def check(self) -> None:
        """Nothing went wrong that nobody was told."""
        log = self.log()
        assert "Traceback" not in log, log[-8000:]

    def __exit__(self, *exc: object) -> None:
        try:
            if any(exc):
                print(f"the server said:\n{self.log()[-8000:]}")
            else:
                self.check()
        finally:
            self.discard()
