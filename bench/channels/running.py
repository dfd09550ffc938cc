"""Processes: the compiled generator and floor, a server on core 0, the generator on core 1."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.channels.contestants import Contestant, Place
from bench.channels.scenarios import Report, decode
from holdfast.testing.processes import ServerProcess

__all__ = [
    "GREETINGS",
    "Failed",
    "Server",
    "build",
    "database",
    "generate",
    "kept",
    "on_core",
    "postgres_version",
    "raise_limit",
]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GREETINGS = 10
SERVER_CORE, GENERATOR_CORE = 0, 1
KEPT = "SELECT COALESCE(SUM(last), 0) FROM holdfast_topics"


class Failed(Exception):
    """A server or the generator did not do what it should; the message is for the report."""


def build(directory: Path) -> tuple[Path, Path]:
    """Compile the generator and the floor; where they are now."""
    made = []
    for name in ("load", "floor"):
        made.append(directory / f"bench-{name}")
        sources = sorted(map(str, (HERE / name).glob("*.c")))
        done = subprocess.run(
            ["cc", "-O2", "-o", str(made[-1]), *sources], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"cc: {done.stderr.strip()}")
    return made[0], made[1]


def raise_limit(wanted: int) -> int:
    """Allow this process and its children so many open files, or as many as can be; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile runs on this core alone, where there is such a one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server(ServerProcess):
    """One contestant, from start to `kill -9`."""

    def __init__(
        self, contestant: Contestant, place: Place, *, history: int = 0, store: str = "memory://"
    ) -> None:
        super().__init__(None)
        self.name = contestant.name
        self.contestant = contestant
        self._place = place
        self._env = {"BENCH_HISTORY": str(history), "BENCH_STORE": store, "PYTHONPATH": str(ROOT)}
        self._env |= {"BENCH_REDIS": place.redis} if place.redis else {}

    def start(self) -> Server:
        with on_core(SERVER_CORE):
            super().start()
        return self

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.contestant.command(self._place, self.port),
            cwd=ROOT,
            env={**os.environ, **self._env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True


def generate(generator: Path, server: Server, words: Sequence[str], *, seconds: float, warm: float) -> Report:
    """Drive it once.

    Raises:
        Failed: not everyone could join, or the server is gone.
    """
    who = server.contestant
    command = [str(generator), "--port", str(server.port), "--path", who.path, "--pids", str(server.pid)]
    command += ["--socketio"] if who.socketio else []
    command += ["--seconds", f"{seconds:g}", "--warm", f"{warm:g}", *words]
    with on_core(GENERATOR_CORE):
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 90, check=False)
    complaint = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if done.returncode:
        raise Failed(f"generator: {complaint[0]}")
    report = decode(done.stdout.encode())
    if not server.running:
        raise Failed(f"the server ended: {' '.join(server.log().split()[-12:])}")
    if report.ready < report.connections:
        raise Failed(f"{report.ready} of {report.connections} joined: {complaint[0]}")
    return report


# --- stores ---

_numbers = count()


@contextmanager
def database(kind: str, place: Place) -> Iterator[str]:
    """A fresh and empty database; its URL."""
    name = f"bench_{next(_numbers)}"
    if kind == "sqlite":
        path = place.directory / f"{name}.db"
        yield f"sqlite:///{path}"
        for file in place.directory.glob(f"{name}.db*"):
            file.unlink()
    elif kind == "postgres":
        asyncio.run(_postgres(place.postgres, f"CREATE DATABASE {name}", "CHECKPOINT"))
        yield f"{place.postgres.rpartition('/')[0]}/{name}"
        asyncio.run(_postgres(place.postgres, f"DROP DATABASE {name} WITH (FORCE)"))
    else:
        yield "memory://"


def kept(url: str) -> int:
    """How many messages the store has ever taken."""
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return int(connection.execute(KEPT).fetchone()[0])
        finally:
            connection.close()
    return int(asyncio.run(_postgres(url, KEPT)) or 0)


async def _postgres(url: str, *statements: str) -> str:
    """The last statement's first value, as text."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            found = await connection.fetchval(statement)
        return str(found)
    finally:
        await connection.close()


def postgres_version(url: str) -> str:
    return asyncio.run(_postgres(url, "SHOW server_version")).split()[0]
