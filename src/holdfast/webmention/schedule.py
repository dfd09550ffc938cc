"""When a mention that goes out is tried again, and when its status is asked for. Pure.

Eight attempts, about two days from the first to the last::

    1 min · 10 min · 1 h · 6 h · 12 h · 12 h · 12 h

each shortened by up to a fifth, so that what failed together does not come back
together. An endpoint that names a time is not asked before it, for a day at
most; it may bring the next attempt forward too, but eight of them in a row of
``Retry-After: 1`` would be over before whatever is broken is repaired, so a
twelfth of the usual wait is the least.
"""

from __future__ import annotations

__all__ = ["ATTEMPTS", "DAY", "POLLS", "next_poll", "next_try"]

DAY = 86_400.0
ATTEMPTS = 8
POLLS = 5
_WAITS = (60.0, 600.0, 3600.0, 6 * 3600.0, 12 * 3600.0, 12 * 3600.0, 12 * 3600.0)
_POLLS = (60.0, 600.0, 3600.0, 6 * 3600.0, 14 * 3600.0)  # less than a day in all


def next_try(attempts: int, *, retry_after: float | None, jitter: float) -> float | None:
    """Seconds until the attempt after so many; None: that was the last. `jitter` is from 0 to 1."""
    if attempts >= ATTEMPTS:
        return None
    usual = _WAITS[max(attempts, 1) - 1]
    if retry_after is None:
        return usual * (1 - jitter / 5)
    asked = min(max(retry_after, usual / 12), DAY)
    return asked * (1 + jitter / 20)  # never before it; many may have been told the same second


def next_poll(polls: int) -> float | None:
    """Seconds until a status URL is asked for once more, after so many times; None: no more."""
    return _POLLS[polls] if polls < POLLS else None
