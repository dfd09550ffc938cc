"""Hearing what the processes of one SQLite file announce, by the engine's poller."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from holdfast.engines.sqlite.polling import Look, Poller
from holdfast.persist.announcing import tell
from holdfast.persist.driver import Listener

__all__ = ["Hearing"]


class Hearing:
    """One `Subscription`, and the `Watcher` that the poller knows.

    The poller tells one voice alone nothing of what it wrote itself. Here that
    is news too, so the listener counts as the second voice.
    """

    def __init__(
        self, poller: Poller, channel: str, listener: Listener, closed: Callable[[Hearing], None]
    ) -> None:
        self._poller = poller
        self._channels = frozenset((channel,))
        self._listener = listener
        self._tell_closed = closed

    async def begin(self) -> None:
        """Hear what is committed from the return on; raises what the poller raises."""
        self._poller.voices |= {self, self._listener}
        await self._poller.add(self)

    async def close(self) -> None:
        self._poller.remove(self)
        self._poller.voices -= {self, self._listener}
        self._tell_closed(self)

    # --- the watcher ---

    @property
    def channels(self) -> Collection[str]:
        return self._channels

    def questions(self) -> Sequence[Look]:
        return ()

    def answer(self, found: Any) -> None:
        raise AssertionError("nothing was asked")

    def noted(self, channel: str, data: bytes) -> None:
        tell(self._listener, data)

    def lost(self) -> None:
        self._listener.lost()
