"""What is SQLite's own in its driver; what all drivers share is in `holdfast.testing.PersistSuite`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.engines.sqlite import DiskFull
from holdfast.errors import Closed, InvalidConversion, NotMigrated, StoreUnavailable
from holdfast.persist.driver import (
    KEEP,
    LATER,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    Increment,
    Keys,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Sweep,
    Touch,
)
from holdfast.persist.drivers.sqlite import SqliteDriver
from holdfast.store import StoreURL

OPTIONS = ("synchronous", "busy_timeout", "max_page_count")


class Clock:
    """Milliseconds that stand still."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def driver_at(path: Path, query: str = "", **named: Any) -> SqliteDriver:
    return SqliteDriver(StoreURL.parse(f"sqlite:///{path}{query}", own=OPTIONS), **named)


@pytest.fixture
async def driver(path: Path, clock: Clock) -> AsyncIterator[SqliteDriver]:
    driver = driver_at(path, "?busy_timeout=0.05", now_ms=clock)
    await driver.open()
    await driver.migrate()
    yield driver
    await driver.close()


@pytest.fixture
def other(driver: SqliteDriver, path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    yield connection
    connection.close()


async def test_a_person_can_read_the_table(
    driver: SqliteDriver, other: sqlite3.Connection, clock: Clock
) -> None:
    await driver.apply([Set("h:p:a", '{"ü":1}'.encode(), 1500), Set("h:p:b", b"null", None)])
    rows = other.execute("SELECT key, value, expires_at, typeof(version) FROM holdfast_persist ORDER BY key")
    assert rows.fetchall() == [
        ("h:p:a", '{"ü":1}', clock.ms + 1500, "integer"),
        ("h:p:b", "null", None, "integer"),
    ]


async def test_a_file_without_tables_says_so_for_reads_on_the_loop_and_for_writes(path: Path) -> None:
    driver = driver_at(path)
    await driver.open()
    for op in (Get("h:p:a"), GetEntry("h:p:a")):
        with pytest.raises(NotMigrated, match="holdfast migrate"):
            driver.now(op)
    with pytest.raises(NotMigrated):
        await driver.apply([Set("h:p:a", b"1", None)])
    assert [each.version for each in await driver.pending()] == [1]
    assert [each.version for each in await driver.migrate()] == [1]
    assert driver.now(Get("h:p:a")) is None
    await driver.close()


async def test_before_open_and_after_close_it_is_closed(path: Path) -> None:
    driver = driver_at(path)
    for _ in range(2):
        with pytest.raises(Closed):
            driver.now(Get("h:p:a"))
        with pytest.raises(Closed):
            await driver.apply([Get("h:p:a")])
        assert not (await driver.health()).ok
        await driver.open()
        assert (await driver.health()).ok
        await driver.close()


async def test_drivers_of_one_url_share_one_engine(path: Path) -> None:
    first, second = driver_at(path), driver_at(path)
    await first.open()
    await second.open()
    assert first._engine is second._engine
    await first.close()
    assert (await second.health()).ok
    await second.close()


async def test_reads_are_answered_on_the_loop_and_see_what_was_acknowledged(
    driver: SqliteDriver, clock: Clock
) -> None:
    await driver.apply([Set("h:p:a", b"[1]", 10)])
    assert driver.now(Get("h:p:a")) == b"[1]"
    entry = driver.now(GetEntry("h:p:a"))
    assert isinstance(entry, Stored)
    assert (entry.value, entry.ttl) == (b"[1]", 10)
    clock.ms += 9
    assert driver.now(Get("h:p:a")) == b"[1]"
    clock.ms += 1
    assert driver.now(Get("h:p:a")) is None
    assert driver.now(GetEntry("h:p:a")) is None


async def test_a_read_that_would_wait_is_answered_later_through_the_thread(
    driver: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.apply([Set("h:p:a", b"1", None)])

    def busy(*_: object) -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
        raise error

    monkeypatch.setattr(driver._engine, "look", busy)
    ops = [Get("h:p:a"), GetEntry("h:p:a"), Get("h:p:none")]
    assert [driver.now(op) for op in ops] == [LATER, LATER, LATER]
    value, entry, nothing = await driver.apply(ops)
    assert (value, entry.value, nothing) == ("1", "1", None)


async def test_a_batch_of_reads_is_served_while_another_process_writes(
    driver: SqliteDriver, other: sqlite3.Connection
) -> None:
    await driver.apply([Set("h:p:a", b"1", None)])
    other.execute("BEGIN IMMEDIATE")
    assert driver.now(Get("h:p:a")) == b"1"
    assert await driver.apply([Get("h:p:a"), Keys("h:p:", None, 10)]) == ["1", Page(["h:p:a"], None)]
    with pytest.raises(StoreUnavailable, match="locked") as locked:
        await driver.apply([Set("h:p:a", b"2", None), Get("h:p:a")])
    assert not locked.value.maybe_applied
    other.execute("ROLLBACK")
    assert await driver.apply([Set("h:p:a", b"2", None)]) == [None]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 200, 512])
async def test_a_run_of_any_length_is_written_whole_and_answered_in_place(
    driver: SqliteDriver, count: int
) -> None:
    keys = [f"h:p:{n}" for n in range(count)]
    assert (
        await driver.apply([Set(key, str(n).encode(), None) for n, key in enumerate(keys)]) == [None] * count
    )
    assert await driver.apply([Get(key) for key in keys]) == [str(n) for n in range(count)]
    assert await driver.apply([Create(key, b"0", None) for key in keys]) == [False] * count
    gone = keys[::2]
    assert await driver.apply([Remove(key) for key in gone]) == [True] * len(gone)
    created = await driver.apply([Create(key, b"true", None) for key in keys])
    assert created == [n % 2 == 0 for n in range(count)]
    assert await driver.apply([Get(key) for key in keys[:3]]) == ["true", "1", "true"][:count]


async def test_sets_that_keep_and_sets_that_name_a_lifetime_go_together(
    driver: SqliteDriver, clock: Clock
) -> None:
    await driver.apply([Set("h:p:a", b"1", 100), Set("h:p:b", b"1", 100), Set("h:p:c", b"1", 10)])
    clock.ms += 50
    await driver.apply(
        [Set("h:p:a", b"2", KEEP), Set("h:p:b", b"2", 70), Set("h:p:c", b"2", KEEP), Set("h:p:d", b"2", KEEP)]
    )
    entries = await driver.apply([GetEntry(f"h:p:{each}") for each in "abcd"])
    assert [(each.value, each.ttl) for each in entries] == [("2", 50), ("2", 70), ("2", None), ("2", None)]


@pytest.mark.parametrize("wrong", ["", "x", "1e3", " 7", "+7", "07", "7_7", "9" * 30, "-0"])
async def test_a_version_that_no_row_can_have_matches_nothing(driver: SqliteDriver, wrong: str) -> None:
    await driver.apply([Set("h:p:a", b"1", None)])
    await driver._engine.write(
        lambda connection: connection.execute("UPDATE holdfast_persist SET version = 7").rowcount
    )
    outcomes = await driver.apply([Replace("h:p:a", b"2", wrong, None), Remove("h:p:a", wrong)])
    assert outcomes == [None, False]
    assert await driver.apply([Remove("h:p:a", "7")]) == [True]


async def test_versions_use_all_64_bits(driver: SqliteDriver) -> None:
    keys = [f"h:p:{n}" for n in range(64)]
    await driver.apply([Set(key, b"1", None) for key in keys])
    versions = [int(each.version) for each in await driver.apply([GetEntry(key) for key in keys])]
    assert len(set(versions)) == 64
    assert min(versions) < -(1 << 60)
    assert max(versions) > 1 << 60


async def test_many_increments_of_one_counter_are_one_write_and_each_has_its_sum(
    driver: SqliteDriver,
) -> None:
    statements: list[str] = []
    await driver._engine.run(lambda connection: connection.set_trace_callback(statements.append))
    outcomes = await driver.apply([Increment("h:p:n", n, None) for n in range(1, 6)])
    assert outcomes == [1, 3, 6, 10, 15]
    assert sum("INSERT" in each for each in statements) == 1
    top = (1 << 63) - 1
    await driver.apply([Set("h:p:n", str(top - 1).encode(), None)])
    up, over, down = await driver.apply([Increment("h:p:n", by, None) for by in (1, 1, -2)])
    assert (up, down) == (top, top - 2)
    assert isinstance(over, ValueError)


@pytest.mark.parametrize("text", ["1.0", "1e2", '"1"', "null", "[1]", "true", "9223372036854775808", "٣"])
async def test_what_is_no_counter_is_not_counted(driver: SqliteDriver, text: str) -> None:
    await driver.apply([Set("h:p:n", text.encode(), None)])
    first, second = await driver.apply([Increment("h:p:n", 1, None), Increment("h:p:n", 1, None)])
    assert isinstance(first, InvalidConversion)
    assert isinstance(second, InvalidConversion)
    assert first is not second
    assert driver.now(Get("h:p:n")) == text.encode()


async def test_a_lifetime_beyond_the_end_of_time_is_for_ever(driver: SqliteDriver) -> None:
    assert await driver.apply([Set("h:p:a", b"1", 1 << 63), Touch("h:p:a", 1 << 70)]) == [None, True]
    assert driver.now(Get("h:p:a")) == b"1"


async def test_a_prefix_without_an_end_is_walked_to_the_last_key(driver: SqliteDriver) -> None:
    keys = ["\U0010ffff", "\U0010ffffa", "\U0010ffff\U0010ffff"]
    await driver.apply([Set(key, b"1", None) for key in ["h:p:a", *keys]])
    assert await driver.apply([Keys("\U0010ffff", None, 10)]) == [Page(keys, None)]
    assert await driver.apply([Clear("\U0010ffff", None, 10)]) == [Cleared(3, None)]
    assert await driver.apply([Keys("", None, 10)]) == [Page(["h:p:a"], None)]


async def test_a_page_looks_at_no_more_rows_than_its_limit(driver: SqliteDriver, clock: Clock) -> None:
    await driver.apply([Set(f"h:p:{n:02}", b"1", 10 if n < 15 else None) for n in range(20)])
    clock.ms += 10
    pages: list[Page] = []
    cursor: str | None = None
    while not pages or cursor is not None:
        [page] = await driver.apply([Keys("h:p:", cursor, 7)])
        pages.append(page)
        cursor = page.cursor
    assert [len(page.keys) for page in pages] == [0, 0, 5]
    assert await driver.apply([Clear("h:p:", None, 7)]) == [Cleared(0, "h:p:06")]
    assert await driver.apply([Clear("h:p:", "h:p:06", 7)]) == [Cleared(0, "h:p:13")]
    assert await driver.apply([Clear("h:p:", "h:p:13", 7)]) == [Cleared(5, None)]


async def test_the_sweep_walks_the_table_in_chunks_and_deletes_only_what_is_past(
    driver: SqliteDriver, other: sqlite3.Connection, clock: Clock
) -> None:
    await driver.apply([Set(f"h:p:{n}", b"1", 10 if n % 2 else None) for n in range(10)])
    await driver.apply([Set("h:p:soon", b"1", 11)])
    clock.ms += 10
    chunks = [await driver.sweep(None, 4)]
    while chunks[-1].cursor is not None:
        chunks.append(await driver.sweep(chunks[-1].cursor, 4))
    assert sum(each.removed for each in chunks) == 5
    assert len(chunks) == 3
    assert other.execute("SELECT count(*) FROM holdfast_persist").fetchone() == (6,)
    assert await driver.sweep(None, 100) == Sweep(0, None)


async def test_in_a_full_file_what_needs_no_room_is_done_and_the_rest_is_told(path: Path) -> None:
    driver = driver_at(path, "?max_page_count=40")
    await driver.open()
    await driver.migrate()
    big = b'"' + b"x" * 2000 + b'"'
    outcomes = await driver.apply([Set(f"h:p:{n:03}", big, None) for n in range(128)])
    full = [each for each in outcomes if isinstance(each, DiskFull)]
    assert 0 < len(full) < 128
    assert len({id(each) for each in full}) == len(full)
    assert not any(each.maybe_applied for each in full)
    kept = [f"h:p:{n:03}" for n, each in enumerate(outcomes) if each is None]
    assert await driver.apply([Keys("h:p:", None, 200)]) == [Page(kept, None)]
    refused, removed, read = await driver.apply(
        [Set("h:p:more", big * 20, None), Remove(kept[0]), Get(kept[1])]
    )
    assert isinstance(refused, DiskFull)
    assert (removed, read) == (True, big.decode())
    await driver.apply([Clear("h:p:", None, 30)])
    assert await driver.apply([Set("h:p:more", big, None)]) == [None]
    await driver.close()


async def test_one_operation_that_cannot_be_stored_fails_alone(driver: SqliteDriver) -> None:
    outcomes = await driver.apply(
        [Set("h:p:a", b"1", None), Set("h:p:b", b"\xff", None), Set("h:p:c", b"3", None)]
    )
    assert outcomes[0] is outcomes[2] is None
    assert isinstance(outcomes[1], UnicodeDecodeError)
    assert await driver.apply([Keys("h:p:", None, 9)]) == [Page(["h:p:a", "h:p:c"], None)]


async def test_what_was_handed_in_before_close_is_kept(driver: SqliteDriver, path: Path) -> None:
    under_way = asyncio.create_task(driver.apply([Set("h:p:a", b"1", None)]))
    await asyncio.sleep(0)
    await driver.close()
    assert await under_way == [None]
    again = driver_at(path)
    await again.open()
    assert again.now(Get("h:p:a")) == b"1"
    await again.close()
