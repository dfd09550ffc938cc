"""A clock that a test moves."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """Stands still until `advance` is called; calling it answers whole milliseconds.

    >>> clock = ManualClock()
    >>> then = clock()
    >>> clock.advance(1.5)
    >>> clock() - then
    1500
    """

    def __init__(self, start_ms: int = 1_000_000) -> None:
        self.ms = start_ms

    def __call__(self) -> int:
        return self.ms

    def advance(self, seconds: float | timedelta) -> None:
        """Let this much time pass, to the millisecond.

        Raises:
            ValueError: time would go back.
        """
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        if seconds < 0:
            raise ValueError(f"advance {seconds:g}: time only goes forward")
        self.ms += round(seconds * 1000)
