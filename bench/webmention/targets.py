"""What Holdfast is to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from bench.measure import median, number
from bench.webmention.contestants import LIBRARIES, PLACES, TITLES
from bench.webmention.results import Run

__all__ = ["Verdict", "judge", "ratios"]

FLOOR: Final = 2.0
BEST: Final = 8.0
GROWTH_MB: Final = 16.0
NESTED_S: Final = 1.0
POST_MS: Final = 20.0


class Verdict(msgspec.Struct, frozen=True):
    """One line of the table; `met` is None where nothing could be judged."""

    what: str
    wanted: str
    measured: str
    met: bool | None


def ratios(run: Run, targets: int, one: str, other: str) -> list[float]:
    """The seconds of `one`, in times of `other`'s, in each round that has both."""
    known = run.sent.get(targets, {})
    mine, theirs = known.get(one, {}), known.get(other, {})
    return [mine[turn].seconds / theirs[turn].seconds for turn in sorted(mine) if turn in theirs]


def judge(run: Run) -> Iterator[Verdict]:
    """Every row of the table."""
    for floor, what in (("floor-all", "all at once"), ("floor", f"{PLACES} at once, as Holdfast")):
        yield _at_most(
            f"{run.targets} targets: seconds, beside the floor ({what})",
            FLOOR,
            ratios(run, run.targets, "holdfast", floor),
            "×",
        )
    yield _beside_the_best(run)
    growths = [each.growth_mb for each in run.sent.get(run.many, {}).get("holdfast", {}).values()]
    yield _at_most(f"{run.many:,} targets: growth of the resident set", GROWTH_MB, growths, "MB")
    worst = [
        max(max(run.worst[look][turn].values()) for look in run.worst)
        for turn in range(min(map(len, run.worst.values()), default=0))
    ]
    yield _at_most(f"the slowest of {run.shapes} nested megabytes", NESTED_S, worst, "s")
    busy = [each.busy_ms for each in run.posted.get("holdfast", [])]
    yield _at_most(f"answer to POST, {run.queued:,} hanging sources queued: median", POST_MS, busy, "ms")


def _beside_the_best(run: Run) -> Verdict:
    known = {
        name: median(each.seconds for each in run.sent[run.targets][name].values())
        for name in LIBRARIES
        if run.sent.get(run.targets, {}).get(name)
    }
    best = min(known, key=lambda name: known[name], default="")
    times = ratios(run, run.targets, best, "holdfast")
    what = f"{run.targets} targets: times as fast as the best library" + (
        f" ({TITLES[best]})" if best else ""
    )
    return Verdict(
        what, f"≥ {BEST:g} ×", _spread(times, "×"), round(median(times), 2) >= BEST if times else None
    )


def _at_most(what: str, most: float, values: Sequence[float], unit: str) -> Verdict:
    met = median(values) <= most if values else None
    return Verdict(what, f"≤ {most:g} {unit}", _spread(values, unit), met)


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return "–"
    spread = f" ({number(min(values))}–{number(max(values))})" if len(values) > 1 else ""
    return f"{number(median(values))} {unit}{spread}"
