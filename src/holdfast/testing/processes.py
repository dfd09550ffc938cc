"""A child process that listens on a loopback port: started, stopped, killed, paused, started again."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import Self

__all__ = ["ServerProcess", "free_port", "is_free"]

STARTING_SECONDS = 60.0
STOPPING_SECONDS = 20.0

# A line means that all is well; the end of the pipe without one, that whoever held it is gone.
WATCH = """
read line && exit
kill -CONT $1; kill -$2 $1
while kill -0 $1; do sleep 0.1; done
test -z "$3" || rm -rf "$3"
"""


_started: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for server in list(_started):
        server.discard()


class ServerProcess:
    """One child process, its directory and its port."""

    name = "server"

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self._given = None if directory is None else Path(directory)
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []
        self.port = 0  # chosen at the first start, then kept

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def directory(self) -> Path:
        """Where its data and its log (`server.log`) are; kept over stop and kill, gone after the `with`."""
        if self._directory is None:
            self._directory = self._given or Path(tempfile.mkdtemp(prefix=f"holdfast-{self.name}-"))
        return self._directory

    @property
    def pid(self) -> int:
        """The server's process.

        Raises:
            RuntimeError: it is not running.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name}: not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it, or start it again over the same data, and return when it answers."""
        if self.running:
            return self
        self._prepare()
        deadline = time.monotonic() + STARTING_SECONDS
        first = self.port == 0
        while True:
            if first:
                self.port = self._choose_port()
            _started.add(self)
            with (self.directory / "server.log").open("ab") as log:
                self._process = self._launch(log.fileno())
            self._watch = self._watched(self._process.pid)
            if self._answers(deadline):
                return self
            self.kill()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start; its log ends with:\n{self.log()[-2000:]}")

    def _answers(self, deadline: float) -> bool:
        """Wait until it is ready; False: the process ended, or there is no more time."""
        while time.monotonic() < deadline:
            if not self.running:
                time.sleep(0.1)  # a port in use, or memory of the last life still held: not at once again
                return False
            try:
                if self._ready():
                    return True
            except OSError:
                pass  # nobody listens yet
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Ask it to end, as an administrator would, and wait; what it acknowledged is on disk."""
        self._end(self._polite())

    def kill(self) -> None:
        """SIGKILL the server and whatever it forked; nothing is flushed."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        self._end(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _wait_gone(children)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered, as when a machine hangs."""
        self._paused = [self.pid, *_children(self.pid)]
        for pid in self._paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT whatever `pause` stopped."""
        paused, self._paused = self._paused, []
        for pid in paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        """`stop`, then `start`."""
        self.stop()
        self.start()

    def log(self) -> str:
        """All that the server wrote to its log."""
        return (self.directory / "server.log").read_text(errors="replace")

    def discard(self) -> None:
        """End it at once and delete its directory, unless that was given."""
        self.resume()
        self.kill()
        if self._directory is not None and self._given is None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        _started.discard(self)

    def _watched(self, pid: int) -> subprocess.Popen[bytes]:
        """A shell that ends the server should this process die without a word, as `kill -9` makes it."""
        ours = str(self.directory) if self._given is None else ""
        command = ["sh", "-c", WATCH, "sh", str(pid), self._hasty().name[3:], ours]
        return subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # nobody who reads our output may wait for it
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _unwatch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.communicate(b"\n")

    def _end(self, how: signal.Signals) -> None:
        self._unwatch()
        process, self._process = self._process, None
        if process is None:
            return
        self.resume()
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _prepare(self) -> None:
        """What has to be there before the first start."""

    def _choose_port(self) -> int:
        return free_port()

    def _polite(self) -> signal.Signals:
        return signal.SIGTERM

    def _hasty(self) -> signal.Signals:
        return signal.SIGKILL

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _ready(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.discard()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.discard)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _children(pid: int) -> list[int]:
    """Direct children, from /proc; empty where there is no /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _wait_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + STOPPING_SECONDS
    for pid in pids:
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                break
            if state == "Z":  # whoever reaps it, it holds nothing any more
                break
            time.sleep(0.01)
