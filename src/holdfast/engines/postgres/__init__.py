"""Postgres over asyncpg: connections of our own rather than a pool.

A pool resets its connections at every release and hands statements to whichever
is free. Here a statement names its *lane*, one of `?lanes=` connections (2 by
default), on which statements wait for each other: what is sent down one lane happens in that
order. Each lane keeps its prepared statements and mends itself.

URL options of Holdfast: `lanes`, `timeout` (seconds for one statement or one
attempt to connect, 5), `pgbouncer=true`. The rest of the query is libpq's
(`sslmode`, `host`, `target_session_attrs`, ...) and then the session's settings.

What is announced (`listen`) comes over one further connection, made when the
first hearer comes: to `?listen=URL` where that is given, for LISTEN does not
pass a pgbouncer that pools transactions.

With `?pgbouncer=true` nothing is left behind in a session: no named prepared
statements, no settings at start-up; transaction pooling is safe, statement
pooling too. It costs a parse and a plan for each statement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import asyncpg

from holdfast.engines.postgres import doctor, failures, ledger
from holdfast.engines.postgres.failures import StatementRefused
from holdfast.engines.postgres.lane import Lane, Sleep
from holdfast.engines.postgres.listening import Heard, Hearing, Listening
from holdfast.errors import StoreError, StoreMisconfigured
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["Hearing", "PostgresEngine", "StatementRefused"]

_SESSION = {
    # A batch's arrays differ in length each time, and the plan must not: every
    # statement finds its rows by key.
    "plan_cache_mode": "force_generic_plan",
    # Planned while the table was small, a statement would read all of it ever after.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",  # and a stretch of it whole, to sort it, where the index has the order
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


class PostgresEngine:
    """Lanes to one database; `PostgresEngine.from_url(url)`, then `open`."""

    def __init__(
        self,
        url: StoreURL,
        *,
        lanes: int = 2,
        timeout: float = 5.0,
        pgbouncer: bool = False,
        listen: StoreURL | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.url = url
        self.lanes = lanes
        self.pgbouncer = pgbouncer
        self._timeout = timeout
        self._lanes = [
            Lane(self._connect, timeout=timeout, named=not pgbouncer, mended=self._hurry, sleep=sleep)
            for _ in range(lanes)
        ]
        self.listens = listen is not None or not pgbouncer
        self._listen_url = listen
        self._listening = Listening(self._connect_to_listen, timeout=timeout, mended=self._hurry, sleep=sleep)

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """An engine for the URL, made without I/O."""
        lanes = url.number("lanes", 2, least=1)
        if lanes != int(lanes) or lanes > 64:
            raise StoreMisconfigured(f"store URL {url}: lanes is a whole number from 1 to 64")
        timeout = url.number("timeout", 5.0, least=0.001)
        listen = url.options.get("listen")
        direct = None if listen is None else StoreURL.parse(listen, foreign=True)
        if direct is not None and direct.scheme not in ("postgresql", "postgres"):
            raise StoreMisconfigured(f"store URL {url}: listen is a postgresql:// URL, escaped")
        return cls(url, lanes=int(lanes), timeout=timeout, pgbouncer=url.flag("pgbouncer"), listen=direct)

    async def open(self) -> None:
        """Connect every lane.

        Raises:
            StoreMisconfigured: the server will never let us in like this.
            StoreUnavailable: it does not answer now.
        """
        opened = await asyncio.gather(*(lane.open() for lane in self._lanes), return_exceptions=True)
        failed = [outcome for outcome in opened if outcome is not None]
        if failed:
            await self.close()
            raise failed[0]

    def _hurry(self) -> None:
        """One connection is back: the others need not wait out their pauses."""
        for lane in self._lanes:
            lane.hurry()
        self._listening.hurry()

    async def close(self) -> None:
        """End every lane and every hearing; twice is once."""
        await asyncio.gather(self._listening.close(), *(lane.close() for lane in self._lanes))

    def fetch(self, lane: int, sql: str, *args: Any) -> Coroutine[Any, Any, list[Any]]:
        """The rows of one statement down one lane; see `Lane.fetch`. A transaction of its own."""
        return self._lanes[lane].fetch(sql, args)

    async def listen(self, channel: str, heard: Heard, lost: Callable[[], None]) -> Hearing:
        """Call `heard` with each payload that is announced in `channel`; see `engines.postgres.listening`.

        Only where `listens` is true. `lost` is called when some may have been missed.

        Raises:
            StoreError: the server cannot be reached; nothing is heard.
        """
        return await self._listening.listen(channel, heard, lost)

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Any]:
        """An asyncpg connection beside the lanes, for rare work that may take its time; closed afterwards."""
        connection = await self._connect()
        try:
            yield connection
        except failures.STATEMENT as exc:
            error, _ = failures.of_statement(exc, sent=True)
            raise error from exc
        finally:
            try:
                await connection.close(timeout=self._timeout)
            except failures.STATEMENT:
                connection.terminate()

    async def pending(self, migrations: Sequence[Migration], *, table: str) -> list[Migration]:
        """Those that the ledger `table` does not name yet, oldest first."""
        applied = await ledger.applied(lambda sql, *args: self.fetch(0, sql, *args), table)
        return [each for each in migrations if (each.capability, each.version) not in applied]

    async def migrate(self, migrations: Sequence[Migration], *, table: str) -> list[Migration]:
        """Apply what is pending, all or nothing; two processes at once: one applies, the other waits."""
        async with self.aside() as connection:
            return await ledger.apply(connection, migrations, table)

    async def health(self) -> Health:
        """One round trip down the first lane, bounded by `timeout`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                await self.fetch(0, "SELECT 1")
        except StoreError as exc:
            return Health(False, "postgres", time.perf_counter() - started, str(exc))
        except TimeoutError:
            return Health(False, "postgres", time.perf_counter() - started, "postgres: no answer in time")
        return Health(True, "postgres", time.perf_counter() - started, f"PostgreSQL {self._lanes[0].version}")

    async def describe(self, *tables: str) -> list[Finding]:
        """What the server promises about these tables as it is configured."""
        sent = time.time()
        (facts,) = await self.fetch(0, doctor.FACTS, list(tables))
        return doctor.findings(facts, local=(sent + time.time()) / 2, pgbouncer=self.pgbouncer)

    async def _connect(self) -> Any:
        try:
            if self.pgbouncer:
                return await asyncpg.connect(self.url.text, timeout=self._timeout, statement_cache_size=0)
            return await asyncpg.connect(self.url.text, timeout=self._timeout, server_settings=_SESSION)
        except Exception as exc:
            raise failures.of_connecting(exc, self.url) from exc

    async def _connect_to_listen(self) -> Any:
        where = self._listen_url or self.url
        try:
            return await asyncpg.connect(where.text, timeout=self._timeout)
        except Exception as exc:
            raise failures.of_connecting(exc, where) from exc
