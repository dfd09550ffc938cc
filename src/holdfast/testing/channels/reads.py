"""The four ways to read a log, their limits and their edges."""

from __future__ import annotations

from typing import Any

from holdfast.channels.driver import Edit, Entry, Erase, Log, Read
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import Subject, offsets

__all__ = ["ReadCases"]

FORMS: tuple[dict[str, int], ...] = ({}, {"before": 5}, {"after": 5}, {"changes_after": 5})


class ReadCases(SuiteCore):
    """`Read`."""

    async def check(self, s: Subject, wanted: tuple[tuple[int, dict[str, int], list[int]], ...]) -> None:
        """Each read alone, and all of them in one batch."""
        for limit, where, expected in wanted:
            got = offsets(await s.log("room", limit, **where))
            assert got == expected, f"limit {limit}, {where}: {got}, not {expected}"
        logs = await s.batch(*(Read("room", limit, **where) for limit, where, _ in wanted))
        for log, (limit, where, expected) in zip(logs, wanted, strict=True):
            assert offsets(log) == expected, f"in a batch, limit {limit}, {where}: {offsets(log)}"

    @case
    async def test_an_absent_log_is_empty_in_every_form(self, s: Subject) -> None:
        for where in FORMS:
            log = await s.log("absent", **where)
            assert log == Log(None, 0, 0, []), f"{where}: {log}"
        for log in await s.batch(*(Read("absent", 1, **where) for where in FORMS)):
            assert (log.epoch, log.last, log.trimmed, list(log.entries)) == (None, 0, 0, [])
        assert await s.topics() == [], "a read began a log"

    @case
    async def test_the_last_ones_come_oldest_first(self, s: Subject) -> None:
        await s.fill("room", 12)
        whole = list(range(1, 13))
        await self.check(s, tuple((limit, {}, whole[-limit:]) for limit in (1, 2, 10, 11, 12, 13, 100)))

    @case
    async def test_pages_backwards_are_the_last_below_an_offset(self, s: Subject) -> None:
        await s.fill("room", 12)
        await self.check(
            s,
            (
                (3, {"before": 13}, [10, 11, 12]),
                (3, {"before": 12}, [9, 10, 11]),
                (3, {"before": 99}, [10, 11, 12]),
                (3, {"before": 4}, [1, 2, 3]),
                (3, {"before": 3}, [1, 2]),
                (3, {"before": 2}, [1]),
                (3, {"before": 1}, []),
                (3, {"before": 0}, []),
                (1, {"before": 7}, [6]),
                (100, {"before": 7}, [1, 2, 3, 4, 5, 6]),
            ),
        )

    @case
    async def test_pages_forwards_are_the_first_above_an_offset(self, s: Subject) -> None:
        await s.fill("room", 12)
        await self.check(
            s,
            (
                (3, {"after": 0}, [1, 2, 3]),
                (3, {"after": 1}, [2, 3, 4]),
                (3, {"after": 9}, [10, 11, 12]),
                (3, {"after": 10}, [11, 12]),
                (3, {"after": 11}, [12]),
                (3, {"after": 12}, []),
                (3, {"after": 99}, []),
                (1, {"after": 5}, [6]),
                (100, {"after": 5}, [6, 7, 8, 9, 10, 11, 12]),
            ),
        )

    @case
    async def test_changes_of_a_log_without_changes_are_its_messages(self, s: Subject) -> None:
        await s.fill("room", 12)
        await self.check(
            s,
            (
                (3, {"changes_after": 0}, [1, 2, 3]),
                (3, {"changes_after": 9}, [10, 11, 12]),
                (3, {"changes_after": 11}, [12]),
                (3, {"changes_after": 12}, []),
                (3, {"changes_after": 99}, []),
                (100, {"changes_after": 5}, [6, 7, 8, 9, 10, 11, 12]),
            ),
        )

    @case
    async def test_every_form_tells_how_far_the_log_goes(self, s: Subject) -> None:
        (first, *_) = await s.fill("room", 12)
        for where in (*FORMS, {"before": 1}, {"after": 12}, {"changes_after": 99}):
            log = await s.log("room", 2, **where)
            assert (log.epoch, log.last, log.trimmed) == (first.epoch, 12, 0), f"{where}: {log}"

    @case
    async def test_erased_messages_are_left_out_and_do_not_count(self, s: Subject) -> None:
        await s.fill("room", 10)
        epoch = (await s.log("room", 1)).epoch
        for offset in (2, 5, 6, 10):  # under 11, 12, 13, 14
            await s.do(Erase("room", offset=offset, epoch=epoch))
        await self.check(
            s,
            (
                (3, {}, [7, 8, 9]),
                (5, {}, [3, 4, 7, 8, 9]),
                (100, {}, [1, 3, 4, 7, 8, 9]),
                (3, {"before": 8}, [3, 4, 7]),
                (3, {"before": 6}, [1, 3, 4]),
                (3, {"after": 1}, [3, 4, 7]),
                (2, {"after": 4}, [7, 8]),
                (3, {"after": 9}, []),
            ),
        )

    @case
    async def test_changes_come_in_the_order_in_which_they_happened(self, s: Subject) -> None:
        await s.fill("room", 6)
        epoch = (await s.log("room", 1)).epoch
        await s.do(Edit("room", b'{"e":7}', offset=4, epoch=epoch))  # 7
        await s.do(Erase("room", offset=2, epoch=epoch))  # 8
        await s.say("room", 9)  # 9
        await s.do(Edit("room", b'{"e":10}', offset=1, epoch=epoch))  # 10
        await s.do(Edit("room", b'{"e":11}', offset=4, epoch=epoch))  # 11
        await s.say("room", 12)  # 12
        await self.check(
            s,
            (
                (100, {"changes_after": 0}, [3, 5, 6, 2, 9, 1, 4, 12]),
                (100, {"changes_after": 3}, [5, 6, 2, 9, 1, 4, 12]),
                (100, {"changes_after": 6}, [2, 9, 1, 4, 12]),
                (100, {"changes_after": 7}, [2, 9, 1, 4, 12]),
                (100, {"changes_after": 8}, [9, 1, 4, 12]),
                (100, {"changes_after": 9}, [1, 4, 12]),
                (100, {"changes_after": 10}, [4, 12]),
                (100, {"changes_after": 11}, [12]),
                (100, {"changes_after": 12}, []),
                (1, {"changes_after": 0}, [3]),
                (2, {"changes_after": 5}, [6, 2]),
                (3, {"changes_after": 6}, [2, 9, 1]),
                (3, {"changes_after": 8}, [9, 1, 4]),
                (100, {}, [1, 3, 4, 5, 6, 9, 12]),
                (3, {"after": 3}, [4, 5, 6]),
                (3, {"before": 9}, [4, 5, 6]),
            ),
        )
        entries: dict[int, Any] = {entry.offset: entry for entry in (await s.log("room")).entries}
        assert (entries[4].changed, entries[4].payload) == (11, '{"e":11}')
        assert (entries[1].changed, entries[1].payload) == (10, '{"e":10}')
        assert entries[3].changed is None
        changes = {entry.offset: entry for entry in (await s.log("room", changes_after=0)).entries}
        assert (changes[2].changed, changes[2].payload) == (8, None), "a removal is missing from the changes"

    @case
    async def test_a_client_that_pages_through_changes_meets_each_once(self, s: Subject) -> None:
        await s.fill("room", 20)
        epoch = (await s.log("room", 1)).epoch
        for offset in (3, 17, 3, 9, 20, 1):
            await s.do(Edit("room", b'{"edited":1}', offset=offset, epoch=epoch))
        for offset in (4, 9, 16):
            await s.do(Erase("room", offset=offset, epoch=epoch))
        whole = (await s.log("room", changes_after=0)).entries
        for limit in (1, 2, 3, 7):
            met: list[Entry] = []
            reached = 0
            while True:
                entries = (await s.log("room", limit, changes_after=reached)).entries
                if not entries:
                    break
                met += entries
                reached = max(entries[-1].offset, entries[-1].changed or 0)
            assert met == whole, f"in steps of {limit}: {offsets(met)}"
        assert len(whole) == 20
        assert reached == 29

    @case
    async def test_reading_changes_nothing(self, s: Subject) -> None:
        await s.fill("room", 5)
        before = await s.log("room", changes_after=0)
        for where in FORMS:
            await s.log("room", 1, **where)
        assert await s.log("room", changes_after=0) == before
        assert (await s.say("room")).offset == 6
