"""What is particular to Postgres in announcing: the statement that changes is the one that notifies."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from holdfast.errors import Closed, StoreMisconfigured
from holdfast.persist import Change, Persist
from holdfast.persist.driver import Increment, Set
from holdfast.persist.drivers.postgres import PostgresDriver
from holdfast.persist.drivers.postgres import statements as sql
from holdfast.persist.drivers.postgres.announcing import TELLING, Heard, channel_name, telling
from holdfast.persist.drivers.postgres.batches import applied


@pytest.fixture
def space() -> str:
    return f"watch{secrets.token_hex(5)}"


def at(url: str, space: str, **options: Any) -> Persist:
    return Persist(url, namespace=space, **{"watch": True, "auto_migrate": True, **options})


async def asked(persist: Persist, statement: str, *args: Any) -> list[Any]:
    driver = persist._core.driver
    assert isinstance(driver, PostgresDriver)
    return await driver._engine.fetch(0, statement, *args)


async def following(changes: Any) -> Change:
    async with asyncio.timeout(20):
        change = await anext(changes)
    assert isinstance(change, Change)
    return change


def test_every_statement_that_changes_a_value_has_one_that_announces_it() -> None:
    texts = {name: text for name, text in vars(sql).items() if name.isupper() and not name.startswith("_")}
    silent = {"LIVE", "GET", "GET_ONE", "GET_ENTRY", "GET_RENEW", "TOUCH", "KEYS", "SWEEP"}
    assert {name for name, text in texts.items() if text in TELLING} == set(texts) - silent
    assert all(text.count("pg_notify") == 1 for text in TELLING.values())


async def test_without_watch_no_statement_notifies_and_no_connection_listens(
    postgres_url: str, space: str
) -> None:
    async with at(postgres_url, space, watch=False) as persist:
        driver = persist._core.driver
        assert isinstance(driver, PostgresDriver)
        await asyncio.gather(*(persist.set(f"k{number}", 1) for number in range(5)))
        await persist.increment("n")
        await persist.clear()
        known = [text for lane in driver._engine._lanes for text in lane._statements]
        assert known
        assert not [text for text in known if "pg_notify" in text]
        assert driver._engine._listening._connection is None


async def test_a_batch_of_one_kind_is_one_statement_still(postgres_url: str, space: str) -> None:
    calls: list[str] = []
    async with at(postgres_url, space) as persist:

        async def counted(statement: str, *args: Any) -> list[Any]:
            calls.append(statement)
            return await asked(persist, statement, *args)

        fetch = telling(counted, channel_name(f"{space}:w:"))
        for count in (1, 2, 256):
            keys = [f"{space}:p:{number:04}" for number in range(count)]
            await applied(fetch, [Set(key, b"1", None) for key in keys])
            await applied(fetch, [Increment(key, 1, None) for key in keys])
        assert len(calls) == 6
        assert all("pg_notify" in each for each in calls)
        await persist.clear()


async def test_a_notification_is_never_longer_than_postgres_allows(postgres_url: str, space: str) -> None:
    keys = [f"{number:03}" + "\x02" * 509 for number in range(40)]  # six bytes for each of them, as JSON
    async with at(postgres_url, space) as persist, persist.watch() as changes:
        await persist.set_many(dict.fromkeys(keys, 1))
        assert sorted([(await following(changes)).key or "" for _ in keys]) == keys
        assert await persist.clear() == 40
        assert {await following(changes) for _ in keys} == {Change("removed", key) for key in keys}


async def test_what_is_rolled_back_is_not_announced(postgres_url: str, space: str) -> None:
    async with at(postgres_url, space) as persist, persist.watch() as changes:
        outcomes = await persist._core.driver.apply(
            [Set(f"{space}:p:{key}", b"1", None) for key in ("a", "b\0", "c")]
        )
        assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
        assert {(await following(changes)).key for _ in range(2)} == {"a", "c"}
        await persist.clear()


async def test_a_long_namespace_has_a_channel_that_postgres_can_name(postgres_url: str, space: str) -> None:
    long = f"{space}{'é' * 80}"
    assert channel_name(f"{space}:w:") == f"{space}:w:"
    assert len(channel_name(f"{long}:w:").encode()) < 64
    assert channel_name(f"{long}:w:") != channel_name(f"{long}e:w:")
    async with at(postgres_url, long) as persist, persist.watch() as changes:
        await persist.set("k", 1, expires=60)
        assert await following(changes) == Change("set", "k")


async def test_a_lost_connection_is_told_and_watching_goes_on(postgres_url: str, space: str) -> None:
    async with at(postgres_url, space) as persist, persist.watch() as changes:
        driver = persist._core.driver
        assert isinstance(driver, PostgresDriver)
        pid = driver._engine._listening._connection.get_server_pid()
        await asked(persist, "SELECT pg_terminate_backend($1)", pid)
        assert await following(changes) == Change("lost", None)
        await persist.set("k", 1, expires=60)
        assert await following(changes) == Change("set", "k")


async def test_behind_a_pgbouncer_watching_takes_a_way_past_it(postgres_url: str, space: str) -> None:
    pooled = f"{postgres_url}{'&' if '?' in postgres_url else '?'}pgbouncer=true"
    async with (
        at(pooled, space) as writer,
        at(f"{pooled}&listen={quote(postgres_url, safe='')}", space) as watcher,
    ):
        with pytest.raises(StoreMisconfigured, match=r"\?listen="):
            await writer.watch().start()
        async with watcher.watch() as changes:
            await writer.set("k", 1, expires=60)
            assert await following(changes) == Change("set", "k")


async def test_what_others_say_in_the_channel_is_no_error(postgres_url: str, space: str) -> None:
    async with at(postgres_url, space) as persist, persist.watch() as changes:
        connection = await asyncpg.connect(postgres_url)
        for payload in ("", "s", "s{}", "x[]", 'x["a:p:b"]', "s[1]", "hello"):
            await connection.execute("SELECT pg_notify($1, $2)", f"{space}:w:", payload)
        await connection.close()
        await persist.set("k", 1, expires=60)
        assert await following(changes) == Change("set", "k")


async def test_a_driver_that_does_not_announce_takes_no_listener(postgres_url: str, space: str) -> None:
    async with at(postgres_url, space, watch=False) as persist:
        with pytest.raises(Closed):
            await persist._core.driver.subscribe(object())  # type: ignore[attr-defined]
    await Heard(object(), lambda heard: None).close()  # type: ignore[arg-type]
