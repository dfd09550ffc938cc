"""One write is one step: all of its changes or none, judged by the versions that they expect."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.testing.webmention.running import SuiteCore, case
from holdfast.testing.webmention.subject import DATA, HOUR, Subject, body, ids
from holdfast.webmention.driver import Change, Document, Drop, Put

__all__ = ["WritingCases"]


async def everything(s: Subject) -> tuple[Sequence[Document], ...]:
    """All there is, as each way of looking tells it."""
    return (*[await s.page(kind=kind) for kind in "oi"], await s.page("x"), await s.page("y"))


class WritingCases(SuiteCore):
    """`expect`, and what becomes of the other changes."""

    @case
    async def test_a_put_that_expects_a_version_needs_it(self, s: Subject) -> None:
        first = await s.put("one", body(1))
        assert not await s.write(Put("o", "one", body("never"), expect="x")), "any version will do"
        second = await s.put("one", body(2), expect=first.version)
        assert not await s.write(Put("o", "one", body("late"), expect=first.version)), (
            "an old version will do"
        )
        assert await s.there("one") == second

    @case
    async def test_a_drop_that_expects_a_version_needs_it(self, s: Subject) -> None:
        first = await s.put("one")
        second = await s.put("one")
        assert not await s.drop("one", expect=first.version)
        assert await s.there("one") == second
        assert await s.drop("one", expect=second.version)
        assert await s.get("one") is None
        assert not await s.drop("one", expect=second.version), "there is nothing left that has it"

    @case
    async def test_a_put_that_expects_nothing_there_creates(self, s: Subject) -> None:
        first = await s.put("one", body(1), expect="")
        assert not await s.write(Put("o", "one", body(2), expect=""))
        assert await s.there("one") == first
        assert await s.drop("one")
        assert (await s.put("one", body(3), expect="")).data == body(3)

    @case
    async def test_a_version_that_was_expected_must_be_there(self, s: Subject) -> None:
        gone = await s.put("gone")
        assert await s.drop("gone")
        assert not await s.write(Put("o", "gone", DATA, expect=gone.version))
        assert not await s.write(Put("o", "never", DATA, expect=gone.version))
        assert await s.page() == []

    @case
    async def test_whoever_expects_no_version_overwrites(self, s: Subject) -> None:
        await s.put("one", body(1), wait=0)
        assert ids(await s.claim()) == ["one"]
        assert (await s.put("one", body(2))).data == body(2)
        assert await s.drop("one")

    @case
    async def test_one_conflict_undoes_all(self, s: Subject) -> None:
        old = await s.put("there", body(1), tags=("x",), wait=HOUR)
        await s.put("there", body(2), tags=("x",), wait=HOUR)
        await s.put("other", body(3), tags=("x",), kind="i")
        await s.put("doomed", body(4), tags=("y",), wait=0)
        good: tuple[Change, ...] = (
            Put("o", "new", body(5), ("x",), 0),
            Put("i", "other", body(6), ("y",), 0),
            Put("o", "created", body(7), ("y",), 0, ""),
            Drop("o", "doomed"),
        )
        conflicts: tuple[Change, ...] = (
            Put("o", "there", body("late"), ("y",), 0, old.version),
            Put("o", "there", body("created"), ("y",), 0, ""),
            Put("o", "absent", body("absent"), expect=old.version),
            Drop("o", "there", old.version),
            Drop("o", "absent", old.version),
        )
        before = await everything(s)
        for conflict in conflicts:
            for at in range(len(good) + 1):
                assert not await s.write(*good[:at], conflict, *good[at:]), f"{conflict} at {at}: was taken"
                assert await everything(s) == before, f"{conflict} at {at}: something was changed"
        assert await s.count("x", "y") == [1, 1]
        assert ids(await s.claim(9)) == ["doomed"]
        assert await s.write(*good)
        assert ids(await s.page()) == ["there", "new", "created"]

    @case
    async def test_changes_of_several_kinds_are_one_step(self, s: Subject) -> None:
        assert await s.write(Put("o", "a", body(1)), Put("i", "a", body(2)), Put("r", "b", body(3)))
        one = await s.there("a")
        assert await s.write(Drop("o", "a", one.version), Put("i", "a", body(4)), Drop("r", "b"))
        assert await s.get("a") is None
        assert (await s.there("a", "i")).data == body(4)
        assert await s.get("b", "r") is None

    @case
    async def test_every_change_of_a_write_is_made(self, s: Subject) -> None:
        for size in (1, 2, 3, 64, 1000):
            names = [f"d{size}.{at}" for at in range(size)]
            tag = f"t{size}"
            assert await s.write(
                *(Put("o", name, body(name), (tag, f"{tag}.{at % 3}"), at) for at, name in enumerate(names))
            )
            found = await s.driver.get(s.kind("o"), names)
            assert [each and each.data for each in found] == [body(name) for name in names]
            assert ids(await s.walk(tag, limit=1000)) == names
            third = len(range(0, size, 3))
            assert await s.count(tag, f"{tag}.0") == [size, third]
            versions = [each.version for each in found if each]
            again = [
                Put("o", name, body("new"), (tag,), None, version)
                for name, version in zip(names, versions, strict=True)
            ]
            assert await s.write(*again)
            assert await s.count(tag, f"{tag}.0") == [size, 0]
            assert await s.write(*(Drop("o", name) for name in names))
            assert await s.count(tag, "") == [0, 0]
