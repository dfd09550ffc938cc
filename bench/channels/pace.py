"""The highest pace that something holds, by trying few of them."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log

__all__ = ["LOWEST", "STEP", "highest"]

LOWEST = 5.0
STEP = 1.15
STEPS = 60
"""Up to 22,000."""


def highest(holds: Callable[[float], bool], start: float) -> float | None:
    """The highest `LOWEST * STEP ** k` that holds, given that what is below one that holds does too; None: none.

    Begins near `start`, gallops away from it (1, 2, 4 … steps), then halves what is left.
    """
    at = min(STEPS, max(0, ceil(log(max(start, LOWEST) / LOWEST, STEP))))
    if holds(_pace(at)):
        low, high = _gallop(at, 1, lambda k: holds(_pace(k)))
    elif at == 0:
        return None
    else:
        high, low = _gallop(at, -1, lambda k: not holds(_pace(k)))
    while high - low > 1:
        middle = (low + high) // 2
        if holds(_pace(middle)):
            low = middle
        else:
            high = middle
    return _pace(low) if low >= 0 else None


def _gallop(at: int, way: int, true: Callable[[int], bool]) -> tuple[int, int]:
    """The last step where it was true and the first where it was not; -1 and `STEPS` + 1 end the way."""
    stride = 1
    while True:
        to = max(-1, min(STEPS + 1, at + way * stride))
        if to in (-1, STEPS + 1) or not true(to):
            return at, to
        at, stride = to, stride * 2


def _pace(k: int) -> float:
    return LOWEST * STEP**k
