"""Which endpoints were found lately: bounded, for as long as the pages themselves allow and an hour at most.

What is remembered serves mentions whose target is told of their source for the
first time. An update and a retry look for themselves, and renew what is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.webmention.outcomes import Outcome

__all__ = ["Discoveries"]

MOST = 1_000
LONGEST = 3600.0
FAILURE = 60.0  # seconds for which an answer that never came is not asked for again


class Discoveries:
    """By target: an endpoint, or the outcome of looking for one. No page is held."""

    def __init__(self, *, most: int = MOST, now: Callable[[], float] = time.time) -> None:
        self._most, self._now = most, now
        self._found: dict[str, tuple[float, float, str | Outcome]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._found)

    def get(self, target: str) -> str | Outcome | None:
        """None: nothing is known, or not any more."""
        entry = self._found.get(target)
        if entry is None:
            return None
        at, seconds, found = entry
        if not 0 <= self._now() - at < seconds:
            del self._found[target]
            return None
        return found

    def put(self, target: str, found: str | Outcome, seconds: float) -> None:
        """Remember it for so many seconds; for none, forget what was known."""
        self._found.pop(target, None)
        if seconds <= 0:
            return
        while len(self._found) >= self._most:
            del self._found[next(iter(self._found))]
        self._found[target] = (self._now(), min(seconds, LONGEST), found)
