"""What is SQLite's own in its webmention driver; what all drivers share is in `holdfast.testing.WebmentionSuite`."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from holdfast.engines.sqlite import DiskFull
from holdfast.errors import Closed, NotMigrated, StoreUnavailable
from holdfast.store import StoreURL
from holdfast.testing import ManualClock
from holdfast.webmention.driver import Drop, Put
from holdfast.webmention.drivers import sqlite_reads, sqlite_writes
from holdfast.webmention.drivers.sqlite import SqliteDriver
from holdfast.webmention.registry import driver_for

OPTIONS = ("synchronous", "busy_timeout", "max_page_count")
KIND = "holdfast:m:o"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


def driver_at(path: Path, query: str = "", **named: Any) -> SqliteDriver:
    return SqliteDriver(StoreURL.parse(f"sqlite:///{path}?{query}", own=OPTIONS), **named)


@pytest_asyncio.fixture
async def driver(path: Path, clock: ManualClock) -> AsyncIterator[SqliteDriver]:
    made = driver_at(path, "synchronous=normal", now_ms=clock)
    await made.open()
    await made.migrate()
    yield made
    await made.close()


@pytest.fixture
def other(driver: SqliteDriver, path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        yield connection


def test_the_registry_makes_it(path: Path) -> None:
    assert isinstance(driver_for(f"sqlite:///{path}"), SqliteDriver)
    assert not path.exists()


async def test_a_person_can_read_the_tables(driver: SqliteDriver, other: sqlite3.Connection) -> None:
    await driver.write([Put(KIND, "a", b'{"status": "pending"}', ("y", "x"), 5), Put(KIND, "b", b"{}")])
    await driver.write([Put(KIND, "b", b'{"again":true}')])
    assert other.execute("SELECT * FROM holdfast_mentions ORDER BY number").fetchall() == [
        (1, KIND, "a", 1, 1_800_000_000_005, '{"status": "pending"}'),
        (2, KIND, "b", 2, None, '{"again":true}'),
    ]
    assert other.execute("SELECT * FROM holdfast_mention_tags ORDER BY tag").fetchall() == [
        (KIND, "x", 1),
        (KIND, "y", 1),
    ]


async def test_no_tag_outlives_its_document(driver: SqliteDriver, other: sqlite3.Connection) -> None:
    await driver.write([Put(KIND, f"d{at}", b"{}", ("x", f"t{at}")) for at in range(9)])
    await driver.write([Drop(KIND, f"d{at}") for at in range(0, 9, 2)])
    await driver.write([Put(KIND, f"d{at}", b"{}") for at in range(1, 9, 2)])
    assert other.execute("SELECT count(*) FROM holdfast_mention_tags").fetchone() == (0,)


async def test_a_file_without_tables_says_so(path: Path) -> None:
    driver = driver_at(path)
    await driver.open()
    try:
        assert [each.capability for each in await driver.pending()] == ["webmention"]
        with pytest.raises(NotMigrated):
            await driver.get(KIND, ["a"])
        with pytest.raises(NotMigrated):
            await driver.write([Put(KIND, "a", b"{}")])
        await driver.migrate()
        assert await driver.get(KIND, ["a"]) == [None]
    finally:
        await driver.close()


async def test_before_open_it_is_closed(path: Path) -> None:
    driver = driver_at(path)
    with pytest.raises(Closed):
        await driver.page(KIND)
    assert not path.exists()


async def test_numbers_and_versions_go_on_after_a_restart(path: Path) -> None:
    seen: list[tuple[int, str]] = []
    for _ in range(3):
        driver = driver_at(path)
        await driver.open()
        await driver.migrate()
        await driver.write([Put(KIND, "a", b"{}")])
        (document,) = await driver.get(KIND, ["a"])
        assert document is not None
        seen.append((document.number, document.version))
        await driver.write([Drop(KIND, "a")])
        await driver.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM")
    assert [number for number, _ in seen] == [1, 2, 3]
    assert len({version for _, version in seen}) == 3


# --- locks ---


async def test_while_another_writes_reads_are_answered_and_nothing_due_needs_no_lock(
    driver: SqliteDriver, other: sqlite3.Connection
) -> None:
    await driver.write([Put(KIND, "a", b"{}", ("x",), 1000)])
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(2):
        assert await driver.count(KIND, ["x"]) == [1]
        assert len(await driver.page(KIND)) == 1
        assert await driver.next_due(KIND) == 1000
        assert await driver.claim(KIND, lease=1) == []
    other.execute("ROLLBACK")


async def test_a_lock_that_lasts_is_told_and_nothing_was_written(path: Path) -> None:
    driver = driver_at(path, "busy_timeout=0.05")
    await driver.open()
    await driver.migrate()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked") as told:
            await driver.write([Put(KIND, "a", b"{}")])
        other.execute("ROLLBACK")
    assert not told.value.maybe_applied
    assert await driver.get(KIND, ["a"]) == [None]
    await driver.close()


async def test_in_a_full_file_a_write_is_refused_whole(path: Path) -> None:
    driver = driver_at(path, "max_page_count=60")
    await driver.open()
    await driver.migrate()
    await driver.write([Put(KIND, "a", b"{}", ("x",))])
    with pytest.raises(DiskFull):
        await driver.write([Put(KIND, f"d{at}", b'"' + b"x" * 5000 + b'"', ("x",)) for at in range(100)])
    assert [each.id for each in await driver.page(KIND)] == ["a"]
    assert await driver.count(KIND, ["x", ""]) == [1, 1]
    await driver.close()


async def test_data_that_is_no_text_is_refused_and_undoes_its_write(driver: SqliteDriver) -> None:
    with pytest.raises(UnicodeDecodeError):
        await driver.write([Put(KIND, "a", b"{}"), Put(KIND, "b", b"\xff")])
    assert await driver.page(KIND) == []


# --- how it is looked up ---


PLANS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (sqlite_reads._NAMED, (KIND, '["a"]')),
    *((sql, (KIND, *("x",) * tagged, 0, 10)) for (tagged, _), sql in sqlite_reads._PAGES.items()),
    (sqlite_reads._COUNT, (KIND, '["x"]')),
    (sqlite_reads._FIRST_DUE, (KIND,)),
    (f"{sqlite_reads._OVERDUE}{sqlite_reads._LONGEST}", (KIND, 0, 1)),
    (f"{sqlite_reads._OVERDUE}{sqlite_reads._HAS_TAG}{sqlite_reads._LONGEST}", (KIND, 0, "x", 1)),
    (sqlite_writes._MEET, ('[["k","a"]]',)),
    (sqlite_writes._UNTAG, ("[1]",)),
    (sqlite_writes._DROP, ("[1]",)),
    (sqlite_writes._TAG, ("x", KIND, "a")),
    (sqlite_writes._LEASE, (5, "[1]")),
)


@pytest.mark.parametrize(("sql", "values"), PLANS)
async def test_every_statement_goes_along_an_index(
    driver: SqliteDriver, other: sqlite3.Connection, sql: str, values: tuple[Any, ...]
) -> None:
    plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    walked = [
        step for step in plan if step.startswith("SCAN") and "json_each" not in step and "wanted" not in step
    ]
    assert not walked, plan
    # json_group_array and the order of answers asked for by position are sorted; documents are not
    assert not [step for step in plan if "TEMP B-TREE" in step and "wanted" not in " ".join(plan)], plan


# --- other processes ---

WORKER = """
import asyncio, json, sys
from holdfast.webmention.registry import driver_for

async def main():
    driver = driver_for(sys.argv[1])
    await driver.open()
    print("ready", flush=True)
    sys.stdin.readline()
    got = []
    while claimed := await driver.claim("holdfast:m:o", lease=600_000, limit=3):
        got += [document.id for document in claimed]
    print(json.dumps(got), flush=True)
    sys.stdin.readline()
    await driver.close()

asyncio.run(main())
"""


def worker(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, f"sqlite:///{path}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


async def test_two_processes_that_claim_at_once_share_what_is_due(path: Path) -> None:
    driver = driver_at(path)
    await driver.open()
    await driver.migrate()
    names = [f"d{at}" for at in range(300)]
    await driver.write([Put(KIND, name, b"{}", wait=0) for name in names])
    with worker(path) as one, worker(path) as two:
        both = (one, two)
        assert [hear(each) for each in both] == ["ready\n"] * 2
        for each in both:
            say(each)
        got = [json.loads(hear(each)) for each in both]
        for each in both:
            say(each)
    assert all(got), "one of them did nothing: this shows nothing"
    assert sorted(got[0] + got[1]) == sorted(names)
    await driver.close()


async def test_the_lease_of_a_process_that_was_killed_ends_like_any_other(
    path: Path, clock: ManualClock
) -> None:
    driver = driver_at(path, now_ms=clock)
    await driver.open()
    await driver.migrate()
    await driver.write([Put(KIND, "a", b'"kept"', ("x",), -4 * 365 * 86_400_000)])  # due by any clock
    with worker(path) as process:
        assert hear(process) == "ready\n"
        say(process)
        assert json.loads(hear(process)) == ["a"]
        process.kill()
    (leased,) = await driver.get(KIND, ["a"])
    assert leased is not None
    assert leased.due is not None
    clock.ms = leased.due - 1
    assert await driver.claim(KIND, lease=1) == []
    clock.ms = leased.due
    (again,) = await driver.claim(KIND, lease=1)
    assert (again.id, again.data, again.tags) == ("a", b'"kept"', ("x",))
    await driver.close()
