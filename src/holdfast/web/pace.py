"""How fast counters grow, as seen by whoever looks: nothing runs while nobody does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["Pace"]

SPAN: Final = 10.0
"""Seconds that a rate is of, where somebody looked so long ago."""
OLDEST: Final = 60.0
"""Seconds after which a look says nothing about now any more."""
APART: Final = 1.0


class Pace:
    """Rates of named counters that only grow; one that is smaller than before has begun anew."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._looks: deque[tuple[float, Mapping[str, int]]] = deque()

    def look(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Of each what it grew by in a second, over the last ten or so; empty at the first look."""
        now = self._now()
        looks = self._looks
        while looks and (now - looks[0][0] > OLDEST or (len(looks) > 1 and now - looks[1][0] >= SPAN)):
            looks.popleft()
        if not looks:
            looks.append((now, dict(counts)))
            return {}
        at, before = looks[0]
        if now - looks[-1][0] >= APART:
            looks.append((now, dict(counts)))
        passed = now - at
        if passed < APART:
            return {}
        return {name: _grown(count, before.get(name, 0)) / passed for name, count in counts.items()}


def _grown(count: int, before: int) -> int:
    return count - before if count >= before else count
