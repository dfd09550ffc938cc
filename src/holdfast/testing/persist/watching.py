"""Watching: what is announced, to whom, and what is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest import SkipTest

from holdfast.errors import (
    DuplicateKey,
    HoldfastError,
    InvalidConversion,
    StoreMisconfigured,
    VersionConflict,
)
from holdfast.persist.api import Change, Persist, Watch
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
from holdfast.testing.persist.subject import HOUR, SHORT, Subject, SuiteCore, case, tidy

__all__ = ["WatchingCases"]

PATIENCE_SECONDS = 15.0
"""How much longer than the driver says an announcement may take: machines are slow at times."""
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
LOOKALIKES = ("u", "U:1", "u_1", "u%", "xu:1", " u:1")


class WatchingCases(SuiteCore):
    """`Persist(..., watch=True)`, by two of them where the driver can be shared."""

    @asynccontextmanager
    async def watching(self, s: Subject) -> AsyncIterator[tuple[Persist, Persist]]:
        """One that watches and another that writes; the same where drivers of this kind share nothing."""
        if not s.driver.traits.notifies:
            raise SkipTest("this driver announces nothing")
        async with self.persist(s, watch=True) as one:
            if s.driver.traits.shared == "process":
                yield one, one
            else:
                async with self.persist(s, watch=True) as other:
                    yield one, other

    # --- what is announced ---

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

    # --- what is not heard ---

    @case
    async def test_only_the_prefix_and_the_namespace_are_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            inner, deeper = other.namespace("n"), other.namespace("n").namespace("n")
            strangers = [other.namespace(name) for name in ("u:", "p", "N", "n:p")]
            async with (
                one.watch("u:") as changes,
                one.namespace("n").watch("u:") as within,
                one.watch("u%") as pattern,
            ):
                for place in (inner, deeper, *strangers):
                    await place.set("u:1", 1)
                for key in LOOKALIKES:
                    await other.set(key, 1)
                await other.set("u:1", 1)
                await other.clear("u")
                assert await inner.clear() == 1
                assert sorted(map(str, await seen(other, changes))) == sorted(
                    map(str, [Change("set", "u:1"), Change("removed", "u:1")])
                )
                assert await seen(inner, within) == [Change("set", "u:1"), Change("removed", "u:1")]
                assert await seen(other, pattern, "u%!") == [Change("set", "u%"), Change("removed", "u%")]
            for place in (deeper, *strangers):
                assert await place.clear() == 1

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

    @case
    async def test_who_does_not_announce_is_not_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), self.persist(s) as silent:
            assert "watch=True" in misconfigured(silent)
            async with one.watch() as changes:
                await silent.set("k", 1)
                await silent.remove("k")
                await other.set("k", 2)
                assert await seen(other, changes) == [Change("set", "k")]

    # --- from when on, for whom, until when ---

    @case
    async def test_from_the_beginning_of_a_watch_all_is_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            for number in range(8):
                async with one.watch(f"u:{number}") as changes:
                    await other.set(f"u:{number}", 1)
                    assert await following(changes) == Change("set", f"u:{number}")
            changes = await one.watch("u:").start()
            await other.set("u:x", 1)
            assert Change("set", "u:x") in await seen(other, changes)
            await changes.aclose()

    @tidy
    @case
    async def test_several_watch_at_once_and_each_for_itself(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch() as all_, other.watch("u:") as some:
            async with one.watch("u:") as brief:
                await other.set("u:1", 1)
                await one.set("v:1", 1)
                assert await following(brief) == Change("set", "u:1")
            await other.set("u:2", 1)
            assert await seen(other, all_) == [
                Change("set", "u:1"),
                Change("set", "v:1"),
                Change("set", "u:2"),
            ]
            assert [each async for each in brief] == []
            assert (await seen(one, some))[:2] == [Change("set", "u:1"), Change("set", "u:2")]

    @tidy
    @case
    async def test_closing_ends_the_iteration(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            changes = await one.watch().start()
            waiting = await one.watch("never").start()
            ended = asyncio.ensure_future(gathered(waiting))
            await other.set("k", 1)
            assert await following(changes) == Change("set", "k")
            await one.close()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await ended == []
                assert await gathered(changes) == []
            await one.open()
            async with one.watch() as again:
                await one.set("k", 2)
                assert await following(again) == Change("set", "k")

    @tidy
    @case
    async def test_a_cancelled_watcher_leaves_the_others_alone(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch() as changes:
            doomed = [asyncio.ensure_future(gathered(one.watch())) for _ in range(3)]
            await other.set("k", 1)
            assert await following(changes) == Change("set", "k")
            for task in doomed:
                task.cancel()
            assert await asyncio.gather(*doomed, return_exceptions=True) != []
            await other.set("k", 2)
            assert await following(changes) == Change("set", "k")


class Ear:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bool]] = []
        self._rung = asyncio.Event()

    def changed(self, key: str, removed: bool) -> None:
        self.heard.append((key, removed))
        self._rung.set()

    def lost(self) -> None:
        raise AssertionError("announcements were lost")

    async def until(self, key: str) -> None:
        """Return when a change of this key was heard."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(each == key for each, _ in self.heard):
                self._rung.clear()
                await self._rung.wait()


async def entry(persist: Persist, key: str) -> Any:
    found = await persist.entry(key)
    assert found is not None
    return found


async def refused(kind: type[Exception], work: Awaitable[Any]) -> None:
    try:
        got = await work
    except kind:
        return
    except HoldfastError as exc:
        raise AssertionError(f"{exc!r} instead of {kind.__name__}") from exc
    raise AssertionError(f"{got!r} instead of {kind.__name__}")


def misconfigured(persist: Persist) -> str:
    """What is said to who watches where nothing is announced."""
    try:
        persist.watch()
    except StoreMisconfigured as exc:
        return str(exc)
    raise AssertionError("one that does not announce let somebody watch")


async def following(changes: Watch) -> Change:
    """The next change."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await anext(changes)
    except TimeoutError:
        raise AssertionError(f"nothing is heard within {PATIENCE_SECONDS:g} s") from None


async def seen(
    writer: Persist, changes: Watch, mark: str = "u:!", *, unordered: bool = False
) -> list[Change]:
    """What was heard before a change that is made now."""
    await writer.set(mark, "mark")
    found: list[Change] = []
    while (change := await following(changes)).key != mark:
        assert change.kind != "lost", "changes were lost"
        found.append(change)
    return sorted(found, key=lambda each: each.key or "") if unordered else found


async def gathered(changes: Watch) -> list[Change]:
    return [each async for each in changes]
