"""The arithmetic and the writing of the benchmark; no server, no peer."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count, cycle
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))  # the bench is no part of the package

from bench.measure import Cell, Sample, best, between, markdown, measure, median, number, percentile, ratio
from bench.peers import Peer, Place
from bench.probes import Disk, on_one_core
from bench.report import CLOSE, OPEN, Run, insert, render
from bench.targets import judge


def sample(rate: float, *, cpu: float = 1.0, p50: float = 10.0, p99: float = 20.0) -> Sample:
    return Sample(ops=int(rate), seconds=1.0, cpu_us=cpu, p50_us=p50, p99_us=p99)


class Ours(Peer):
    name = "holdfast"
    about = "ours"


class Theirs(Peer):
    name = "litestar"
    about = "theirs"


class Objects(Theirs):
    name = "objects"
    encodes = False


class Limit(Peer):
    name = "by hand: unnest of 100"
    batch = 100
    only_tasks = 2


def peers(*kinds: type[Peer]) -> list[Peer]:
    return [kind(Place(Path())) for kind in kinds]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.505, 51), (0.99, 99), (0.999, 100), (1.0, 100)]
)
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(share: float, expected: int) -> None:
    assert percentile(list(range(1, 101)), share) == expected


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


def test_nothing_has_no_percentile_and_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="no values"):
        median([])


def test_a_median_does_not_need_order_and_halves_the_middle_two() -> None:
    assert median([9, 1, 5]) == 5
    assert median([9, 1, 5, 6]) == 5.5


def test_a_ratio_is_the_median_of_the_rounds_that_both_ran_in() -> None:
    mine, theirs = Cell("redis", "holdfast", "set", 256), Cell("redis", "litestar", "set", 256)
    results = {
        mine: {0: sample(100), 1: sample(300), 2: sample(200)},
        theirs: {0: sample(10), 1: sample(10), 3: sample(1)},
    }
    assert between(results, mine, theirs) == [10, 30]
    assert ratio(results, mine, theirs) == 20
    assert ratio(results, mine, Cell("redis", "nobody", "set", 256)) is None


def test_the_best_is_the_best_median_not_the_best_round() -> None:
    lucky, steady = Cell("redis", "lucky", "set", 1), Cell("redis", "steady", "set", 1)
    results = {
        lucky: {0: sample(1), 1: sample(1), 2: sample(900)},
        steady: {0: sample(5), 1: sample(5), 2: sample(5)},
    }
    assert best(results, [lucky, steady]) == steady
    assert best(results, [Cell("redis", "nobody", "set", 1)]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(123456.7, "123,457"), (100, "100"), (12.345, "12.3"), (1.234, "1.23"), (0.0421, "0.042"), (0, "0.00")],
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_is_padded_and_aligned_and_keeps_bars_in_its_cells() -> None:
    assert markdown(["store", "ops/s"], [["a|b", "1"], ["longer", "20"]]) == "\n".join(
        ["| store  | ops/s |", "| ------ | ----: |", r"| a\|b   |     1 |", "| longer |    20 |"]
    )


def test_a_row_with_a_cell_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        markdown(["a", "b"], [["1"]])


async def test_a_cell_counts_every_call_and_times_one_in_stride() -> None:
    asked: list[int] = []

    async def call(number: int) -> None:
        asked.append(number)
        await asyncio.sleep(0)

    found = await measure(call, ((n,) for n in count()), tasks=3, seconds=0.02, stride=4, batch=10)
    assert asked == list(range(len(asked)))  # one stream for all callers, warm-up included
    assert found.ops % 40 == 0
    assert 0 < found.ops <= len(asked) * 10
    assert found.seconds >= 0.02
    assert 0 < found.p50_us <= found.p99_us
    assert found.rate == found.ops / found.seconds


async def test_a_store_that_never_waits_still_lets_every_task_in() -> None:
    who: set[asyncio.Task[object] | None] = set()

    async def call() -> None:
        who.add(asyncio.current_task())

    await measure(call, cycle([()]), tasks=5, seconds=0.02, yields=True)
    assert len(who) == 10  # five in the warm-up, five in the cell


async def test_a_call_that_fails_ends_the_cell_with_its_error() -> None:
    async def call() -> None:
        raise OSError("gone")

    with pytest.raises(ExceptionGroup) as caught:
        await measure(call, cycle([()]), tasks=2, seconds=0.02)
    assert caught.group_contains(OSError, match="gone")


def test_a_target_is_met_at_its_bound_and_not_below() -> None:
    everyone = {"redis": peers(Ours, Theirs)}
    mine, theirs = Cell("redis", "holdfast", "set", 256), Cell("redis", "litestar", "set", 256)
    for rate, met in ((100, True), (99, False)):
        verdicts = judge({mine: {0: sample(rate)}, theirs: {0: sample(10)}}, everyone, {}, None)
        assert [v.met for v in verdicts if "litestar" in v.wanted and "`set`" in v.what] == [met]


def test_a_target_without_its_peer_is_not_judged() -> None:
    verdicts = judge({}, {"redis": peers(Ours)}, {}, None)
    assert verdicts
    assert {v.met for v in verdicts} == {None}


def test_who_holds_objects_counts_for_set_and_not_for_get() -> None:
    everyone = {"memory": peers(Ours, Theirs, Objects)}
    results = {
        Cell("memory", name, op, 256): {0: sample(rate)}
        for op in ("set", "get")
        for name, rate in (("holdfast", 80), ("litestar", 10), ("objects", 40))
    }
    met = {v.what: v.met for v in judge(results, everyone, {}, None) if "the best peer" in v.wanted}
    assert met["memory `set`, 256 tasks"] is False
    assert met["memory `get`, 256 tasks"] is True


def test_the_hand_made_limit_is_compared_with_its_own_number_of_callers() -> None:
    results = {
        Cell("postgres", "holdfast", "set", 256): {0: sample(80)},
        Cell("postgres", Limit.name, "set", 2): {0: sample(100)},
    }
    verdicts = judge(results, {"postgres": peers(Ours, Limit)}, {}, None)
    assert [v.met for v in verdicts if v.wanted == "≥ 0.7 × the hand-made limit" and "`set`" in v.what] == [
        True
    ]


def test_only_rounds_with_a_calm_disk_judge_the_p99() -> None:
    cell = Cell("sqlite", "holdfast", "set", 256)
    results = {cell: {0: sample(1, p50=1, p99=100), 1: sample(1, p50=1, p99=7)}}
    calm, not_calm = Disk(100, 200), Disk(100, 5000)
    disk = {"sqlite": {0: [calm, not_calm], 1: [calm, calm]}}
    verdicts = judge(results, {"sqlite": peers(Ours)}, disk, None)
    assert [(v.what, v.met) for v in verdicts if "p99" in v.what and "`set`" in v.what] == [
        ("sqlite `set`, 256 tasks: p99 ÷ p50 (1 of 2 rounds calm)", True)
    ]
    none_calm = {"sqlite": {0: [not_calm], 1: [not_calm]}}
    verdicts = judge(results, {"sqlite": peers(Ours)}, none_calm, None)
    assert [v.met for v in verdicts if "p99" in v.what and "`set`" in v.what] == [None]


def test_the_report_names_who_is_missing_and_what_was_not_met() -> None:
    run = Run("cmd", "2 cores", "CPython", "ext4", rounds=1, seconds=1)
    run.peers["redis"] = peers(Ours, Theirs)
    run.missing["redis"] = {"cashews": "could not start: ImportError: no cashews"}
    run.results[Cell("redis", "holdfast", "set", 256)] = {0: sample(50)}
    run.results[Cell("redis", "litestar", "set", 256)] = {0: sample(10)}
    text = render(run)
    assert "**cashews** did not run: could not start: ImportError" in text
    assert "| 256   | **holdfast** |" in text
    assert "5.00 ×" in text
    assert "**not met**" in text


def test_the_section_replaces_what_stood_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "benchmarks.md"
    insert(path, "first")
    assert path.read_text() == f"# Benchmarks\n\n{OPEN}\n\nfirst\n{CLOSE}\n"
    path.write_text(path.read_text() + "\n## kept\n")
    insert(path, "second")
    assert path.read_text() == f"# Benchmarks\n\n{OPEN}\n\nsecond\n{CLOSE}\n\n## kept\n"


def test_an_opening_marker_without_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text(f"# Benchmarks\n{OPEN}\nall the rest of the file\n")
    with pytest.raises(ValueError, match="without"):
        insert(path, "new")
    assert "all the rest" in path.read_text()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_pinning_ends_with_the_cell_even_when_it_fails() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(OSError, match="gone"), on_one_core(None):
        assert len(os.sched_getaffinity(0)) == 1
        raise OSError("gone")
    assert os.sched_getaffinity(0) == before
