"""The engine that capabilities lease: jobs for the writer thread, and reads on the loop."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, cast

from holdfast import events
from holdfast.engines.sqlite import ledger
from holdfast.engines.sqlite.failures import is_busy, translated
from holdfast.engines.sqlite.file import DatabaseFile
from holdfast.engines.sqlite.findings import findings
from holdfast.engines.sqlite.polling import Poller
from holdfast.engines.sqlite.writer import Writer
from holdfast.errors import Closed, StoreError, StoreUnavailable, again
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["HEALTH_SECONDS", "SqliteEngine"]

HEALTH_SECONDS = 5.0
"""How long `health` waits for the thread before it says that the store does not answer."""

_T = TypeVar("_T")


class SqliteEngine:
    """One SQLite file on one event loop.

    `look(sql, parameters)` executes on the loop's own connection and answers a
    cursor; it is for statements that read a row or two, whose rows are fetched
    before anything else happens, and it gives text back as `bytes`. What it
    raises is `sqlite3`'s own: ask `must_wait(error)`.
    """

    look: Callable[[str, Sequence[Any]], sqlite3.Cursor]

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """The engine for a URL, without I/O.

        Raises:
            StoreMisconfigured: the URL names no file, or an option is wrong.
        """
        return cls(DatabaseFile.from_url(url))

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self.look = self._not_open
        self.poller = Poller(self.run)
        """Who wants to know what other processes commit: `add` and `remove` a `polling.Watcher`."""

    @property
    def name(self) -> str:
        """The file as the URL names it."""
        return self._file.name

    async def open(self) -> None:
        """Make the file where there is none, and start the thread.

        Raises:
            StoreMisconfigured: no such directory, no right to write, not a database.
            StoreUnavailable: locked by another process for longer than `busy_timeout`, or no space.
        """
        writer = Writer(self._file, asyncio.get_running_loop(), self._drifted)
        self._reader = await writer.open()
        self._writer = writer
        self.look = self._reader.cursor().execute
        if events.listeners:
            events.publish(events.Connected("sqlite", 1))

    async def close(self) -> None:
        """Finish and settle what was handed in, copy the log into the file, end the thread. Twice is once."""
        self.look = self._not_open
        await self.poller.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()  # first, so that the last to close, who clears the log away, is the thread
        if self._writer is not None:
            await self._writer.close()

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        """Run `work` on the thread inside a transaction, which it may share with other jobs.

        The future is settled once the transaction is committed (with
        `synchronous=full`: is on disk). Where `work` raises, what it did is
        undone, the other jobs stand, and the future has what it raised. A
        cancelled future's job is not begun; one that was begun goes on.
        `work` must leave transactions alone and have no effect but on the connection.

        Raises:
            Closed, Overloaded: at once; nothing was queued.
            DiskFull: (the future) no space; nothing was applied.
            StoreUnavailable: (the future) locked, moved away, or an I/O error.
            NotMigrated: (the future) a table is missing.
        """
        return cast("asyncio.Future[_T]", self._open_writer().hand_in(work, transactional=True))

    def run(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        """Run `work` on the thread outside of any transaction: reads, which then need no lock, and migrations.

        May run more than once, where the file was locked the first time. A
        transaction that it leaves open when it raises is rolled back.
        """
        return cast("asyncio.Future[_T]", self._open_writer().hand_in(work, transactional=False))

    def must_wait(self, error: sqlite3.Error) -> bool:
        """Whether what `look` raised says that it would have had to wait; anything else is raised, translated."""
        if is_busy(error):
            return True
        raise translated(error, self.name)

    async def pending(self, known: Sequence[Migration]) -> list[Migration]:
        """Those of `known` that the file lacks."""
        return await self.run(lambda connection: ledger.pending(connection, known))

    async def migrate(self, known: Sequence[Migration]) -> list[Migration]:
        """Apply those of `known` that the file lacks, in one transaction, and answer them."""
        return await self.run(lambda connection: ledger.migrate(connection, known))

    async def health(self) -> Health:
        """Whether the thread answers and the file is where it was. Raises nothing."""
        started = time.perf_counter()
        detail = ""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await self.run(lambda connection: connection.execute("PRAGMA schema_version").fetchone())
        except TimeoutError:
            detail = f"sqlite {self.name}: no answer within {HEALTH_SECONDS:g} s"
        except StoreError as exc:
            detail = str(exc)
        return Health(not detail, "sqlite", time.perf_counter() - started, detail)

    async def describe(self) -> list[Finding]:
        """What the file promises as it is set up."""
        return await self.run(lambda connection: findings(connection, self._file))

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise Closed(f"sqlite {self.name}: not open")
        return self._writer

    def _not_open(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
        raise Closed(f"sqlite {self.name}: not open")

    def _drifted(self, why: StoreUnavailable | None) -> None:
        """The writer found the file gone, or back: what the loop would read is no longer what the path holds."""
        if self._reader is None:
            return
        if why is None:
            self.look = self._reader.cursor().execute
            if events.listeners:
                events.publish(events.Connected("sqlite", 1))
            return

        def refuse(sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
            raise again(why)

        self.look = refuse
        if events.listeners:
            events.publish(events.Disconnected("sqlite", str(why)))
