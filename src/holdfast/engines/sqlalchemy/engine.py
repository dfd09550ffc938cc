"""Work on a connection, done whole or not at all, and said which.

==========  ===========================================================================
`read`      statements that change nothing, each by itself
`write`     one statement, which the database does whole or not at all; where the
            dialect allows, it commits by itself, in one round trip
`transact`  several statements in one transaction
==========  ===========================================================================

What was rolled back whole because somebody else was faster (a deadlock, a
serialization failure, a row that appeared meanwhile) is done again, a bounded
number of times. Nothing else ever is: where a connection is lost after a COMMIT
or a statement that commits by itself was sent, `maybe_applied` is true; lost
before, the database has rolled it back, and it is false.

After a loss everything fails at once until a connection is made: the first
attempt follows at once and is waited for, the next after 0.05 s, doubling to
2 s, jittered. The pool's pre-ping is off: it would cost each loan a round trip
and prove nothing about the statement that follows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, Self, TypeVar

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from holdfast import events
from holdfast.engines.sqlalchemy.connect import TIMEOUT, engine_for, manner_of, seconds
from holdfast.engines.sqlalchemy.faults import Fault, Unreachable, demoted, fault_of, never_accepted, summary
from holdfast.errors import Closed, NotMigrated, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.store import StoreURL

__all__ = ["SQLAlchemyEngine", "StatementRefused"]

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

NAME: Final = "sqlalchemy"
ATTEMPTS: Final = 12
"""At work that others were faster with: the chance to lose each time falls with every loser that waits a little."""
FIRST_REST: Final = 0.05
LONGEST_REST: Final = 2.0
PING_SECONDS: Final = 5.0
EXCLUSIVE_SECONDS: Final = 60.0
"""For a migration and for those who wait for it."""

_CLIENT_ERRORS: Final = (SQLAlchemyError, OSError, EOFError)

# A connection that its server closed while it lay in the pool is known to be dead without asking anybody,
# so the first write after a restart of the server need not be the one that finds out.
_DEAD: Final[dict[str, Callable[[Any], bool]]] = {
    "asyncpg": lambda connection: bool(connection.is_closed()),
    "psycopg": lambda connection: bool(connection.closed),
    "asyncmy": lambda connection: not connection.connected,
    "aiomysql": lambda connection: bool(connection.closed),
}


class StatementRefused(StoreError):
    """The database refused what was asked, for what it is; nothing of it happened."""


class SQLAlchemyEngine:
    """A few connections to one database.

    Args:
        engine: SQLAlchemy's.
        owned: whether closing closes it. What is somebody else's is used as it
            is found: no listeners, no pragmas, nothing that outlives a loan.
        timeout: seconds that one round trip may take, the wait for a connection
            and for locks included.
    """

    def __init__(self, engine: AsyncEngine, *, owned: bool = False, timeout: float = TIMEOUT) -> None:
        self.dialect = engine.dialect.name
        self.driver = engine.dialect.driver
        self.manner = manner_of(self.dialect)
        self.owned = owned
        self.timeout = timeout
        self._engine = engine
        self._alone, self._together = self._loans()
        self._is_dead = _DEAD.get(self.driver)
        self._open = False
        # INVARIANT: `_idle` is set exactly while `_loaned` is 0.
        self._loaned = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # INVARIANT: set exactly while connections are known not to come about; `_tried` is set once its
        # first attempt has ended.
        self._recovery: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    def _loans(self) -> tuple[AsyncEngine, AsyncEngine]:
        """Two views of one pool: for single statements, and for transactions."""
        engine, manner = self._engine, self.manner
        if manner.isolation is None or (self.owned and self.dialect != "postgresql"):
            return engine, engine  # as every connection was set up
        together = engine.execution_options(isolation_level=manner.isolation)
        if not manner.alone:
            return together, together
        return engine.execution_options(isolation_level="AUTOCOMMIT"), together

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """The engine for a store URL; no I/O."""
        return cls(engine_for(url), owned=True, timeout=seconds(url))

    async def open(self) -> None:
        """Connect, once.

        Raises:
            StoreMisconfigured: wrong credentials, no such database.
            StoreUnavailable: it does not answer now.
        """
        if self.owned and self.dialect == "sqlite" and _lacks_directory(self._engine.url.database):
            raise StoreMisconfigured(f"{NAME}: no directory to hold {self.shown}")
        try:
            await self._connect()
        except _CLIENT_ERRORS as error:
            await self._dispose()
            kind = StoreMisconfigured if never_accepted(error) else StoreUnavailable
            raise kind(f"{NAME}: no connection to {self.shown}: {summary(error)}") from error
        self._open = True
        self._told(1)

    async def _connect(self) -> None:
        async with asyncio.timeout(self.timeout), self._loan(self._engine) as connection:
            if self.dialect == "sqlite" and self.owned:
                await _log_ahead(connection)
            else:
                await connection.execute(select(1))

    async def close(self) -> None:
        """Take nothing more, wait for what is under way, close what is ours. Twice is once."""
        if not self._open:
            return
        self._open = False
        try:
            if self._recovery is not None:
                self._recovery.cancel()
                await asyncio.wait({self._recovery})
                self._recovery = None
                self._tried.set()  # for whoever waits for it
            await self._idle.wait()  # bounded by the time-out; a connection on loan would outlive its pool
        finally:
            await self._dispose()

    async def _dispose(self) -> None:
        if self.owned:
            await self._engine.dispose()

    @property
    def shown(self) -> str:
        """The database as it may be printed: no password, no options."""
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    @property
    def sqlalchemy_dialect(self) -> Any:
        """What compiles statements to text."""
        return self._engine.dialect

    async def ping(self) -> float:
        """Seconds that one round trip took, tried also while everything else fails at once."""
        started = time.perf_counter()
        try:
            async with (
                asyncio.timeout(min(PING_SECONDS, self.timeout)),
                self._loan(self._alone) as connection,
            ):
                await connection.execute(select(1))
        except _CLIENT_ERRORS as error:
            raise StoreUnavailable(f"{NAME}: {self.shown} does not answer: {summary(error)}") from error
        return time.perf_counter() - started

    # --- work ---

    async def read(self, work: Work[T]) -> T:
        """What `work` finds out. It may be done twice."""
        return await self._again_if_collided(work, self._read)

    async def write(self, work: Work[T]) -> T:
        """What `work` answers, which is one writing statement."""
        if self.manner.alone:
            return await self._again_if_collided(work, self._write_alone)
        return await self._again_if_collided(work, self._transact)

    async def transact(self, work: Work[T]) -> T:
        """What `work` answers, done in one transaction; it may be called again where that was rolled back."""
        return await self._again_if_collided(work, self._transact)

    async def exclusively(self, work: Work[T]) -> T:
        """The same, while no other process does; where the dialect has no such lock, at the risk of colliding."""
        enter, leave = self.manner.enter, self.manner.leave

        async def alone(connection: AsyncConnection) -> T:
            if enter is None:
                return await work(connection)
            entered = (await connection.execute(text(enter))).scalar()
            if leave is None:
                return await work(connection)
            if entered != 1:
                raise StoreUnavailable(f"{NAME}: another process has been migrating for too long")
            try:
                answer = await work(connection)
                await connection.commit()  # the next one in is to see it
                return answer
            finally:
                if not connection.invalidated:
                    await connection.execute(text(leave))

        return await self._again_if_collided(alone, self._transact, EXCLUSIVE_SECONDS)

    async def _again_if_collided(
        self,
        work: Work[T],
        once: Callable[[Work[T], _Progress], Awaitable[T]],
        least: float = 0.0,
    ) -> T:
        for attempt in range(ATTEMPTS):
            await self._may_go()
            progress = _Progress()
            try:
                async with asyncio.timeout(max(self.timeout, least)):
                    return await once(work, progress)
            except _CLIENT_ERRORS as error:
                if fault_of(error) is not Fault.COLLIDED:
                    self._raise(error, progress)
                last = error
            await asyncio.sleep(random.uniform(0, 0.001 * 2 ** min(attempt, 6)))
        raise StoreUnavailable(
            f"{NAME}: rolled back {ATTEMPTS} times because of others ({summary(last)}); nothing was changed"
        ) from last

    async def _read(self, work: Work[T], progress: _Progress) -> T:
        async with self._loan(self._alone) as connection:
            progress.sent = True
            return await work(connection)

    async def _write_alone(self, work: Work[T], progress: _Progress) -> T:
        async with self._loan(self._alone) as connection:
            progress.sent = True
            return await work(connection)

    async def _transact(self, work: Work[T], progress: _Progress) -> T:
        async with self._loan(self._together) as connection:
            if self.manner.begin is not None:
                return await self._transact_by_hand(connection, work, progress)
            answer = await work(connection)
            progress.sent = True
            await connection.commit()
            return answer

    async def _transact_by_hand(self, connection: AsyncConnection, work: Work[T], progress: _Progress) -> T:
        assert self.manner.begin is not None
        await connection.exec_driver_sql(self.manner.begin)
        try:
            answer = await work(connection)
            progress.sent = True
            await connection.exec_driver_sql("COMMIT")  # an error of which leaves the transaction open
        except BaseException:
            if not connection.invalidated:
                # The DBAPI's own, which unlike the statement is no error where SQLite has rolled back by itself.
                raw = await connection.get_raw_connection()
                await connection.run_sync(lambda _: raw.rollback())
            raise
        return answer

    @asynccontextmanager
    async def _loan(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool that is not known to be dead; while it is out, `close` waits."""
        self._loaned += 1
        self._idle.clear()
        try:
            async with self._unbroken(await self._borrow(engine)) as connection:
                yield connection
        finally:
            self._loaned -= 1
            if self._loaned == 0:
                self._idle.set()

    @asynccontextmanager
    async def _unbroken(self, connection: AsyncConnection) -> AsyncIterator[AsyncConnection]:
        """The connection, which goes back into the pool unless it broke."""
        try:
            yield connection
        except _CLIENT_ERRORS as error:
            if (fault_of(error) is Fault.LOST or demoted(error)) and not connection.invalidated:
                await connection.invalidate(error)
            raise
        finally:
            await connection.close()  # not shielded: cancelled in its ROLLBACK it drops the connection

    async def _borrow(self, engine: AsyncEngine) -> AsyncConnection:
        while True:
            connection = engine.connect()
            try:
                await connection.start()
            except _CLIENT_ERRORS:
                raise
            except Exception as error:
                raise Unreachable(error) from error
            if self._is_dead is None:
                return connection
            raw = await connection.get_raw_connection()
            if not self._is_dead(raw.driver_connection):
                return connection
            await connection.invalidate()
            await connection.close()

    # --- loss and recovery ---

    def _raise(self, error: BaseException, progress: _Progress) -> NoReturn:
        fault = fault_of(error)
        if fault is Fault.UNMIGRATED:
            raise NotMigrated(f"{NAME}: the tables are missing or old; run `holdfast migrate`") from error
        if fault is Fault.REFUSED:
            raise StatementRefused(f"{NAME}: {fault.value}: {summary(error)}") from error
        if fault is Fault.LOST:
            self._lost(summary(error))
        raise StoreUnavailable(
            f"{NAME}: {fault.value}: {summary(error)}",
            maybe_applied=fault is Fault.LOST and progress.sent,
        ) from error

    async def _may_go(self) -> None:
        if not self._open:
            raise Closed(f"{NAME}: not open")
        if self._recovery is None:
            return
        await self._tried.wait()  # bounded by the time-out of the attempt
        if not self._open:
            raise Closed(f"{NAME}: closed")
        if self._recovery is not None:
            raise StoreUnavailable(f"{NAME}: no connection to {self.shown}; reconnecting")

    def _lost(self, reason: str) -> None:
        if self._recovery is not None or not self._open:
            return
        if events.listeners:
            events.publish(events.Disconnected(NAME, reason))
        self._tried.clear()
        self._recovery = asyncio.create_task(self._recover(), name="holdfast sqlalchemy recovery")

    async def _recover(self) -> None:
        rest, attempts = FIRST_REST, 0
        while True:
            attempts += 1
            try:
                await self.ping()
            except StoreUnavailable:
                self._tried.set()
            else:
                break
            await asyncio.sleep(rest * random.uniform(0.5, 1.0))
            rest = min(2 * rest, LONGEST_REST)
        self._recovery = None
        self._tried.set()
        self._told(attempts)

    def _told(self, attempts: int) -> None:
        if events.listeners:
            events.publish(events.Connected(NAME, attempts))


class _Progress:
    """Whether what was asked may have happened, should the connection be lost now."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


def _lacks_directory(database: str | None) -> bool:
    # Asked before aiosqlite is: its thread outlives an attempt that fails, and then the loop.
    return database is not None and not database.startswith("file:") and not Path(database).parent.is_dir()


async def _log_ahead(connection: AsyncConnection) -> None:
    """Turn on write-ahead logging, which the file then remembers."""
    for attempt in range(10):
        mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
        if mode == "wal":
            return
        try:
            await connection.exec_driver_sql("PRAGMA journal_mode=wal")
        except SQLAlchemyError as error:
            # SQLite does not wait here, whatever its busy time-out says.
            if fault_of(error) is not Fault.AWAY or attempt == 9:
                raise
            await asyncio.sleep(random.uniform(0, 0.02 * (attempt + 1)))
