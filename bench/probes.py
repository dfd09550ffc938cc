"""What the figures depend on and the stores do not decide: the machine, its disk, and the import."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from bench.measure import median, percentile

__all__ = [
    "CALM",
    "Disk",
    "filesystem",
    "import_time",
    "load",
    "machine",
    "on_one_core",
    "probe_disk",
    "versions",
]

CALM = 4.0
"""A disk is calm while the p99 of its fdatasync is at most so many times the p50."""


class Disk(msgspec.Struct, frozen=True):
    """How long 4 KiB and an fdatasync take at the moment."""

    p50_us: float
    p99_us: float

    @property
    def calm(self) -> bool:
        return self.p99_us <= CALM * self.p50_us


def probe_disk(directory: Path, times: int = 150) -> Disk:
    """Append 4 KiB and sync, so many times; blocks."""
    path = directory / "probe"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    block, took = b"x" * 4096, []
    try:
        for _ in range(times):
            os.write(file, block)
            began = time.perf_counter()
            os.fdatasync(file)
            took.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    took.sort()
    return Disk(percentile(took, 0.5) * 1e6, percentile(took, 0.99) * 1e6)


def import_time(module: str = "holdfast", times: int = 10) -> tuple[float, float]:
    """Milliseconds that a new interpreter with this import takes, and how many more than an empty one.

    Wall time, medians of pairs run in turn.
    """

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
        return (time.perf_counter() - began) * 1e3

    run(f"import {module}")  # compiles what is not compiled yet
    pairs = [(run(f"import {module}"), run("pass")) for _ in range(times)]
    return median(whole for whole, _ in pairs), median(whole - empty for whole, empty in pairs)


@contextmanager
def on_one_core(server: int | None) -> Iterator[None]:
    """Client and server (by its process id, with its children) on one core meanwhile.

    Where the scheduler puts the two decides what a lone round trip takes: the
    same asyncpg statement took 22 µs where they shared a core and 95 where
    each had one that had to be woken, for seconds on end.
    """
    threads = [thread for pid in (os.getpid(), *_family(server)) for thread in _threads(pid)]
    before = {}
    core = min(os.sched_getaffinity(0))
    for thread in threads:
        try:
            before[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, {core})
        except OSError:  # it has ended, or is somebody else's
            continue
    try:
        yield
    finally:
        for thread, cores in before.items():
            try:
                os.sched_setaffinity(thread, cores)
            except OSError:
                continue


def _family(server: int | None) -> list[int]:
    if server is None:
        return []
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return [server, *(pid for pid, parent in parents.items() if parent == server)]


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def load() -> str:
    """The load average of the last minute."""
    return f"{os.getloadavg()[0]:.2f}"


def machine() -> str:
    """Cores, model and kernel, and nothing that names this machine."""
    kernel = platform.release().partition("-")[0]
    return (
        f"{os.cpu_count()} cores, {_cpu_model()}, {_memory()} GiB; "
        f"{platform.system()} {kernel} {platform.machine()}"
    )


def versions(packages: Iterable[str]) -> str:
    """Of the interpreter, SQLite and the packages that are installed."""
    known = [
        f"{platform.python_implementation()} {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
    ]
    for package in packages:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(known)


def filesystem(directory: Path) -> str:
    """The kind of file system that the data are on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    under = [m for m in mounts if directory.resolve().is_relative_to(m[1])]
    return max(under, key=lambda mount: len(mount[1]))[2] if under else "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory() -> int:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (ValueError, OSError):
        return 0
