"""Opening, closing, migrating, and what the driver says of itself."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from holdfast.errors import Closed
from holdfast.testing.webmention.running import SuiteCore, case, on_a_loop, tidy
from holdfast.testing.webmention.subject import DATA, Subject, ids
from holdfast.webmention.driver import Put

__all__ = ["LifecycleCases"]


class LifecycleCases(SuiteCore):
    """What is not about documents."""

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
            async with AsyncExitStack() as stack:
                drivers = [await self.make_driver() for _ in range(2)]
                for driver in drivers:
                    await driver.open()
                    stack.push_async_callback(driver.close)
                await asyncio.gather(*(driver.migrate() for driver in drivers))
                for driver in drivers:
                    assert list(await driver.pending()) == []
                    assert await driver.get("nobody:m:o", ["nothing"]) == [None]

        on_a_loop(self, work)

    @case
    async def test_a_driver_may_be_closed_twice_and_opened_again(self, s: Subject) -> None:
        first = await s.put("one", tags=("x",), wait=0)
        await s.driver.close()
        await s.driver.close()
        await s.driver.open()
        assert await s.there("one") == first
        await s.put("two", tags=("x",))
        assert ids(await s.page("x")) == ["one", "two"]
        assert ids(await s.claim(9)) == ["one"]

    @case
    async def test_a_driver_that_was_never_opened_can_be_closed(self, s: Subject) -> None:
        driver = await self.make_driver()
        await driver.close()
        assert await s.get("one") is None

    @tidy
    @case
    async def test_a_closed_driver_does_nothing_and_says_so(self, s: Subject) -> None:
        await s.driver.close()
        try:
            await s.driver.write([Put(s.kind("o"), "one", DATA)])
        except Closed:
            pass  # as it should be
        else:
            raise AssertionError("a closed driver took a write")
        finally:
            await s.driver.open()
        assert await s.get("one") is None

    @tidy
    @case
    async def test_a_closed_driver_reads_nothing_and_says_so(self, s: Subject) -> None:
        kind = s.kind("o")
        await s.driver.close()
        asked = (
            s.driver.get(kind, ["one"]),
            s.driver.page(kind),
            s.driver.count(kind, [""]),
            s.driver.claim(kind, lease=1),
            s.driver.next_due(kind),
        )
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await s.driver.open()
        for answer in answers:
            assert isinstance(answer, Closed), f"a closed driver answered {answer!r}"

    @case
    async def test_traits_are_sane(self, s: Subject) -> None:
        traits = s.driver.traits
        assert traits.name
        assert (traits.shared == "process") <= (traits.clock == "process"), "nobody else has its clock"
        assert (traits.shared == "network") <= (traits.clock == "server"), "machines' clocks differ"
