"""What each operation answers, on its own."""

from __future__ import annotations

import re

from holdfast.errors import InvalidConversion
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
from holdfast.testing.persist.subject import HOUR, Subject, SuiteCore, case, read, same

__all__ = ["OperationCases"]

LEAST, MOST = -(2**63), 2**63 - 1
NONSENSE = ("", "x", "0", "-1", "1e5", "_", "9" * 64, "a" * 40, "-" * 64, "00000000000000000001")


async def refused(subject: Subject, op: Operation, kind: type[Exception]) -> None:
    """The operation is answered with this exception, or raises it where it is answered at once."""
    try:
        outcome = await subject.do(op)
    except kind:
        return
    raise AssertionError(f"{type(op).__name__} answered {outcome!r} instead of {kind.__name__}")


class OperationCases(SuiteCore):
    """One operation at a time over live values and absent keys."""

    @case
    async def test_an_absent_key_is_absent_for_every_operation(self, s: Subject) -> None:
        assert await s.do(Get("k")) is None
        assert await s.do(GetEntry("k")) is None
        assert await s.do(GetRenew("k", HOUR)) is None
        assert await s.do(Replace("k", b"1", "1", KEEP)) is None
        assert await s.do(Remove("k")) is False
        assert await s.do(Remove("k", "1")) is False
        assert await s.do(Touch("k", HOUR)) is False
        assert await s.find("k") is None, "one of them stored something"

    @case
    async def test_set_stores_and_set_overwrites(self, s: Subject) -> None:
        assert await s.do(Set("k", b'{"a":1}', None)) is None
        assert read(await s.do(Get("k"))) == {"a": 1}
        assert await s.do(Set("k", b'"other"', None)) is None
        assert read(await s.do(Get("k"))) == "other"

    @case
    async def test_create_stores_where_nothing_lives(self, s: Subject) -> None:
        assert await s.do(Create("k", b"[1,2]", HOUR)) is True
        found = await s.found("k")
        assert found.value == [1, 2]
        assert found.ttl is not None

    @case
    async def test_create_over_a_live_value_leaves_it_as_it_was(self, s: Subject) -> None:
        await s.do(Set("k", b'"first"', None))
        before = await s.found("k")
        assert await s.do(Create("k", b'"second"', HOUR)) is False
        assert await s.found("k") == before

    @case
    async def test_create_after_a_removal_succeeds(self, s: Subject) -> None:
        assert await s.do(Create("k", b"1", HOUR)) is True
        assert await s.do(Remove("k")) is True
        assert await s.do(Create("k", b"2", None)) is True
        assert (await s.found("k")).value == 2
        assert (await s.found("k")).ttl is None, "a removed value lent its lifetime"

    @case
    async def test_remove_answers_whether_there_was_one(self, s: Subject) -> None:
        await s.do(Set("k", b"1", None))
        assert await s.do(Remove("k")) is True
        assert await s.do(Remove("k")) is False
        assert await s.find("k") is None

    @case
    async def test_a_stored_null_is_a_value(self, s: Subject) -> None:
        assert await s.do(Create("k", b"null", None)) is True
        text = await s.do(Get("k"))
        assert text is not None
        assert read(text) is None
        assert await s.do(Create("k", b"1", None)) is False
        assert await s.do(Remove("k")) is True

    @case
    async def test_touch_changes_the_lifetime_and_not_the_value(self, s: Subject) -> None:
        await s.do(Set("k", b'"v"', None))
        assert await s.do(Touch("k", HOUR)) is True
        found = await s.found("k")
        assert found.value == "v"
        assert found.ttl is not None
        assert await s.do(Touch("k", None)) is True
        assert (await s.found("k")).ttl is None

    @case
    async def test_get_renew_reads_and_gives_a_new_lifetime(self, s: Subject) -> None:
        await s.do(Set("k", b'"v"', None))
        assert read(await s.do(GetRenew("k", HOUR))) == "v"
        assert (await s.found("k")).ttl is not None
        assert read(await s.do(GetRenew("k", None))) == "v"
        assert (await s.found("k")).ttl is None

    # --- versions ---

    @case
    async def test_a_version_is_short_plain_text(self, s: Subject) -> None:
        for number, value in enumerate((b"1", b'"x"', b'"' + b"y" * 10_000 + b'"')):
            await s.do(Set(f"k{number}", value, None))
            version = (await s.found(f"k{number}")).version
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", version), f"not a version: {version!r}"

    @case
    async def test_a_version_stays_while_nothing_is_written(self, s: Subject) -> None:
        await s.do(Set("k", b"1", None))
        assert (await s.found("k")).version == (await s.found("k")).version

    @case
    async def test_versions_differ_wherever_values_differ(self, s: Subject) -> None:
        seen: dict[str, int] = {}
        for number in range(20):
            if number % 4 == 3:
                await s.do(Remove("k"))
            await s.do((Create if number % 4 == 3 else Set)("k", b"%d" % number, None))
            version = (await s.found("k")).version
            assert version not in seen, f"value {number} has the version of value {seen[version]}"
            seen[version] = number

    @case
    async def test_a_version_of_a_removed_value_does_not_name_its_successor(self, s: Subject) -> None:
        await s.do(Create("k", b'"old"', None))
        old = (await s.found("k")).version
        await s.do(Remove("k"))
        await s.do(Create("k", b'"new"', None))
        assert await s.do(Replace("k", b'"mine"', old, KEEP)) is None
        assert await s.do(Remove("k", old)) is False
        assert (await s.found("k")).value == "new"

    @case
    async def test_increment_makes_a_new_version(self, s: Subject) -> None:
        await s.do(Increment("k", 1, None))
        before = (await s.found("k")).version
        await s.do(Increment("k", 1, None))
        assert (await s.found("k")).version != before

    @case
    async def test_a_value_that_came_back_has_its_old_version_only_where_traits_say_so(
        self, s: Subject
    ) -> None:
        await s.do(Set("k", b'"a"', None))
        first = (await s.found("k")).version
        await s.do(Set("k", b'"b"', None))
        await s.do(Set("k", b'"a"', None))
        again = (await s.found("k")).version
        assert (first == again) is s.driver.traits.version_from_content, (
            "traits.version_from_content is not what happens"
        )

    @case
    async def test_replace_stores_over_the_version_named_and_answers_the_new_one(self, s: Subject) -> None:
        await s.do(Set("k", b'"a"', None))
        version = (await s.found("k")).version
        answered = await s.do(Replace("k", b'"b"', version, KEEP))
        found = await s.found("k")
        assert found.value == "b"
        assert answered == found.version
        assert answered != version

    @case
    async def test_replace_of_another_version_changes_nothing(self, s: Subject) -> None:
        await s.do(Set("k", b'"a"', HOUR))
        old = (await s.found("k")).version
        await s.do(Set("k", b'"b"', KEEP))
        now = await s.found("k")
        assert await s.do(Replace("k", b'"c"', old, None)) is None
        after = await s.found("k")
        assert (after.value, after.version) == ("b", now.version)
        assert after.ttl is not None, "a refused replace changed the lifetime"

    @case
    async def test_a_version_that_nobody_gave_out_matches_nothing(self, s: Subject) -> None:
        await s.do(Set("k", b'"a"', None))
        for nonsense in NONSENSE:
            assert await s.do(Replace("k", b'"b"', nonsense, KEEP)) is None, nonsense
            assert await s.do(Remove("k", nonsense)) is False, nonsense
        assert (await s.found("k")).value == "a"

    @case
    async def test_remove_by_version_spares_a_changed_value(self, s: Subject) -> None:
        await s.do(Set("k", b'"a"', None))
        old = (await s.found("k")).version
        await s.do(Set("k", b'"b"', None))
        assert await s.do(Remove("k", old)) is False
        assert (await s.found("k")).value == "b"
        assert await s.do(Remove("k", (await s.found("k")).version)) is True
        assert await s.find("k") is None

    # --- counters ---

    @case
    async def test_increment_starts_at_its_step_and_adds(self, s: Subject) -> None:
        assert await s.do(Increment("k", 5, None)) == 5
        assert await s.do(Increment("k", 1, None)) == 6
        assert await s.do(Increment("k", -10, None)) == -4
        assert await s.do(Increment("k", 0, None)) == -4
        assert read(await s.do(Get("k"))) == -4

    @case
    async def test_increment_adds_to_an_integer_that_was_set(self, s: Subject) -> None:
        for number in (41, 0, -7, MOST - 1, LEAST):
            await s.do(Set("k", b"%d" % number, None))
            assert await s.do(Increment("k", 1, None)) == number + 1
            assert same(read(await s.do(Get("k"))), number + 1)

    @case
    async def test_a_counter_reaches_both_ends_of_64_bits(self, s: Subject) -> None:
        assert await s.do(Increment("up", MOST, None)) == MOST
        assert await s.do(Increment("down", LEAST, None)) == LEAST
        assert await s.do(Increment("up", LEAST, None)) == -1
        assert await s.do(Increment("down", MOST, None)) == -1
        assert await s.values(["up", "down"]) == [-1, -1]

    @case
    async def test_an_increment_past_64_bits_is_a_value_error_and_changes_nothing(self, s: Subject) -> None:
        for start, by in ((MOST, 1), (LEAST, -1), (MOST, MOST), (LEAST, LEAST), (1, MOST)):
            await s.do(Set("k", b"%d" % start, HOUR))
            before = await s.found("k")
            await refused(s, Increment("k", by, None), ValueError)
            after = await s.found("k")
            assert (after.value, after.version) == (start, before.version)
            assert after.ttl is not None

    @case
    async def test_incrementing_what_is_no_64_bit_integer_is_an_invalid_conversion(self, s: Subject) -> None:
        texts = (
            b'"text"',
            b'"1"',
            b'""',
            b"null",
            b"true",
            b"1.5",
            b"1.0",
            b"1e3",
            b"{}",
            b"[1]",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"123456789012345678901234567890",
        )
        for text in texts:
            await s.do(Set("k", text, None))
            await refused(s, Increment("k", 1, None), InvalidConversion)
            assert same((await s.found("k")).value, read(text)), f"{text!r} was changed"
