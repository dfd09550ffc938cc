"""What is announced, and what is not: `Persist(..., watch=True)` over the driver."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any, cast
from unittest import SkipTest

from holdfast.errors import DuplicateKey, InvalidConversion, VersionConflict
from holdfast.persist.api import Change, Persist
from holdfast.persist.driver import (
    Clear,
    Create,
    GetEntry,
    Increment,
    Notifying,
    Remove,
    Replace,
    Set,
    Touch,
)
from holdfast.testing.persist.changes import Ear, WatchedCore, entry, following, refused, seen
from holdfast.testing.persist.subject import HOUR, SHORT, Subject, case

__all__ = ["AnnouncementCases"]

KEYS = (
    "plain",
    "user:1",
    ":p:",
    "a:w:b",
    "50%_off*[x]\\",
    "quoted \"twice\" and 'once'",
    "line\nbreak\ttab\x01\x1f",
    "🦑 ключ ключ",
    "k" * 512,
    "\x02" * 512,
    "é" * 256,
)


class AnnouncementCases(WatchedCore):
    """Written by one, heard by another; by the same where drivers of this kind share nothing."""

    @case
    async def test_whatever_stores_or_removes_is_announced(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch("u:") as changes:
            await other.set("u:set", 1)
            await other.set("u:timed", 1, expires=60)
            await other.create("u:create", 1)
            version = (await entry(other, "u:create")).version
            version = await other.replace("u:create", 2, version=version)
            assert await other.increment("u:count", by=2) == 2
            assert await other.increment("u:count", by=2**60, expires=60) == 2**60 + 2
            assert await other.increment("u:timed count", expires=60) == 1
            await other.update("u:update", int, lambda value: 3)
            await other.update("u:update", int, lambda value: 4)
            assert await other.get_or_create("u:loaded", int, lambda: 5) == 5
            assert await other.remove("u:create", version=version)
            assert await other.remove("u:set")
            assert await seen(other, changes) == [
                Change("set", "u:set"),
                Change("set", "u:timed"),
                Change("set", "u:create"),
                Change("set", "u:create"),
                Change("set", "u:count"),
                Change("set", "u:count"),
                Change("set", "u:timed count"),
                Change("set", "u:update"),
                Change("set", "u:update"),
                Change("set", "u:loaded"),
                Change("removed", "u:create"),
                Change("removed", "u:set"),
            ]

    @case
    async def test_what_was_refused_is_not_announced(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            await other.set("u:k", "text")
            await other.set("u:most", 2**63 - 1)
            async with one.watch("u:") as changes:
                await refused(DuplicateKey, other.create("u:k", 2))
                await refused(VersionConflict, other.replace("u:k", 2, version="0"))
                await refused(VersionConflict, other.replace("u:absent", 2, version="0"))
                await refused(InvalidConversion, other.increment("u:k"))
                await refused(ValueError, other.increment("u:most"))
                await refused(ValueError, other.increment("u:most", expires=60))
                assert not await other.remove("u:absent")
                assert not await other.remove("u:k", version="0")
                assert not await other.remove("u:absent", version="0")
                assert await other.remove_many(["u:absent", "u:nor this"]) == 0
                assert await other.clear("u:absent") == 0
                assert await other.get_or_create("u:k", str, lambda: "loaded") == "text"
                assert await seen(other, changes) == []

    @case
    async def test_a_batch_announces_exactly_what_it_did(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            await other.set_many({f"u:{number}": number for number in range(0, 40, 2)})
            await other.set("u:text", "x")
            async with one.watch("u:") as changes:
                ops: list[Awaitable[Any]] = [other.create(f"u:{number}", "new") for number in range(40)]
                ops += [other.remove(f"u:{number}") for number in range(30, 50)]
                ops += [other.increment(key) for key in ("u:text", "u:fresh", "u:fresh")]
                outcomes = await asyncio.gather(*ops, return_exceptions=True)
                assert [type(each) for each in outcomes[:40:2]] == [DuplicateKey] * 20
                news = await seen(other, changes)
            told = sorted({f"{each.kind} {each.key}" for each in news})
            assert told == sorted(
                [f"set u:{number}" for number in range(1, 40, 2)]
                + [f"removed u:{number}" for number in range(30, 40)]
                + ["set u:fresh"]
            )
            assert len(news) <= len(told) + 1, "a change was announced twice"

    @case
    async def test_touch_and_renew_are_not_announced(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            await other.set("u:k", 1)
            async with one.watch("u:") as changes:
                assert await other.touch("u:k", 60)
                assert await other.get("u:k", int, renew=60) == 1
                assert await other.touch("u:k", None)
                assert await seen(other, changes) == []

    @case
    async def test_what_expired_is_not_announced_nor_removed_again(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch("u:") as changes:
            await other.set("u:k", 1, expires=SHORT / 1000)
            await other.set("u:l", 1, expires=SHORT / 1000)
            await s.pass_time(SHORT)
            assert not await other.remove("u:k")
            assert await other.clear("u:l") == 0
            assert await other.get("u:k") is None
            await other.create("u:k", 2)
            assert await seen(other, changes) == [
                Change("set", "u:k"),
                Change("set", "u:l"),
                Change("set", "u:k"),
            ]

    @case
    async def test_own_writes_are_announced_too(self, s: Subject) -> None:
        async with self.watching(s) as (one, _), one.watch() as changes:
            await one.set("k", 1)
            await one.remove("k")
            assert await seen(one, changes) == [Change("set", "k"), Change("removed", "k")]

    @case
    async def test_keys_come_as_the_caller_knows_them(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch() as changes:
            await other.set_many(dict.fromkeys(KEYS, 1))
            for key in KEYS:
                await other.increment(key)
            assert await other.remove_many(KEYS[:4]) == 4
            assert await other.clear("") == len(KEYS) - 4
            news = await seen(other, changes)
        assert {each.key for each in news} == set(KEYS)
        assert [each.key for each in news if each.kind == "set"][-len(KEYS) :] == list(KEYS)
        assert sorted(each.key or "" for each in news if each.kind == "removed") == sorted(KEYS)

    @case
    async def test_many_changes_at_once_are_each_announced(self, s: Subject) -> None:
        keys = [f"u:{number:04} {'long ' * (number % 90)}" for number in range(700)]
        async with self.watching(s) as (one, other), one.watch("u:") as changes:
            await other.set_many(dict.fromkeys(keys, 1))
            assert await seen(other, changes, unordered=True) == [Change("set", key) for key in keys]
            await asyncio.gather(*(other.increment(key) for key in keys))
            assert await seen(other, changes, unordered=True) == [Change("set", key) for key in keys]
            assert await other.clear("u:0") == 700
            assert await seen(other, changes, unordered=True) == [Change("removed", key) for key in keys]

    @case
    async def test_a_change_that_is_announced_can_be_read(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch("k") as changes:

            async def read() -> tuple[Change, Any]:
                return await following(changes), await one.get("k", int)

            for number in range(4):
                news, _ = await asyncio.gather(read(), other.set("k", number))
                assert news == (Change("set", "k"), number)
                news, _ = await asyncio.gather(read(), other.remove("k"))
                assert news == (Change("removed", "k"), None)

    @case
    async def test_changes_of_a_key_come_in_their_order(self, s: Subject) -> None:
        keys = ("a", "b", "c")

        async def write(persist: Persist, seed: int) -> None:
            chosen = random.Random(seed)
            for _ in range(12):
                key = chosen.choice(keys)
                if chosen.random() < 0.5:
                    await persist.set(key, seed)
                else:
                    await persist.remove(key)

        async with self.watching(s) as (one, other), one.watch() as changes:
            await asyncio.gather(*(write(persist, seed) for seed, persist in enumerate((one, other) * 3)))
            await other.set("a", "and")
            await one.remove("a")
            latest = {each.key: each.kind for each in await seen(other, changes)}
            for key, kind in latest.items():
                assert key is not None
                assert (await one.get(key) is not None) is (kind == "set"), key

    @case
    async def test_leases_locks_and_loaders_are_not_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch() as changes:
            async with other.lock("nightly", expires=30):
                assert await other.get_or_create("k", int, lambda: 1) == 1
            async with other.lock("nightly", expires=30):
                pass
            assert await seen(other, changes) == [Change("set", "k")]

    @case
    async def test_a_driver_announces_nothing_but_values(self, s: Subject) -> None:
        if not s.driver.traits.notifies:
            raise SkipTest("this driver announces nothing")
        driver, ear = await self.make_driver(), Ear()
        cast("Notifying", driver).announce(f"{s.space}:w:")
        await driver.open()
        try:
            await driver.migrate()
            subscription = await cast("Notifying", driver).subscribe(ear)
            for place in ("l:x", "f:x", "o:p:x", "s::p:x", "v:x", "/n:p:x", "p:x"):
                key = f"{s.space}{'' if place.startswith('/') else ':'}{place}"
                (made,) = await driver.apply([Create(key, b"1", None)])
                assert made is True
                (count,) = await driver.apply([Increment(key, 1, HOUR)])
                assert count == 2
                await driver.apply([Set(key, b"3", None), Touch(key, HOUR)])
                (stored,) = await driver.apply([GetEntry(key)])
                await driver.apply([Replace(key, b"4", stored.version, None)])
                await driver.apply([Remove(key), Set(key, b"5", None)])
            await driver.apply([Clear(s.space, None, 100)])
            await driver.apply([Set(f"{s.space}:p:end", b"1", None)])
            await ear.until(f"{s.space}:p:end")
            assert {key for key, _ in ear.heard[:-1]} == {f"{s.space}/n:p:x", f"{s.space}:p:x"}
            assert [removed for key, removed in ear.heard if key == f"{s.space}:p:x"] == [
                *[False] * 4,
                True,
                False,
                True,
            ]
            await subscription.close()
            await subscription.close()
        finally:
            await driver.close()
