"""Lifetimes: what ends when, what is left, and that the expired is absent in every way."""

from __future__ import annotations

import asyncio

from holdfast.persist.driver import (
    KEEP,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Operation,
    Remove,
    Replace,
    Set,
    Touch,
)
from holdfast.testing.persist.subject import HOUR, SHORT, Subject, SuiteCore, case, read

__all__ = ["ExpiryCases"]

THOUSAND_YEARS = 1000 * 365 * 24 * HOUR


async def expect_left(s: Subject, key: str, ttl: int, since: float) -> None:
    """What is left of a lifetime of `ttl` given at or after `since`, to the millisecond."""
    left = (await s.found(key)).ttl
    elapsed = s.now_ms() - since
    assert left is not None, f"{key!r} lives for ever"
    assert ttl - elapsed - s.tolerance <= left <= ttl + s.tolerance, (
        f"{left} ms left of {ttl} after {elapsed:.0f}"
    )


class ExpiryCases(SuiteCore):
    """Every operation over live and expired lifetimes."""

    @case
    async def test_half_a_second_is_half_a_second(self, s: Subject) -> None:
        before = s.now_ms()
        await s.do(Set("k", b"1", 500))
        after = s.now_ms()
        await pass_until(s, before + 480)
        while True:
            asked = s.now_ms()
            gone = await s.do(Get("k")) is None
            answered = s.now_ms()
            if gone:
                assert answered >= before + 500 - s.tolerance, f"gone after {answered - before:.0f} ms"
                return
            assert asked < after + 500 + s.tolerance, f"still there after {asked - after:.0f} ms"
            await pass_until(s, asked + 1)

    @case
    async def test_a_lifetime_of_one_millisecond_ends(self, s: Subject) -> None:
        await s.do(Create("k", b"1", 1))
        await s.pass_time(1)
        assert await s.do(Get("k")) is None

    @case
    async def test_lifetimes_are_kept_to_the_millisecond(self, s: Subject) -> None:
        for ttl in (1_500, 99_999, HOUR + 1, THOUSAND_YEARS + 7):
            since = s.now_ms()
            ops: list[Operation] = [Set("set", b"1", ttl), Create(f"create {ttl}", b"1", ttl)]
            ops += [Increment(f"increment {ttl}", 1, ttl), Set("touch", b"1", None), Touch("touch", ttl)]
            ops += [Set("renew", b"1", HOUR), GetRenew("renew", ttl)]
            await s.batch(*ops)
            for key in ("set", f"create {ttl}", f"increment {ttl}", "touch", "renew"):
                await expect_left(s, key, ttl, since)

    @case
    async def test_what_lives_has_at_least_a_millisecond_left(self, s: Subject) -> None:
        names = [f"k{number}" for number in range(100)]
        await s.batch(*(Set(name, b"1", SHORT + number) for number, name in enumerate(names)))
        due = s.now_ms() + SHORT + len(names)
        # One of them ends in nearly every round trip: two looks at the clock would be seen.
        while names:
            entries = await s.batch(*map(GetEntry, names))
            for name, entry in zip(list(names), entries, strict=True):
                if entry is None:
                    names.remove(name)
                else:
                    assert entry.ttl is not None
                    assert entry.ttl >= 1, f"alive with {entry.ttl} ms left"
            assert s.now_ms() < due + 5000, "it never ends"
            if s.clock is not None:
                s.clock.advance(0.001)

    @case
    async def test_an_expired_value_is_absent_for_every_read(self, s: Subject) -> None:
        await s.do(Set("k", b"1", SHORT))
        await s.pass_time(SHORT)
        assert await s.do(Get("k")) is None
        assert await s.do(GetEntry("k")) is None
        assert await s.do(GetRenew("k", HOUR)) is None
        assert await s.do(Get("k")) is None, "reading it brought it back"
        assert await s.keys() == []

    @case
    async def test_a_created_value_expires(self, s: Subject) -> None:
        await s.do(Create("k", b"1", SHORT))
        await s.pass_time(SHORT)
        assert await s.do(Get("k")) is None

    @case
    async def test_a_counter_expires(self, s: Subject) -> None:
        await s.do(Increment("k", 1, SHORT))
        await s.pass_time(SHORT)
        assert await s.do(Get("k")) is None

    @case
    async def test_touch_and_get_renew_and_replace_can_shorten_a_life(self, s: Subject) -> None:
        await s.batch(*(Set(key, b"1", None) for key in ("touch", "renew", "replace")))
        version = (await s.found("replace")).version
        await s.batch(
            Touch("touch", SHORT), GetRenew("renew", SHORT), Replace("replace", b"2", version, SHORT)
        )
        await s.pass_time(SHORT)
        assert await s.batch(Get("touch"), Get("renew"), Get("replace")) == [None, None, None]

    # --- writes over what has expired ---

    @case
    async def test_create_succeeds_over_an_expired_value(self, s: Subject) -> None:
        await s.batch(Set("for ever", b"1", SHORT), Set("an hour", b"1", SHORT))
        await s.pass_time(SHORT)
        since = s.now_ms()
        assert await s.do(Create("for ever", b"2", None)) is True
        assert await s.do(Create("an hour", b"3", HOUR)) is True
        found = await s.found("for ever")
        assert (found.value, found.ttl) == (2, None)
        await expect_left(s, "an hour", HOUR, since)

    @case
    async def test_only_the_first_of_two_creates_in_a_batch_succeeds_over_an_expired_value(
        self, s: Subject
    ) -> None:
        await s.do(Set("k", b"1", SHORT))
        await s.pass_time(SHORT)
        assert await s.batch(Create("k", b"2", HOUR), Create("k", b"3", HOUR)) == [True, False]
        assert (await s.found("k")).value == 2

    @case
    async def test_set_never_takes_the_lifetime_of_an_expired_value(self, s: Subject) -> None:
        await s.do(Set("k", b"1", SHORT))
        await s.pass_time(SHORT)
        await s.do(Set("k", b"2", KEEP))
        found = await s.found("k")
        assert (found.value, found.ttl) == (2, None)

    @case
    async def test_increment_over_an_expired_value_starts_afresh(self, s: Subject) -> None:
        await s.batch(
            Increment("number", 41, SHORT), Set("text", b'"x"', SHORT), Set("for ever", b"1", SHORT)
        )
        await s.pass_time(SHORT)
        since = s.now_ms()
        assert await s.do(Increment("number", 2, HOUR)) == 2
        assert await s.do(Increment("text", 3, HOUR)) == 3
        assert await s.do(Increment("for ever", 4, None)) == 4
        await expect_left(s, "number", HOUR, since)
        await expect_left(s, "text", HOUR, since)
        assert (await s.found("for ever")).ttl is None

    @case
    async def test_an_expired_value_can_be_neither_replaced_nor_removed_nor_touched(self, s: Subject) -> None:
        await s.do(Set("k", b"1", HOUR))
        version = (await s.found("k")).version
        await s.do(Touch("k", SHORT))
        await s.pass_time(SHORT)
        assert await s.do(Replace("k", b"2", version, HOUR)) is None
        assert await s.do(Replace("k", b"2", version, KEEP)) is None
        assert await s.do(Touch("k", HOUR)) is False
        assert await s.do(Touch("k", None)) is False
        assert await s.do(Remove("k", version)) is False
        assert await s.do(Remove("k")) is False
        assert await s.do(Get("k")) is None

    # --- KEEP ---

    @case
    async def test_set_with_keep_leaves_the_lifetime_as_it_is(self, s: Subject) -> None:
        since = s.now_ms()
        await s.batch(Set("hour", b"1", HOUR), Set("for ever", b"1", None))
        await s.batch(Set("hour", b"2", KEEP), Set("for ever", b"2", KEEP), Set("new", b"2", KEEP))
        await expect_left(s, "hour", HOUR, since)
        assert (await s.found("for ever")).ttl is None
        assert (await s.found("new")).ttl is None
        assert await s.values(["hour", "for ever", "new"]) == [2, 2, 2]

    @case
    async def test_a_value_set_with_keep_still_expires_when_it_should(self, s: Subject) -> None:
        await s.batch(Set("k", b"1", SHORT), Set("k", b"2", KEEP))
        await s.pass_time(SHORT)
        assert await s.do(Get("k")) is None

    @case
    async def test_set_with_a_lifetime_replaces_the_old_one(self, s: Subject) -> None:
        await s.batch(Set("longer", b"1", SHORT), Set("shorter", b"1", HOUR), Set("for ever", b"1", SHORT))
        since = s.now_ms()
        await s.batch(Set("longer", b"2", HOUR), Set("shorter", b"2", SHORT), Set("for ever", b"2", None))
        await s.pass_time(SHORT)
        assert await s.do(Get("shorter")) is None
        await expect_left(s, "longer", HOUR, since)
        assert (await s.found("for ever")).ttl is None

    @case
    async def test_replace_keeps_or_changes_the_lifetime_as_it_is_told(self, s: Subject) -> None:
        since = s.now_ms()
        for key, ttl in (("keep", KEEP), ("never", None), ("short", 90_000)):
            await s.do(Set(key, b"1", HOUR))
            assert await s.do(Replace(key, b"2", (await s.found(key)).version, ttl)) is not None
        await expect_left(s, "keep", HOUR, since)
        assert (await s.found("never")).ttl is None
        await expect_left(s, "short", 90_000, since)

    @case
    async def test_a_live_counter_keeps_its_lifetime(self, s: Subject) -> None:
        since = s.now_ms()
        await s.batch(Increment("hour", 1, HOUR), Increment("for ever", 1, None))
        assert await s.batch(Increment("hour", 1, None), Increment("for ever", 1, SHORT)) == [2, 2]
        assert await s.do(Increment("hour", 1, SHORT)) == 3
        await expect_left(s, "hour", HOUR, since)
        assert (await s.found("for ever")).ttl is None

    @case
    async def test_a_refused_create_leaves_the_lifetime(self, s: Subject) -> None:
        since = s.now_ms()
        await s.do(Set("k", b"1", HOUR))
        assert await s.do(Create("k", b"2", None)) is False
        assert await s.do(Create("k", b"2", SHORT)) is False
        await expect_left(s, "k", HOUR, since)

    # --- what is left on disk ---

    @case
    async def test_clear_counts_only_the_living_and_deletes_the_expired_too(self, s: Subject) -> None:
        await s.batch(*(Set(f"dead{number}", b"1", SHORT) for number in range(5)))
        await s.batch(*(Set(f"live{number}", b"1", HOUR) for number in range(3)))
        await s.pass_time(SHORT)
        assert await s.clear() == 3
        assert await s.keys() == []

    @case
    async def test_a_sweep_deletes_the_expired_in_chunks_and_nothing_else(self, s: Subject) -> None:
        if not s.driver.traits.sweeps:
            return
        await s.batch(*(Set(f"{number:03}", b"1", SHORT if number % 2 else HOUR) for number in range(120)))
        await s.batch(Set("for ever", b"1", None), Set("reborn", b"1", SHORT))
        await s.pass_time(SHORT)
        await s.do(Create("reborn", b"2", None))
        removed, cursor, chunks = 0, None, 0
        while True:
            swept = await s.driver.sweep(cursor, 20)
            assert swept.removed <= 40, "a chunk of about 20 rows deleted more than twice as many"
            removed += swept.removed
            chunks += 1
            cursor = swept.cursor
            if cursor is None:
                break
            assert chunks < 100_000, "a sweep does not end"
        assert removed >= 60
        assert chunks >= 3
        assert len(await s.keys()) == 62
        assert read(await s.do(Get("reborn"))) == 2


async def pass_until(s: Subject, moment: float) -> None:
    """Return when the test's own clock shows `moment`."""
    while (left := moment - s.now_ms()) > 0:
        if s.clock is not None:
            s.clock.advance(max(1.0, left) / 1000)
        else:
            await asyncio.sleep(left / 1000)
