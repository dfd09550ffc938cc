"""Values in Postgres: one row a key, one statement for each kind of operation in a batch.

Guarantees: an acknowledged write is as durable as the server's
`synchronous_commit` makes a commit. Expiry is by the server's clock. A
statement is a transaction of its own; a batch is not one.

Cost: a batch of one kind is one round trip, however many operations; each
further kind in it, and each key that is told two different things, one more.
A read costs one index look-up, a write one row version; nothing is indexed but
the key, so that most updates stay in their page (HOT) and touch no index.

Errors: what the server refuses is refused for the operation that earned it: the
statement is halved until that one is found (nothing of a refused statement was
applied). After a lost connection nothing is sent again.

Where changes are announced, the statement that makes them notifies of them
(`announcing`); they are heard over one connection that listens, through
`?listen=` past a pgbouncer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial

import msgspec

from holdfast.engines import Lease, lease
from holdfast.engines.postgres import PostgresEngine
from holdfast.errors import Closed
from holdfast.persist.driver import LATER, Listener, Operation, Outcome, Subscription, Sweep, Traits
from holdfast.persist.drivers.postgres import statements as sql
from holdfast.persist.drivers.postgres.announcing import Heard, channel_name, telling
from holdfast.persist.drivers.postgres.batches import applied
from holdfast.persist.migrations import LEDGER, MIGRATIONS
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["PostgresDriver"]

TABLE = "holdfast_persist"
TRAITS = Traits(
    name="postgres",
    durable="yes",
    shared="network",
    clock="server",
    version_from_content=False,
    lanes=2,
    writes_in_one_lane=True,
    overlap_from=192,
    sweeps=True,
    notifies=True,
)
"""Unless `?lanes=` says otherwise. Writes split over two lanes are half as large batches, with a commit and a
sync each: on two cores 32 tasks wrote 1.5 times as much through one. Reads gain from the second: the client
makes sense of one answer while the server makes the other. Where hundreds of writers wait for one batch, client and
server rest by turns: two batches side by side wrote 1.2 times as much at 256 tasks with a core for each."""


class PostgresDriver:
    """`PostgresDriver.from_url(url)`; `?lanes=`, `?timeout=`, `?pgbouncer=true` and `?listen=` are the engine's."""

    def __init__(self, url: StoreURL) -> None:
        self._url = url
        self._lease: Lease[PostgresEngine] | None = None
        self._channel: str | None = None  # where changes are announced
        self._heard: set[Heard] = set()
        lanes = PostgresEngine.from_url(url).lanes
        asked = msgspec.structs.replace(TRAITS, lanes=lanes, writes_in_one_lane=False)
        self.traits = asked if "lanes" in url.options else TRAITS

    @classmethod
    def from_url(cls, url: StoreURL) -> PostgresDriver:
        return cls(url)

    async def open(self) -> None:
        if self._lease is None:
            self._lease = await lease(PostgresEngine, self._url)

    async def close(self) -> None:
        held, self._lease = self._lease, None
        for each in list(self._heard):
            await each.close()
        if held is not None:
            await held.release()

    async def pending(self) -> Sequence[Migration]:
        return await self._engine.pending(MIGRATIONS["postgresql"], table=LEDGER)

    async def migrate(self) -> Sequence[Migration]:
        return await self._engine.migrate(MIGRATIONS["postgresql"], table=LEDGER)

    async def health(self) -> Health:
        if self._lease is None:
            return Health(False, "postgres", 0.0, "closed")
        return await self._lease.engine.health()

    async def describe(self) -> Sequence[Finding]:
        return await self._engine.describe(TABLE)

    def now(self, op: Operation) -> Outcome:
        return LATER  # everything waits for the network

    def apply(self, batch: Sequence[Operation], lane: int = 0) -> Awaitable[list[Outcome]]:
        fetch = partial(self._engine.fetch, lane)
        return applied(fetch if self._channel is None else telling(fetch, self._channel), batch)

    def announce(self, channel: str) -> None:
        self._channel = channel_name(channel)

    async def subscribe(self, listener: Listener) -> Subscription:
        engine = self._engine
        if self._channel is None:
            raise Closed("postgres: nothing is announced")
        heard = Heard(listener, self._heard.discard)
        self._heard.add(heard)
        try:
            await heard.begin(engine, self._channel)
        except BaseException:
            await heard.close()
            raise
        return heard

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        ((looked_at, last, removed),) = await self._engine.fetch(0, sql.SWEEP, cursor or "", limit)
        return Sweep(removed, last if looked_at == limit else None)

    @property
    def _engine(self) -> PostgresEngine:
        if self._lease is None:
            raise Closed("postgres: not open")
        return self._lease.engine
