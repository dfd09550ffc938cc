"""Hearing of what other processes append and send, by the engine's poller."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec

from holdfast.channels.driver import Listener
from holdfast.engines.sqlite import SqliteEngine
from holdfast.engines.sqlite.polling import Look
from holdfast.errors import Closed

__all__ = ["Following"]

_REACHED: Final = "SELECT epoch, last FROM holdfast_topics WHERE topic = ?"
_ALL_REACHED: Final = (
    "SELECT json_group_array(json_array(topic, epoch, last))"
    " FROM holdfast_topics WHERE topic IN (SELECT value FROM json_each(?))"
)

_AT_ONCE: Final = 1000
"""Topics looked up in one job: about 3 ms, in which nobody writes."""


class Following:
    """One `Subscription`, and the `Watcher` that asks for it how far the logs reach."""

    def __init__(self, engine: SqliteEngine, listener: Listener, closed: Callable[[Following], None]) -> None:
        self._engine = engine
        self._listener = listener
        self._tell_closed = closed
        self._closed = False
        # INVARIANT: the poller has this watcher while anything is followed.
        # What is followed, and the epoch and last offset that the listener can
        # know of; None: whatever is found first is news.
        self._reached: dict[str, tuple[str, int] | None] = {}

    async def follow(self, key: str) -> None:
        if self._closed:
            raise Closed(f"sqlite {self._engine.name}: the subscription is closed")
        fresh = key not in self._reached
        self._reached.setdefault(key, None)
        try:
            await self._engine.poller.add(self)
            if self._reached.get(key, ()) is None:
                self._reached[key] = self._now_at(key)
        except BaseException:
            if fresh:
                await self.unfollow(key)
            raise
        if not self._reached:  # left while it was joined
            self._engine.poller.remove(self)

    async def unfollow(self, key: str) -> None:
        self._reached.pop(key, None)
        if not self._reached:
            self._engine.poller.remove(self)

    async def close(self) -> None:
        self._closed = True
        self._reached.clear()
        self._engine.poller.remove(self)
        self._tell_closed(self)

    def _now_at(self, key: str) -> tuple[str, int] | None:
        """How far the log reaches; None also where that cannot be said without waiting."""
        try:
            row = self._engine.look(_REACHED, (key,)).fetchone()
        except sqlite3.Error as exc:
            if self._engine.must_wait(exc):
                return None
            raise
        return None if row is None else (row[0].decode(), row[1])

    # --- the watcher ---

    @property
    def channels(self) -> Collection[str]:
        return self._reached

    def questions(self) -> Sequence[Look]:
        keys = list(self._reached)
        return [_look(keys[start : start + _AT_ONCE]) for start in range(0, len(keys), _AT_ONCE)]

    def answer(self, found: Any) -> None:
        for key, epoch, last in found:
            if key in self._reached and self._reached[key] != (epoch, last):
                self._reached[key] = (epoch, last)
                self._listener.kept(key, epoch, last, None)

    def noted(self, channel: str, data: bytes) -> None:
        self._listener.sent(channel, data)

    def lost(self) -> None:
        self._listener.lost()


def _look(keys: Sequence[str]) -> Look:
    """How far the logs of these topics reach."""

    def look(connection: sqlite3.Connection) -> Any:
        wanted = msgspec.json.encode(keys).decode()
        (found,) = connection.execute(_ALL_REACHED, (wanted,)).fetchone()
        return msgspec.json.decode(found)

    return look
