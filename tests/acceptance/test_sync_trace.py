"""SQLite, `synchronous=FULL`: a sync to disk completes between a write and its acknowledgement.

Seen from outside, by strace: the order of `pwrite64` to the write-ahead log, of
`fdatasync` or `fsync` on it, and of the `write` with which the worker says that
it was acknowledged.
"""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from tests.acceptance.proof.figures import SOAK, record
from tests.acceptance.proof.processes import Worker
from tests.conftest import missing

from holdfast.persist import Persist

pytestmark = pytest.mark.soak
WRITES = 200 if SOAK else 20
CALL = re.compile(
    r"^(?P<pid>\d+)\s+(?:(?P<call>\w+)\(\d+<(?P<path>[^>]*)>(?P<rest>.*)"
    r"|<\.\.\. (?P<resumed>\w+) resumed>(?P<end>.*))"
)


def acknowledged_unsynced(trace: str) -> tuple[int, int]:
    """How many acknowledgements there were, and how many came while a log write had not been synced."""
    acknowledged = unsynced = 0
    dirty = False
    syncing: set[str] = set()  # processes inside a sync that has not returned
    for line in trace.splitlines():
        match = CALL.match(line)
        if match is None:
            continue
        pid, call, path = match["pid"], match["call"], match["path"] or ""
        if match["resumed"] in ("fdatasync", "fsync"):
            if pid in syncing:
                syncing.discard(pid)
                dirty = dirty and "= 0" not in match["end"]
        elif call == "pwrite64" and path.endswith("-wal"):
            dirty = True
        elif call in ("fdatasync", "fsync") and path.endswith("-wal"):
            if "<unfinished" in match["rest"]:
                syncing.add(pid)
            elif match["rest"].rstrip().endswith("= 0"):
                dirty = False
        elif call == "write" and '"ack ' in match["rest"]:
            acknowledged += 1
            unsynced += dirty
    return acknowledged, unsynced


async def traced(url: str, namespace: str, log: Path) -> str:
    if shutil.which("strace") is None:
        missing("no strace: apt-get install strace")
    async with Persist(url, namespace=namespace):
        pass
    before = ("strace", "-f", "-y", "-s", "32", "-e", "trace=pwrite64,fdatasync,fsync,write", "-o", str(log))
    with Worker("lone", url, namespace, WRITES, before=before) as worker:
        worker.go()
        worker.finish()
    return await asyncio.to_thread(log.read_text)


async def test_a_sync_completes_between_a_write_and_its_acknowledgement(
    tmp_path: Path, namespace: str
) -> None:
    trace = await traced(f"sqlite:///{tmp_path}/full.db", namespace, tmp_path / "trace")
    acknowledged, unsynced = acknowledged_unsynced(trace)
    assert acknowledged == WRITES
    assert unsynced == 0
    record(
        "sync before acknowledgement", "sqlite FULL", f"{acknowledged} of {acknowledged} by system call trace"
    )


async def test_the_trace_tells_the_difference(tmp_path: Path, namespace: str) -> None:
    """With `synchronous=normal` nothing is synced before an acknowledgement, and the same check says so."""
    trace = await traced(f"sqlite:///{tmp_path}/normal.db?synchronous=normal", namespace, tmp_path / "trace")
    acknowledged, unsynced = acknowledged_unsynced(trace)
    assert acknowledged == WRITES
    assert unsynced > WRITES // 2
