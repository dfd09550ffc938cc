"""The thread that writes: what is queued becomes one transaction, and only what is committed is acknowledged."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from holdfast.engines.sqlite.failures import DiskFull, is_busy, spoils_transaction, translated
from holdfast.engines.sqlite.file import WAL_BYTES, DatabaseFile
from holdfast.errors import Closed, Overloaded, StoreUnavailable, again

__all__ = ["MAX_QUEUED_JOBS", "Work", "Writer"]

Work: TypeAlias = Callable[[sqlite3.Connection], Any]

MAX_QUEUED_JOBS = 4096
"""What may wait in front of the thread; one more is `Overloaded`."""
MAX_JOBS = 64
"""In one transaction. A job is a batch already, so this bounds how long the first of them waits for the last."""
WAL_BOUND = 4 * WAL_BYTES
"""From here on a checkpoint no longer waits for a quiet moment, and asks other processes to pause."""
RESTART_MS = 100
"""How long it asks them. Where several write, one has always just added to what another was copying, and
the log would never start anew."""

_RETRY_SECONDS = (
    0.0005,
    0.003,
)  # between attempts at a locked file; SQLite's own back-off sleeps up to 100 ms


Adrift: TypeAlias = Callable[[StoreUnavailable | None], None]
"""Called on the loop when the file has gone from its path, and with None when it is there again."""


class _Job:
    __slots__ = ("future", "since", "transactional", "work")

    def __init__(self, work: Work, future: asyncio.Future[Any], transactional: bool) -> None:
        self.work = work
        self.future = future
        self.transactional = transactional
        self.since = 0.0  # when the thread took it: from then on it waits for locks and not for its turn


_Settled: TypeAlias = tuple[asyncio.Future[Any], Any, BaseException | None]
_STOP: Final = None
_T = TypeVar("_T")


class Writer:
    """Owns the writing connection, which lives and dies on this thread."""

    def __init__(self, file: DatabaseFile, loop: asyncio.AbstractEventLoop, adrift: Adrift) -> None:
        self._file = file
        self._loop = loop
        self._tell_adrift = adrift
        self._adrift = False
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._live, name=f"holdfast sqlite {file.name}", daemon=True)
        self._opened: asyncio.Future[sqlite3.Connection] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        # INVARIANT: set on the loop, before `_STOP` is queued: behind `_STOP` stands no job.
        self._closing = False
        self._stopping = False  # of the thread alone: it has met `_STOP`
        self._in_hand: list[_Job] = []  # what a death of the thread would leave unsettled
        self._dead = False  # set on the thread, before it settles what is left in the queue
        self._checkpoint_at = WAL_BYTES

    # --- on the loop ---

    async def open(self) -> sqlite3.Connection:
        """Start the thread; the answer is a reading connection for the loop."""
        self._thread.start()
        try:
            return await asyncio.shield(self._opened)
        except BaseException:
            await self.close()
            if self._opened.done() and self._opened.exception() is None:
                self._opened.result().close()  # the opener was cancelled and will not take it
            raise

    def hand_in(self, work: Work, *, transactional: bool) -> asyncio.Future[Any]:
        """Queue a job; the future is settled after its transaction is committed, or has failed."""
        if self._closing:
            raise Closed(f"sqlite {self._file.name}: closed")
        if self._queue.qsize() >= MAX_QUEUED_JOBS:
            raise Overloaded(f"sqlite {self._file.name}: {MAX_QUEUED_JOBS} jobs wait already")
        future = self._loop.create_future()
        self._queue.put(_Job(work, future, transactional))
        if self._dead:  # the thread ended between the two lines and may not have seen the job
            future.set_exception(Closed(f"sqlite {self._file.name}: closed"))
        return future

    async def close(self) -> None:
        """Finish what was handed in, make a last checkpoint, end the thread."""
        if not self._closing:
            self._closing = True
            self._queue.put(_STOP)
        await asyncio.shield(self._ended)
        self._thread.join()  # has nothing left to do but return

    # --- on the thread ---

    def _live(self) -> None:
        try:
            try:
                self._connection = self._file.connect_writer()
                self._identity = self._file.identity()
                reader = self._file.connect_reader()
            except Exception as exc:  # noqa: BLE001 - it is the opener's
                self._post([(self._opened, None, exc)])
                self._drain_unserved()
                return
            self._post([(self._opened, reader, None)])
            try:
                self._serve()
            finally:
                self._dead = True
                self._drain_unserved()
                self._disconnect()
        finally:
            self._post([(self._ended, None, None)])

    def _serve(self) -> None:
        while not self._stopping:
            try:
                self._do(self._gather(self._queue.get()))
            except BaseException as exc:
                died = StoreUnavailable(f"sqlite {self._file.name}: {exc!r}", maybe_applied=True)
                self._post([(job.future, None, again(died)) for job in self._in_hand])
                raise
            self._in_hand.clear()
            if not self._stopping:
                self._checkpoint_if_due()

    def _gather(self, job: _Job | None) -> list[_Job]:
        """The job, and what else is queued already, without those whose waiters have gone."""
        taken: list[_Job] = []
        while True:
            if job is _STOP:
                self._stopping = True
                break
            if not job.future.done():
                job.since = time.monotonic()
                taken.append(job)
                self._in_hand.append(job)
            if len(taken) == MAX_JOBS or self._queue.empty():
                break
            job = self._queue.get()  # nobody else takes from it
        return taken

    def _do(self, jobs: list[_Job]) -> None:
        """All of them; those outside of transactions first, since they wait for no disk."""
        if not jobs:
            return
        missing = self._missing()
        if (missing is not None) is not self._adrift:
            self._adrift = missing is not None
            self._call(self._tell_adrift, missing)
        if missing is not None:
            self._post([(job.future, None, again(missing)) for job in jobs])
            return
        writes = self._do_aside(jobs)
        while writes:
            settled, writes = self._transact(writes)
            self._post(settled)

    def _do_aside(self, jobs: list[_Job]) -> list[_Job]:
        """Do those that need no transaction; the answer is the others."""
        aside = [job for job in jobs if not job.transactional]
        if aside:
            self._post([self._done_aside(job) for job in aside])
        return [job for job in jobs if job.transactional]

    def _missing(self) -> StoreUnavailable | None:
        """Why nothing may be written: SQLite would go on with a file that no path leads to any more.

        Nor is another file at the same path taken up: its log may be the old
        one's, and SQLite would play that into it.
        """
        if self._file.identity() == self._identity:
            return None
        return StoreUnavailable(
            f"sqlite {self._file.name}: the file was moved, deleted or replaced while it was open; "
            "put it back, or restart"
        )

    def _done_aside(self, job: _Job) -> _Settled:
        while True:
            try:
                return job.future, job.work(self._connection), None
            except Exception as exc:  # noqa: BLE001 - every waiter is told, nothing is swallowed
                self._rollback()
                if self._may_retry(exc, job):
                    continue
                return job.future, None, translated(exc, self._file.name)

    def _transact(self, jobs: list[_Job]) -> tuple[list[_Settled], list[_Job]]:
        """One transaction: who is settled by it, and who must try again because the first one's patience ended."""
        name = self._file.name
        try:
            if not self._begin(jobs):
                late = StoreUnavailable(
                    f"sqlite {name}: locked by another process for longer than busy_timeout"
                )
                return [(jobs[0].future, None, late)], jobs[1:]
            settled = self._run(jobs)
            if self._connection.in_transaction:  # not where the only job failed and was rolled back
                try:
                    self._connection.execute("COMMIT")
                except sqlite3.Error as exc:
                    raise _CommitFailed from exc
        except Exception as exc:  # noqa: BLE001 - every waiter is told, nothing is swallowed
            committing = isinstance(exc, _CommitFailed)
            cause = exc.__cause__ if committing and exc.__cause__ is not None else exc
            self._rollback()
            if isinstance(translated(cause, name), DiskFull):
                self._checkpoint()  # the log may start again from its beginning, which needs no space
            return [
                (job.future, None, translated(again(cause), name, committing=committing)) for job in jobs
            ], []
        return settled, []

    def _begin(self, jobs: list[_Job]) -> bool:
        """Take the write lock, however often that needs asking; False: the first job's `busy_timeout` has passed.

        What is queued meanwhile need not wait: reads are done, writes join the jobs.
        """
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as exc:
                if not is_busy(exc):
                    raise
                if not self._may_retry(exc, jobs[0]):
                    return False
                if len(jobs) < MAX_JOBS and not self._stopping and not self._queue.empty():
                    jobs += self._do_aside(self._gather(self._queue.get()))
            else:
                return True

    def _may_retry(self, error: Exception, job: _Job) -> bool:
        if not isinstance(error, sqlite3.Error) or not is_busy(error):
            return False
        if time.monotonic() - job.since >= self._file.busy_seconds:
            return False
        time.sleep(random.uniform(*_RETRY_SECONDS))
        return True

    def _run(self, jobs: list[_Job]) -> list[_Settled]:
        """Every job's outcome, not yet committed. Raises where the transaction as a whole is lost."""
        connection = self._connection
        settled: list[_Settled] = []
        alone = len(jobs) == 1
        for job in jobs:
            if job.future.done():
                continue  # cancelled while the lock was awaited
            try:
                if not alone:
                    connection.execute("SAVEPOINT job")
                outcome = job.work(connection)
                if not alone:
                    connection.execute("RELEASE job")
            except Exception as exc:
                if spoils_transaction(exc) or not connection.in_transaction:
                    raise
                connection.execute("ROLLBACK" if alone else "ROLLBACK TO job")
                if not alone:
                    connection.execute("RELEASE job")
                settled.append((job.future, None, translated(exc, self._file.name)))
            else:
                settled.append((job.future, outcome, None))
        return settled

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                if self._connection.in_transaction:  # closing it is the last way to give the lock back
                    self._connection.close()
                    self._connection = self._file.connect_writer()

    def _post(self, settled: list[_Settled]) -> None:
        """Tell the waiters, all in one turn of their loop."""
        self._call(_settle, settled)

    def _call(self, function: Callable[[_T], None], argument: _T) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop was closed over them: there is nobody to tell
            self._queue.put(_STOP)

    def _drain_unserved(self) -> None:
        """Settle what is still queued where the thread ends before its time."""
        unserved = StoreUnavailable(f"sqlite {self._file.name}: the engine stopped before the job was begun")
        left: list[_Settled] = []
        while not self._queue.empty():
            job = self._queue.get()
            if job is not _STOP:
                left.append((job.future, None, again(unserved)))
        if left:
            self._post(left)

    # --- checkpoints ---

    def _checkpoint_if_due(self) -> None:
        size = self._file.wal_bytes()
        if size <= WAL_BYTES:
            self._checkpoint_at = WAL_BYTES
        elif size > self._checkpoint_at and (size > WAL_BOUND or self._queue.empty()):
            self._checkpoint(waiting=size > WAL_BOUND)
            # Where a reader elsewhere holds the log open it cannot start anew:
            # then try again after it has grown by a quarter, not after every commit.
            self._checkpoint_at = size + WAL_BYTES // 4

    def _checkpoint(self, *, waiting: bool = False) -> None:
        """Copy the log into the file. PASSIVE waits for nobody, and nobody waits for it."""
        try:
            if waiting:
                self._connection.execute(f"PRAGMA busy_timeout={RESTART_MS}")
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
                self._connection.execute("PRAGMA busy_timeout=0")
            else:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass  # the log keeps everything; the next commit will say if the disk is ill

    def _disconnect(self) -> None:
        if self._missing() is None:
            self._checkpoint()
        self._connection.close()


class _CommitFailed(Exception):
    """What was run could not be committed; the cause says why."""


def _settle(settled: list[_Settled]) -> None:
    for future, outcome, error in settled:
        if future.done():
            continue  # cancelled meanwhile
        if error is None:
            future.set_result(outcome)
        else:
            future.set_exception(error)
