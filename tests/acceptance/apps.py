"""An app of docs or examples under the server that it names: a process that can be killed, and started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
from tests.acceptance.wire import ROOT, SERVERS, Client

from holdfast.testing.processes import ServerProcess

__all__ = ["AppServer"]


class AppServer(ServerProcess):
    """One of `SERVERS` serving `module:app`; modules are looked for in `folder` and where the repository is."""

    name = "app"

    def __init__(self, server: str, app: str, folder: Path) -> None:
        super().__init__(folder)
        self._server = server
        self._app = app

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, query: str = "vsn=2.0.0") -> Client:
        return Client(f"ws://127.0.0.1:{self.port}/socket/websocket?{query}")

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        words = [word.format(app=self._app, port=self.port) for word in SERVERS[self._server]]
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _ready(self) -> bool:
        """Some listen before they have started; whoever answers has."""
        try:
            httpx.get(f"{self.url}/nothing", timeout=10)
        except httpx.TransportError:
            return False
        return True
