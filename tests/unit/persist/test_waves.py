"""A batch cut into waves must do what the same operations do one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Page,
    Remove,
    Replace,
    Set,
    Touch,
    prefix_end,
)
from holdfast.persist.waves import INT64_MAX, INT64_MIN, Wave, halves, parted, slack, spread, unfolded, waves

NOW = 1000


class Rows(dict[str, tuple[str, int | None, str]]):
    """A dict with the meaning of each operation written out once: value, end of life, version.

    A version is drawn at each write, so no batch can name one that it makes itself.
    """

    drawn = itertools.count()

    def live(self, key: str) -> tuple[str, int | None, str] | None:
        row = self.get(key)
        return row if row is not None and (row[1] is None or row[1] > NOW) else None

    def put(self, key: str, value: str, end: int | None) -> str:
        version = f"drawn-{next(self.drawn)}"
        self[key] = (value, end, version)
        return version

    def apply(self, op: Any, below: int = 0, above: int = 0) -> Any:
        row = self.live(op.key)
        match op:
            case Get() | GetEntry():
                return row and row[0]
            case Set():
                end = (row[1] if row else None) if op.ttl is KEEP else ends(op.ttl)
                self.put(op.key, op.value.decode(), end)
                return None
            case Create():
                if row is None:
                    self.put(op.key, op.value.decode(), ends(op.ttl))
                return row is None
            case Increment():
                return self.increment(op, row, below, above)
            case Keys():
                return Page(sorted(key for key in self if key.startswith(op.key) and self.live(key)), None)
            case Clear():
                gone = [key for key in self if key.startswith(op.key)]
                live = sum(self.live(key) is not None for key in gone)
                for key in gone:
                    del self[key]
                return Cleared(live, None)
        return self.change(op, row)

    def change(self, op: Any, row: tuple[str, int | None, str] | None) -> Any:
        fits = row is not None and getattr(op, "version", None) in (None, row[2])
        match op:
            case Replace():
                if row is None or not fits:
                    return None
                return self.put(op.key, op.value.decode(), row[1] if op.ttl is KEEP else ends(op.ttl))
            case Remove():
                return fits and bool(self.pop(op.key))
            case Touch():
                if row is not None:
                    self[op.key] = (row[0], ends(op.ttl), row[2])
                return fits
            case GetRenew():
                if row is not None:
                    self[op.key] = (row[0], ends(op.ttl), row[2])
                return row and row[0]

    def increment(self, op: Increment, row: Any, below: int, above: int) -> Any:
        if row is None:
            before, end = 0, ends(op.ttl)
        else:
            try:
                before, end = int(row[0]), row[1]
            except ValueError:
                return InvalidConversion(f"increment {op.key!r}")
        if before + op.by - below < INT64_MIN or before + op.by + above > INT64_MAX:
            return ValueError(f"increment {op.key!r}")
        self.put(op.key, str(before + op.by), end)
        return before + op.by


def ends(ttl: int | None) -> int | None:
    return None if ttl is None else NOW + ttl


def in_waves(rows: Rows, batch: Sequence[Operation]) -> list[Any]:
    """What a driver does, with a dict for a database."""
    outcomes: list[Any] = [...] * len(batch)
    for wave in waves(batch):
        send(rows, wave, batch, outcomes)
    return outcomes


def send(rows: Rows, wave: Wave, batch: Sequence[Operation], outcomes: list[Any]) -> None:
    keys = [op.key for op in wave.ops]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys) or wave.kind in (Get, GetEntry)
    assert {type(op) for op in wave.ops} == {wave.kind}
    assert len(wave.ops) == 1 or wave.kind not in (Keys, Clear)
    below, above = slack(wave, batch) if wave.kind is Increment else (0, 0)
    answers = [rows.apply(op, below, above) for op in wave.ops]
    spread(wave, answers, batch, outcomes)
    for at, answer in enumerate(answers):
        if isinstance(answer, ValueError) and wave.folded:
            for one in unfolded(wave, at, batch):
                send(rows, one, batch, outcomes)


def plain(outcome: Any) -> Any:
    return type(outcome) if isinstance(outcome, Exception) else outcome


keys = st.sampled_from(["a", "ab", "b"])
ttls = st.sampled_from([None, 5, 7])
kept = st.sampled_from([None, 5, KEEP])
values = st.sampled_from([b'"x"', b"1", b"-3"])
versions = st.sampled_from(["1", "1", "2"])
steps = st.one_of(st.integers(-3, 3), st.sampled_from([INT64_MAX, INT64_MIN, 1 << 62, -(1 << 62)]))
operations = st.one_of(
    st.builds(Set, keys, values, kept),
    st.builds(Create, keys, values, ttls),
    st.builds(Replace, keys, values, versions, kept),
    st.builds(Remove, keys, st.one_of(st.none(), versions)),
    st.builds(Touch, keys, ttls),
    st.builds(GetRenew, keys, ttls),
    st.builds(Increment, keys, steps, ttls),
    st.builds(Increment, keys, steps, ttls),
    st.builds(Clear, st.sampled_from(["", "a"]), st.none(), st.just(10)),
)
stored = st.one_of(st.just("0"), st.just('"text"'), st.integers(INT64_MAX - 3, INT64_MAX).map(str))
rows_before = st.dictionaries(
    keys, st.tuples(stored, st.sampled_from([None, NOW - 1, NOW, NOW + 3]), st.just("1"))
)


@given(rows_before, st.lists(operations, min_size=1, max_size=14))
def test_waves_leave_and_answer_what_the_same_operations_do_one_by_one(
    before: dict[str, Any], batch: list[Operation]
) -> None:
    one_by_one, together = Rows(before), Rows(before)
    expected = [one_by_one.apply(op) for op in batch]
    outcomes = in_waves(together, batch)
    got = [plain(outcome) for outcome in outcomes]
    wanted = [plain(outcome) for outcome in expected]
    assert [shown(op, out) for op, out in zip(batch, got, strict=True)] == [
        shown(op, out) for op, out in zip(batch, wanted, strict=True)
    ]
    assert {key: row[:2] for key, row in together.items()} == {
        key: row[:2] for key, row in one_by_one.items()
    }
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len({id(failure) for failure in failures}) == len(failures)


def contents(rows: Rows) -> dict[str, Any]:
    return {key: row[:2] for key, row in rows.items()}


def shown(op: Operation, outcome: Any) -> Any:
    # a version drawn differs from run to run: only "some" or "none" can be compared
    return outcome is not None if isinstance(op, Replace) else outcome


@given(st.lists(st.builds(Increment, st.just("n"), steps, ttls), min_size=2, max_size=10), stored)
def test_a_folded_counter_never_passes_where_one_sum_on_the_way_would_overflow(
    batch: list[Operation], value: str
) -> None:
    one_by_one, together = Rows({"n": (value, None, "1")}), Rows({"n": (value, None, "1")})
    expected = [plain(one_by_one.apply(op)) for op in batch]
    assert [plain(outcome) for outcome in in_waves(together, batch)] == expected
    assert together["n"][:2] == one_by_one["n"][:2]


@given(
    rows_before, st.lists(st.one_of(operations, st.builds(Get, keys), st.builds(GetEntry, keys)), min_size=1)
)
def test_every_operation_of_a_batch_is_in_exactly_one_wave(
    before: dict[str, Any], batch: list[Operation]
) -> None:
    answered: list[int] = []
    for wave in waves(batch):
        for at, place in enumerate(wave.places):
            places = wave.folded.get(at, [place])
            assert places[0] == place
            assert places == sorted(places)
            answered += places
    assert sorted(answered) == list(range(len(batch)))


def test_reads_go_before_writes_and_repeated_reads_are_one() -> None:
    batch: list[Operation] = [
        Set("a", b"1", KEEP), Get("a"), Get("b"), Get("a"), GetEntry("a"), Keys("a", None, 5),
    ]  # fmt: skip
    found = waves(batch)
    assert [wave.kind for wave in found] == [Get, GetEntry, Keys, Set]
    outcomes: list[Any] = [...] * 6
    spread(found[0], ["A", "B"], batch, outcomes)
    assert outcomes == [..., "A", "B", "A", ..., ...]


def test_a_batch_without_a_key_twice_is_one_wave_in_key_order() -> None:
    batch = [Set(key, b"1", KEEP) for key in ("b", "c", "a")]
    (wave,) = waves(batch)
    assert [op.key for op in wave.ops] == ["a", "b", "c"]
    outcomes: list[Any] = [...] * 3
    spread(wave, ["A", "B", "C"], batch, outcomes)
    assert outcomes == ["B", "C", "A"]


def test_256_increments_of_one_counter_are_one_operation() -> None:
    batch = [Increment("hits", 1, 60_000) for _ in range(256)]
    (wave,) = waves(batch)
    assert list(wave.ops) == [Increment("hits", 256, 60_000)]
    outcomes: list[Any] = [...] * 256
    spread(wave, [300], batch, outcomes)
    assert outcomes == list(range(45, 301))


def test_256_compare_and_sets_of_one_version_are_one_operation() -> None:
    batch = [Replace("k", b"1", "7", KEEP) for _ in range(256)]
    (wave,) = waves(batch)
    outcomes: list[Any] = [...] * 256
    spread(wave, ["8"], batch, outcomes)
    assert outcomes == ["8"] + [None] * 255


def test_keep_after_a_set_with_a_lifetime_keeps_that_lifetime() -> None:
    (wave,) = waves([Set("k", b"1", 5), Set("k", b"2", KEEP)])
    assert list(wave.ops) == [Set("k", b"2", 5)]


def test_each_waiter_of_a_folded_failure_gets_its_own_exception() -> None:
    batch = [Increment("n", 1, None), Increment("n", 1, None)]
    (wave,) = waves(batch)
    outcomes: list[Any] = [...] * 2
    spread(wave, [InvalidConversion("increment 'n'")], batch, outcomes)
    assert [str(outcome) for outcome in outcomes] == ["increment 'n'"] * 2
    assert outcomes[0] is not outcomes[1]


def test_halves_hold_the_same_answers_as_the_whole() -> None:
    batch: list[Operation] = [Set(key, b"1", KEEP) for key in ("a", "b", "c", "a", "c")]
    (wave,) = waves(batch)
    outcomes: list[Any] = [...] * 5
    for half, answers in zip(halves(wave), (["A"], ["B", "C"]), strict=True):
        spread(half, answers, batch, outcomes)
    assert outcomes == ["A", "B", "C", "A", "C"]


def test_a_parted_wave_holds_the_same_answers_as_the_whole() -> None:
    batch: list[Operation] = [
        Set("b", b"1", 5),
        Set("a", b"1", KEEP),
        Set("c", b"1", 7),
        Set("c", b"1", KEEP),
    ]
    (wave,) = waves(batch)
    kept, timed = parted(wave, lambda op: op.ttl is KEEP)
    outcomes: list[Any] = [...] * 4
    spread(kept, ["A"], batch, outcomes)
    spread(timed, ["B", "C"], batch, outcomes)
    assert outcomes == ["B", "A", "C", "C"]


def test_a_clear_is_after_what_came_before_it_and_before_what_came_after() -> None:
    batch: list[Operation] = [Set("a", b"1", KEEP), Clear("a", None, 9), Set("a", b"2", KEEP)]
    assert [wave.places for wave in waves(batch)] == [[0], (1,), [2]]
    assert prefix_end("a") == "b"
