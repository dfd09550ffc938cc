"""What other processes do to the file, noticed by asking SQLite's change counter.

`PRAGMA data_version` on the writing connection moves when somebody else commits
and not when we do. It is asked every `POLL_SECONDS`, one small job for the
writer thread, only while somebody watches; what changed is looked up only when
it moved, for all watchers at once.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from holdfast.engines.sqlite import notes
from holdfast.errors import Closed, Overloaded, StoreError

__all__ = ["POLL_SECONDS", "Look", "Poller", "Watcher"]

POLL_SECONDS: Final = 0.05
_REST: Final = 4
"""After a look-up that took long, this many times as long is left to others."""

Look: TypeAlias = Callable[[sqlite3.Connection], Any]
_State: TypeAlias = tuple[sqlite3.Connection, int, int]
_Job: TypeAlias = Callable[[Look], "asyncio.Future[Any]"]


class Watcher(Protocol):
    """Who wants to know. All but the questions themselves is called on the loop; none of it may block."""

    @property
    def channels(self) -> Collection[str]:
        """Whose notes it hears."""

    def questions(self) -> Sequence[Look]:
        """What to look up now that somebody has committed: each a job of a few milliseconds, so that writes go on."""

    def answer(self, found: Any) -> None:
        """What one question found; in their order."""

    def noted(self, channel: str, data: bytes) -> None:
        """A note of one of its channels; its own process's may be among them."""

    def lost(self) -> None:
        """Something may have been missed."""


class Poller:
    """Asks on behalf of all who watch the file; `run` hands a job to the writer thread."""

    def __init__(self, run: _Job) -> None:
        self._run = run
        # INVARIANT: the task lives exactly as long as somebody watches.
        self._watchers: list[Watcher] = []
        self.voices: set[object] = set()
        """Who in this process writes what watchers hear. One alone is not told what it said itself."""
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # of those who come at once, the first asks where things stand
        self._state: _State | None = None
        self._number = 0  # of the last note read
        self._outage = False

    async def add(self, watcher: Watcher) -> None:
        """Begin to tell this one; what is committed after the return is noticed. Twice is once.

        Raises:
            Closed, StoreUnavailable, NotMigrated: it cannot be watched.
        """
        async with self._turn:
            if self._task is None or self._task.done():
                self._state, self._number = await self._run(_where_things_stand)
                self._outage = False
                self._task = asyncio.create_task(self._watch(), name="holdfast sqlite poller")
            if watcher not in self._watchers:
                self._watchers.append(watcher)

    def remove(self, watcher: Watcher) -> None:
        """Tell it nothing more."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers:
            self._end()

    async def close(self) -> None:
        """Tell nobody anything more."""
        self._watchers.clear()
        task = self._task
        self._end()
        if task is not None:
            await asyncio.wait({task})

    def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # --- the task ---

    async def _watch(self) -> None:
        pause = POLL_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = POLL_SECONDS
            try:
                pause = await self._poll()
                if self._outage:
                    self._outage = False
                    self._tell_lost()
            except Closed:
                self._watchers.clear()
                return
            except Overloaded:
                pass  # nothing was asked, so nothing was skipped: the next question covers this one
            except StoreError:
                self._outage = True  # health and every write say so too; here it matters when it ends
            except Exception as exc:  # noqa: BLE001 - whatever it was, those who watch must not be left unaware
                self._outage = True
                self._report(exc)

    async def _poll(self) -> float:
        """Ask once, and tell what is new; how long to wait for the next time."""
        state: _State = await self._run(_state)
        if self._is_same(state):
            return POLL_SECONDS
        spent = 0.0
        for watcher in list(self._watchers):
            for look in watcher.questions():
                found, seconds = await self._run(_timed(look))
                spent += seconds
                if watcher in self._watchers:
                    self._say(watcher.answer, found)
        written, seconds = await self._run(_timed(self._notes()))
        # What was committed since the first job moves the counter once more and is found twice: better than never.
        if not written.more:
            self._state = state
        self._number = written.reached
        if not written.complete:
            self._tell_lost()
        self._tell(written.found)
        return 0.0 if written.more else max(POLL_SECONDS, _REST * (spent + seconds))

    def _notes(self) -> Look:
        channels = msgspec.json.encode(
            list({each for watcher in self._watchers for each in watcher.channels})
        )
        number = self._number

        def look(connection: sqlite3.Connection) -> notes.Notes:
            connection.execute("BEGIN")
            written = notes.read(connection, number, channels)
            connection.execute("COMMIT")
            return written

        return look

    def _is_same(self, state: _State) -> bool:
        """Whether nobody has committed since; a new connection counts anew, which says nothing.

        What this process commits moves only its count of changed rows, which
        matters where more than one voice is here.
        """
        before = self._state
        return (
            before is not None
            and before[0] is state[0]
            and before[1] == state[1]
            and (len(self.voices) < 2 or before[2] == state[2])
        )

    def _tell(self, written: Collection[notes.Note]) -> None:
        for each in written:
            for watcher in list(self._watchers):
                if each.channel in watcher.channels:
                    self._say(watcher.noted, each.channel, each.data)

    def _tell_lost(self) -> None:
        for watcher in list(self._watchers):
            self._say(watcher.lost)

    def _say(self, tell: Callable[..., None], *what: Any) -> None:
        try:
            tell(*what)
        except Exception as exc:  # noqa: BLE001 - one who raises must not silence the others
            self._report(exc)

    def _report(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "holdfast: who watches an SQLite file raised", "exception": error}
        )


def _state(connection: sqlite3.Connection) -> _State:
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return connection, version, connection.total_changes


def _timed(look: Look) -> Look:
    def work(connection: sqlite3.Connection) -> tuple[Any, float]:
        started = time.perf_counter()
        found = look(connection)
        return found, time.perf_counter() - started

    return work


def _where_things_stand(connection: sqlite3.Connection) -> tuple[_State, int]:
    return _state(connection), notes.latest(connection)
