"""The persist driver for Redis and Valkey.

A batch is one write and its replies one future: no round trip but the batch's
own. `Get`s of a batch share an MGET of at most 128 keys, `GetEntry`s a script;
everything else is one command each, in order.

Guarantees: expiry, atomicity and order are Redis' own, its clock decides, and an
acknowledged write is as durable as its persistence setting makes it (`describe`
says). A reply that refuses (OOM, WRONGTYPE) is its own operation's alone; one
that says that this server cannot serve (READONLY, LOADING, MASTERDOWN) is
`StoreUnavailable` with nothing applied, and the connection is left for another.
Should scripts be flushed while operations are in flight, those that were refused
for it go once more and may then follow later ones to the same key.

Where changes are announced, every write is a script that also publishes
(`announcing`), in a channel named after namespace and database; they are heard
over a connection of their own, which all that listen share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final, Self

from holdfast.engines import Lease, lease
from holdfast.engines.redis import Address, RedisEngine, Refusal, as_error, refusal_word
from holdfast.errors import Closed, HoldfastError, InvalidConversion, StoreMisconfigured
from holdfast.persist.driver import (
    LATER,
    Create,
    Get,
    GetEntry,
    Increment,
    Listener,
    Operation,
    Outcome,
    Set,
    Subscription,
    Sweep,
    Traits,
)
from holdfast.persist.drivers.redis.announcing import ANNOUNCING, Announcer, Hearing, Plain
from holdfast.persist.drivers.redis.commands import READ, SCRIPTS, paged, unpaged, what
from holdfast.persist.drivers.redis.doctor import findings
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["RedisDriver", "outcome_of"]

TRAITS: Final = Traits(
    name="redis",
    durable="as configured",
    shared="network",
    clock="server",
    version_from_content=True,
    pipeline=64,
    max_bytes=1 << 20,  # times the pipeline is what may be under way
    scan_repeats=True,
    notifies=True,
)


class RedisDriver:
    """Values as plain strings of one Redis.

    Args:
        client: a `redis.asyncio.Redis` of your own (also from
            `Sentinel.master_for`). Connections are made as it makes them; it is
            never closed, and its own retries do not apply. Without it, use `from_url`.
    """

    traits = TRAITS

    def __init__(self, client: Any = None, *, url: StoreURL | None = None) -> None:
        if (client is None) == (url is None):
            raise TypeError("RedisDriver: pass a client, or make it with from_url")
        self._client = client
        self._url = url
        self._lease: Lease[RedisEngine] | None = None
        self._engine: RedisEngine | None = None
        self._channel: str | None = None  # where changes are announced
        self._hearings: set[Hearing] = set()
        self._commands: Plain | Announcer = Plain()
        self._packed = self._commands.packed

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        RedisEngine.from_url(url)  # an unknown option is told here, before any I/O
        return cls(url=url)

    async def open(self) -> None:
        if self._engine is not None:
            return
        if self._url is not None:
            self._lease = await lease(RedisEngine, self._url)
            engine = self._lease.engine
        else:
            engine = RedisEngine(Address.of_client(self._client))
            await engine.open()
        self._engine = engine
        try:
            await engine.load(*SCRIPTS)
            if self._channel is not None:
                await self._begin_to_announce(engine, f"{self._channel}@{engine.database}")
        except BaseException:
            await self.close()
            raise

    async def _begin_to_announce(self, engine: RedisEngine, channel: str) -> None:
        await engine.load(*ANNOUNCING)
        try:
            await engine.call("PUBLISH", channel, b"")
        except StoreMisconfigured as exc:
            # Else writes would be made, and then fail.
            raise StoreMisconfigured(f"watch=True: this user may not publish in {channel!r}: {exc}") from exc
        self._commands = Announcer(channel)
        self._packed = self._commands.packed

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        held, self._lease = self._lease, None
        for hearing in list(self._hearings):
            await hearing.close()
        if held is not None:
            await held.release()
        elif engine is not None:
            await engine.close()

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        if self._engine is None:
            return Health(False, "redis", 0.0, "not open")
        try:
            seconds = await self._engine.ping()
        except HoldfastError as exc:
            return Health(False, "redis", 0.0, str(exc))
        server = self._engine.server
        return Health(True, "redis", seconds, f"{server.name} {server.version} {server.role}".strip())

    async def describe(self) -> Sequence[Finding]:
        return await findings(self._opened())

    def now(self, op: Operation) -> Outcome:
        return LATER

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        return Sweep(0, None)  # Redis deletes what has expired

    def announce(self, channel: str) -> None:
        self._channel = channel

    async def subscribe(self, listener: Listener) -> Subscription:
        engine = self._opened()
        hearing = Hearing(engine, f"{self._channel}@{engine.database}", listener, self._hearings.discard)
        self._hearings.add(hearing)
        try:
            await hearing.begin()
        except BaseException:
            await hearing.close()
            raise
        return hearing

    def apply(self, batch: Sequence[Operation], lane: int = 0) -> asyncio.Future[list[Outcome]]:
        engine = self._engine or self._opened()
        count = len(batch)
        kinds = list(map(type, batch))
        kind = kinds[0]
        if count == 1 or kinds.count(kind) == count:
            if count > 1 and (kind is Get or kind is GetEntry):
                data, replies = paged(batch)
                return engine.send(data, replies, partial(self._read_pages, batch))
            read = self._read_sets if kind is Set else self._read_creates if kind is Create else self._read
            return engine.send(self._packed(batch), count, partial(read, batch))
        gets = [op for op in batch if type(op) is Get]
        if len(gets) > 1:
            # Reads of a batch may see any state in between: one MGET, behind its writes.
            others = [op for op in batch if type(op) is not Get]
            data, pages = paged(gets)
            return engine.send(
                self._packed(others) + data,
                len(others) + pages,
                partial(self._read_mixed, batch, others, gets),
            )
        return engine.send(self._packed(batch), count, partial(self._read, batch))

    def _opened(self) -> RedisEngine:
        if self._engine is None:
            raise Closed("redis: not open")
        return self._engine

    # --- replies to outcomes; where anything was refused, one by one ---

    def _read(self, ops: Sequence[Operation], replies: list[Any]) -> Any:
        if Refusal in map(type, replies):
            return self._read_refused(ops, replies)
        return [READ[type(op)](op, reply) for op, reply in zip(ops, replies, strict=True)]

    def _read_sets(self, ops: Sequence[Operation], replies: list[Any]) -> Any:
        if replies.count(b"OK") == len(ops):
            return [None] * len(ops)
        return self._read(ops, replies)

    def _read_creates(self, ops: Sequence[Operation], replies: list[Any]) -> Any:
        if replies.count(b"OK") + replies.count(None) == len(ops):
            return [reply is not None for reply in replies]
        return self._read(ops, replies)

    def _read_pages(self, ops: Sequence[Operation], replies: list[Any]) -> Any:
        found = unpaged(ops, replies)
        if type(ops[0]) is Get and Refusal not in map(type, replies):
            return found
        return self._read(ops, found)

    def _read_mixed(
        self,
        ops: Sequence[Operation],
        others: Sequence[Operation],
        gets: Sequence[Operation],
        replies: list[Any],
    ) -> Any:
        told = iter(replies[: len(others)])
        found = iter(unpaged(gets, replies[len(others) :]))
        return self._read(ops, [next(found if type(op) is Get else told) for op in ops])

    def _read_refused(
        self, ops: Sequence[Operation], replies: list[Any]
    ) -> list[Outcome] | Coroutine[Any, Any, list[Outcome]]:
        engine = self._opened()
        outcomes: list[Outcome] = []
        unknown: list[int] = []
        for at, (op, reply) in enumerate(zip(ops, replies, strict=True)):
            if type(reply) is Refusal:
                engine.refused(reply)
                if refusal_word(reply) == "NOSCRIPT":
                    unknown.append(at)
            outcomes.append(outcome_of(op, reply))
        return self._once_more(ops, outcomes, unknown) if unknown else outcomes

    async def _once_more(
        self, ops: Sequence[Operation], outcomes: list[Outcome], unknown: list[int]
    ) -> list[Outcome]:
        """Scripts were flushed: an operation that was refused for that did nothing, so its text is sent instead."""
        refused = [ops[at] for at in unknown]
        data = b"".join([self._commands.resent(op) for op in refused])
        try:
            replies = await self._opened().send(data, len(refused))
        except HoldfastError as exc:
            replies = [exc] * len(refused)
        for at, op, reply in zip(unknown, refused, replies, strict=True):
            outcomes[at] = reply if isinstance(reply, HoldfastError) else outcome_of(op, reply)
        return outcomes


def outcome_of(op: Operation, reply: Any) -> Outcome:
    """The outcome of one operation, from its one reply."""
    if type(reply) is not Refusal:
        return READ[type(op)](op, reply)
    text = str(reply)
    if type(op) is Increment:
        if "not an integer" in text:
            return InvalidConversion(f"{what(op)}: what is stored is not an integer of 64 bits")
        if "overflow" in text:
            return ValueError(f"{what(op)}: the sum would leave the range of 64 bits")
    return as_error(what(op), reply)
