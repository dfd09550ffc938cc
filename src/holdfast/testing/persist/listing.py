"""Walks over keys: complete, in pages, within one prefix, while others write."""

from __future__ import annotations

from collections import Counter

from holdfast.persist.driver import Clear, Create, Get, Keys, Remove, Set
from holdfast.testing.persist.subject import HOUR, SHORT, Subject, SuiteCore, case

__all__ = ["ListingCases"]


class ListingCases(SuiteCore):
    """`Keys` and `Clear`."""

    @case
    async def test_a_listing_of_nothing_is_empty(self, s: Subject) -> None:
        assert await s.keys() == []
        assert await s.keys("absent") == []
        assert await s.clear() == 0

    @case
    async def test_a_listing_has_each_live_key_once(self, s: Subject) -> None:
        names = {f"user:{number}" for number in range(250)}
        await s.batch(*(Set(name, b"1", HOUR) for name in names))
        for limit in (1000, 100, 33):
            self.complete(s, await s.keys("user:", limit), names)

    @case
    async def test_small_pages_lose_nothing(self, s: Subject) -> None:
        names = {f"{number}" for number in range(25)} | {"", "a", "ab", "abc", "b"}
        names.discard("")
        await s.batch(*(Set(name, b"1", None) for name in names))
        for limit in (1, 2, 3, 30, 31):
            self.complete(s, await s.keys("", limit), names)

    @case
    async def test_a_listing_keeps_to_its_prefix(self, s: Subject) -> None:
        names = ["user", "user:", "user:1", "user:2", "user;", "user9", "users:1", "User:1", "use", "zuser:1"]
        await s.batch(*(Set(name, b"1", None) for name in names))
        self.complete(s, await s.keys("user:", 2), {"user:", "user:1", "user:2"})
        self.complete(s, await s.keys("user", 2), {name for name in names if name.startswith("user")})
        self.complete(s, await s.keys("", 2), set(names))

    @case
    async def test_a_listing_keeps_to_its_namespace(self, s: Subject) -> None:
        neighbours = [s.prefix[:-1], s.prefix[:-1] + ";", s.prefix.upper() + "k", "x" + s.prefix + "k"]
        for neighbour in neighbours:
            await s.driver.apply([Set(neighbour, b"1", HOUR)])
        await s.do(Set("mine", b"1", None))
        assert await s.keys() == ["mine"]
        assert await s.clear() == 1
        for neighbour in neighbours:
            assert await s.driver.apply([Remove(neighbour)]) == [True], f"{neighbour!r} was cleared too"

    @case
    async def test_expired_keys_are_not_listed(self, s: Subject) -> None:
        await s.batch(*(Set(f"dead{number:02}", b"1", SHORT) for number in range(30)))
        await s.batch(Set("a", b"1", HOUR), Set("dead150", b"1", None), Set("z", b"1", None))
        await s.pass_time(SHORT)
        self.complete(s, await s.keys("", 4), {"a", "dead150", "z"})

    @case
    async def test_what_lives_throughout_is_listed_while_others_come_and_go(self, s: Subject) -> None:
        lasting = {f"last{number:03}" for number in range(150)}
        passing = [f"last{number:03}x" for number in range(0, 150, 3)]
        await s.batch(
            *(Set(name, b"1", None) for name in lasting), *(Set(name, b"1", None) for name in passing)
        )
        found: list[str] = []
        cursor: str | None = None
        pages = 0
        while True:
            page = await s.do(Keys("", cursor, 10))
            found += (s.short(key) for key in page.keys)
            cursor = page.cursor
            if cursor is None:
                break
            pages += 1
            assert pages < 5_000, "a walk over the keys does not end"
            # What is gone and what is new lies on both sides of the cursor, and on it.
            gone = [*passing[:2], *(key for key in found[-1:] if key not in lasting)]
            passing = passing[2:]
            await s.batch(
                *(Remove(key) for key in gone),
                *(Create(f"{place}{pages:03}", b"1", None) for place in ("a", "last07", "zz")),
                *(Set(key, b"2", HOUR) for key in sorted(lasting)[pages % 150 :][:5]),
            )
        listed = Counter(key for key in found if key in lasting)
        assert lasting <= listed.keys(), (
            f"{len(lasting - listed.keys())} keys that were there throughout are missing"
        )
        if not s.driver.traits.scan_repeats:
            assert max(listed.values()) == 1, f"{listed.most_common(3)} are listed more than once"

    @case
    async def test_clear_deletes_its_prefix_and_counts_it(self, s: Subject) -> None:
        await s.batch(*(Set(f"user:{number}", b"1", HOUR) for number in range(120)))
        await s.batch(Set("users", b"1", None), Set("other", b"1", None), Set("user", b"1", None))
        assert await s.clear("user:", 25) == 120
        self.complete(s, await s.keys(), {"users", "other", "user"})
        assert await s.clear("user:") == 0
        assert await s.clear() == 3

    @case
    async def test_clear_spares_what_lies_outside_while_others_write(self, s: Subject) -> None:
        await s.batch(*(Set(f"k{number:02}", b"1", None) for number in range(40)))
        cursor, removed, pages = None, 0, 0
        while True:
            cleared = await s.do(Clear("k", cursor, 10))
            removed += cleared.removed
            cursor = cleared.cursor
            if cursor is None:
                break
            pages += 1
            assert pages < 5_000, "a walk that clears does not end"
            await s.batch(Set(f"j{pages}", b"1", None), Set(f"l{pages}", b"1", None))
        assert removed == 40
        assert await s.keys("k") == []
        assert len(await s.keys("j")) == len(await s.keys("l")) == pages

    @case
    async def test_a_cleared_value_can_be_created_anew(self, s: Subject) -> None:
        await s.do(Set("k", b"1", HOUR))
        await s.clear()
        assert await s.do(Get("k")) is None
        assert await s.do(Create("k", b"2", None)) is True
        assert (await s.found("k")).ttl is None

    def complete(self, s: Subject, listed: list[str], wanted: set[str]) -> None:
        """All that is wanted, nothing else, and each once unless the driver says that it repeats."""
        assert set(listed) == wanted, f"missing {wanted - set(listed)}, too many {set(listed) - wanted}"
        if not s.driver.traits.scan_repeats:
            assert len(listed) == len(wanted), f"{len(listed) - len(wanted)} keys are listed twice"
