"""Many at once, in one process and in two: who gets what, and what cancelling and closing leave behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from holdfast.errors import StoreError, StoreUnavailable
from holdfast.testing.webmention.running import SuiteCore, case, shared_or_skip, tidy
from holdfast.testing.webmention.subject import DATA, HOUR, SHORT, Subject, body, ids, numbers
from holdfast.webmention.driver import Document, Drop, Put

__all__ = ["ConcurrencyCases"]


class ConcurrencyCases(SuiteCore):
    """The same promises when nobody waits for anybody."""

    @case
    async def test_many_claimers_are_handed_each_document_once(self, s: Subject) -> None:
        await disjoint([s] * 8, s)

    @case
    async def test_claimers_of_two_processes_are_handed_each_document_once(self, s: Subject) -> None:
        async with self.another(s) as other:
            await disjoint([s, other] * 4, s)

    @case
    async def test_what_one_process_claims_another_is_not_handed(self, s: Subject) -> None:
        async with self.another(s) as other:
            await s.put("one", wait=0)
            (mine,) = await s.claim(lease=SHORT)
            assert await other.claim() == []
            await s.pass_time(SHORT)
            (theirs,) = await other.claim()
            assert theirs.version != mine.version
            assert not await s.settle(mine, wait=0), "a lease that another process took over settles"
            assert await other.settle(theirs)
            assert await s.next_due() is None

    @case
    async def test_of_many_that_expect_one_version_one_writes(self, s: Subject) -> None:
        for turn in range(6):
            there = await s.put("one", body("before"))
            done = await asyncio.gather(
                *(s.write(Put("o", "one", body(at), expect=there.version)) for at in range(6))
            )
            assert done.count(True) == 1, f"{done.count(True)} of them wrote"
            assert (await s.there("one")).data == body(done.index(True)), turn

    @case
    async def test_of_two_processes_that_create_one_document_one_does(self, s: Subject) -> None:
        async with self.another(s) as other:
            for turn in range(8):
                name = f"d{turn}"
                both = (each.write(Put("o", name, body(each is s), expect="")) for each in (s, other) * 3)
                assert (await asyncio.gather(*both)).count(True) == 1
            assert len(await s.page()) == 8

    @case
    async def test_of_two_processes_that_put_one_document_both_succeed(self, s: Subject) -> None:
        async with self.another(s) as other:
            for turn in range(8):
                name = f"d{turn}"
                puts = (each.write(Put("o", name, DATA, (f"t{turn}",), 0)) for each in (s, other) * 3)
                assert all(await asyncio.gather(*puts)), "a write that expects nothing was refused"
                assert ids(await other.page(f"t{turn}")) == [name], "one document has two rows"
            assert len(await s.claim(99)) == 8

    @case
    async def test_no_change_is_lost_between_two_processes(self, s: Subject) -> None:
        async with self.another(s) as other:
            await s.put("counter", b"0")
            await asyncio.gather(*(count_up(each, 10) for each in (s, other, s, other)))
            assert (await s.there("counter")).data == b"40"

    @case
    async def test_a_write_of_several_is_seen_whole_or_not_at_all(self, s: Subject) -> None:
        async with self.another(s) as other:
            writing = asyncio.ensure_future(see_saw(other))
            try:
                while not writing.done():
                    found = [each.data for each in await s.page()]
                    assert len(set(found)) <= 1, f"half of a write: {found}"
                    assert len(found) in (0, 3)
                    await asyncio.sleep(0)
            finally:
                await writing

    @case
    async def test_two_processes_never_give_one_number(self, s: Subject) -> None:
        async with self.another(s) as other:
            names = {name: [f"{name}{at}" for at in range(15)] for name in "ab"}
            await asyncio.gather(s.fill(names["a"]), other.fill(names["b"]))
            found = await s.page()
            assert len(set(numbers(found))) == len(found) == 30
            assert numbers(found) == sorted(numbers(found))
            for name, mine in names.items():
                assert [id for id in ids(found) if id[0] == name] == mine, "one writer's numbers do not grow"

    @case
    async def test_two_processes_see_what_the_other_wrote(self, s: Subject) -> None:
        async with self.another(s) as other:
            first = await s.put("one", body(1), tags=("x",), wait=0)
            assert await other.there("one") == first
            second = await other.put("one", body(2), tags=("y",), expect=first.version)
            assert await s.there("one") == second
            assert await s.page("x") == []
            assert await s.page("y") == [second]
            assert await s.count("x", "y") == [0, 1]
            assert await s.next_due() is None
            assert await other.drop("one")
            assert await s.get("one") is None
            assert await s.write(Put("o", "one", body(3), expect=""))

    @case
    async def test_writes_of_the_same_in_opposite_order_do_not_lock_each_other_out(self, s: Subject) -> None:
        shared_or_skip(s)
        names = [f"d{at:02}" for at in range(20)]
        async with self.another(s) as other:
            for turn in range(6):
                up = [Put("o", name, body(turn), ("x",), 0) for name in names]
                down = [Put("o", name, body(turn), ("y",)) for name in reversed(names)]
                gone = [Drop("o", name) for name in reversed(names)]
                done = await asyncio.gather(
                    s.write(*up), other.write(*(gone if turn % 3 == 2 else down)), s.claim(50)
                )
                assert all(done[:2]), done

    # --- cancelling and closing ---

    @tidy
    @case
    async def test_a_call_that_is_cancelled_leaves_the_driver_in_step(self, s: Subject) -> None:
        await s.fill(f"d{at}" for at in range(12))
        for turn in range(6):
            lost = asyncio.ensure_future(
                s.write(*(Put("o", f"lost{at}", DATA, ("l",)) for at in range(turn + 1)))
            )
            for _ in range(turn % 3):
                await asyncio.sleep(0)
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)
            for at in range(turn, 12):
                document = await patiently(s, f"d{at}")
                assert document.data == body(f"d{at}"), "an answer went to the wrong question"
            assert len(await s.page("l")) in range(7)
        assert await s.count("l") == [len(await s.page("l"))]

    @tidy
    @case
    async def test_closing_the_driver_during_use_leaves_no_caller_waiting(self, s: Subject) -> None:
        for turns in range(4):
            under_way = [
                asyncio.ensure_future(s.write(*(Put("o", f"d{at}", DATA) for at in range(50)))),
                asyncio.ensure_future(s.page()),
                asyncio.ensure_future(s.claim(9)),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(s.driver.close())  # the only one: its engine closes too
            for answer in await asyncio.gather(*under_way, return_exceptions=True):
                assert isinstance(answer, bool | list | StoreError), repr(answer)
            await closing
            await s.driver.open()
            await s.put(f"after{turns}")


async def disjoint(claimers: Sequence[Subject], s: Subject) -> None:
    """All of them claim at once, a few at a time, until nothing is left."""
    names = [f"d{at}" for at in range(60)]
    assert await s.write(*(Put("o", name, body(name), ("x",), 0) for name in names))
    got: list[Document] = []

    async def work(claimer: Subject, limit: int) -> None:
        misses = 0
        while misses < 3:  # a driver may hand out nothing while it waits for another's claim
            claimed = await claimer.claim(limit, lease=HOUR, tag="x" if limit == 3 else "")
            assert len(claimed) <= limit
            got.extend(claimed)
            misses = 0 if claimed else misses + 1
            await asyncio.sleep(0)

    await asyncio.gather(*(work(claimer, at % 3 + 1) for at, claimer in enumerate(claimers)))
    twice = [id for id, times in Counter(ids(got)).items() if times > 1]
    assert not twice, f"handed out twice: {twice}"
    assert sorted(ids(got)) == sorted(names), "something is handed to nobody"
    assert all(await asyncio.gather(*(s.settle(each) for each in got))), "a lease that lives does not settle"
    assert await s.next_due() is None


async def count_up(s: Subject, times: int) -> None:
    """Add so many to the counter, each time by the version that was read."""
    for _ in range(times):
        while True:
            there = await s.there("counter")
            more = b"%d" % (int(there.data) + 1)
            if await s.write(Put("o", "counter", more, expect=there.version)):
                break
            await asyncio.sleep(0)


async def see_saw(s: Subject) -> None:
    """Write three documents, overwrite them, and drop them, each in one write."""
    for turn in range(12):
        assert await s.write(*(Put("o", name, body(turn)) for name in "abc"))
        await asyncio.sleep(0)
        assert await s.write(*(Put("o", name, body(f"{turn} again")) for name in "cab"))
        await asyncio.sleep(0)
        assert await s.write(*(Drop("o", name) for name in "bca"))
        await asyncio.sleep(0)


async def patiently(s: Subject, id: str) -> Document:
    """The document, where the driver may have to connect again first."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 5
    while True:
        try:
            return await s.there(id)
        except StoreUnavailable:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.01)
