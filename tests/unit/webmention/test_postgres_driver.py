"""What is particular to the webmention driver for Postgres: statements, locks, losses."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.unit.channels.postgres_lab import blocked, bouncer, meddling

from holdfast.engines.postgres import StatementRefused
from holdfast.errors import Closed, NotMigrated, StoreError, StoreUnavailable
from holdfast.store import StoreURL
from holdfast.webmention.driver import Document, Drop, Put
from holdfast.webmention.drivers import postgres_statements as sql
from holdfast.webmention.drivers.postgres import PostgresDriver


def made(url: str) -> PostgresDriver:
    return PostgresDriver.from_url(StoreURL.parse(url, own=PostgresDriver.OPTIONS, foreign=True))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresDriver]:
    driver = made(url)
    await driver.open()
    try:
        await driver.migrate()
        yield driver
    finally:
        await driver.close()


@pytest.fixture
async def driver(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    async with opened(postgres_url) as driver:
        yield driver


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    """Another process's: its engine is its own."""
    async with opened(f"{postgres_url}?application_name=other") as driver:
        yield driver


@pytest.fixture
async def meddler(postgres_url: str, driver: PostgresDriver) -> AsyncIterator[Any]:
    async with meddling(postgres_url) as connection:
        yield connection


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database of its own."""
    name = f"empty_{secrets.token_hex(4)}"
    async with meddling(postgres_url) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def kind() -> str:
    return f"test{random.getrandbits(48):x}:m:o"


def counted(driver: PostgresDriver) -> list[str]:
    """The statements that the driver sends from now on."""
    engine = driver._engine
    sent: list[str] = []
    fetch = engine.fetch

    def counting(lane: int, sql: str, *args: Any) -> Any:
        sent.append(sql)
        return fetch(lane, sql, *args)

    engine.fetch = counting  # type: ignore[method-assign]
    return sent


def refused(driver: PostgresDriver) -> list[str]:
    """The SQLSTATEs with which statements of the driver are refused from now on."""
    engine = driver._engine
    codes: list[str] = []
    fetch = engine.fetch

    async def noting(lane: int, sql: str, *args: Any) -> Any:
        try:
            return await fetch(lane, sql, *args)
        except StatementRefused as exc:
            codes.append(exc.code)
            raise

    engine.fetch = noting  # type: ignore[method-assign]
    return codes


async def one(driver: PostgresDriver, kind: str, id: str) -> Document:
    (document,) = await driver.get(kind, [id])
    assert document is not None
    return document


# --- one statement ---


async def test_every_call_is_one_statement(driver: PostgresDriver, kind: str) -> None:
    sent = counted(driver)
    sibling = kind[:-1] + "i"
    await driver.write([Put(kind, f"{n}", b"{}", ("a", "b"), wait=0) for n in range(50)])
    await driver.write(
        [Put(sibling, "x", b"{}", ("a",)), Drop(kind, "0"), *[Put(kind, f"{n}", b"1") for n in range(1, 70)]]
    )
    await driver.claim(kind, lease=1, limit=50, tag="a")
    await driver.page(kind, "a", limit=50)
    await driver.page(kind, limit=50, newest=True)
    await driver.get(kind, ["1", "2", "3"])
    assert await driver.count(kind, ["", "a", "", "none"]) == [69, 0, 69, 0]
    await driver.next_due(kind)
    assert sent == [
        sql.WRITE, sql.WRITE, sql.CLAIM, sql.TAGGED[False], sql.PAGE[True], sql.GET, sql.COUNT, sql.NEXT
    ]  # fmt: skip


async def test_numbers_are_given_in_the_order_of_the_changes(driver: PostgresDriver, kind: str) -> None:
    ids = [f"{n}" for n in range(40)]
    random.Random(4).shuffle(ids)
    await driver.write([Put(kind, id, b"{}", ("t",)) for id in ids])
    assert [each.id for each in await driver.page(kind, limit=50)] == ids
    assert [each.id for each in await driver.page(kind, "t", limit=50)] == ids


async def test_a_statement_planned_over_empty_tables_finds_rows_by_key(empty: str) -> None:
    async with opened(empty) as driver:
        await driver.write([Put("k", "x", b"{}", ("t",), wait=0)])  # plans
        for ask in (driver.page("k"), driver.page("k", "t"), driver.claim("k", lease=1, tag="t")):
            await ask
        engine = driver._engine
        await engine.fetch(
            0,
            "INSERT INTO holdfast_mentions (kind, id, revision, due, data)"
            " SELECT 'k' || n % 7, n::text, 1, 9000000000000, '{}' FROM generate_series(1, 20000) AS n",
        )
        await engine.fetch(
            0, "INSERT INTO holdfast_mention_tags SELECT kind, 'u', number FROM holdfast_mentions"
        )
        await engine.fetch(0, "ANALYZE holdfast_mentions, holdfast_mention_tags")
        asked: list[tuple[str, list[Any]]] = [
            (sql.WRITE, [["k1"], ["1"], ["{}"], [None], [None], [1], ["t"]]),
            (sql.CLAIM, ["k1", "u", 5, 1]),
            (sql.PAGE[True], ["k1", 1 << 60, 10]),
            (sql.TAGGED[False], ["k1", 0, 10, "u"]),
            (sql.GET, ["k1", ["1", "8"]]),
            (sql.NEXT, ["k1"]),
        ]
        for statement, arguments in asked:
            explained = await engine.fetch(
                0, f"EXPLAIN (ANALYZE, TIMING off, SUMMARY off) {statement}", *arguments
            )
            plan = "\n".join(row[0] for row in explained)
            assert "Seq Scan on holdfast" not in plan, plan
            read = [
                int(part.split("rows=")[1].split(".")[0].split()[0]) for part in plan.split("(actual ")[1:]
            ]
            assert max(read) <= 20, plan


# --- writers beside each other ---


async def test_who_waited_for_another_leaves_none_of_its_tags(
    driver: PostgresDriver, meddler: Any, kind: str
) -> None:
    """A statement sees the tags of when it began, and holds the row of when the other was done."""
    await driver.write([Put(kind, "x", b"1", ("old", "kept"))])
    number = (await one(driver, kind, "x")).number
    slow = meddler.transaction()
    await slow.start()
    await meddler.execute("UPDATE holdfast_mentions SET revision = revision + 1 WHERE number = $1", number)
    await meddler.execute("DELETE FROM holdfast_mention_tags WHERE number = $1", number)
    await meddler.execute("INSERT INTO holdfast_mention_tags VALUES ($1, 'theirs', $2)", kind, number)
    sent = counted(driver)
    late = asyncio.ensure_future(driver.write([Put(kind, "x", b"2", ("kept", "new"))]))
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "WITH asked AS")
    await slow.commit()
    assert await late is True
    assert len(sent) == 2
    document = await one(driver, kind, "x")
    assert (document.tags, document.data, document.version) == (("kept", "new"), b"2", f"{number}.3")
    assert await driver.count(kind, ["old", "theirs", "kept", "new"]) == [0, 0, 1, 1]


@pytest.mark.parametrize("expect", ["", None])
async def test_who_waited_for_another_to_make_it_finds_it_there(
    driver: PostgresDriver, meddler: Any, kind: str, expect: str | None
) -> None:
    slow = meddler.transaction()
    await slow.start()
    await meddler.execute(
        "INSERT INTO holdfast_mentions (kind, id, revision, data) VALUES ($1, 'x', 1, '1')", kind
    )
    late = asyncio.ensure_future(
        driver.write([Put(kind, "y", b"2"), Put(kind, "x", b"2", ("t",), expect=expect)])
    )
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "WITH asked AS")
    await slow.commit()
    assert await late is (expect is None)
    found = await driver.get(kind, ["x", "y"])
    assert [each.data if each else None for each in found] == (
        [b"2", b"2"] if expect is None else [b"1", None]
    )
    assert await driver.count(kind, ["t"]) == [int(expect is None)]


async def test_who_waited_for_another_to_drop_it_makes_it_anew(
    driver: PostgresDriver, meddler: Any, kind: str
) -> None:
    await driver.write([Put(kind, "x", b"1")])
    before = await one(driver, kind, "x")
    slow = meddler.transaction()
    await slow.start()
    await meddler.execute("DELETE FROM holdfast_mentions WHERE number = $1", before.number)
    late = asyncio.ensure_future(driver.write([Put(kind, "x", b"2", ("t",))]))
    async with meddling(driver._url.text) as looking:
        await blocked(looking, "WITH asked AS")
    await slow.commit()
    assert await late is True
    after = await one(driver, kind, "x")
    assert after.number > before.number
    assert (after.data, after.tags) == (b"2", ("t",))


async def test_writers_of_the_same_documents_in_any_order_never_deadlock(
    driver: PostgresDriver, other: PostgresDriver, meddler: Any, kind: str
) -> None:
    """Made, replaced and dropped by two at once, from both ends."""
    codes = [refused(driver), refused(other)]

    async def work(which: PostgresDriver, seed: int) -> None:
        chance = random.Random(seed)
        for turn in range(40):
            ids = chance.sample([f"{n}" for n in range(12)], 8)
            changes = [
                Drop(kind, id) if chance.random() < 0.4 else Put(kind, id, b"%d" % turn, (id,)) for id in ids
            ]
            assert await which.write(changes) is True

    await asyncio.gather(work(driver, 1), work(other, 2))
    assert {code for each in codes for code in each} <= {"23505"}, "a deadlock"
    there = await driver.page(kind)
    assert all(each.tags == (each.id,) for each in there)
    assert await driver.count(kind, ["", *(each.id for each in there)]) == [len(there), *[1] * len(there)]
    ((tags,),) = await meddler.fetch("SELECT count(*) FROM holdfast_mention_tags WHERE kind = $1", kind)
    assert tags == len(there)


@pytest.mark.parametrize("there", [False, True])
async def test_who_makes_or_replaces_several_waits_for_who_does_in_another_order(
    driver: PostgresDriver, other: PostgresDriver, meddler: Any, kind: str, there: bool
) -> None:
    """One is held up after its first, the other would have its last by then."""
    if there:
        await driver.write([Put(kind, id, b"0") for id in "amz"])
    codes = [refused(driver), refused(other)]
    slow = meddler.transaction()
    await slow.start()
    held = "SELECT FROM holdfast_mentions WHERE kind = $1 AND id = 'm' FOR UPDATE"
    made = "INSERT INTO holdfast_mentions (kind, id, revision, data) VALUES ($1, 'm', 1, '1')"
    await meddler.execute(held if there else made, kind)
    async with meddling(driver._url.text) as looking:
        one_way = asyncio.ensure_future(driver.write([Put(kind, id, b"1") for id in "amz"]))
        await blocked(looking, "WITH asked AS")
        other_way = asyncio.ensure_future(other.write([Put(kind, id, b"2") for id in "za"]))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%WITH asked%'"
        async with asyncio.timeout(20):
            while await looking.fetchval(waiting) < 2:  # noqa: ASYNC110 - another process says it
                await asyncio.sleep(0.005)
    await slow.rollback()
    assert await one_way
    assert await other_way
    assert codes == [[], [] if there else ["23505"]]
    assert [each.data for each in await driver.page(kind)] == [b"2", b"1", b"2"]


async def test_who_never_gets_its_turn_is_told_that_nothing_was_changed(
    driver: PostgresDriver, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    async def stale(*_: Any) -> Any:
        nonlocal sent
        sent += 1
        return [(True, False)]

    monkeypatch.setattr(driver._engine, "fetch", stale)
    with pytest.raises(StoreUnavailable, match="nothing was changed") as caught:
        await driver.write([Put(kind, "x", b"{}")])
    assert (sent, caught.value.maybe_applied) == (20, False)


# --- claims ---


async def test_a_claim_passes_over_what_another_holds(
    driver: PostgresDriver, meddler: Any, kind: str
) -> None:
    await driver.write([Put(kind, f"{n}", b"{}", wait=0) for n in range(4)])
    slow = meddler.transaction()
    await slow.start()
    await meddler.execute(
        "SELECT FROM holdfast_mentions WHERE kind = $1 AND id IN ('0', '2') FOR UPDATE", kind
    )
    assert [each.id for each in await driver.claim(kind, lease=60_000, limit=9)] == ["1", "3"]
    await slow.rollback()
    assert [each.id for each in await driver.claim(kind, lease=60_000, limit=9)] == ["0", "2"]


# --- refusals and losses ---


async def test_what_the_server_refuses_names_the_call_and_no_value(driver: PostgresDriver, kind: str) -> None:
    with pytest.raises(StoreError, match=f"write to '{kind}'") as caught:
        await driver.write([Put(kind, "good", b"{}"), Put(kind, "bad", b'"secret\0"')])
    assert "secret" not in str(caught.value)
    assert await driver.get(kind, ["good", "bad"]) == [None, None]


async def test_before_the_tables_are_there_a_call_says_how_to_make_them(empty: str) -> None:
    driver = made(empty)
    await driver.open()
    try:
        assert [(each.capability, each.version) for each in await driver.pending()] == [("webmention", 1)]
        for ask in (driver.get("k", ["x"]), driver.write([Drop("k", "x")]), driver.claim("k", lease=1)):
            with pytest.raises(NotMigrated, match="holdfast migrate"):
                await ask
        missing = [each.text for each in await driver.describe() if each.level == "warning"]
        assert any("holdfast_mentions, holdfast_mention_tags" in text for text in missing)
    finally:
        await driver.close()


async def test_a_write_whose_connection_ended_may_have_been_applied_and_is_not_repeated(
    driver: PostgresDriver, meddler: Any, kind: str
) -> None:
    await driver.write([Put(kind, "x", b"1")])
    slow = meddler.transaction()
    await slow.start()
    await meddler.execute("SELECT FROM holdfast_mentions WHERE kind = $1 FOR UPDATE", kind)
    sent = counted(driver)
    late = asyncio.ensure_future(driver.write([Put(kind, "x", b"2")]))
    async with meddling(driver._url.text) as looking:
        pid = await blocked(looking, "WITH asked AS")
        await looking.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(StoreUnavailable) as caught:
        await late
    assert caught.value.maybe_applied is True
    assert len(sent) == 1
    await slow.rollback()
    assert await driver.write([Put(kind, "x", b"3", expect=(await one(driver, kind, "x")).version)])


async def test_it_works_through_a_pgbouncer_that_pools_transactions(postgres_url: str, kind: str) -> None:
    url = urlsplit(postgres_url)
    with bouncer(url.port or 5432) as through:
        async with opened(postgres_url), opened(through) as driver:
            assert await driver.write([Put(kind, "x", b"1", ("t",), wait=0), Put(kind, "y", b"1")])
            (claimed,) = await driver.claim(kind, lease=60_000)
            assert await driver.write([Put(kind, "x", b"2", expect=claimed.version), Drop(kind, "y")])
            assert [each.data for each in await driver.page(kind)] == [b"2"]


async def test_who_may_only_use_the_tables_can(empty: str) -> None:
    """Whoever migrates may be somebody else."""
    name = f"user_{secrets.token_hex(4)}"
    async with opened(empty), meddling(empty) as meddler:
        await meddler.execute(f"CREATE ROLE {name} LOGIN")
        try:
            await meddler.execute(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
            )
            driver = made(empty.replace(urlsplit(empty).netloc.rpartition("@")[0], name, 1))
            await driver.open()
            try:
                assert await driver.write([Put("k", "x", b"1", ("t",), wait=0), Put("k", "y", b"1")])
                assert [each.id for each in await driver.claim("k", lease=1)] == ["x"]
            finally:
                await driver.close()
        finally:
            await meddler.execute(f"DROP OWNED BY {name}")
            await meddler.execute(f"DROP ROLE {name}")


async def test_a_closed_driver_says_so(postgres_url: str, kind: str) -> None:
    driver = made(postgres_url)
    assert not (await driver.health()).ok
    for asked in (driver.get(kind, ["x"]), driver.write([Drop(kind, "x")]), driver.claim(kind, lease=1)):
        with pytest.raises(Closed):
            await asked
    async with opened(postgres_url) as driver:
        assert (await driver.health()).ok
        found = {each.subject: each.level for each in await driver.describe()}
        assert found["clock"] == "ok"
        assert "tables" not in found
