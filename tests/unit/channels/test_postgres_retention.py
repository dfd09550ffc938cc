"""Retention, clearing and sweeping, where the Postgres driver does them in its own way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.channels.postgres_lab import blocked, meddling, one, opened, prefix, said, texts

from holdfast.channels.driver import Clear, Read, Topics, Trim
from holdfast.channels.drivers.postgres import PostgresDriver

room = pytest.fixture(prefix, name="room")


@pytest.fixture
async def driver(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    async with opened(postgres_url) as driver:
        yield driver


@pytest.fixture
async def meddler(postgres_url: str, driver: PostgresDriver) -> AsyncIterator[Any]:
    async with meddling(postgres_url) as connection:
        yield connection


# --- retention ---


async def test_messages_that_a_trim_could_not_see_are_not_counted_twice(
    driver: PostgresDriver, meddler: Any, room: str
) -> None:
    """Committed between this statement's look and its lock: of another process, in the same topic."""
    for n in range(26):
        await one(driver, said(room, f"{n}", max_messages=10))
    slow = meddler.transaction()
    await slow.start()
    number, last = await meddler.fetchrow(
        "UPDATE holdfast_topics SET last = last + 5, kept = kept + 5 WHERE topic = $1 RETURNING number, last",
        room,
    )
    await meddler.executemany(
        "INSERT INTO holdfast_messages (number, position, event, payload, at) VALUES ($1, $2, 'said', $3, 0)",
        [(number, last - 4 + n, f'{{"text":"{26 + n}"}}') for n in range(5)],
    )
    late = asyncio.ensure_future(driver.apply([said(room, "31", max_messages=10)]))
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "INSERT INTO holdfast_topics")
    await slow.commit()
    await late
    found = await texts(driver, room)
    assert found == [f"{n}" for n in range(32)][-len(found) :]
    assert 10 <= len(found) <= 26
    for n in range(32, 60):
        await one(driver, said(room, f"{n}", max_messages=10))
        found = await texts(driver, room)
        assert found == [f"{n}" for n in range(n + 1)][-len(found) :]
        assert 10 <= len(found) <= 26
    rows = await meddler.fetchval("SELECT count(*) FROM holdfast_messages WHERE number = $1", number)
    (topic,) = (await one(driver, Topics(room, None, 9))).topics
    assert (topic.kept, len(found)) == (rows, rows)


async def fill(meddler: Any, key: str, count: int, at: int) -> None:
    number = await meddler.fetchval(
        "INSERT INTO holdfast_topics (topic, epoch, last, trimmed, kept, at) VALUES ($1, 'e', $2, 0, $2, $3)"
        " RETURNING number", key, count, at,
    )  # fmt: skip
    await meddler.execute(
        "INSERT INTO holdfast_messages (number, position, event, payload, at)"
        " SELECT $1, n, 'said', '{}', $3 FROM generate_series(1, $2::bigint) AS n", number, count, at,
    )  # fmt: skip


async def test_a_long_backlog_goes_in_steps(driver: PostgresDriver, meddler: Any, room: str) -> None:
    await fill(meddler, room, 22_000, 0)
    kept = []
    for _ in range(4):
        await one(driver, said(room, max_messages=100))
        (topic,) = (await one(driver, Topics(room, None, 1))).topics
        kept.append(topic.kept)
        log = await one(driver, Read(room, 30_000))
        assert len(log.entries) == topic.kept
        assert log.entries[0].offset == log.trimmed + 1
    assert kept == [12_001, 2_002, 100, 101]


async def test_age_alone_bounds_a_busy_topic(driver: PostgresDriver, meddler: Any, room: str) -> None:
    await fill(meddler, room, 300, 0)
    for _ in range(5):
        await driver.apply([said(room, max_age=3_600_000) for _ in range(64)])
    log = await one(driver, Read(room, 9_999))
    assert [entry.offset for entry in log.entries] == list(range(301, 621))
    (topic,) = (await one(driver, Topics(room, None, 1))).topics
    assert topic.kept == 320


async def test_a_trim_of_many_goes_on_until_all_are_gone(
    driver: PostgresDriver, meddler: Any, room: str
) -> None:
    await fill(meddler, room, 11_000, 0)
    assert await one(driver, Trim(room, 10, None)) == 10_990
    assert len(await texts(driver, room)) == 10
    await one(driver, said(room))
    assert await one(driver, Trim(room, None, 60_000)) == 10
    log = await one(driver, Read(room, 99))
    assert (log.trimmed, [entry.offset for entry in log.entries]) == (11_000, [11_001])


async def test_what_was_said_late_with_an_early_time_does_not_take_younger_ones_with_it(
    driver: PostgresDriver, room: str
) -> None:
    await driver.apply([said(room, "young"), said(room, "old", at=1)])
    assert await one(driver, Trim(room, None, 60_000)) == 0
    await driver.apply([said(room, max_age=60_000) for _ in range(130)])
    assert (await texts(driver, room))[:2] == ["young", "old"]


# --- clearing and sweeping ---


async def test_clearing_leaves_nothing_behind(driver: PostgresDriver, meddler: Any, room: str) -> None:
    await fill(meddler, room, 10_001, 0)
    number = await meddler.fetchval("SELECT number FROM holdfast_topics WHERE topic = $1", room)
    assert await one(driver, Clear(room)) is True
    left = await meddler.fetchval("SELECT count(*) FROM holdfast_messages WHERE number = $1", number)
    assert left == 0


async def test_a_sweep_finds_messages_whose_topic_was_cleared_under_them(
    driver: PostgresDriver, meddler: Any, room: str
) -> None:
    keys = [f"{room}{n}" for n in range(200)]
    await driver.apply([said(key) for key in keys])
    numbers = [
        row[0]
        for row in await meddler.fetch(
            "DELETE FROM holdfast_topics WHERE topic = ANY ($1) RETURNING number", keys[::2]
        )
    ]
    left = "SELECT count(*) FROM holdfast_messages WHERE number = ANY ($1)"
    async with asyncio.timeout(20):
        while await meddler.fetchval(left, numbers):  # a walk of a few numbers at a time
            await driver.sweep()
    assert [log.last for log in await driver.apply([Read(key, 1) for key in keys[1::2]])] == [1] * 100


async def test_a_sweep_takes_old_notes_and_no_others(driver: PostgresDriver, meddler: Any, room: str) -> None:
    now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    insert = f"INSERT INTO holdfast_notes (channel, data, at) SELECT $1, '', {now} - $2 FROM generate_series(1, $3)"
    await meddler.execute(insert, room, 61_000, 1_500)
    await meddler.execute(insert, room, 30_000, 3)
    assert 900 < await driver.sweep() <= 1_000, "a bounded number, of which few are other tests'"
    async with asyncio.timeout(20):
        while await driver.sweep():
            pass
    assert await meddler.fetchval("SELECT count(*) FROM holdfast_notes WHERE channel = $1", room) == 3
