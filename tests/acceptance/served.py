"""`holdfast serve` as a process, on a free port, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

TOKEN = "the-token-of-the-tests"


class Served:
    """Started by `with`; ended by SIGTERM, or by SIGKILL if that does not help.

    `url` is where it listens, `said` what it printed until it listened.
    """

    def __init__(self, store: str, folder: Path, *options: str, token: str | None = TOKEN) -> None:
        self.folder = folder
        self.url = ""
        self.said = ""
        environment = {name: text for name, text in os.environ.items() if not name.startswith("HOLDFAST_")}
        environment |= {"HOLDFAST_STORE": store, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}
        if token is not None:
            environment["HOLDFAST_TOKEN"] = token
        self._environment = environment
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with (self.folder / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", "serve", "--port", "0", *self._options],
                cwd=self.folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line
            if found := re.search(r"open +(http://\S+?)/?$", line):
                self.url = found[1]
            if "stop" in line:
                return self
        raise AssertionError(f"it did not start:\n{self.said}{self.errors}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def token(self) -> str:
        """The token that it printed."""
        found = re.search(r"token +(\S{43}) ", self.said)
        assert found is not None, self.said
        return found[1]

    def client(self, token: str = TOKEN) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def kill(self) -> None:
        """`kill -9`, workers and all."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; the seconds until it had gone."""
        start = time.monotonic()
        self.process.terminate()
        self.process.wait(30)
        return time.monotonic() - start
