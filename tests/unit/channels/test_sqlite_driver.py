"""What is SQLite's own in its channels driver; what all drivers share is in `holdfast.testing.ChannelsSuite`."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.channels.driver import (
    LATER,
    Append,
    Appended,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Log,
    Operation,
    Read,
    Send,
    Topics,
    Trim,
)
from holdfast.channels.drivers import sqlite as module
from holdfast.channels.drivers import sqlite_following
from holdfast.channels.drivers.sqlite import SqliteDriver
from holdfast.engines import notes
from holdfast.engines.sqlite import DiskFull
from holdfast.errors import Closed, NotMigrated, StoreUnavailable
from holdfast.store import StoreURL

OPTIONS = ("synchronous", "busy_timeout", "max_page_count")
A, B = "h:c:a", "h:c:b"


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


def say(key: str, number: int = 0, **rest: Any) -> Append:
    return Append(key, "said", b"%d" % number, **rest)


async def one(driver: SqliteDriver, op: Operation) -> Any:
    (outcome,) = await driver.apply([op])
    return outcome


def payloads(log: Log) -> list[Any]:
    return [
        each.payload.decode() if isinstance(each.payload, bytes) else each.payload for each in log.entries
    ]


async def traced(driver: SqliteDriver) -> list[str]:
    """The statements that the thread executes from now on, without those that every batch has."""
    statements: list[str] = []

    def trace(statement: str) -> None:
        if not statement.startswith(("BEGIN", "COMMIT", "--")):  # two dashes: what JSON does inside
            statements.append(statement)

    await driver._engine.run(lambda connection: connection.set_trace_callback(trace))
    return statements


# --- the file ---


async def test_a_person_can_read_the_tables(
    driver: SqliteDriver, other: sqlite3.Connection, clock: Clock
) -> None:
    await driver.apply(
        [
            Append(A, "said", '{"ü":1}'.encode(), id="x"),
            Append(A, "said", b"{}", at=5),
            Edit(A, b"[2]", offset=1, epoch="none"),
            Erase(A, id="x"),
            Send(A, b"\x00raw"),
        ]
    )
    topics = other.execute("SELECT topic, number, last, trimmed, kept, at FROM holdfast_topics")
    assert topics.fetchall() == [(A, 1, 3, 0, 2, 5)]
    messages = other.execute(
        "SELECT number, position, id, event, payload, at, changed FROM holdfast_messages"
    )
    assert messages.fetchall() == [
        (1, 1, "x", "said", None, clock.ms, 3),
        (1, 2, None, "said", "{}", 5, None),
    ]
    written = other.execute("SELECT channel, data, at FROM holdfast_notes")
    assert written.fetchall() == [(A, b"\x00raw", clock.ms)]


async def test_a_file_without_tables_says_so_and_gets_those_of_the_notes_too(path: Path) -> None:
    driver = driver_at(path)
    await driver.open()
    for op in (Read(A, 1), Find(A, id="x")):
        with pytest.raises(NotMigrated, match="holdfast migrate"):
            driver.now(op)
    for write in (say(A), Send(A, b"x")):
        with pytest.raises(NotMigrated):
            await driver.apply([write])
    assert [each.capability for each in await driver.pending()] == ["notes", "channels"]
    assert [each.capability for each in await driver.migrate()] == ["notes", "channels"]
    assert await driver.pending() == []
    assert driver.now(Read(A, 1)) == Log(None, 0, 0, ())
    await driver.close()


async def test_before_open_and_after_close_it_is_closed(path: Path) -> None:
    driver = driver_at(path)
    for _ in range(2):
        with pytest.raises(Closed):
            driver.now(Read(A, 1))
        with pytest.raises(Closed):
            await driver.apply([say(A)])
        with pytest.raises(Closed):
            await driver.subscribe(Heard())
        assert not (await driver.health()).ok
        await driver.open()
        assert (await driver.health()).ok
        assert {"durability", "journal"} <= {each.subject for each in await driver.describe()}
        await driver.close()


# --- reads on the loop ---


async def test_reads_are_answered_on_the_loop_and_see_what_was_acknowledged(driver: SqliteDriver) -> None:
    first, _ = await driver.apply([say(A, 1, id="x"), say(A, 2)])
    log = driver.now(Read(A, 10))
    assert (log.epoch, log.last, payloads(log)) == (first.epoch, 2, ["1", "2"])
    assert [(each.id, each.event) for each in log.entries] == [("x", "said"), (None, "said")]
    assert driver.now(Find(A, id="x")).entry == log.entries[0]
    assert driver.now(Find(A, offset=2, epoch=first.epoch)).entry == log.entries[1]


async def test_a_read_that_would_wait_is_answered_later_through_the_thread(
    driver: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.apply([say(A, 1, id="x")])

    def busy(*_: object) -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
        raise error

    monkeypatch.setattr(driver._engine, "look", busy)
    ops: list[Operation] = [Read(A, 10), Find(A, id="x")]
    assert [driver.now(op) for op in ops] == [LATER, LATER]
    log, found = await driver.apply(ops)
    assert (payloads(log), found.entry.payload) == (["1"], "1")


async def test_a_long_stretch_is_not_read_on_the_loop(driver: SqliteDriver) -> None:
    await driver.apply([say(A, 1)])
    assert driver.now(Read(A, module.MAX_LOOK + 1)) is LATER
    assert payloads(driver.now(Read(A, module.MAX_LOOK))) == ["1"]


async def test_a_read_of_nothing_tells_how_far_the_log_reaches(driver: SqliteDriver) -> None:
    said, _ = await driver.apply([say(A, 1), say(A, 2)])
    assert driver.now(Read(A, 0)) == Log(said.epoch, 2, 0, ())


async def test_a_batch_of_reads_is_served_while_another_process_writes(
    driver: SqliteDriver, other: sqlite3.Connection
) -> None:
    await driver.apply([say(A, 1, id="x")])
    other.execute("BEGIN IMMEDIATE")
    assert payloads(driver.now(Read(A, 10))) == ["1"]
    log, found, page = await driver.apply([Read(A, 10), Find(A, id="x"), Topics("h:", None, 9)])
    assert (payloads(log), found.entry.payload, page.topics[0].key) == (["1"], "1", A)
    with pytest.raises(StoreUnavailable, match="locked") as locked:
        await driver.apply([say(A, 2), Read(A, 10)])
    assert not locked.value.maybe_applied
    other.execute("ROLLBACK")
    assert (await one(driver, say(A, 2))).offset == 2


# --- batches ---


async def test_a_batch_of_appends_is_three_statements_however_many_topics_it_is_to(
    driver: SqliteDriver,
) -> None:
    batch = [say(f"h:c:{n % 100}", n, max_messages=50) for n in range(400)]
    await driver.apply(batch)
    statements = await traced(driver)
    outcomes = await driver.apply(batch)
    assert [each.split()[0] for each in statements] == ["SELECT", "INSERT", "UPDATE"]
    assert [each.offset for each in outcomes] == [5 + n // 100 for n in range(400)]


async def test_the_cuts_of_a_batch_are_one_statement(driver: SqliteDriver, other: sqlite3.Connection) -> None:
    await driver.apply([say(f"h:c:{n % 20}", n, max_messages=5) for n in range(20 * 21)])
    statements = await traced(driver)
    await driver.apply([say(f"h:c:{n}", n, max_messages=5) for n in range(20)])
    assert [each.split()[0] for each in statements] == ["SELECT", "INSERT", "DELETE", "UPDATE"]
    rows = other.execute("SELECT min(position), count(*) FROM holdfast_messages GROUP BY number").fetchall()
    assert rows == [(18, 5)] * 20
    heads = other.execute("SELECT DISTINCT last, trimmed, kept FROM holdfast_topics").fetchall()
    assert heads == [(22, 17, 5)]


@pytest.mark.parametrize("count", [1, 2, 3, 65, 512, 513, 1100])
async def test_a_batch_of_any_length_is_written_whole(driver: SqliteDriver, count: int) -> None:
    outcomes = await driver.apply([say(A if n % 3 else B, n) for n in range(count)])
    assert all(type(each) is Appended for each in outcomes)
    for key, numbers in ((A, [n for n in range(count) if n % 3]), (B, list(range(0, count, 3)))):
        log = await one(driver, Read(key, 2000))
        assert payloads(log) == [str(n) for n in numbers]
        assert [each.offset for each in log.entries] == list(range(1, len(numbers) + 1))


async def test_what_follows_in_a_batch_sees_what_came_before_it(driver: SqliteDriver) -> None:
    outcomes = await driver.apply(
        [
            say(A, 1, id="x"),
            say(B, 1),
            Read(A, 9),
            Edit(A, b"2", id="x"),
            Find(A, id="x"),
            say(A, 3),
            Erase(A, id="x"),
            Read(A, 9, changes_after=0),
            Trim(A, 1, None),
            say(A, 1, id="x"),
            Topics("h:", None, 9),
            Clear(A),
            Read(A, 9),
            say(A, 4, id="x"),
            Read(A, 9),
            Read(B, 9),
        ]
    )
    epoch = outcomes[0].epoch
    assert payloads(outcomes[2]) == ["1"]
    assert (outcomes[3].entry.offset, outcomes[3].entry.changed) == (1, 2)
    assert outcomes[4].entry.payload == "2"
    assert (outcomes[5].offset, outcomes[6].entry.changed) == (3, 4)
    assert [each.offset for each in outcomes[7].entries] == [3, 1]
    assert outcomes[8] == 1
    assert (outcomes[9].offset, outcomes[9].repeated) == (5, False)  # its first life was trimmed away
    assert [(each.key, each.last, each.kept) for each in outcomes[10].topics] == [(A, 5, 2), (B, 1, 1)]
    assert (outcomes[11], outcomes[12].epoch) == (True, None)
    assert (outcomes[13].offset, outcomes[13].repeated) == (1, False)
    assert outcomes[13].epoch != epoch
    assert (payloads(outcomes[14]), payloads(outcomes[15])) == (["4"], ["1"])


async def test_a_number_is_not_given_out_twice(driver: SqliteDriver, other: sqlite3.Connection) -> None:
    numbers = "SELECT number FROM holdfast_topics ORDER BY number"
    await driver.apply([say(f"h:c:{n}") for n in range(3)])
    assert other.execute(numbers).fetchall() == [(1,), (2,), (3,)]
    await driver.apply([Clear("h:c:2"), Clear("h:c:1"), say("h:c:1"), Clear("h:c:1"), say("h:c:1"), say(A)])
    assert other.execute(numbers).fetchall() == [(1,), (5,), (6,)]
    other.execute(
        "INSERT INTO holdfast_topics (topic, epoch, last, trimmed, kept, at) VALUES ('else', 'e', 0, 0, 0, 0)"
    )
    await driver.apply([say(B)])
    assert other.execute(numbers).fetchall() == [(1,), (5,), (6,), (7,), (8,)]


async def test_ids_are_known_from_the_table_and_from_the_batch(driver: SqliteDriver) -> None:
    first, _ = await driver.apply([say(A, 1, id="x", at=7), say(B, 1, id="y")])
    outcomes = await driver.apply(
        [say(A, 2, id="x"), say(A, 3, id="y"), say(A, 4, id="y"), say(A, 5), say(B, 6, id="x")]
    )
    assert outcomes[0] == Appended(1, first.epoch, 7, repeated=True)
    assert [(each.offset, each.repeated) for each in outcomes] == [
        (1, True),
        (2, False),
        (2, True),
        (3, False),
        (2, False),
    ]
    assert payloads(driver.now(Read(A, 9))) == ["1", "3", "5"]


@pytest.mark.parametrize("text", ['"', "\\", "ü🦑", "a'b", "\x7f", "\u2028", "[", "%"])
async def test_keys_and_ids_of_any_text_are_told_apart(driver: SqliteDriver, text: str) -> None:
    key = f"h:c:{text}"
    await driver.apply([say(key, 1, id=text), say(key + text, 2, id=text + text)])
    again, twice, anew = await driver.apply(
        [say(key, 3, id=text), say(key + text, 3, id=text + text), say(key, 4, id=text + text)]
    )
    assert (again.repeated, twice.repeated, anew.repeated) == (True, True, False)
    assert payloads(driver.now(Read(key, 9))) == ["1", "4"]


# --- retention ---


async def test_a_log_with_changes_is_cut_by_its_messages_and_not_by_its_offsets(
    driver: SqliteDriver,
) -> None:
    await driver.apply([say(A, n, id=str(n)) for n in range(10)])
    await driver.apply([Edit(A, b"0", id="3"), Erase(A, id="4"), Erase(A, id="9")])
    outcomes = await driver.apply([say(A, n, max_messages=5) for n in range(10, 22)])
    assert outcomes[-1].offset == 25
    log = driver.now(Read(A, 99, changes_after=0))
    assert (log.trimmed, [each.offset for each in log.entries]) == (20, [21, 22, 23, 24, 25])


async def test_what_is_too_old_goes_every_16_messages_and_after_a_silence(
    driver: SqliteDriver, clock: Clock
) -> None:
    await driver.apply([say(A, n, max_age=1000) for n in range(5)])
    clock.ms += 100
    await driver.apply([say(A, n, max_age=1000) for n in range(5, 10)])
    clock.ms += 901
    await driver.apply([say(A, 10, max_age=1000)])  # a silence
    log = driver.now(Read(A, 99))
    assert (log.trimmed, payloads(log)) == (5, [str(n) for n in range(5, 11)])
    clock.ms += 100
    await driver.apply([say(A, n, max_age=1000) for n in range(11, 15)])
    assert driver.now(Read(A, 99)).trimmed == 5
    await driver.apply([say(A, 15, max_age=1000)])  # the 16th
    assert driver.now(Read(A, 99)).trimmed == 10


async def test_the_newest_message_stays_however_old_it_says_it_is(driver: SqliteDriver) -> None:
    await driver.apply([say(A, n, at=1, max_age=1000) for n in range(16)])
    assert payloads(driver.now(Read(A, 99))) == ["15"]
    await driver.apply([Erase(A, id="none"), say(A, 16, at=1, max_age=1000, max_messages=1)])
    assert await one(driver, Trim(A, None, 1000)) == 2
    assert driver.now(Read(A, 99)).last == 17


# --- failures ---


async def test_in_a_full_file_what_finds_room_is_kept_and_the_rest_is_told(path: Path) -> None:
    driver = driver_at(path, "?max_page_count=60")
    await driver.open()
    await driver.migrate()
    big = b'"' + b"x" * 2000 + b'"'
    outcomes = await driver.apply([Append(A, "said", big) for _ in range(128)])
    kept = [each for each in outcomes if isinstance(each, Appended)]
    full = [each for each in outcomes if isinstance(each, DiskFull)]
    assert 0 < len(kept) < 128
    assert len(kept) + len(full) == 128
    assert len({id(each) for each in full}) == len(full)
    assert not any(each.maybe_applied for each in full)
    log = driver.now(Read(A, 200))
    assert (
        [each.offset for each in log.entries]
        == [each.offset for each in kept]
        == list(range(1, len(kept) + 1))
    )
    removed, again = await driver.apply([Trim(A, 2, None), Append(A, "said", big)])
    assert (removed, again.offset) == (len(kept) - 2, len(kept) + 1)
    await driver.close()


async def test_one_operation_that_cannot_be_stored_fails_alone_and_takes_no_offset(
    driver: SqliteDriver,
) -> None:
    outcomes = await driver.apply(
        [say(A, 1), Append(A, "said", b"\xff"), say(A, 3), Append(A, "said", b"{}", id="\ud800"), say(A, 5)]
    )
    assert [each.offset for each in outcomes[::2]] == [1, 2, 3]
    assert isinstance(outcomes[1], UnicodeDecodeError)
    assert isinstance(outcomes[3], UnicodeEncodeError)
    assert payloads(driver.now(Read(A, 9))) == ["1", "3", "5"]


async def test_what_was_handed_in_before_close_is_kept(driver: SqliteDriver, path: Path) -> None:
    under_way = asyncio.create_task(driver.apply([say(A, 1)]))
    await asyncio.sleep(0)
    await driver.close()
    assert [each.offset for each in await under_way] == [1]
    again = driver_at(path)
    await again.open()
    assert payloads(again.now(Read(A, 9))) == ["1"]
    await again.close()


# --- other processes ---


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.reached: dict[str, tuple[str, int]] = {}
        self.told: list[str] = []
        self.sends: list[tuple[str, bytes]] = []
        self.losses = 0
        self._told = asyncio.Event()

    def kept(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        assert entry is None
        self.reached[key] = (epoch, last)
        self.told.append(key)
        self._told.set()

    def sent(self, key: str, data: bytes) -> None:
        self.sends.append((key, data))
        self._told.set()

    def lost(self) -> None:
        self.losses += 1
        self._told.set()

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._told.clear()
                await self._told.wait()


def task_of(driver: SqliteDriver) -> asyncio.Task[None] | None:
    return driver._engine.poller._task


async def test_two_engines_on_one_file_hear_each_other(driver: SqliteDriver, path: Path) -> None:
    stranger = driver_at(
        path.parent / "." / path.name, "?synchronous=normal"
    )  # another engine: its options differ
    await stranger.open()
    assert stranger._engine is not driver._engine
    heard, theirs = Heard(), Heard()
    ours = await driver.subscribe(heard)
    await ours.follow(A)
    await (await stranger.subscribe(theirs)).follow(B)
    said, _ = await stranger.apply([say(A, 1), Send(A, b"x")])
    await driver.apply([say(B, 1), Send(B, b"y"), say("h:c:else")])
    await heard.until(lambda: heard.reached and heard.sends)
    await theirs.until(lambda: theirs.reached and theirs.sends)
    assert (heard.reached, heard.sends) == ({A: (said.epoch, 1)}, [(A, b"x")])
    assert (list(theirs.reached), theirs.sends) == ([B], [(B, b"y")])
    await stranger.close()


async def test_drivers_of_one_engine_hear_each_other(driver: SqliteDriver, clock: Clock) -> None:
    beside = SqliteDriver(driver._url, now_ms=clock)
    await beside.open()
    assert beside._engine is driver._engine
    heard = Heard()
    await (await driver.subscribe(heard)).follow(A)
    await beside.apply([say(A), Send(A, b"x")])
    await heard.until(lambda: heard.reached and heard.sends)
    await beside.close()
    assert len(driver._engine.poller.voices) == 1


SPEAKER = """
import asyncio, json, sys
from holdfast.channels.driver import Append, Send
from holdfast.channels.registry import driver_for

async def main():
    driver = driver_for(sys.argv[1])
    await driver.open()
    for number in range(20):
        (said, _) = await driver.apply([Append("h:c:a", "said", b"{}"), Send("h:c:a", b"%d" % number)])
    print(json.dumps([said.epoch, said.offset]))
    await driver.close()

asyncio.run(main())
"""


async def test_another_process_is_heard_to_its_last_word(path: Path) -> None:
    driver, heard = driver_at(path), Heard()
    await driver.open()
    await driver.migrate()
    await (await driver.subscribe(heard)).follow(A)
    speaker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SPEAKER, f"sqlite:///{path}", stdout=asyncio.subprocess.PIPE
    )
    own = [(await one(driver, say(A))).offset for _ in range(20)]
    out, _ = await speaker.communicate()
    epoch, _offset = json.loads(out)
    await heard.until(lambda: heard.reached.get(A) == (epoch, 40) and len(heard.sends) == 20)
    assert [data for _, data in heard.sends] == [b"%d" % number for number in range(20)]
    assert [each.offset for each in driver.now(Read(A, 99)).entries] == list(range(1, 41))
    assert set(own) < set(range(1, 41))
    assert heard.losses == 0
    await driver.close()


async def test_a_topic_that_is_begun_again_is_heard_in_its_new_epoch(
    driver: SqliteDriver, path: Path
) -> None:
    stranger = driver_at(path, "?synchronous=normal")
    await stranger.open()
    old = await one(stranger, say(A))
    heard = Heard()
    await (await driver.subscribe(heard)).follow(A)
    assert heard.reached == {}
    _, new = await stranger.apply([Clear(A), say(A)])
    await heard.until(lambda: heard.reached)
    assert heard.reached == {A: (new.epoch, 1)}
    assert new.epoch != old.epoch
    await stranger.close()


async def test_only_what_moved_is_announced(driver: SqliteDriver, path: Path) -> None:
    await driver.apply([say(A), say(B)])
    stranger = driver_at(path, "?synchronous=normal")
    await stranger.open()
    heard = Heard()
    subscription = await driver.subscribe(heard)
    for key in (A, B, "h:c:silent"):
        await subscription.follow(key)
    for number in range(2, 5):
        await stranger.apply([say(B), say("h:c:else"), Send(B, b"x")])
        await heard.until(lambda number=number: len(heard.sends) == number - 1)
    assert set(heard.told) == {B}
    assert len(heard.told) <= 3
    await stranger.close()


async def test_many_topics_are_looked_up_a_part_at_a_time(
    driver: SqliteDriver, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_following, "_AT_ONCE", 3)
    heard, rooms = Heard(), [f"h:c:{n}" for n in range(8)]
    subscription: Any = await driver.subscribe(heard)
    for room in rooms:
        await subscription.follow(room)
    assert len(subscription.questions()) == 3
    stranger = driver_at(path, "?synchronous=normal")
    await stranger.open()
    await stranger.apply([say(room) for room in rooms])
    await heard.until(lambda: len(heard.reached) == 8)
    await stranger.close()


async def test_a_driver_that_closes_hears_nothing_more_though_the_engine_lives_on(
    driver: SqliteDriver,
) -> None:
    beside = SqliteDriver(driver._url)
    await beside.open()
    heard = Heard()
    await (await beside.subscribe(heard)).follow(A)
    ended = await beside.subscribe(Heard())
    await ended.follow(A)
    await ended.close()
    assert len(beside._following) == 1
    assert task_of(driver) is not None
    await beside.close()
    assert task_of(driver) is None
    assert not beside._following
    assert (await driver.health()).ok


async def test_the_poller_runs_only_while_something_is_followed(driver: SqliteDriver) -> None:
    subscription = await driver.subscribe(Heard())
    assert task_of(driver) is None
    await asyncio.gather(*(subscription.follow(key) for key in (A, A, B)))
    task = task_of(driver)
    assert task is not None
    await subscription.unfollow(A)
    await subscription.unfollow(A)
    assert task_of(driver) is task
    await subscription.unfollow(B)
    assert task_of(driver) is None
    await subscription.follow(A)
    await driver.close()
    assert task_of(driver) is None
    with pytest.raises(Closed):
        await subscription.follow(B)


async def test_a_topic_that_is_left_while_it_is_joined_leaves_nothing_behind(driver: SqliteDriver) -> None:
    subscription = await driver.subscribe(Heard())
    joining = asyncio.create_task(subscription.follow(A))
    await asyncio.sleep(0)
    await subscription.unfollow(A)
    await joining
    assert task_of(driver) is None


async def test_what_cannot_be_followed_is_not_followed(
    driver: SqliteDriver, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription: Any = await driver.subscribe(Heard())
    away = path.with_name("elsewhere.db")
    path.rename(away)
    with pytest.raises(StoreUnavailable):
        await subscription.follow(A)
    assert list(subscription.channels) == []
    away.rename(path)
    await subscription.follow(A)
    assert list(subscription.channels) == [A]


async def test_a_follow_that_cannot_look_hears_of_the_topic_at_the_first_chance(
    driver: SqliteDriver, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await one(driver, say(A))
    stranger = driver_at(path, "?synchronous=normal")
    await stranger.open()

    def busy(*_: object) -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    heard = Heard()
    subscription = await driver.subscribe(heard)
    with monkeypatch.context() as patch:
        patch.setattr(driver._engine, "look", busy)
        await subscription.follow(A)
    await stranger.apply([say(B)])
    await heard.until(lambda: heard.reached)
    assert heard.reached == {A: (said.epoch, 1)}
    await stranger.close()


async def test_the_sweep_takes_old_notes_and_without_any_asks_for_no_lock(
    driver: SqliteDriver, other: sqlite3.Connection, clock: Clock
) -> None:
    assert await driver.sweep() == 0
    await driver.apply([Send(A, b"x"), Send(B, b"y")])
    clock.ms += notes.LIFE_MS
    other.execute("BEGIN IMMEDIATE")
    assert await driver.sweep() == 0
    other.execute("ROLLBACK")
    clock.ms += 1
    await driver.apply([Send(A, b"z")])
    assert await driver.sweep() == 2
    assert other.execute("SELECT data FROM holdfast_notes").fetchall() == [(b"z",)]
