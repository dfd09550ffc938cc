"""One connection that mends itself.

A lane sends one statement at a time, prepared once per connection. When its
connection ends it connects again by itself, at once the first time, then with
a growing pause. Meanwhile:

========================================  ===============================================
a statement arrives during the first try  waits for it, at most `timeout` seconds
... while tries fail                      `StoreUnavailable` at once, nothing sent
the connection ends under a statement     `StoreUnavailable(maybe_applied=True)`; not sent again
no answer in `timeout` seconds            the connection is ended: as above
the caller is cancelled                   the server is asked to cancel; the next waits for that
========================================  ===============================================
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import asyncpg

from holdfast import events
from holdfast.engines.postgres import failures
from holdfast.errors import Closed, StoreError, StoreUnavailable

__all__ = ["Connect", "Lane", "Sleep"]

Connect: TypeAlias = Callable[[], Awaitable[Any]]
"""Makes a connection, or raises a `StoreError`."""
Sleep: TypeAlias = Callable[[float], Awaitable[None]]

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
# A table that was changed under a prepared statement; one that somebody deallocated.
_STALE = (asyncpg.InvalidCachedStatementError, asyncpg.InvalidSQLStatementNameError)


class Lane:
    """One connection, its prepared statements, and who mends it.

    Args:
        connect: makes a connection.
        timeout: seconds that a statement may take.
        named: keep prepared statements by name on the server; false behind
            pgbouncer, where the next statement may meet another server.
        mended: called when a lost connection was got back.
        sleep: pauses between tries.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        timeout: float,
        named: bool,
        mended: Callable[[], None] = lambda: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._name = None if named else ""
        self._mended = mended
        self._sleep = sleep
        self._resting: asyncio.Future[None] | None = None  # the pause between two tries
        self._turn = asyncio.Lock()
        # INVARIANT: exactly one of these: a connection; a task that mends (and no
        # connection); neither, which is before `open` and after `close`.
        self._connection: Any = None
        self._mending: asyncio.Task[None] | None = None
        self._statements: dict[str, Any] = {}  # of this connection
        self._tried: asyncio.Event = asyncio.Event()  # the first try after a loss has ended
        self._refusal: StoreError | None = None  # why the last try failed: a pause is on
        self._unproven = 0  # connections lost in a row before they finished one statement
        self._since = 0.0  # loop time when the statement under way was sent; 0: none is
        self._watchdog: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connect once; raises what that raises."""
        self._adopt(await self._connect(), 1)

    async def close(self) -> None:
        """End the connection. A statement under way fails; twice is once."""
        mending, self._mending = self._mending, None
        if mending is not None:
            mending.cancel()
            await asyncio.wait({mending})
        connection, self._connection = self._connection, None
        self._statements = {}
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=self._timeout)
            except failures.STATEMENT:
                connection.terminate()

    @property
    def version(self) -> str:
        """The server's version, as it said when the connection was made; empty while there is none."""
        if self._connection is None or self._connection.is_closed():
            return ""
        return str(self._connection.get_settings().server_version)

    async def fetch(self, sql: str, args: Sequence[Any]) -> list[Any]:
        """The rows of one statement, sent at most once; waits for its turn.

        Raises:
            StatementRefused: the server answered with an error; nothing was applied.
            StoreUnavailable: no connection, or no answer: `maybe_applied` says which.
            NotMigrated, StoreMisconfigured: what the server's error says.
        """
        async with self._turn:
            connection = self._connection
            if connection is None or connection.is_closed():
                connection = await self._ready()
            statement = self._statements.get(sql)
            if statement is None:
                statement = await self._prepare(connection, sql)
            self._watch()
            try:
                rows: list[Any] = await statement.fetch(*args)
            except _STALE:
                rows = await self._afresh(connection, sql, args)
            except failures.STATEMENT as exc:
                raise self._translated(exc, sent=True) from exc
            finally:
                self._since = 0.0
            self._unproven = 0
            return rows

    async def _afresh(self, connection: Any, sql: str, args: Sequence[Any]) -> list[Any]:
        """Prepare and send once more what the server no longer knows; nothing of it was applied."""
        self._statements.pop(sql, None)
        statement = await self._prepare(connection, sql)
        try:
            rows: list[Any] = await statement.fetch(*args)
        except failures.STATEMENT as exc:
            raise self._translated(exc, sent=True) from exc
        return rows

    async def _prepare(self, connection: Any, sql: str) -> Any:
        try:
            statement = await connection.prepare(sql, name=self._name, timeout=self._timeout)
            # asyncpg prepares without a Sync: until a statement follows, the table stays
            # locked against migrations (and pgbouncer keeps the server for us).
            await connection.execute("SELECT 1", timeout=self._timeout)
        except failures.STATEMENT as exc:
            if isinstance(exc, TimeoutError):
                connection.terminate()
            raise self._translated(exc, sent=False) from exc
        self._statements[sql] = statement
        return statement

    def _translated(self, exc: BaseException, *, sent: bool) -> StoreError:
        error, good = failures.of_statement(exc, sent=sent)
        connection = self._connection
        if connection is not None:
            if not good:
                connection.terminate()
            if connection.is_closed():
                self._lost(connection, str(error))
        return error

    # --- a server that does not answer ---

    def _watch(self) -> None:
        """See that the statement about to be sent ends in time; one timer serves many statements."""
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        if self._watchdog is None:
            self._watchdog = loop.call_later(self._timeout, self._overdue)

    def _overdue(self) -> None:
        self._watchdog = None
        if not self._since:
            return
        loop = asyncio.get_running_loop()
        left = self._since + self._timeout - loop.time()
        if left > 0:
            self._watchdog = loop.call_later(left, self._overdue)
        elif self._connection is not None:
            self._connection.terminate()  # its statement fails of this, and so its caller hears of it

    # --- losing the connection, and getting it back ---

    def _adopt(self, connection: Any, attempts: int) -> None:
        self._connection = connection
        self._statements = {}
        self._refusal = None
        connection.add_termination_listener(self._ended)
        if events.listeners:
            events.publish(events.Connected("postgres", attempts))

    def _ended(self, connection: Any) -> None:
        self._lost(connection, "the server closed the connection")

    def _lost(self, connection: Any, reason: str) -> None:
        if connection is not self._connection:
            return  # known already, or closed by us
        self._connection = None
        self._statements = {}
        self._tried = asyncio.Event()
        if self._unproven:
            self._refusal = StoreUnavailable(reason)
        self._unproven += 1
        self._mending = asyncio.create_task(
            self._mend(self._unproven - 1), name="holdfast postgres reconnect"
        )
        if events.listeners:
            events.publish(events.Disconnected("postgres", reason))

    async def _mend(self, unproven: int) -> None:
        """Connect again. One lost after it did something gets a try at once, one that never did a pause."""
        pause = FIRST_PAUSE
        attempts = 0
        try:
            if unproven:
                pause = await self._pause(min(FIRST_PAUSE * 2 ** min(unproven, 10), LONGEST_PAUSE))
            while True:
                attempts += 1
                try:
                    connection = await self._connect()
                    break
                except StoreError as exc:
                    self._refusal = exc
                self._tried.set()
                pause = await self._pause(pause)
            self._mending = None
            self._adopt(connection, attempts)
            self._mended()
        finally:
            self._tried.set()

    async def _pause(self, seconds: float) -> float:
        """Rest, unless hurried; the next pause."""
        self._resting = asyncio.ensure_future(self._sleep(seconds * random.uniform(0.5, 1.0)))
        try:
            await asyncio.wait({self._resting})
        finally:
            self._resting.cancel()
        return min(seconds * 2, LONGEST_PAUSE)

    def hurry(self) -> None:
        """Try now instead of after the pause: another lane has found the server."""
        if self._resting is not None:
            self._resting.cancel()

    async def _ready(self) -> Any:
        if self._connection is not None:
            self._ended(self._connection)  # before asyncpg's own call to the listener
        if self._mending is None:
            raise Closed("postgres: not open")
        if self._refusal is None:
            try:
                await asyncio.wait_for(self._tried.wait(), self._timeout)
            except TimeoutError:
                raise StoreUnavailable("postgres: not connected, no answer in time") from None
        if self._connection is None:
            raise StoreUnavailable(f"postgres: not connected ({self._refusal})")
        return self._connection
