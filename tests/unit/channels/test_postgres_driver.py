"""What is particular to the Postgres driver: statements, locks, retention. What all promise is in the suite."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.unit.channels.postgres_lab import blocked, counted, meddling, one, opened, prefix, said, texts

from holdfast.channels.driver import (
    Appended,
    Clear,
    Edit,
    Erase,
    Find,
    Operation,
    Read,
    Send,
    Topics,
)
from holdfast.channels.drivers.postgres import PostgresDriver, changes, queries
from holdfast.channels.drivers.postgres.batches import waves
from holdfast.channels.drivers.postgres.statements import APPEND
from holdfast.errors import Closed, StoreError, StoreUnavailable

room = pytest.fixture(prefix, name="room")


@pytest.fixture
async def driver(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    async with opened(postgres_url) as driver:
        yield driver


@pytest.fixture
async def empty(postgres_url: str, meddler: Any) -> AsyncIterator[PostgresDriver]:
    """In a database of its own: others' rows, and what the server has learnt of them, change plans."""
    name = f"empty_{secrets.token_hex(4)}"
    await meddler.execute(f"CREATE DATABASE {name}")
    url = urlsplit(postgres_url)
    try:
        async with opened(url._replace(path=f"/{name}").geturl()) as driver:
            yield driver
    finally:
        await meddler.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    """Another process's: its engine is its own."""
    async with opened(f"{postgres_url}?application_name=other") as driver:
        yield driver


@pytest.fixture
async def meddler(postgres_url: str, driver: PostgresDriver) -> AsyncIterator[Any]:
    async with meddling(postgres_url) as connection:
        yield connection


# --- one statement ---


async def test_appends_to_many_topics_are_one_statement(driver: PostgresDriver, room: str) -> None:
    sent = counted(driver)
    batch = [said(f"{room}{n % 100:03d}", f"{n}") for n in range(400)]
    outcomes = await driver.apply(batch)
    assert len(sent) == 1
    assert [outcome.offset for outcome in outcomes] == [n // 100 + 1 for n in range(400)]
    assert len({outcome.epoch for outcome in outcomes}) == 100
    assert await texts(driver, f"{room}007") == ["7", "107", "207", "307"]


async def test_reads_of_one_form_are_one_statement(driver: PostgresDriver, room: str) -> None:
    await driver.apply([said(f"{room}{n % 50}", f"{n}") for n in range(250)])
    sent = counted(driver)
    reads: list[Operation] = [Read(f"{room}{n}", 2) for n in range(50)]
    reads += [Read(f"{room}{n}", 2, after=1) for n in range(50)]
    reads += [Read(f"{room}{n}", 2, changes_after=1) for n in range(50)]
    outcomes = await driver.apply(reads)
    assert len(sent) == 3
    for form, offsets in enumerate(([4, 5], [2, 3], [2, 3])):
        for n in range(50):
            log = outcomes[50 * form + n]
            assert [entry.offset for entry in log.entries] == offsets
            assert log.entries[0].payload == f'{{"text":"{n + 50 * (offsets[0] - 1)}"}}'


async def test_retentions_that_differ_are_statements_of_their_own(driver: PostgresDriver, room: str) -> None:
    sent = counted(driver)
    await driver.apply([said(f"{room}{n}", max_messages=n % 3 or None) for n in range(30)])
    assert len(sent) == 3


def test_a_topic_is_told_things_in_the_order_of_the_batch() -> None:
    edit = Edit("a", b"{}", id="x")
    batch: list[Operation] = [
        said("a"), said("b"), edit, edit, said("a"), Send("b", b""), Topics("", None, 9), Clear("a"), said("b")
    ]  # fmt: skip
    found = waves(batch)
    assert sorted(place for wave in found for place in wave.places) == list(range(len(batch)))
    for key in "ab":
        order = [place for wave in found for place in wave.places if batch[place].key == key]
        assert order == sorted(order)
    assert [len(wave.ops) for wave in found] == [2, 1, 1, 1, 1, 1, 1, 1]


async def test_what_the_server_refuses_fails_alone(driver: PostgresDriver, room: str) -> None:
    bad = [said(f"{room}\0"), said(f"{room}\ud800"), said(room, "a\x1fb"), said(room, "\0secret")]
    batch = [said(room, f"{n}") for n in range(9)]
    batch[2:2] = bad
    outcomes = await driver.apply(batch)
    for outcome in outcomes[2:6]:
        assert isinstance(outcome, StoreError)
        assert not isinstance(outcome, StoreUnavailable)
        assert "secret" not in str(outcome)
    kept = outcomes[:2] + outcomes[6:]
    assert [outcome.offset for outcome in kept] == list(range(1, 10))
    assert await texts(driver, room) == [f"{n}" for n in range(9)]


@pytest.mark.parametrize("between", ["\x1f", "\x1f\x01", ":", " "])
async def test_any_character_may_stand_in_a_topic(driver: PostgresDriver, room: str, between: str) -> None:
    keys = [f"{room}{between}{n}{between}" for n in range(5)]
    outcomes = await driver.apply([said(key, f"{n}") for n, key in enumerate(keys)])
    assert [outcome.offset for outcome in outcomes] == [1] * 5
    logs = await driver.apply([Read(key, 1) for key in keys])
    assert [log.entries[0].payload[9:-2] for log in logs] == [f"{n}" for n in range(5)]


@pytest.mark.parametrize("query", ["append", "append ids", "append most", "read", "find", "change", "trim"])
async def test_a_statement_planned_over_empty_tables_finds_rows_by_key(
    empty: PostgresDriver, query: str
) -> None:
    """Such a plan is kept for as long as the connection lives, and the tables grow."""
    driver = empty
    sql, arguments = {
        "append": (APPEND[False, False], 13),
        "append ids": (APPEND[True, False], 14),
        "append most": (APPEND[True, True], 17),
        "read": (queries.CHANGES_AFTER, 4),
        "find": (queries.FIND, 4),
        "change": (changes.CHANGE, 8),
        "trim": (changes.TRIM, 4),
    }[query]
    assert driver._lease is not None
    engine = driver._lease.engine
    name = query.replace(" ", "_")
    await engine.fetch(0, f"PREPARE {name} AS {sql}")
    nulls = ", ".join(["NULL"] * arguments)
    plan = "\n".join(row[0] for row in await engine.fetch(0, f"EXPLAIN EXECUTE {name} ({nulls})"))
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan
    # A whole topic is walked only as far as a LIMIT lets it.
    walks = re.findall(r"(.*)\n.*on holdfast_messages.*\n\s*Index Cond: \(number = [^()]*\)\n", plan)
    assert [line for line in walks if "Limit" not in line] == [], plan


# --- offsets ---


async def test_a_slow_commit_is_waited_for_and_never_skipped(
    driver: PostgresDriver, meddler: Any, room: str
) -> None:
    await one(driver, said(room, "1"))
    slow = meddler.transaction()
    await slow.start()
    number, last = await meddler.fetchrow(
        "UPDATE holdfast_topics SET last = last + 1, kept = kept + 1 WHERE topic = $1 RETURNING number, last",
        room,
    )
    await meddler.execute(
        "INSERT INTO holdfast_messages (number, position, event, payload, at) VALUES ($1, $2, 'said', $3, 0)",
        number, last, '{"text":"slow"}',
    )  # fmt: skip
    quick = asyncio.ensure_future(driver.apply([said(room, "quick")]))
    try:
        async with meddling(driver._url.text) as looking:
            await blocked(looking, "INSERT INTO holdfast_topics")
        (log,) = await driver.apply([Read(room, 9)], 1)
        assert (log.last, len(log.entries)) == (1, 1), "an offset was seen before a lower one"
        assert not quick.done()
    finally:
        await slow.commit()
    assert (await quick)[0].offset == 3
    assert await texts(driver, room) == ["1", "slow", "quick"]


async def test_processes_that_write_to_the_same_topics_give_every_offset_once(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    async def write(which: PostgresDriver, name: str) -> list[tuple[str, Appended]]:
        found: list[tuple[str, Appended]] = []
        for turn in range(25):
            keys = [f"{room}{(turn + n) % 7}" for n in range(5)]
            if name == "b":
                keys.reverse()
            outcomes = await which.apply([said(key, f"{name}{turn}") for key in keys])
            found += zip(keys, outcomes, strict=True)
        return found

    written = await asyncio.gather(write(driver, "a"), write(other, "b"))
    both = written[0] + written[1]
    for n in range(7):
        offsets = sorted(outcome.offset for key, outcome in both if key == f"{room}{n}")
        assert offsets == list(range(1, len(offsets) + 1))
        assert len({outcome.epoch for key, outcome in both if key == f"{room}{n}"}) == 1


async def test_a_topic_that_two_processes_begin_at_once_is_one(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    for n in range(10):
        key = f"{room}{n}"
        (a,), (b,) = await asyncio.gather(driver.apply([said(key)]), other.apply([said(key)]))
        assert {a.offset, b.offset} == {1, 2}
        assert a.epoch == b.epoch


# --- ids ---


async def test_ids_are_looked_for_in_the_statement_that_stores(driver: PostgresDriver, room: str) -> None:
    sent = counted(driver)
    first = await driver.apply([said(f"{room}{n % 5}", f"{n}", id=f"id{n}") for n in range(20)])
    assert len(sent) == 1
    mixed = [said(f"{room}{n % 5}", f"{n} again", id=f"id{n}" if n % 2 else None) for n in range(20)]
    again = await driver.apply([*mixed, *mixed[:6]])
    assert len(sent) == 3
    for n, outcome in enumerate(again[:20]):
        assert outcome.repeated is bool(n % 2)
        if n % 2:
            assert (outcome.offset, outcome.epoch, outcome.at) == (
                first[n].offset,
                first[n].epoch,
                first[n].at,
            )
    assert [outcome.repeated for outcome in again[20:]] == [bool(n % 2) for n in range(6)]


@pytest.mark.parametrize("beside", [0, 1])
async def test_an_id_that_another_process_is_storing_is_answered_as_its(
    driver: PostgresDriver, meddler: Any, room: str, beside: int
) -> None:
    await one(driver, said(room, "1"))
    slow = meddler.transaction()
    await slow.start()
    number, last = await meddler.fetchrow(
        "UPDATE holdfast_topics SET last = last + 1, kept = kept + 1 WHERE topic = $1 RETURNING number, last",
        room,
    )
    await meddler.execute(
        "INSERT INTO holdfast_messages VALUES ($1, $2, 'x', 'said', '{}', 77)", number, last
    )
    late = asyncio.ensure_future(
        driver.apply([said(room, "mine", id="x"), *[said(room, "beside", id="y")] * beside])
    )
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "INSERT INTO holdfast_topics")
    await slow.commit()
    repeated, *stored = await late
    assert repeated == Appended(2, repeated.epoch, 77, True)
    assert [(each.offset, each.repeated) for each in stored] == [(3, False)] * beside


# --- changes ---


async def test_changes_of_many_topics_are_one_statement(driver: PostgresDriver, room: str) -> None:
    appended = await driver.apply([said(f"{room}{n}", id="x") for n in range(20)])
    sent = counted(driver)
    ops: list[Operation] = [Edit(f"{room}{n}", b'{"text":"edited"}', id="x") for n in range(10)]
    ops += [Erase(f"{room}{n}", offset=1, epoch=appended[n].epoch) for n in range(10, 20)]
    ops += [Find(f"{room}{n}", id="x") for n in range(20)]
    outcomes = await driver.apply(ops)
    assert len(sent) == 2
    assert [outcome.entry.changed for outcome in outcomes[:20]] == [2] * 20
    assert [outcome.entry.payload for outcome in outcomes[:20]] == ['{"text":"edited"}'] * 10 + [None] * 10
    assert [found is not None for found in outcomes[20:]] == [True] * 10 + [False] * 10


async def test_an_edit_takes_the_offset_after_a_slow_commit(
    driver: PostgresDriver, meddler: Any, room: str
) -> None:
    await one(driver, said(room, id="x"))
    slow = meddler.transaction()
    await slow.start()
    await meddler.execute("UPDATE holdfast_topics SET last = last + 5 WHERE topic = $1", room)
    late = asyncio.ensure_future(driver.apply([Edit(room, b'{"text":"edited"}', id="x")]))
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "UPDATE holdfast_messages")
    await slow.commit()
    ((changed,), log) = await late, await one(driver, Read(room, 1))
    assert (changed.entry.changed, log.last) == (7, 7)


async def test_an_edit_sees_what_another_process_erased_while_it_waited(
    driver: PostgresDriver, meddler: Any, room: str
) -> None:
    await one(driver, said(room, id="x"))
    slow = meddler.transaction()
    await slow.start()
    number = await meddler.fetchval(
        "UPDATE holdfast_topics SET last = last + 1 WHERE topic = $1 RETURNING number", room
    )
    await meddler.execute(
        "UPDATE holdfast_messages SET payload = NULL, changed = 2 WHERE number = $1", number
    )
    late = asyncio.ensure_future(driver.apply([Edit(room, b'{"text":"back"}', id="x")]))
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "UPDATE holdfast_messages")
    await slow.commit()
    assert await late == [None]
    log = await one(driver, Read(room, 9, changes_after=0))
    assert (log.last, [entry.payload for entry in log.entries]) == (2, [None])


# --- being closed ---


async def test_a_closed_driver_says_so(postgres_url: str, room: str) -> None:
    async with opened(postgres_url) as driver:
        pass
    await driver.close()
    for call in (driver.apply([said(room)]), driver.sweep(), driver.pending(), driver.describe()):
        with pytest.raises(Closed):
            await call
    assert not (await driver.health()).ok
    await driver.open()
    assert (await one(driver, said(room))).offset == 1
    await driver.close()
