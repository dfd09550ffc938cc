"""What Holdfast is to reach, and whether it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from bench.channels.contestants import EVERYONE, FRAMEWORKS
from bench.channels.scenarios import GROWTH, KB_EACH, MESSAGES, P99, PACED_P99_MS, SCENARIOS, Sample, Scenario
from bench.measure import median, number

__all__ = ["Results", "Verdict", "between", "judge", "text"]

Results: TypeAlias = dict[tuple[str, str], dict[int, Sample]]
"""Every sample, by scenario, server and round."""

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
TITLES = {contestant.name: contestant.title for contestant in EVERYONE}
WITH_ALL_MB = 90.0


class Verdict(msgspec.Struct, frozen=True):
    """One line of the table; `met` is None where nothing could be judged."""

    what: str
    wanted: str
    measured: str
    met: bool | None


def between(results: Results, scenario: Scenario, one: str, other: str, of: str = "") -> list[float]:
    """The first column's figure of `one`, in times of `other`'s, in each round that has both.

    `of`: the scenario of `other`, where it is another one.
    """
    mine, theirs = results.get((scenario.name, one), {}), results.get((of or scenario.name, other), {})
    figure, its = scenario.columns[0].figure, BY_NAME[of or scenario.name].columns[0].figure
    rounds = [turn for turn in sorted(mine) if turn in theirs]
    return [_times(figure(mine[turn]), its(theirs[turn])) for turn in rounds]


def _times(mine: float, theirs: float) -> float:
    if mine == theirs:
        return 1.0
    return mine / theirs if theirs else math.inf


def judge(results: Results) -> list[Verdict]:
    """Every row of the issue's table whose scenario was run."""
    ran = {scenario for scenario, _ in results}
    return [verdict for name in BY_NAME if name in ran for verdict in _ROWS[name](results)]


def _fan(results: Results) -> Iterator[Verdict]:
    yield _ratio(results, "fan", "holdfast", "floor", 0.8)
    yield from _compared(results, "fan")


def _paced(results: Results) -> Iterator[Verdict]:
    yield _ratio(results, "paced", "holdfast", "starlette", 5, more=f", p99 ≤ {PACED_P99_MS:g} ms")
    yield from _compared(results, "paced")


def _rooms(results: Results) -> Iterator[Verdict]:
    yield _ratio(results, "rooms", "holdfast", "starlette", 8)
    yield from _compared(results, "rooms")


def _saved(results: Results) -> Iterator[Verdict]:
    for store, least, share in (("postgres", 40_000, 0.55), ("sqlite", 15_000, 0.0)):
        ours = f"holdfast-{store}"
        rates = [MESSAGES.figure(sample) for sample in results.get(("saved", ours), {}).values()]
        unsaved = results.get(("rooms", "holdfast"), {})
        shares = [
            MESSAGES.figure(sample) / MESSAGES.figure(unsaved[turn])
            for turn, sample in results.get(("saved", ours), {}).items()
            if turn in unsaved and MESSAGES.figure(unsaved[turn])
        ]
        wanted = f"≥ {least:,} messages/s" + (f", or ≥ {share:g} × unsaved" if share else "")
        if not rates:
            yield Verdict(_what("saved", ours), wanted, "not measured", None)
            continue
        measured = _spread(rates) + (f", {number(median(shares))} × unsaved" if shares else "")
        met = median(rates) >= least or (share > 0 and bool(shares) and median(shares) >= share)
        yield Verdict(_what("saved", ours), wanted, measured, met)


def _saved_paced(results: Results) -> Iterator[Verdict]:
    for ours in ("holdfast-postgres", "holdfast-sqlite"):
        rounds = results.get(("saved-paced", ours), {})
        calm = [P99.figure(sample) for sample in rounds.values() if sample.calm]
        what = f"{_what('saved-paced', ours)} ({len(calm)} of {len(rounds)} rounds calm)"
        yield _at_most(what, 15, calm, "p99 ≤ 15 ms")


def _joins(results: Results) -> Iterator[Verdict]:
    yield _ratio(results, "joins", "holdfast", "starlette", 0.6)
    yield from _compared(results, "joins")


def _idle(results: Results) -> Iterator[Verdict]:
    samples = results.get(("idle", "holdfast"), {}).values()
    yield _at_most(_what("idle", "holdfast"), 8, map(KB_EACH.figure, samples), "≤ 8 KB each")
    megabytes = [sample.report.end_kb / 1024 for sample in samples]
    yield _at_most(_what("idle", "holdfast"), WITH_ALL_MB, megabytes, f"≤ {WITH_ALL_MB:g} MB in all")
    yield from _ahead(results, "idle")


def _stalled(results: Results) -> Iterator[Verdict]:
    samples = results.get(("stalled", "holdfast"), {}).values()
    yield _at_most(_what("stalled", "holdfast"), 5, map(P99.figure, samples), "others' p99 ≤ 5 ms")
    yield _at_most(_what("stalled", "holdfast"), 30, map(GROWTH.figure, samples), "growth ≤ 30 MB")
    yield from _ahead(results, "stalled")


_ROWS: dict[str, Callable[[Results], Iterator[Verdict]]] = {
    "fan": _fan,
    "paced": _paced,
    "rooms": _rooms,
    "saved": _saved,
    "saved-paced": _saved_paced,
    "joins": _joins,
    "idle": _idle,
    "stalled": _stalled,
}


def _compared(results: Results, name: str) -> Iterator[Verdict]:
    """The plain ASGI path beside the minimal server, and ours beside the frameworks."""
    yield _ratio(results, name, "holdfast-asgi", "starlette", 1)
    yield from _ahead(results, name)


def _ahead(results: Results, name: str) -> Iterator[Verdict]:
    for other in FRAMEWORKS:
        if (name, other) in results:
            yield _ratio(results, name, "holdfast", other, 1, word="ahead of")


def _ratio(
    results: Results, name: str, ours: str, other: str, bound: float, *, more: str = "", word: str = ""
) -> Verdict:
    scenario = BY_NAME[name]
    sign = "≥" if scenario.more_is_better else "≤"
    wanted = (f"{word} {TITLES[other]}" if word else f"{sign} {bound:g} × {TITLES[other]}") + more
    rounds = between(results, scenario, ours, other)
    if not rounds:
        return Verdict(_what(name, ours), wanted, "not measured", None)
    middle = median(rounds)
    met = middle >= bound if scenario.more_is_better else middle <= bound
    return Verdict(_what(name, ours), wanted, f"{_spread(rounds)} ×", met)


def _at_most(what: str, limit: float, values: Iterator[float] | list[float], wanted: str) -> Verdict:
    known = list(values)
    if not known:
        return Verdict(what, wanted, "not measured", None)
    return Verdict(what, wanted, _spread(known), median(known) <= limit)


def _what(scenario: str, server: str) -> str:
    return f"{scenario}: {TITLES[server]}"


def _spread(values: list[float]) -> str:
    middle = text(median(values))
    return f"{middle} [{text(min(values))}–{text(max(values))}]" if len(values) > 1 else middle


def text(value: float) -> str:
    return "∞" if math.isinf(value) else number(value)
