"""What is particular to SQLAlchemy in announcing: a note in the same transaction, and looking for notes."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.engines.notes import LIFE_MS
from holdfast.engines.sqlalchemy import SQLAlchemyEngine
from holdfast.errors import Closed, NotMigrated, StoreUnavailable
from holdfast.persist import Change, DuplicateKey, Persist
from holdfast.persist.drivers import sqlalchemy_rows
from holdfast.persist.drivers.sqlalchemy import SQLAlchemyDriver, metadata, record_migrations
from holdfast.persist.registry import driver_for


@pytest.fixture
def space() -> str:
    return f"watch{secrets.token_hex(5)}"


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each dialect that is tested, looked at often."""
    if request.param == "sqlite":
        return f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}?poll=0.02"
    given = str(request.getfixturevalue("postgres_url" if request.param == "postgresql" else "mysql_url"))
    given = given.replace("postgresql://", "postgresql+asyncpg://")
    return f"sqlalchemy+{given}{'&' if '?' in given else '?'}poll=0.02"


def at(url: str, space: str, **options: Any) -> Persist:
    return Persist(url, namespace=space, **{"watch": True, "auto_migrate": True, **options})


def engine_of(persist: Persist) -> SQLAlchemyEngine:
    driver = persist._core.driver
    assert isinstance(driver, SQLAlchemyDriver)
    return driver._engine


async def following(changes: Any) -> Change:
    async with asyncio.timeout(20):
        change = await anext(changes)
    assert isinstance(change, Change)
    return change


async def notes(persist: Persist) -> list[str]:
    """What was noted in this namespace's channel, oldest first."""

    async def look(connection: Any) -> list[str]:
        rows = await connection.execute(text("SELECT channel, data FROM holdfast_notes ORDER BY number"))
        channel = persist._namespace.prefix("w")
        found = [
            (row[0] if isinstance(row[0], str) else bytes(row[0]).decode(), bytes(row[1])) for row in rows
        ]
        return [data.decode() for where, data in found if where == channel]

    return await engine_of(persist).read(look)


async def test_a_batch_is_one_note_and_what_was_refused_is_none(url: str, space: str) -> None:
    async with at(url, space) as persist:
        await persist.set_many({f"k{number}": number for number in range(40)})
        before = await notes(persist)
        assert len(before) == persist.traits.lanes
        told = "\0".join(before)
        assert sorted(told.split("\0")) == sorted(f"s{space}:p:k{number}" for number in range(40))
        with pytest.raises(DuplicateKey):
            await persist.create("k1", 2)
        assert not await persist.remove("absent")
        assert await persist.touch("k1", 60)
        assert await notes(persist) == before
        outcomes = await asyncio.gather(
            persist.create("k1", 1), persist.create("new", 1), persist.remove("k2"), return_exceptions=True
        )
        assert isinstance(outcomes[0], DuplicateKey)
        told = "\0".join((await notes(persist))[len(before) :])
        assert sorted(told.split("\0")) == [f"r{space}:p:k2", f"s{space}:p:new"]
        assert await persist.clear() == 40


async def test_a_write_that_cannot_be_announced_is_not_made(tmp_path: Path) -> None:
    async with Persist(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}", watch=True) as persist:
        await persist.set("old", 1)
        await engine_of(persist).write(
            lambda connection: connection.execute(text("DROP TABLE holdfast_notes"))
        )
        for write in (
            persist.set("k", 1),
            persist.create("k", 1),
            persist.set_many({"k": 1, "l": 1}),
            persist.remove("old"),
            persist.clear("old"),
        ):
            with pytest.raises(NotMigrated):
                await write
        assert [key async for key in persist.keys("")] == ["old"]


async def test_what_expires_before_it_is_cleared_is_not_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Persist(f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}", watch=True) as persist:
        await persist.set("brief", 1, expires=5)
        await persist.set("k", 1)
        before = await notes(persist)
        real, asked = sqlalchemy_rows._process_ms, 0

        def later() -> int:
            nonlocal asked
            asked += 1
            return real() if asked == 1 else real() + 10_000

        monkeypatch.setattr(sqlalchemy_rows, "_process_ms", later)
        assert await persist.clear() == 1
        assert (await notes(persist))[len(before) :] == ["rholdfast:p:k"]


async def test_without_watch_no_statement_is_added(url: str, space: str) -> None:
    said: list[str] = []
    async with at(url, space, watch=False) as persist:
        engine = engine_of(persist)._engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *args: said.append(args[2]))
        await persist.set("k", 1)
        assert len(said) == 1, said
        await persist.create("l", 1)
        await persist.remove("k")
        await persist.clear()
        assert not [each for each in said if "notes" in each]


async def test_without_watch_there_is_no_table_and_with_it_it_must_be_made(tmp_path: Path) -> None:
    url = f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    async with Persist(url) as persist:
        assert await persist.pending() == ()
        found = await engine_of(persist).read(lambda c: c.execute(text("SELECT name FROM sqlite_master")))
        assert "holdfast_notes" not in {row[0] for row in found}
    with pytest.raises(NotMigrated, match="notes"):
        await Persist(url, watch=True, auto_migrate=False).open()
    assert [each.capability for each in await Persist(url, watch=True).migrate()] == ["notes"]


async def test_tables_made_otherwise_are_recorded_with_or_without_the_notes(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    for watch in (False, True):
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.run_sync(record_migrations, watch=watch)
        persist = Persist(SQLAlchemyDriver(engine=engine), watch=True)
        assert [each.capability for each in await persist.pending()] == ([] if watch else ["notes"])
    await engine.dispose()


async def test_holdfasts_own_sqlite_driver_and_this_one_hear_each_other(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with (
        Persist(f"sqlite:///{path}", watch=True) as own,
        Persist(f"sqlalchemy+sqlite+aiosqlite:///{path}?poll=0.02", watch=True) as other,
        own.watch() as one,
        other.watch() as two,
    ):
        await own.set("a", 1)
        assert [await following(one), await following(two)] == [Change("set", "a")] * 2
        await other.remove("a")
        assert [await following(one), await following(two)] == [Change("removed", "a")] * 2


async def test_after_a_look_that_failed_a_loss_is_told_and_watching_goes_on(
    url: str, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at(url, space) as persist, persist.watch() as changes:
        engine = engine_of(persist)
        read, failed = engine.read, asyncio.Event()

        async def away(work: Any) -> Any:
            failed.set()
            raise StoreUnavailable("away")

        monkeypatch.setattr(engine, "read", away)
        await failed.wait()
        await persist.set("k", 1)
        monkeypatch.setattr(engine, "read", read)
        assert await following(changes) == Change("lost", None)
        assert await following(changes) == Change("set", "k")
        await persist.remove("k")
        assert await following(changes) == Change("removed", "k")


async def test_nothing_is_looked_at_while_nobody_watches(url: str, space: str) -> None:
    async with at(url, space) as persist:
        async with persist.watch() as changes:
            await persist.set("k", 1)
            assert await following(changes) == Change("set", "k")
            assert [task for task in asyncio.all_tasks() if task.get_name() == "holdfast sqlalchemy watch"]
        await persist.remove("k")
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "holdfast sqlalchemy watch"]


async def test_old_notes_are_swept_behind_the_values(url: str, space: str) -> None:
    async with at(url, space) as persist:
        await persist.set("old", 1)

        async def age(connection: Any) -> None:
            await connection.execute(text(f"UPDATE holdfast_notes SET at = at - {LIFE_MS + 1000}"))

        await engine_of(persist).write(age)
        await persist.set("new", 1)
        driver = persist._core.driver
        cursor, walks = None, 0
        while (cursor := (await driver.sweep(cursor, 10_000)).cursor) is not None:
            walks += 1
        assert walks >= 1
        assert await notes(persist) == [f"s{space}:p:new"]
        await persist.clear()


async def test_how_often_it_looks_is_the_urls_and_the_engine_is_shared(tmp_path: Path) -> None:
    url = f"sqlalchemy+sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    assert driver_for(url).traits.latency == 0.25
    assert driver_for(f"{url}?poll=1.5").traits.latency == 1.5
    async with Persist(url) as one, Persist(f"{url}?poll=1.5") as two:
        assert engine_of(one) is engine_of(two)
        with pytest.raises(Closed):
            await one._core.driver.subscribe(object())  # type: ignore[attr-defined]
