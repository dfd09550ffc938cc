"""What is SQLite's own in announcing: one note in the batch's transaction, heard by polling."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.engines import notes as table
from holdfast.engines.sqlite import SqliteEngine, notes, polling
from holdfast.errors import Closed, NotMigrated
from holdfast.persist import Change, DuplicateKey, Persist
from holdfast.persist.driver import Create, Get, Set, Sweep
from holdfast.persist.drivers.sqlite import SqliteDriver
from holdfast.store import StoreURL


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "POLL_SECONDS", 0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
async def persist(path: Path) -> AsyncIterator[Persist]:
    async with Persist(f"sqlite:///{path}?synchronous=normal", namespace="app", watch=True) as persist:
        yield persist


def ask(path: Path, sql: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def noted(path: Path) -> list[tuple[str, bytes]]:
    return ask(path, "SELECT channel, data FROM holdfast_notes ORDER BY number")


def engine_of(persist: Persist) -> SqliteEngine:
    driver = persist._core.driver
    assert isinstance(driver, SqliteDriver)
    return driver._engine


async def following(changes: Any) -> Change:
    async with asyncio.timeout(20):
        change = await anext(changes)
    assert isinstance(change, Change)
    return change


async def test_without_watch_there_is_no_table_no_note_and_nobody_who_looks(path: Path) -> None:
    async with Persist(f"sqlite:///{path}") as persist:
        await persist.set("k", 1)
        assert engine_of(persist).poller._task is None
        assert [each.capability for each in await persist.pending()] == []
        swept = await persist._core.driver.sweep(None, 100)
        assert swept == Sweep(0, None)
    assert ("holdfast_notes",) not in ask(path, "SELECT name FROM sqlite_master")


async def test_who_announces_needs_the_table_and_makes_it(path: Path) -> None:
    url = f"sqlite:///{path}"
    async with Persist(url):
        pass
    with pytest.raises(NotMigrated, match="notes"):
        await Persist(url, watch=True, auto_migrate=False).open()
    assert [each.capability for each in await Persist(url, watch=True).migrate()] == ["notes"]
    async with Persist(url, watch=True, auto_migrate=False) as persist:
        await persist.set("k", 1)


async def test_a_batch_is_one_note_and_nothing_is_noted_of_what_was_refused(
    persist: Persist, path: Path
) -> None:
    await asyncio.gather(*(persist.set(f"k{number}", 1) for number in range(100)))
    found = noted(path)
    assert len(found) < 10
    assert {channel for channel, _ in found} == {"app:w:"}
    text = b"\0".join(data for _, data in found)
    assert sorted(text.split(b"\0")) == sorted(b"sapp:p:k%d" % number for number in range(100))
    with pytest.raises(DuplicateKey):
        await persist.create("k1", 2)
    assert await persist.touch("k1", 60)
    assert not await persist.remove("absent")
    async with persist.lock("nightly"):
        pass
    assert noted(path) == found


async def test_what_was_rolled_back_was_not_noted(persist: Persist, path: Path) -> None:
    driver = persist._core.driver
    bad = Set("app:p:bad", b"\xff", None)  # not UTF-8: the transaction it is in is undone
    outcomes = await driver.apply([Set("app:p:good", b"1", None), bad, Create("app:p:new", b"1", None)])
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [False, True, False]
    assert sorted(data for _, data in noted(path)) == [b"sapp:p:good", b"sapp:p:new"]
    assert await driver.apply([Get("app:p:bad")]) == [None]


async def test_looking_begins_with_the_first_watcher_and_ends_with_the_last(
    persist: Persist,
) -> None:
    poller = engine_of(persist).poller
    assert poller._task is None
    async with persist.watch() as changes:
        await persist.set("k", 1)
        assert await following(changes) == Change("set", "k")
        assert poller._task is not None
        task = poller._task
    async with asyncio.timeout(20):
        await asyncio.wait({task})
    assert poller._task is None
    assert poller.voices == set()


async def test_two_in_one_process_hear_each_other_and_themselves(path: Path, persist: Persist) -> None:
    async with (
        Persist(f"sqlite:///{path}?synchronous=normal", namespace="app", watch=True) as other,
        persist.watch() as one,
        other.watch() as two,
    ):
        assert engine_of(persist) is engine_of(other)
        await persist.set("a", 1)
        assert [await following(one), await following(two)] == [Change("set", "a")] * 2
        await other.set("b", 1)
        assert [await following(one), await following(two)] == [Change("set", "b")] * 2


async def test_another_connection_to_the_file_is_heard_as_another_process_is(
    path: Path, persist: Persist
) -> None:
    elsewhere = f"sqlite:///{path}?synchronous=normal&busy_timeout=4"
    async with Persist(elsewhere, namespace="app", watch=True) as other, persist.watch() as changes:
        assert engine_of(persist) is not engine_of(other)
        for number in range(5):
            await other.set(f"k{number}", 1)
            assert await following(changes) == Change("set", f"k{number}")


async def test_another_namespace_in_the_file_is_not_heard(path: Path, persist: Persist) -> None:
    async with Persist(f"sqlite:///{path}", namespace="other", watch=True) as other, persist.watch() as one:
        await other.set("a", 1)
        await persist.set("b", 1)
        assert await following(one) == Change("set", "b")


async def test_notes_that_were_swept_unread_are_told_as_lost(persist: Persist) -> None:
    engine = engine_of(persist)

    def skip(connection: sqlite3.Connection) -> None:
        notes.note(connection, [("app:w:", b"sapp:p:gone", 0)])
        connection.execute("DELETE FROM holdfast_notes")
        notes.note(connection, [("app:w:", b"sapp:p:here", 0)])

    async with persist.watch() as changes:
        await engine.write(skip)
        assert await following(changes) == Change("lost", None)
        assert await following(changes) == Change("set", "here")


async def test_old_notes_are_swept_behind_the_values(path: Path) -> None:
    ms = 1_700_000_000_000
    driver = SqliteDriver(StoreURL.parse(f"sqlite:///{path}"), now_ms=lambda: ms)
    driver.announce("app:w:")
    await driver.open()
    await driver.migrate()
    try:
        for number in range(3):
            await driver.apply([Set(f"app:p:{number}", b"1", 1)])
        ms += table.LIFE_MS
        await driver.apply([Set("app:p:new", b"1", None)])
        ms += 1
        swept, walks = Sweep(0, None), 0
        while (swept := await driver.sweep(swept.cursor, 100)).cursor is not None:
            walks += 1
        assert walks >= 1
        assert [data for _, data in noted(path)] == [b"sapp:p:new"]
        assert ask(path, "SELECT key FROM holdfast_persist") == [("app:p:new",)]
    finally:
        await driver.close()


async def test_a_closed_driver_takes_no_listener(path: Path) -> None:
    persist = Persist(f"sqlite:///{path}", watch=True)
    async with persist:
        watchers = persist._core.watchers
    with pytest.raises(Closed):
        await persist._core.driver.subscribe(watchers)  # type: ignore[attr-defined]
