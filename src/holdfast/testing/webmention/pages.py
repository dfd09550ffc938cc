"""Documents by tag: pages in the order of their numbers, and counts."""

from __future__ import annotations

from holdfast.testing.webmention.documents import ALIKE
from holdfast.testing.webmention.running import SuiteCore, case
from holdfast.testing.webmention.subject import HOUR, Subject, body, ids, numbers
from holdfast.webmention.driver import Put

__all__ = ["PageCases"]


class PageCases(SuiteCore):
    """`page` and `count`."""

    @case
    async def test_pages_come_in_the_order_of_the_numbers(self, s: Subject) -> None:
        names = ["d3", "d1", "d10", "d2", "D0"]  # neither by id nor by anything else
        await s.fill(names)
        assert ids(await s.page()) == names
        assert ids(await s.page(newest=True)) == names[::-1]
        assert ids(await s.page(limit=2)) == names[:2]
        assert ids(await s.page(limit=2, newest=True)) == names[:-3:-1]

    @case
    async def test_a_page_goes_on_after_a_number(self, s: Subject) -> None:
        names = await s.fill(f"d{at}" for at in range(7))
        number = numbers(await s.page())
        assert ids(await s.page(after=number[2])) == names[3:]
        assert ids(await s.page(after=number[2], limit=2)) == names[3:5]
        assert ids(await s.page(after=number[-1])) == []
        assert ids(await s.page(after=0)) == names
        assert ids(await s.page(after=number[2], newest=True)) == names[1::-1]
        assert ids(await s.page(after=number[5], limit=2, newest=True)) == names[4:2:-1]
        assert ids(await s.page(after=number[0], newest=True)) == []
        assert ids(await s.page(after=number[-1] + 1000, newest=True)) == names[::-1]

    @case
    async def test_a_tag_has_its_own_pages(self, s: Subject) -> None:
        for at in range(12):
            await s.put(f"d{at}", tags=("all", f"third{at % 3}"))
        await s.put("untagged")
        assert ids(await s.page("third1")) == ["d1", "d4", "d7", "d10"]
        assert ids(await s.page("third1", newest=True, limit=3)) == ["d10", "d7", "d4"]
        after = (await s.there("d4")).number
        assert ids(await s.page("third1", after=after)) == ["d7", "d10"]
        assert ids(await s.page("third1", after=after, newest=True)) == ["d1"]
        between = (await s.there("d5")).number  # of a document that has not the tag
        assert ids(await s.page("third1", after=between, limit=1)) == ["d7"]
        assert await s.page("third") == []
        assert await s.page("none") == []
        assert len(await s.page("all")) == 12
        assert len(await s.page()) == 13

    @case
    async def test_a_tag_that_comes_later_keeps_the_order(self, s: Subject) -> None:
        names = await s.fill(f"d{at}" for at in range(5))
        for at in (4, 0, 3, 1):
            await s.put(names[at], tags=("late",))
        assert ids(await s.page("late")) == ["d0", "d1", "d3", "d4"]
        assert ids(await s.page("late", newest=True)) == ["d4", "d3", "d1", "d0"]

    @case
    async def test_tags_that_look_alike_are_different_tags(self, s: Subject) -> None:
        assert await s.write(*(Put("o", f"d{at}", body(at), (tag,)) for at, tag in enumerate(ALIKE)))
        for at, tag in enumerate(ALIKE):
            assert ids(await s.page(tag)) == [f"d{at}"], f"the tag {tag!r} finds others"
        assert await s.count(*ALIKE) == [1] * len(ALIKE)
        both = await s.put("all", tags=ALIKE)
        assert sorted(both.tags) == sorted(ALIKE)
        assert await s.count(*ALIKE) == [2] * len(ALIKE)

    @case
    async def test_a_page_holds_whole_documents(self, s: Subject) -> None:
        for at in range(4):
            await s.put(f"d{at}", body(at), tags=("x", f"t{at}"), wait=(None, HOUR)[at % 2])
        found = await s.driver.get(s.kind("o"), [f"d{at}" for at in range(4)])
        assert await s.page() == found
        assert await s.page("x") == found
        assert await s.page("x", newest=True) == found[::-1]

    @case
    async def test_a_walk_meets_each_document_once_whatever_the_page(self, s: Subject) -> None:
        names = [f"d{at}" for at in range(25)]
        assert await s.write(*(Put("o", name, body(name), ("x",)) for name in names))
        for limit in (1, 2, 5, 24, 25, 26, 1000):
            for tag in ("", "x"):
                assert ids(await s.walk(tag, limit=limit)) == names
                assert ids(await s.walk(tag, limit=limit, newest=True)) == names[::-1]

    @case
    async def test_what_is_there_throughout_is_met_while_others_come_and_go(self, s: Subject) -> None:
        names = await s.fill((f"d{at}" for at in range(20)), tags=("x",))
        met: list[str] = []
        after = None
        for turn in range(10):
            page = await s.page("x", after=after, limit=2)
            met += ids(page)
            after = page[-1].number
            assert await s.drop(page[-1].id)  # the one that the next page starts after
            await s.put(f"new{turn}", tags=("x",))
        assert met == names

    @case
    async def test_counts_are_told_by_position(self, s: Subject) -> None:
        for at in range(9):
            await s.put(f"d{at}", tags=("all", f"third{at % 3}", *(["one"] if at == 4 else [])))
        await s.put("untagged")
        await s.put("elsewhere", kind="i", tags=("all",))
        assert await s.count("third0", "none", "", "one", "all", "third0") == [3, 0, 10, 1, 9, 3]
        assert await s.count("") == [10]
        await s.put("d4", tags=("all",))
        assert await s.count("one", "third1", "all") == [0, 2, 9]
        await s.put("d0", tags=("all", "third0"))  # as before
        assert await s.count("all", "third0", "") == [9, 3, 10]
        await s.drop("d0")
        assert await s.count("all", "third0", "") == [8, 2, 9]
