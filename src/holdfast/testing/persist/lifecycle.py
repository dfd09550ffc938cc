"""Opening, closing, migrating, and what the driver says of itself."""

from __future__ import annotations

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    LATER,
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
from holdfast.testing.persist.subject import HOUR, Subject, SuiteCore, case

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
    async def test_a_driver_describes_its_store_in_words(self, s: Subject) -> None:
        for finding in await s.driver.describe():
            assert finding.level in ("ok", "note", "warning")
            assert finding.subject
            assert finding.text

    @case
    async def test_a_migrated_store_has_nothing_pending(self, s: Subject) -> None:
        assert list(await s.driver.pending()) == []
        assert list(await s.driver.migrate()) == []
        assert list(await s.driver.pending()) == []

    @case
    async def test_a_driver_may_be_closed_twice_and_opened_again(self, s: Subject) -> None:
        await s.do(Set("k", b"1", None))
        await s.driver.close()
        await s.driver.close()
        await s.driver.open()
        assert await s.do(Set("k", b"2", None)) is None
        assert (await s.found("k")).value == 2

    @case
    async def test_a_driver_that_was_never_opened_can_be_closed(self, s: Subject) -> None:
        driver = await self.make_driver()
        await driver.close()
        assert await s.do(Get("k")) is None

    @case
    async def test_traits_are_sane(self, s: Subject) -> None:
        traits = s.driver.traits
        assert traits.name
        assert traits.lanes >= 1
        assert traits.pipeline >= 1
        assert traits.max_ops >= 1
        assert traits.max_bytes >= 1

    @case
    async def test_an_immediate_answer_is_the_one_that_a_batch_gives(self, s: Subject) -> None:
        await s.batch(Set("text", b'"x"', HOUR), Set("count", b"5", None))
        asked: tuple[tuple[Operation, object], ...] = (
            (Get("absent"), None),
            (GetEntry("absent"), None),
            (GetRenew("absent", None), None),
            (Touch("absent", None), False),
            (Remove("absent"), False),
            (Replace("absent", b"1", "x", None), None),
            (Create("text", b"1", None), False),
            (Set("text", b'"x"', HOUR), None),
            (Increment("count", 0, None), 5),
        )
        for op, wanted in asked:
            if type(op) not in s.driver.traits.immediate:
                continue
            answer = s.driver.now(s.place(op))
            assert answer is LATER or answer == wanted, f"{op}: {answer!r}"
        if Increment in s.driver.traits.immediate:
            try:
                answer = s.driver.now(s.place(Increment("text", 1, None)))
            except InvalidConversion:
                return
            assert answer is LATER, f"incrementing text answered {answer!r} instead of raising"
