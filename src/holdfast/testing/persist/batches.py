"""Many operations at once: answered by position, in order per key, each with a fate of its own."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    KEEP,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
)
from holdfast.testing.persist.subject import HOUR, Subject, SuiteCore, case, read

__all__ = ["BatchCases"]

MOST = 2**63 - 1

# Writes to one absent key, what each is answered, and what is there in the end: value, and whether it expires.
SEQUENCES: tuple[tuple[tuple[Operation, ...], list[Any], tuple[Any, bool] | None], ...] = (
    ((Create("", b"1", None), Create("", b"2", HOUR)), [True, False], (1, False)),
    ((Create("", b"1", None), Remove(""), Create("", b"2", HOUR)), [True, True, True], (2, True)),
    ((Remove(""), Create("", b"1", HOUR)), [False, True], (1, True)),
    ((Create("", b"1", None), Remove("")), [True, True], None),
    ((Create("", b"1", None), Remove(""), Remove("")), [True, True, False], None),
    ((Set("", b"1", HOUR), Set("", b"2", KEEP)), [None, None], (2, True)),
    ((Set("", b"1", None), Set("", b"2", KEEP)), [None, None], (2, False)),
    ((Set("", b"1", HOUR), Set("", b"2", None)), [None, None], (2, False)),
    ((Set("", b"1", HOUR), Set("", b"2", None), Set("", b"3", KEEP)), [None, None, None], (3, False)),
    ((Set("", b"1", KEEP), Set("", b"2", HOUR), Set("", b"3", KEEP)), [None, None, None], (3, True)),
    ((Set("", b"1", HOUR), Remove(""), Set("", b"2", KEEP)), [None, True, None], (2, False)),
    ((Set("", b"1", None), Create("", b"2", HOUR)), [None, False], (1, False)),
    ((Create("", b"1", HOUR), Set("", b"2", KEEP)), [True, None], (2, True)),
    ((Set("", b"1", None), Touch("", HOUR)), [None, True], (1, True)),
    ((Touch("", HOUR), Set("", b"1", KEEP)), [False, None], (1, False)),
    ((Set("", b"1", HOUR), Touch("", None), Set("", b"2", KEEP)), [None, True, None], (2, False)),
    ((Create("", b"1", HOUR), Touch("", None)), [True, True], (1, False)),
    ((Set("", b"1", None), GetRenew("", HOUR), Set("", b"2", KEEP)), [None, b"1", None], (2, True)),
    ((GetRenew("", HOUR), Create("", b"1", None)), [None, True], (1, False)),
    ((Set("", b"41", HOUR), Increment("", 1, None)), [None, 42], (42, True)),
    ((Increment("", 1, HOUR), Set("", b"7", KEEP), Increment("", 1, None)), [1, None, 8], (8, True)),
    ((Increment("", 1, None), Increment("", 1, HOUR)), [1, 2], (2, False)),
    ((Increment("", 5, HOUR), Remove(""), Increment("", 2, None)), [5, True, 2], (2, False)),
    ((Create("", b"1", None), Increment("", 1, HOUR), Create("", b"9", None)), [True, 2, False], (2, False)),
    ((Increment("", 1, None), Touch("", HOUR), Increment("", 1, None)), [1, True, 2], (2, True)),
    ((Replace("", b"1", "0", KEEP), Create("", b"2", None)), [None, True], (2, False)),
    ((Set("", b"1", HOUR), Replace("", b"2", "0", None)), [None, None], (1, True)),
    ((Set("", b"1", HOUR), Remove("", "0"), Set("", b"2", KEEP)), [None, False, None], (2, True)),
)


def at(key: str, sequence: tuple[Operation, ...]) -> list[Operation]:
    """The sequence, aimed at this key."""
    return [msgspec.structs.replace(op, key=key) for op in sequence]


def plain(outcome: Any) -> Any:
    """Outcomes as they stand in `SEQUENCES`: text is bytes."""
    return outcome.encode() if isinstance(outcome, str) else outcome


async def expect_end(s: Subject, key: str, end: tuple[Any, bool] | None, what: object) -> None:
    found = await s.find(key)
    got = None if found is None else (found.value, found.ttl is not None)
    assert got == end, f"{what}: in the end {got}, expected {end}"


class BatchCases(SuiteCore):
    """Round trips that carry more than one operation."""

    @case
    async def test_a_batch_of_one_is_answered_with_one(self, s: Subject) -> None:
        assert await s.batch(Set("k", b"1", None)) == [None]
        assert await s.batch(Create("k", b"1", None)) == [False]
        assert [read(text) for text in await s.batch(Get("k"))] == [1]

    @case
    async def test_every_kind_of_operation_is_answered_at_its_position(self, s: Subject) -> None:
        await s.batch(*(Set(f"old{number}", b"%d" % number, None) for number in range(8)))
        version = (await s.found("old5")).version
        outcomes = await s.batch(
            Get("old0"),
            Set("new0", b"100", HOUR),
            Create("old1", b"0", None),
            GetEntry("old2"),
            Increment("old3", 10, None),
            Get("absent"),
            Create("new1", b"101", None),
            Remove("old4"),
            Keys("old", None, 100),
            Replace("old5", b"55", version, KEEP),
            Touch("absent", HOUR),
            Remove("absent"),
            GetRenew("old6", HOUR),
            Touch("old7", HOUR),
            Get("old7"),
            GetEntry("absent"),
        )
        assert read(outcomes[0]) == 0
        assert outcomes[1] is None
        assert outcomes[2] is False
        assert isinstance(outcomes[3], Stored)
        assert read(outcomes[3].value) == 2
        assert outcomes[4] == 13
        assert outcomes[5] is None
        assert outcomes[6] is True
        assert outcomes[7] is True
        assert {s.short(key) for key in outcomes[8].keys} <= {f"old{number}" for number in range(8)}
        assert outcomes[9] == (await s.found("old5")).version
        assert outcomes[10] is False
        assert outcomes[11] is False
        assert read(outcomes[12]) == 6
        assert outcomes[13] is True
        assert read(outcomes[14]) == 7
        assert outcomes[15] is None
        assert await s.values(["new0", "new1", "old5", "old3"]) == [100, 101, 55, 13]

    @case
    async def test_writes_to_one_key_take_effect_in_the_order_of_the_batch(self, s: Subject) -> None:
        for number, (sequence, wanted, end) in enumerate(SEQUENCES):
            outcomes = [plain(outcome) for outcome in await s.batch(*at(f"k{number}", sequence))]
            assert outcomes == wanted, f"{sequence}: answered {outcomes}, expected {wanted}"
            await expect_end(s, f"k{number}", end, sequence)

    @case
    async def test_writes_to_many_keys_keep_their_order_when_they_are_interleaved(self, s: Subject) -> None:
        keyed = [(at(f"k{number:02}", entry[0]), entry) for number, entry in enumerate(SEQUENCES)]
        longest = max(len(ops) for ops, _ in keyed)
        batch = [ops[turn] for turn in range(longest) for ops, _ in reversed(keyed) if turn < len(ops)]
        answered: dict[str, list[Any]] = {}
        for op, outcome in zip(batch, await s.batch(*batch), strict=True):
            answered.setdefault(op.key, []).append(plain(outcome))
        for number, (_, (sequence, wanted, end)) in enumerate(keyed):
            assert answered[f"k{number:02}"] == wanted, f"{sequence}: {answered[f'k{number:02}']}"
            await expect_end(s, f"k{number:02}", end, sequence)

    @case
    async def test_of_two_replaces_of_one_version_the_first_wins(self, s: Subject) -> None:
        await s.do(Set("k", b"0", HOUR))
        version = (await s.found("k")).version
        first, second, gone = await s.batch(
            Replace("k", b"1", version, KEEP), Replace("k", b"2", version, KEEP), Remove("k", version)
        )
        found = await s.found("k")
        assert (found.value, found.version) == (1, first)
        assert found.ttl is not None
        assert second is None
        assert gone is False

    @case
    async def test_a_removal_by_version_and_a_creation_follow_each_other(self, s: Subject) -> None:
        await s.do(Set("k", b"0", HOUR))
        version = (await s.found("k")).version
        assert await s.batch(Remove("k", version), Create("k", b"1", None), Remove("k", version)) == [
            True,
            True,
            False,
        ]
        await expect_end(s, "k", (1, False), "removed and created")

    @case
    async def test_a_hundred_increments_of_one_key_count_to_a_hundred(self, s: Subject) -> None:
        assert await s.batch(*[Increment("k", 1, HOUR)] * 100) == list(range(1, 101))
        assert (await s.found("k")).ttl is not None
        mixed = [Increment(f"k{number % 3}", number % 5 - 2, None) for number in range(90)]
        totals: dict[str, int] = {}
        wanted = []
        for op in mixed:
            totals[op.key] = totals.get(op.key, 0) + op.by
            wanted.append(totals[op.key])
        assert await s.batch(*mixed) == wanted

    @case
    async def test_of_many_sets_of_one_key_the_last_stays(self, s: Subject) -> None:
        assert await s.batch(*(Set("k", b"%d" % number, None) for number in range(100))) == [None] * 100
        assert (await s.found("k")).value == 99

    @case
    async def test_a_key_may_be_read_many_times_in_one_batch(self, s: Subject) -> None:
        await s.batch(Set("a", b"1", None), Set("b", b"2", None))
        keys = ["a", "b", "a", "c", "b", "a", "a", "c"]
        texts = await s.batch(*map(Get, keys))
        assert [text and read(text) for text in texts] == [1, 2, 1, None, 2, 1, 1, None]
        entries = await s.batch(*map(GetEntry, keys))
        assert [entry and read(entry.value) for entry in entries] == [1, 2, 1, None, 2, 1, 1, None]

    @case
    async def test_a_full_batch_is_answered_whole(self, s: Subject) -> None:
        most = s.driver.traits.max_ops
        assert (
            await s.batch(*(Create(f"k{number}", b"%d" % number, HOUR) for number in range(most)))
            == [True] * most
        )
        assert await s.values(f"k{number}" for number in range(most)) == list(range(most))
        assert await s.batch(*(Set(f"k{number}", b"-1", KEEP) for number in range(most))) == [None] * most
        assert await s.values(f"k{number}" for number in range(most)) == [-1] * most
        assert await s.batch(*(Remove(f"k{number}") for number in range(most))) == [True] * most

    # --- one failure is one operation's ---

    @case
    async def test_one_bad_operation_among_good_ones_fails_alone(self, s: Subject) -> None:
        await s.batch(Set("text", b'"x"', None), Set("full", b"%d" % MOST, None), Set("count", b"1", None))
        outcomes = await s.batch(
            Set("a", b"1", None),
            Increment("text", 1, None),
            Increment("count", 1, None),
            Increment("full", 1, None),
            Create("b", b"2", None),
            Increment("text", 1, None),
            Increment("new", 3, None),
            Remove("count"),
        )
        assert [outcomes[at] for at in (0, 2, 4, 6, 7)] == [None, 2, True, 3, True]
        assert isinstance(outcomes[1], InvalidConversion)
        assert isinstance(outcomes[3], ValueError)
        assert isinstance(outcomes[5], InvalidConversion)
        assert outcomes[1] is not outcomes[5], "two waiters share one exception object"
        assert await s.values(["a", "b", "new", "text", "full"]) == [1, 2, 3, "x", MOST]

    @case
    async def test_a_bad_operation_leaves_the_others_of_its_key_standing(self, s: Subject) -> None:
        outcomes = await s.batch(
            Set("k", b'"x"', None),
            Increment("k", 1, None),
            Set("k", b"%d" % (MOST - 1), HOUR),
            Increment("k", 1, None),
            Increment("k", 1, None),
            Increment("k", -1, None),
        )
        assert outcomes[0] is None
        assert isinstance(outcomes[1], InvalidConversion)
        assert outcomes[2:4] == [None, MOST]
        assert isinstance(outcomes[4], ValueError)
        assert outcomes[5] == MOST - 1
        await expect_end(s, "k", (MOST - 1, True), "set, incremented, overflown")
