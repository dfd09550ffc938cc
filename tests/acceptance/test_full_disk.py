"""A full disk: `StoreUnavailable`, nothing torn, and writing again once there is space."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.acceptance.proof.figures import record

from holdfast.errors import StoreUnavailable
from holdfast.persist import Persist

pytestmark = pytest.mark.soak


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A tmpfs of 4 MiB where one can be mounted, else None."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def fill(persist: Persist) -> tuple[int, int]:
    """Write until the store refuses; how many batches' writes were acknowledged, how many refused."""
    acknowledged = 0
    for start in range(0, 100_000, 16):
        writes = (persist.set(f"k:{number}", "x" * 4000) for number in range(start, start + 16))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        refused = [each for each in outcomes if each is not None]
        if refused:
            assert all(isinstance(each, StoreUnavailable) for each in refused), refused
            # One transaction: all of it or nothing. What was acknowledged before is untouched.
            return acknowledged, len(refused)
        acknowledged += 16
    raise AssertionError("the disk never filled")


async def check(persist: Persist, acknowledged: int) -> None:
    found = await persist.get_many([f"k:{number}" for number in range(acknowledged)], str)
    assert len(found) == acknowledged
    assert set(found.values()) == {"x" * 4000}


def whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_full_disk_refuses_and_recovers(small_disk: Path | None, tmp_path: Path) -> None:
    if small_disk is None:
        pytest.skip("mounting a tmpfs needs root; the bounded file below is tested everywhere")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (2 << 20))
    path = small_disk / "full.db"
    async with Persist(f"sqlite:///{path}") as persist:
        acknowledged, refused = await fill(persist)
        await check(persist, acknowledged)
        for _ in range(3):  # and stays so, without harm
            with pytest.raises(StoreUnavailable):
                await asyncio.gather(*(persist.set(f"more:{n}", "y" * 4000) for n in range(64)))
        ballast.unlink()
        await persist.set("after", "space is back")
        await check(persist, acknowledged)
        assert await persist.get("after", str) == "space is back"
    whole(path)
    record(
        "a full disk",
        "sqlite",
        f"{acknowledged} acknowledged, {refused} refused, recovered with space, file whole",
    )


async def test_a_full_file_refuses_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "bounded.db"
    async with Persist(f"sqlite:///{path}?max_page_count=300") as persist:
        acknowledged, _ = await fill(persist)
        await check(persist, acknowledged)
        assert await persist.remove_many([f"k:{number}" for number in range(0, acknowledged, 2)]) > 0
        await persist.set("after", "space is back")
        assert await persist.get("after", str) == "space is back"
    whole(path)
