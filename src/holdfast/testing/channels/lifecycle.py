"""Opening, closing, migrating, and what the driver says of itself."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from holdfast.channels.driver import (
    LATER,
    Append,
    Appended,
    Changed,
    Clear,
    Edit,
    Erase,
    Find,
    Found,
    Log,
    Operation,
    Read,
    Send,
    TopicPage,
    Topics,
    Trim,
)
from holdfast.errors import Closed
from holdfast.testing.channels.running import SuiteCore, case, tidy
from holdfast.testing.channels.subject import Subject, body, offsets

__all__ = ["LifecycleCases"]


class LifecycleCases(SuiteCore):
    """What is not an operation."""

    @case
    async def test_a_healthy_store_says_so(self, s: Subject) -> None:
        health = await s.driver.health()
        assert health.ok, health.detail
        assert health.store == s.driver.traits.name
        assert health.seconds >= 0

    @case
    async def test_a_closed_driver_says_that_it_is_not_well(self, s: Subject) -> None:
        await s.driver.close()
        health = await s.driver.health()
        assert not health.ok
        assert health.detail, "it does not say why"
        await s.driver.open()
        assert (await s.driver.health()).ok

    @case
    async def test_a_driver_describes_its_store_in_words(self, s: Subject) -> None:
        findings = await s.driver.describe()
        assert findings
        for finding in findings:
            assert finding.level in ("ok", "note", "warning")
            assert finding.subject
            assert finding.text

    @case
    async def test_a_migrated_store_has_nothing_pending(self, s: Subject) -> None:
        assert list(await s.driver.pending()) == []
        assert list(await s.driver.migrate()) == []
        assert list(await s.driver.pending()) == []

    def test_two_that_migrate_at_once_both_find_their_tables(self) -> None:
        async def work() -> None:
            async with asyncio.timeout(60), AsyncExitStack() as stack:
                drivers = [await self.make_driver() for _ in range(2)]
                for driver in drivers:
                    await driver.open()
                    stack.push_async_callback(driver.close)
                await asyncio.gather(*(driver.migrate() for driver in drivers))
                for driver in drivers:
                    assert list(await driver.pending()) == []
                    (page,) = await driver.apply([Topics("nobody:c:", None, 1)])
                    assert not page.topics

        self.run(work)

    @case
    async def test_a_driver_may_be_closed_twice_and_opened_again(self, s: Subject) -> None:
        await s.say("room", 1)
        await s.driver.close()
        await s.driver.close()
        await s.driver.open()
        assert (await s.say("room", 2)).offset == 2
        assert offsets(await s.log("room")) == [1, 2]

    @case
    async def test_a_driver_that_was_never_opened_can_be_closed(self, s: Subject) -> None:
        driver = await self.make_driver()
        await driver.close()
        assert (await s.log("room")).epoch is None

    @tidy
    @case
    async def test_a_closed_driver_does_nothing_and_says_so(self, s: Subject) -> None:
        await s.driver.close()
        try:
            await s.driver.apply([s.place(Append("room", "said", body(1)))])
        except Closed:
            pass  # as it should be
        else:
            raise AssertionError("a closed driver took an operation")
        finally:
            await s.driver.open()
        assert (await s.log("room")).epoch is None

    @case
    async def test_traits_are_sane(self, s: Subject) -> None:
        traits = s.driver.traits
        assert traits.name
        assert traits.lanes >= 1
        assert traits.pipeline >= 1
        assert traits.max_ops >= 1
        assert traits.max_bytes >= 1
        assert traits.latency >= 0
        assert (traits.shared == "process") <= (traits.notifies == "no"), "it announces to nobody"
        assert (traits.latency > 0) <= (traits.notifies == "poll"), "only who polls is late"

    @case
    async def test_a_sweep_spares_what_is_kept(self, s: Subject) -> None:
        await s.fill("room", 5)
        async with s.listening("room"):
            assert await s.driver.sweep() >= 0
        assert offsets(await s.log("room")) == [1, 2, 3, 4, 5]

    @case
    async def test_an_immediate_answer_is_the_one_that_a_batch_gives(self, s: Subject) -> None:
        first = await s.say("room", 1, id="one")
        asked: tuple[tuple[Operation, type], ...] = (
            (Append("room", "said", body(2)), Appended),
            (Append("room", "said", body(2), id="one"), Appended),
            (Edit("room", body(3), id="one"), Changed),
            (Edit("room", body(3), id="none"), type(None)),
            (Find("room", offset=1, epoch=first.epoch), Found),
            (Find("absent", id="one"), type(None)),
            (Read("room", 10), Log),
            (Read("absent", 10), Log),
            (Send("room", b"x"), type(None)),
            (Erase("room", id="one"), Changed),
            (Erase("room", id="one"), type(None)),
            (Topics("", None, 10), TopicPage),
            (Trim("room", 1, None), int),
            (Clear("room"), bool),
        )
        for op, kind in asked:
            if type(op) not in s.driver.traits.immediate:
                continue
            answer = s.driver.now(s.place(op))
            if answer is LATER:
                answer = await s.do(op)
            assert isinstance(answer, kind), f"{op}: {answer!r}"
