"""Notes through SQLAlchemy: none is skipped, however late its writer commits, and none is heard twice."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from holdfast.engines import notes as layouts
from holdfast.engines.sqlalchemy import notes as module
from holdfast.engines.sqlalchemy.clock import now_ms, process_ms
from holdfast.engines.sqlalchemy.ledger import Layout, migrate
from holdfast.engines.sqlalchemy.notes import Note, NoteReader, padded, post, sweep
from holdfast.engines.sqlalchemy.tables import notes


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def tables(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await migrate(connection, (Layout(layouts.MIGRATIONS, (notes,)),))


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[AsyncConnection]:
    """A connection to an empty table of SQLite's, which lets a test choose the numbers."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    await tables(engine)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture(params=["postgresql", "mysql"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    """A database whose writers do not wait for each other."""
    url = str(request.getfixturevalue("postgres_url" if request.param == "postgresql" else "mysql_url"))
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    await tables(engine)
    yield engine
    await engine.dispose()


async def write(connection: AsyncConnection, *numbers: int, at: int = 0, channel: str = "c") -> None:
    rows = [
        {"number": number, "channel": channel, "data": b"%d" % number, "at": at or process_ms()}
        for number in numbers
    ]
    await connection.execute(insert(notes), rows)


async def read(reader: NoteReader, connection: AsyncConnection, *channels: str) -> list[int]:
    return [int(note.data) for note in await reader.read(connection, channels or ("c",))]


async def test_what_was_there_before_the_start_is_not_read_and_the_rest_is_read_once(
    file: AsyncConnection,
) -> None:
    reader = NoteReader(60_000)
    await write(file, 1, 2)
    await reader.start(file)
    assert await read(reader, file) == []
    await write(file, 3, 4)
    assert await read(reader, file) == [3, 4]
    assert await read(reader, file) == []


async def test_only_notes_of_the_channels_asked_for_are_answered(file: AsyncConnection) -> None:
    reader = NoteReader(60_000)
    await reader.start(file)
    await write(file, 1, channel="a")
    await write(file, 2, channel="b")
    await write(file, 3, channel="A")
    assert await reader.read(file, {"b", "A"}) == [Note("b", b"2"), Note("A", b"3")]


async def test_a_note_whose_writer_commits_after_a_later_one_is_not_skipped(served: AsyncEngine) -> None:
    channel, reader = secrets.token_hex(6), NoteReader(60_000)
    async with served.connect() as slow, served.connect() as fast, served.connect() as looking:
        await looking.execution_options(isolation_level="AUTOCOMMIT")
        await reader.start(looking)
        await post(slow, [Note(channel, b"1"), Note(channel, b"2")], await now_ms(slow))
        await post(fast, [Note(channel, b"3")], await now_ms(fast))
        await fast.commit()
        assert await read(reader, looking, channel) == [3]
        assert await read(reader, looking, channel) == []
        await slow.commit()
        assert await read(reader, looking, channel) == [1, 2]
        assert await read(reader, looking, channel) == []


async def test_a_note_that_is_on_its_way_at_the_start_is_not_skipped(served: AsyncEngine) -> None:
    channel, reader = secrets.token_hex(6), NoteReader(60_000)
    async with served.connect() as slow, served.connect() as fast, served.connect() as looking:
        await looking.execution_options(isolation_level="AUTOCOMMIT")
        await post(slow, [Note(channel, b"1")], await now_ms(slow))
        await post(fast, [Note(channel, b"2")], await now_ms(fast))
        await fast.commit()
        await reader.start(looking)
        assert await read(reader, looking, channel) == []
        await slow.commit()
        assert await read(reader, looking, channel) == [1]


async def test_at_the_start_numbers_that_are_missing_are_looked_for_among_the_latest(
    file: AsyncConnection,
) -> None:
    reader = NoteReader(60_000)
    await write(file, 100, *range(9_000, 9_000 + module.RECENT - 2), 10_000)
    await reader.start(file)
    lowest = 10_000 - module.MOST_MISSING
    await write(file, 99, 101, lowest - 1, 8_999, 9_999)
    assert await read(reader, file) == [8_999, 9_999]


async def test_a_number_that_does_not_turn_up_is_looked_for_for_half_a_minute(file: AsyncConnection) -> None:
    clock = Clock()
    reader = NoteReader(60_000, clock=clock)
    await write(file, 1)
    await reader.start(file)
    await write(file, 4)
    assert await read(reader, file) == [4]
    clock.seconds += module.LATE_SECONDS - 0.1
    await write(file, 2)
    assert await read(reader, file) == [2]
    clock.seconds += 0.2
    assert await read(reader, file) == []
    await write(file, 3)
    assert await read(reader, file) == [], "a rolled back number is looked for for ever"


async def test_numbers_that_are_missing_are_remembered_up_to_a_bound(file: AsyncConnection) -> None:
    reader = NoteReader(60_000)
    await write(file, 1)
    await reader.start(file)
    await write(file, 10_000)
    assert await read(reader, file) == [10_000]
    await write(file, 20_000)
    assert await read(reader, file) == [20_000]
    lowest = 20_000 - module.MOST_MISSING
    await write(file, 9_999, lowest - 1, lowest, 19_999)
    assert await read(reader, file) == [lowest, 19_999]


async def test_below_the_first_number_of_a_swept_table_hardly_anything_is_looked_for(
    file: AsyncConnection,
) -> None:
    reader = NoteReader(60_000)
    await reader.start(file)
    await write(file, 5_000)
    assert await read(reader, file) == [5_000]
    await write(file, 4_999, 5_000 - module.FIRST_MISSING, 4_000)
    assert await read(reader, file) == [5_000 - module.FIRST_MISSING, 4_999]


async def test_more_notes_than_fit_a_page_are_all_read_in_order(
    file: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 5)
    monkeypatch.setattr(module, "DATA_PAGE", 2)
    reader = NoteReader(60_000)
    await reader.start(file)
    await write(file, *range(1, 24))
    assert await read(reader, file) == list(range(1, 24))


class Failing:
    """A connection that is lost at one of its statements, once."""

    def __init__(self, connection: AsyncConnection, at: int) -> None:
        self.connection = connection
        self.left = at

    async def execute(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise DBAPIError("lost", None, Exception())
        return await self.connection.execute(*arguments)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
async def test_a_look_that_fails_half_way_and_is_done_again_answers_each_once(
    file: AsyncConnection, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    monkeypatch.setattr(module, "DATA_PAGE", 2)
    reader = NoteReader(60_000)
    await reader.start(file)
    await write(file, *range(1, 11))
    with pytest.raises(DBAPIError):
        await reader.read(Failing(file, at), ("c",))  # type: ignore[arg-type]
    assert await read(reader, file) == list(range(1, 11))


async def test_who_has_not_looked_for_half_of_a_notes_life_may_have_missed_some(
    file: AsyncConnection,
) -> None:
    clock = Clock()
    reader = NoteReader(60_000, clock=clock)
    await reader.start(file)
    clock.seconds += 30
    assert not reader.overslept()
    clock.seconds += 0.1
    assert reader.overslept()
    await reader.read(file, ())
    assert not reader.overslept()


async def test_a_database_that_went_back_in_time_is_read_on_from_where_it_is(file: AsyncConnection) -> None:
    reader = NoteReader(60_000)
    await write(file, 1, 2, 50)
    await reader.start(file)
    await file.execute(text("DELETE FROM holdfast_notes WHERE number > 2"))
    await reader.resume(file)
    assert await read(reader, file) == [], "what was read is read again"
    await write(file, 3)
    assert await read(reader, file) == [3]
    await reader.resume(file)
    assert await read(reader, file) == []


async def test_a_sweep_takes_what_has_outlived_its_time_and_no_more_than_a_page(
    file: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OLDEST", module._OLDEST.limit(3))
    old = process_ms() - 60_001
    await write(file, 1, 2, 3, 4, at=old)
    await write(file, 5)
    assert [await sweep(file, 60_000) for _ in range(3)] == [3, 1, 0]
    assert (await file.execute(text("SELECT number FROM holdfast_notes"))).scalars().all() == [5]


async def test_a_number_that_was_swept_is_not_given_out_again(file: AsyncConnection) -> None:
    await post(file, [Note("c", b"1")], 1)
    assert await sweep(file, 60_000) == 1
    await post(file, [Note("c", b"2")], 1)
    assert (await file.execute(text("SELECT number FROM holdfast_notes"))).scalar() == 2


async def test_the_servers_clock_is_milliseconds_of_this_century(served: AsyncEngine) -> None:
    async with served.connect() as connection:
        assert abs(await now_ms(connection) - time.time() * 1000) < 60_000


def test_choices_are_padded_to_a_power_of_two() -> None:
    assert [len(padded(list(range(count)))) for count in (1, 2, 3, 4, 5, 9)] == [1, 2, 4, 4, 8, 16]
    assert padded([1, 2, 3]) == [1, 2, 3, 3]
