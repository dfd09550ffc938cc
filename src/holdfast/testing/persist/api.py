"""What users call, on this driver: typed values, errors, and what is built from several operations."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from holdfast.errors import (
    Closed,
    DuplicateKey,
    InvalidConversion,
    LockBusy,
    VersionConflict,
)
from holdfast.persist.api import Persist
from holdfast.persist.driver import KEEP
from holdfast.testing.persist.concurrency import shared_or_skip
from holdfast.testing.persist.subject import SHORT, Subject, SuiteCore, case

__all__ = ["ApiCases"]


class Account(msgspec.Struct):
    """A value such as an app stores."""

    name: str
    since: datetime
    balance: Decimal
    tags: set[str] = set()


@dataclasses.dataclass
class Point:
    """Another."""

    x: int
    y: float


ADA = Account("Ada 🦑", datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC), Decimal("10.10"), {"a"})
VALUES: tuple[tuple[Any, Any], ...] = (
    (ADA, Account),
    (Point(1, 2.5), Point),
    ([ADA], list[Account]),
    (b"\x00\xff raw", bytes),
    (UUID(int=7), UUID),
    (timedelta(seconds=90), timedelta),
    ((1, "two", None), tuple[int, str, None]),
    (None, type(None)),
    (True, bool),
    (2**63, int),
)


class ApiCases(SuiteCore):
    """`Persist` over the driver."""

    @case
    async def test_values_come_back_as_the_type_they_were(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            for number, (value, kind) in enumerate(VALUES):
                await persist.set(f"k{number}", value)
                assert await persist.get(f"k{number}", kind) == value
                entry = await persist.entry(f"k{number}", kind)
                assert entry is not None
                assert entry.value == value
            assert await persist.get("absent", Account) is None
            assert await persist.entry("absent") is None

    @case
    async def test_a_second_create_is_a_duplicate_until_the_first_expires(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            await persist.create("k", "secret one", expires=SHORT / 1000)
            await persist.create("live", 1)
            await raised(DuplicateKey, persist.create("live", "secret two"))
            await s.pass_time(SHORT)
            await persist.create("k", "two")
            assert await persist.get("k", str) == "two"
            entry = await persist.entry("k")
            assert entry is not None
            assert entry.ttl is None

    @case
    async def test_a_value_of_another_type_is_an_invalid_conversion(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            await persist.set("k", "secret text")
            await raised(InvalidConversion, persist.get("k", int))
            await raised(InvalidConversion, persist.entry("k", Account))
            await raised(InvalidConversion, persist.increment("k"))
            await raised(InvalidConversion, persist.get_many(["k"], int))
            assert await persist.get("k", str) == "secret text"

    @case
    async def test_set_keeps_the_expiry_unless_it_is_told_another(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            await persist.set("k", 1, expires=timedelta(hours=1))
            await persist.set("k", 2)
            entry = await persist.entry("k", int)
            assert entry is not None
            assert entry.ttl is not None
            assert 3500 < entry.ttl <= 3600
            await persist.set("k", 3, expires=None)
            entry = await persist.entry("k", int)
            assert entry is not None
            assert entry.ttl is None
            assert await persist.touch("k", 90.5) is True
            assert await persist.get("k", int, renew=1800) == 3
            entry = await persist.entry("k", int)
            assert entry is not None
            assert entry.ttl is not None
            assert 1700 < entry.ttl <= 1800

    @case
    async def test_a_version_that_is_not_the_newest_is_a_conflict(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            await persist.set("k", "a")
            entry = await persist.entry("k", str)
            assert entry is not None
            newer = await persist.replace("k", "b", version=entry.version)
            stale = persist.replace("k", "c", version=entry.version)
            await raised(VersionConflict, stale)
            assert await persist.remove("k", version=entry.version) is False
            assert await persist.remove("k", version=newer) is True
            gone = persist.replace("k", "c", version=newer)
            await raised(VersionConflict, gone)

    @case
    async def test_a_value_past_max_bytes_is_refused_and_one_that_fits_is_kept(self, s: Subject) -> None:
        async with self.persist(s, max_bytes=1000) as persist:
            await persist.set("k", "x" * 998)
            await raised(ValueError, persist.set("k", "y" * 999))
            assert await persist.get("k", str) == "x" * 998

    @case
    async def test_many_values_travel_together(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            await persist.set_many({f"k{number}": number for number in range(700)}, expires=60)
            found = await persist.get_many([f"k{number}" for number in range(650, 750)], int)
            assert found == {f"k{number}": number for number in range(650, 700)}
            assert await persist.remove_many([f"k{number}" for number in range(690, 800)]) == 10
            assert len([key async for key in persist.keys("k")]) == 690

    @case
    async def test_namespaces_do_not_see_each_other(self, s: Subject) -> None:
        async with self.persist(s) as persist:
            inner, twin = persist.namespace("a"), persist.namespace("a:p")
            deeper = inner.namespace("b")
            places = (persist, inner, twin, deeper, persist.namespace("a/b"), persist.namespace("A"))
            for number, place in enumerate(places):
                await place.create("k", number)
                await place.create("p:k", number)
            for number, place in enumerate(places):
                assert await place.get("k", int) == number
                assert sorted([key async for key in place.keys("")]) == ["k", "p:k"]
            assert await inner.clear() == 2
            assert [await place.get("k", int) for place in places] == [0, None, 2, 3, 4, 5]

    @case
    async def test_what_was_closed_says_so(self, s: Subject) -> None:
        driver = await self.make_driver()
        persist = Persist(driver, namespace=s.space, auto_migrate=True)
        await raised(Closed, persist.get("k"))
        async with persist:
            await persist.set("k", 1)
            assert (await persist.health()).ok
        await raised(Closed, persist.set("k", 2))

    # --- built from several operations ---

    @case
    async def test_updates_from_everywhere_all_count(self, s: Subject) -> None:
        shared_or_skip(s)

        async def work(persist: Persist) -> None:
            for _ in range(4):
                await persist.update("k", int, lambda count: (count or 0) + 1)

        async with self.persist(s) as one, self.persist(s) as two:
            await one.set("k", 0, expires=60)
            await asyncio.gather(*(work(persist) for persist in (one, two) * 3))
            entry = await one.entry("k", int)
            assert entry is not None
            assert entry.value == 24
            assert entry.ttl is not None, "an update lost the expiry"

    @case
    async def test_an_update_that_raises_stores_nothing(self, s: Subject) -> None:
        def refuse(value: int | None) -> int:
            raise RuntimeError("no")

        async with self.persist(s) as persist:
            await persist.set("k", 1)
            await raised(RuntimeError, persist.update("k", int, refuse))
            await raised(RuntimeError, persist.update("absent", int, refuse))
            assert await persist.get("k", int) == 1
            assert await persist.get("absent") is None
            assert await persist.update("k", int, lambda value: (value or 0) + 1, expires=60) == 2

    @case
    async def test_one_loader_runs_at_a_time_however_many_ask(self, s: Subject) -> None:
        loads = 0

        async def load() -> str:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.01)
            return f"load {loads}"

        async with self.persist(s) as one, self.persist(s) as two:
            persists = (one, two) if s.driver.traits.shared != "process" else (one,)
            asked = [each.get_or_create("k", str, load, expires=60) for each in persists * 20]
            assert set(await asyncio.gather(*asked)) == {"load 1"}
            assert await one.get_or_create("k", str, load) == "load 1"
        assert loads == 1

    @case
    async def test_a_loader_that_raises_raises_in_every_waiter_and_stores_nothing(self, s: Subject) -> None:
        async def load() -> int:
            await asyncio.sleep(0)
            raise LookupError("upstream")

        async with self.persist(s) as persist:
            asked = [persist.get_or_create("k", int, load) for _ in range(5)]
            errors = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(error) for error in errors] == [LookupError] * 5
            assert await persist.get("k") is None
            assert await persist.get_or_create("k", int, lambda: 7) == 7

    @case
    async def test_a_lock_has_one_holder_and_a_growing_fence(self, s: Subject) -> None:
        inside, fences = 0, []

        async def enter(persist: Persist) -> None:
            nonlocal inside
            async with persist.lock("nightly", expires=20) as fence:
                inside += 1
                assert inside == 1, "two holders at once"
                fences.append(fence)
                await asyncio.sleep(0)
                inside -= 1

        async with self.persist(s) as one, self.persist(s) as two:
            persists = (one, two) if s.driver.traits.shared != "process" else (one,)
            await asyncio.gather(*(enter(each) for each in persists * 3))
            assert fences == sorted(set(fences))
            async with persists[0].lock("nightly"):
                await raised(LockBusy, persists[-1].lock("nightly", wait=0).__aenter__())

    @case
    async def test_many_callers_share_the_line(self, s: Subject) -> None:
        async def caller(persist: Persist, number: int) -> None:
            await persist.create(f"k{number}", Point(number, 0.5), expires=60)
            assert await persist.get(f"k{number}", Point) == Point(number, 0.5)
            await persist.set(f"k{number}", number, expires=KEEP)
            assert await persist.increment(f"k{number}", by=5) == number + 5
            assert await persist.remove(f"k{number}") is True

        async with self.persist(s) as persist:
            await asyncio.gather(*(caller(persist, number) for number in range(200)))
            assert [key async for key in persist.keys("")] == []


async def raised(kind: type[Exception], work: Awaitable[Any]) -> None:
    """It raises `kind`, and the text gives no value away."""
    try:
        got = await work
    except kind as exc:
        if "secret" in str(exc):
            raise AssertionError(f"a value stands in the message: {exc}") from exc
        return
    raise AssertionError(f"{got!r} instead of {kind.__name__}")
