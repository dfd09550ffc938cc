"""What other processes commit, noticed by asking: nothing missed unawares, nobody asked without need."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import events
from holdfast.engines import notes as table
from holdfast.engines.sqlite import SqliteEngine, notes, polling
from holdfast.engines.sqlite.polling import Look, Poller
from holdfast.errors import Closed, NotMigrated, Overloaded, StoreUnavailable
from holdfast.store import StoreURL

NOW = 1_700_000_000_000
COUNT = "SELECT count(*) FROM holdfast_notes"


class Watching:
    """Counts the notes there are, hears those of `a`, and keeps what it is told."""

    def __init__(self) -> None:
        self.channels: Collection[str] = {"a"}
        self.counts: list[int] = []
        self.notes: list[bytes] = []
        self.losses = 0
        self.asked = 0
        self.broken = False
        self._told = asyncio.Event()

    def questions(self) -> Sequence[Look]:
        self.asked += 1
        return [lambda connection: connection.execute(COUNT).fetchone()[0]]

    def answer(self, found: Any) -> None:
        self.counts.append(found)
        self._told.set()
        self._raise()

    def noted(self, channel: str, data: bytes) -> None:
        self.notes.append(data)
        self._told.set()
        self._raise()

    def lost(self) -> None:
        self.losses += 1
        self._told.set()
        self._raise()

    def _raise(self) -> None:
        if self.broken:
            raise RuntimeError("a listener of bad manners")

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._told.clear()
                await self._told.wait()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "POLL_SECONDS", 0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine.from_url(StoreURL.parse(f"sqlite:///{path}"))
    await engine.open()
    await engine.migrate(table.MIGRATIONS["sqlite"])
    yield engine
    await engine.close()


@pytest.fixture
def other(engine: SqliteEngine, path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the same file."""
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
async def watching(engine: SqliteEngine) -> Watching:
    watching = Watching()
    await engine.poller.add(watching)
    return watching


def say(connection: sqlite3.Connection, *said: str, channel: str = "a") -> None:
    notes.note(connection, [(channel, each.encode(), NOW) for each in said])


def task_of(engine: SqliteEngine) -> asyncio.Task[None] | None:
    return engine.poller._task


async def paused(engine: SqliteEngine) -> Poller:
    """The poller without its task: it asks when the test says so."""
    poller = engine.poller
    assert poller._task is not None
    poller._task.cancel()
    await asyncio.wait({poller._task})
    return poller


async def test_what_somebody_else_commits_is_looked_up_and_their_notes_are_read(
    watching: Watching, other: sqlite3.Connection
) -> None:
    say(other, "1", "2")
    say(other, "3", channel="else")
    await watching.until(lambda: watching.counts[-1:] == [3] and watching.notes)
    assert watching.notes == [b"1", b"2"]
    assert watching.losses == 0


async def test_what_was_committed_before_one_watches_is_no_news(
    engine: SqliteEngine, other: sqlite3.Connection
) -> None:
    say(other, "before")
    watching = Watching()
    await engine.poller.add(watching)
    say(other, "after")
    await watching.until(lambda: watching.notes)
    assert watching.notes == [b"after"]


async def test_while_nobody_commits_nothing_is_looked_up(engine: SqliteEngine, watching: Watching) -> None:
    poller = await paused(engine)
    for _ in range(3):
        await poller._poll()
    assert watching.asked == 0


async def test_what_this_process_commits_itself_is_no_news_to_one_voice_alone(
    engine: SqliteEngine, watching: Watching
) -> None:
    poller = await paused(engine)
    poller.voices.add("one")
    await engine.write(lambda connection: say(connection, "1"))
    await poller._poll()
    assert watching.asked == 0
    poller.voices.add("another")
    await engine.write(lambda connection: say(connection, "2"))
    await poller._poll()
    assert watching.asked == 1
    assert watching.notes[-1] == b"2"


async def test_a_connection_that_was_replaced_counts_anew_and_is_asked(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection
) -> None:
    poller = await paused(engine)
    writer: Any = engine._writer

    def replace(connection: sqlite3.Connection) -> None:
        connection.close()
        writer._connection = writer._file.connect_writer()

    say(other, "1")
    await engine.run(replace)
    await poller._poll()
    assert watching.notes == [b"1"]
    assert poller._state is not None
    connection, version, changes = poller._state
    assert poller._is_same((connection, version, changes))
    assert not poller._is_same((other, version, changes))


async def test_the_task_lives_while_somebody_watches(engine: SqliteEngine) -> None:
    assert task_of(engine) is None
    one, two = Watching(), Watching()
    await asyncio.gather(engine.poller.add(one), engine.poller.add(two), engine.poller.add(one))
    task = task_of(engine)
    assert task is not None
    engine.poller.remove(one)
    assert task_of(engine) is task
    engine.poller.remove(two)
    engine.poller.remove(two)
    assert task_of(engine) is None
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


async def test_who_left_hears_nothing_more(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection
) -> None:
    stays = Watching()
    await engine.poller.add(stays)
    engine.poller.remove(watching)
    say(other, "1")
    await stays.until(lambda: stays.notes)
    assert (watching.counts, watching.notes) == ([], [])


async def test_who_leaves_while_the_look_up_is_under_way_is_not_answered(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = Watching()
    await engine.poller.add(stays)
    poller = await paused(engine)
    ask = watching.questions

    def ask_and_leave() -> Sequence[Look]:
        poller.remove(watching)
        return ask()

    monkeypatch.setattr(watching, "questions", ask_and_leave)
    say(other, "1")
    await poller._poll()
    assert watching.asked == 1
    assert (watching.counts, watching.notes) == ([], [])
    assert (stays.counts, stays.notes) == ([1], [b"1"])


async def test_a_gap_in_the_notes_is_told_as_a_loss(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    say(other, "swept")
    other.execute("DELETE FROM holdfast_notes")
    say(other, "kept")
    other.execute("COMMIT")
    await watching.until(lambda: watching.notes)
    assert watching.notes == [b"kept"]
    assert watching.losses == 1


async def test_more_notes_than_one_read_takes_all_arrive(
    watching: Watching, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "MAX_NOTES", 10)
    said = [str(n) for n in range(35)]
    say(other, *said)
    await watching.until(lambda: len(watching.notes) == 35)
    assert [each.decode() for each in watching.notes] == said


async def test_after_the_file_was_away_everybody_is_told_that_something_may_be_lost(
    engine: SqliteEngine, watching: Watching, path: Path
) -> None:
    away, gone = path.with_name("elsewhere.db"), asyncio.Event()
    stop = events.subscribe(lambda event: gone.set() if isinstance(event, events.Disconnected) else None)
    path.rename(away)
    await gone.wait()  # of the poller's own accord: nobody else asks
    stop()
    assert watching.losses == 0
    away.rename(path)
    await watching.until(lambda: watching.losses)
    connection = sqlite3.connect(path, isolation_level=None)
    say(connection, "again")
    connection.close()
    await watching.until(lambda: watching.notes)
    assert (watching.notes, watching.losses) == ([b"again"], 1)


async def test_a_full_queue_is_no_loss(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, run, refused = engine.poller, engine.run, asyncio.Event()

    def full(work: Look) -> asyncio.Future[Any]:
        monkeypatch.setattr(poller, "_run", run)
        refused.set()
        raise Overloaded("sqlite: too many wait")

    monkeypatch.setattr(poller, "_run", full)
    say(other, "1")
    await refused.wait()
    await watching.until(lambda: watching.notes)
    assert watching.losses == 0


async def test_a_listener_that_raises_is_reported_and_silences_nobody(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection
) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    watching.broken = True
    second = Watching()
    await engine.poller.add(second)
    other.execute("BEGIN IMMEDIATE")
    say(other, "swept")
    other.execute("DELETE FROM holdfast_notes")
    say(other, "1")
    other.execute("COMMIT")
    await second.until(lambda: second.losses and second.notes and second.counts)
    assert {str(each["exception"]) for each in reports} == {"a listener of bad manners"}
    assert len(reports) == 3


async def test_a_question_that_fails_is_reported_and_ends_as_a_loss(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    ask = watching.questions

    def fail() -> Sequence[Look]:
        monkeypatch.setattr(watching, "questions", ask)
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(watching, "questions", fail)
    say(other, "1")
    await watching.until(lambda: watching.losses)
    assert [str(each["exception"]) for each in reports] == ["a mistake of ours"]
    assert watching.notes == [b"1"]


async def test_a_look_that_took_long_is_followed_by_a_longer_pause(
    engine: SqliteEngine,
    watching: Watching,
    other: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poller = await paused(engine)
    ticks = iter((0.0, 1.5, 3.0, 3.5))
    monkeypatch.setattr(polling, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    say(other, "1")
    assert await poller._poll() == 8.0


async def test_it_cannot_be_watched_before_there_are_tables(path: Path) -> None:
    engine = SqliteEngine.from_url(StoreURL.parse(f"sqlite:///{path}"))
    with pytest.raises(Closed):
        await engine.poller.add(Watching())
    await engine.open()
    with pytest.raises(NotMigrated):
        await engine.poller.add(Watching())
    assert task_of(engine) is None
    await engine.migrate(table.MIGRATIONS["sqlite"])
    await engine.poller.add(Watching())
    await engine.close()


async def test_a_file_that_is_gone_cannot_be_watched(engine: SqliteEngine, path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(StoreUnavailable):
        await engine.poller.add(Watching())
    assert task_of(engine) is None


async def test_closing_the_engine_ends_the_task_and_a_new_life_begins_without_watchers(
    engine: SqliteEngine, watching: Watching, other: sqlite3.Connection
) -> None:
    task = task_of(engine)
    assert task is not None
    await engine.close()
    assert task.done()
    say(other, "between")
    await engine.open()
    assert task_of(engine) is None
    later = Watching()
    await engine.poller.add(later)
    say(other, "1")
    await later.until(lambda: later.notes)
    assert later.notes == [b"1"]
    assert watching.notes == []
