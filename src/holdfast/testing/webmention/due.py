"""What is due, who has it, and until when."""

from __future__ import annotations

from holdfast.testing.webmention.running import SuiteCore, case
from holdfast.testing.webmention.subject import HOUR, SHORT, Subject, body, ids
from holdfast.webmention.driver import Drop, Put

__all__ = ["DueCases"]


class DueCases(SuiteCore):
    """`wait`, `claim` and `next_due`."""

    @case
    async def test_only_what_is_due_is_claimed(self, s: Subject) -> None:
        await s.put("later", wait=HOUR)
        await s.put("never")
        assert await s.claim(9) == []
        await s.put("now", wait=0)
        assert ids(await s.claim(9)) == ["now"]
        assert await s.claim(9) == []

    @case
    async def test_a_document_is_due_when_its_wait_is_over(self, s: Subject) -> None:
        await s.put("soon", wait=SHORT)
        await s.put("later", wait=HOUR)
        if s.clock is not None:  # else nobody knows how much of it is left
            await s.pass_time(SHORT - 1)
            assert await s.claim(9) == []
            assert await s.next_due() == 1
            await s.pass_time(1)
        else:
            await s.pass_time(SHORT)
        assert await s.next_due() == 0
        assert ids(await s.claim(9)) == ["soon"]

    @case
    async def test_a_wait_counts_from_the_write(self, s: Subject) -> None:
        await s.put("one", wait=SHORT)
        await s.pass_time(SHORT)
        await s.put("one", wait=HOUR)
        assert await s.claim(9) == []
        await s.put("one")
        assert await s.claim(9) == []
        await s.put("one", wait=0)
        assert ids(await s.claim(9)) == ["one"]

    @case
    async def test_the_longest_due_come_first(self, s: Subject) -> None:
        for name in ("d3", "d1", "d10", "d2", "d0"):
            await s.put(name, wait=0)
            await s.pass_time(2)
        await s.put("d3", wait=0)  # due anew
        assert ids(await s.claim(1)) == ["d1"]
        assert ids(await s.claim(3)) == ["d10", "d2", "d0"]
        assert ids(await s.claim(3)) == ["d3"]

    @case
    async def test_no_more_are_claimed_than_were_asked_for(self, s: Subject) -> None:
        names = [f"d{at}" for at in range(10)]
        assert await s.write(*(Put("o", name, body(name), (), 0) for name in names))
        got = [ids(await s.claim(limit)) for limit in (1, 3, 1, 100, 100)]
        assert [len(each) for each in got] == [1, 3, 1, 5, 0]
        assert sorted(name for each in got for name in each) == names

    @case
    async def test_a_claim_may_ask_for_a_tag(self, s: Subject) -> None:
        for at in range(6):
            await s.put(f"d{at}", tags=("all", f"half{at % 2}"), wait=0)
        await s.put("later", tags=("half1",), wait=HOUR)
        assert await s.claim(9, tag="half") == []
        assert await s.claim(9, tag="none") == []
        assert sorted(ids(await s.claim(2, tag="half1"))) == ["d1", "d3"]
        assert ids(await s.claim(9, tag="half1")) == ["d5"]
        assert sorted(ids(await s.claim(9))) == ["d0", "d2", "d4"]

    @case
    async def test_what_is_claimed_is_handed_over_whole(self, s: Subject) -> None:
        before = await s.put("one", body(1), tags=("x", "y"), wait=0)
        start = s.wall()
        (claimed,) = await s.claim(lease=HOUR)
        end = s.wall()
        assert claimed.version != before.version
        assert (claimed.kind, claimed.id, claimed.number) == (before.kind, "one", before.number)
        assert (claimed.data, sorted(claimed.tags)) == (body(1), ["x", "y"])
        assert claimed.due is not None
        assert start - s.skew <= claimed.due - HOUR <= end + s.skew, "the lease is of another length"
        assert await s.there("one") == claimed
        assert await s.page("x") == [claimed]
        assert await s.count("x", "y", "") == [1, 1, 1]

    @case
    async def test_nobody_else_is_handed_it_while_the_lease_lives(self, s: Subject) -> None:
        await s.put("one", wait=0)
        assert ids(await s.claim(lease=HOUR)) == ["one"]
        for _ in range(3):
            assert await s.claim(9, lease=HOUR) == []
        if s.clock is not None:
            await s.pass_time(HOUR - 1)
            assert await s.claim(9, lease=HOUR) == []

    @case
    async def test_a_lease_ends_and_the_next_is_handed_it(self, s: Subject) -> None:
        await s.put("one", body(1), tags=("x",), wait=0)
        (first,) = await s.claim(lease=SHORT)
        await s.pass_time(SHORT)
        (second,) = await s.claim(lease=HOUR)
        assert (second.id, second.data, sorted(second.tags)) == ("one", body(1), ["x"])
        assert second.version != first.version
        assert not await s.settle(first, tags=("late",)), "a lost lease settles"
        assert await s.settle(second)

    @case
    async def test_what_is_settled_is_due_as_it_says(self, s: Subject) -> None:
        await s.put("done", wait=0)
        await s.put("again", wait=0)
        await s.put("later", wait=0)
        claimed = {each.id: each for each in await s.claim(9, lease=SHORT)}
        assert await s.settle(claimed["done"])
        assert await s.settle(claimed["again"], wait=0)
        assert await s.settle(claimed["later"], wait=HOUR)
        await s.pass_time(SHORT)
        assert ids(await s.claim(9)) == ["again"], "a lease outlives its settlement"
        assert not await s.settle(claimed["done"], wait=0), "it is settled twice"

    @case
    async def test_a_write_in_between_ends_the_lease(self, s: Subject) -> None:
        await s.put("one", wait=0)
        (claimed,) = await s.claim()
        await s.put("one", body("new"), wait=0)
        assert not await s.settle(claimed)
        (again,) = await s.claim()
        assert again.data == body("new")
        assert await s.write(Drop("o", "one"))
        assert not await s.settle(again), "what was removed is settled"
        assert await s.get("one") is None

    @case
    async def test_a_lease_of_one_leaves_the_others_alone(self, s: Subject) -> None:
        await s.put("one", wait=0)
        (claimed,) = await s.claim()
        await s.put("two", wait=0)
        await s.put("one", kind="i", wait=0)
        assert ids(await s.claim(9)) == ["two"]
        assert ids(await s.claim(9, kind="i")) == ["one"]
        assert await s.settle(claimed)

    @case
    async def test_the_next_that_is_due_is_told(self, s: Subject) -> None:
        assert await s.next_due() is None
        await s.put("never")
        assert await s.next_due() is None
        await s.put("later", wait=2 * HOUR)
        await near(s, 2 * HOUR)
        await s.put("sooner", wait=HOUR)
        await near(s, HOUR)
        await s.put("now", wait=0)
        assert await s.next_due() == 0
        await s.claim(9, lease=HOUR // 2)
        await near(s, HOUR // 2)
        await s.drop("now")
        await near(s, HOUR)
        await s.put("sooner")
        await near(s, 2 * HOUR)
        await s.drop("later")
        assert await s.next_due() is None


async def near(s: Subject, ms: int) -> None:
    """So many milliseconds until the next is due, less what the test took."""
    due = await s.next_due()
    slack = 0 if s.clock else 60_000
    assert due is not None
    assert ms - slack <= due <= ms, f"due in {due} ms, not in {ms}"
