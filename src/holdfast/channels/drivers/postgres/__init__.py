"""Live rooms in Postgres: a row a topic, a row a message, and NOTIFY to the other processes.

Guarantees: an acknowledged message is as durable as the server's
`synchronous_commit` makes a commit. Offsets are given out under the lock of the
topic's row, which is held until the commit: a slow commit is waited for, never
skipped. The message, the topic's advance, its retention and its announcement
are one statement, and so one transaction. The server's clock stamps messages.

Cost: the appends of a batch are one round trip and one commit, however many
topics (one more for each different retention in it; one more where an id was
there already). Reads of one form are one round trip. A batch of 300 messages to
100 topics costs a server about 6 µs a message.

Announcements carry how far a log goes, not what it says: other processes read
the log. They arrive over one connection for LISTEN. NOTIFY passes a pgbouncer,
LISTEN does not where it pools transactions: with `?pgbouncer=true` either
`?listen=URL` leads past it, or this process asks twice a second. What is sent
without being kept then goes through the table `holdfast_notes`, so all
processes should be configured alike: one that only asks does not hear what one
that notifies sends (up to 5,000 bytes).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from holdfast.channels.driver import LATER, Listener, Operation, Outcome, Traits
from holdfast.channels.drivers.postgres import changes as sql
from holdfast.channels.drivers.postgres.batches import applied
from holdfast.channels.drivers.postgres.following import POLL, Following, PostgresSubscription
from holdfast.channels.drivers.postgres.line import Line
from holdfast.channels.drivers.postgres.statements import CHANNEL
from holdfast.channels.migrations import LEDGER, MIGRATIONS
from holdfast.engines import Lease, lease, notes
from holdfast.engines.postgres import PostgresEngine
from holdfast.errors import Closed, StoreError, StoreUnavailable
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["PostgresDriver"]

TABLES = ("holdfast_topics", "holdfast_messages", notes.TABLE)
TRAITS = Traits(
    name="postgres",
    durable="yes",
    shared="network",
    clock="server",
    notifies="push",
    lanes=2,
    writes_in_one_lane=True,
)
"""Unless the URL says otherwise. One lane writes: two would send half as large batches, wait for each other's
topics, and commit one after the other all the same, for NOTIFY lets only one transaction commit at a time."""

_STEPS = (*notes.MIGRATIONS["postgresql"], *MIGRATIONS["postgresql"])
_SWEPT = 1_000
_WALKED = 64
_ECHO_SECONDS = 2.0


class PostgresDriver:
    """`PostgresDriver.from_url(url)`; `?lanes=`, `?timeout=`, `?pgbouncer=true` and `?listen=` are the engine's."""

    def __init__(self, url: StoreURL) -> None:
        self._url = url
        self._lease: Lease[PostgresEngine] | None = None
        self._following: Following | None = None
        self._walked = 0  # the number up to which `sweep` has looked for orphans
        engine = PostgresEngine.from_url(url)
        self._listens = engine.listens
        traits = TRAITS
        if "lanes" in url.options:
            traits = msgspec.structs.replace(traits, lanes=engine.lanes, writes_in_one_lane=False)
        if not engine.listens:
            traits = msgspec.structs.replace(traits, notifies="poll", latency=POLL)
        self.traits = traits

    @classmethod
    def from_url(cls, url: StoreURL) -> PostgresDriver:
        return cls(url)

    async def open(self) -> None:
        if self._lease is None:
            self._lease = await lease(PostgresEngine, self._url)
            engine = self._lease.engine
            self._following = Following(engine, partial(engine.fetch, engine.lanes - 1))

    async def close(self) -> None:
        following, self._following = self._following, None
        held, self._lease = self._lease, None
        try:
            if following is not None:
                await following.close()
        finally:
            if held is not None:
                await held.release()

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(_STEPS, table=LEDGER)

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(_STEPS, table=LEDGER)

    async def health(self) -> Health:
        if self._lease is None:
            return Health(False, "postgres", 0.0, "closed")
        return await self._lease.engine.health()

    async def describe(self) -> Sequence[Finding]:
        found = await self._engine.describe(*TABLES)
        ((usage,),) = await self._engine.fetch(0, "SELECT pg_notification_queue_usage()")
        if usage > 0.1:
            text = f"the queue is {usage:.0%} full: a session listens in a transaction that does not end"
            found.append(Finding("warning", "announcements", text))
        found.append(await self._announcements())
        return found

    def now(self, op: Operation) -> Outcome:
        return LATER  # everything waits for the network

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        following = self._following
        if following is None:
            raise Closed("postgres: not open")
        fetch = partial(self._fetch, following, lane)
        return await applied(Line(fetch, following.origin, self._listens), batch)

    async def subscribe(self, listener: Listener) -> PostgresSubscription:
        if self._following is None:
            raise Closed("postgres: not open")
        return await self._following.subscribe(listener)

    async def sweep(self) -> int:
        engine = self._engine
        lane = engine.lanes - 1
        swept = len(await engine.fetch(lane, sql.SWEEP_NOTES, _SWEPT, notes.LIFE_MS))
        walked = await engine.fetch(lane, sql.ORPHANS, self._walked, _WALKED)
        self._walked = walked[-1][0] if len(walked) == _WALKED else 0
        orphans = [number for number, orphaned in walked if orphaned]
        if orphans:
            await engine.fetch(lane, sql.EMPTY, orphans, _SWEPT)
        return swept

    @property
    def _engine(self) -> PostgresEngine:
        if self._lease is None:
            raise Closed("postgres: not open")
        return self._lease.engine

    async def _fetch(self, following: Following, lane: int, statement: str, *args: Any) -> list[Any]:
        try:
            return await self._engine.fetch(lane, statement, *args)
        except StoreUnavailable as exc:
            if exc.maybe_applied:
                following.doubt()
            raise
        except asyncio.CancelledError:
            following.doubt()
            raise

    async def _announcements(self) -> Finding:
        """Whether an announcement comes back to who made it, and how fast."""
        subject = "announcements"
        if not self._listens:
            return Finding(
                "note",
                subject,
                f"LISTEN does not pass pgbouncer: asks every {POLL:g} s; ?listen= leads past it",
            )
        back = asyncio.Event()
        token = f"doctor:{secrets.token_hex(8)}"
        try:
            hearing = await self._engine.listen(
                f"{CHANNEL}_doctor", lambda said: back.set() if said == token else None, lambda: None
            )
        except StoreError as exc:
            return Finding("warning", subject, f"cannot listen: {exc}")
        started = time.perf_counter()
        try:
            await self._engine.fetch(0, "SELECT pg_notify($1, $2)", hearing.channel, token)
            async with asyncio.timeout(_ECHO_SECONDS):
                await back.wait()
        except TimeoutError:
            text = "NOTIFY does not come back: ?listen= must lead to the same database, not through a pooler"
            return Finding("warning", subject, text)
        finally:
            await hearing.close()
        took = (time.perf_counter() - started) * 1000
        return Finding("ok", subject, f"by NOTIFY, which came back in {took:.1f} ms")
