"""The channels driver for Redis and Valkey.

A batch is one write and its replies one future: no round trip but the batch's
own. An operation is one script with one reply (a `Send` one PUBLISH), in order.

Guarantees: a script is atomic, retention and announcement included, and what is
acknowledged is as durable as Redis' persistence setting makes it (`describe`
says). Redis' clock stamps messages. `scripts` has the layout. Announcements carry
the message, so that nobody has to read it; after a lost connection, and after
one that Redis dropped for reading too slowly, every channel is subscribed again
and listeners are told `lost()`.

A reply that refuses (OOM, WRONGTYPE) is its own operation's alone; one that says
that this server cannot serve (READONLY, LOADING, MASTERDOWN) is
`StoreUnavailable` with nothing applied, and the connection is left for another.
Should scripts be flushed while operations are in flight, those that were refused
for it go once more and may then follow later ones to the same topic.

Where memory is full and keys may be evicted, a topic is evicted whole: its next
message begins another epoch, so that clients are told. `describe` warns.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final, Self

from holdfast.channels.driver import (
    LATER,
    Append,
    Edit,
    Erase,
    Listener,
    Operation,
    Outcome,
    Subscription,
    Topic,
    TopicPage,
    Topics,
    Traits,
)
from holdfast.channels.drivers.redis.commands import MARK, Packer, look_for_namespaces, page_of
from holdfast.channels.drivers.redis.doctor import findings
from holdfast.channels.drivers.redis.following import Following
from holdfast.channels.drivers.redis.replies import READ_REPLY, page, what
from holdfast.channels.drivers.redis.scripts import SCRIPTS
from holdfast.engines import Lease, lease
from holdfast.engines.redis import Address, RedisEngine, Refusal, as_error, refusal_word
from holdfast.errors import Closed, HoldfastError, StoreUnavailable
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["RedisDriver"]

TRAITS: Final = Traits(
    name="redis",
    durable="as configured",
    shared="network",
    clock="server",
    notifies="push",
    pipeline=64,
    max_bytes=1 << 20,  # times the pipeline is what may be under way
)

_ANNOUNCED: Final = frozenset({Append, Edit, Erase})


class RedisDriver:
    """A topic as a sorted set of one Redis.

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
        self._packer: Packer | None = None
        self._followings: set[Following] = set()

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
        self._packer = Packer(engine.database, _name())
        try:
            await engine.load(*SCRIPTS)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        held, self._lease = self._lease, None
        for following in list(self._followings):
            await following.close()
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
        return await findings(self._opened()[0])

    def now(self, op: Operation) -> Outcome:
        return LATER

    async def sweep(self) -> int:
        return 0  # Redis keeps no announcements

    async def subscribe(self, listener: Listener) -> Subscription:
        engine, packer = self._opened()
        following = Following(
            engine,
            listener,
            suffix=packer.suffix,
            who=packer.who.encode(),
            closed=self._followings.discard,
        )
        self._followings.add(following)
        return following

    def apply(self, batch: Sequence[Operation], lane: int = 0) -> asyncio.Future[list[Outcome]]:
        engine, packer = self._opened()
        data = packer.packed(batch, _name())
        replies = engine.send(data, len(batch), partial(self._read, batch))
        if self._followings and not _ANNOUNCED.isdisjoint(map(type, batch)):
            replies.add_done_callback(self._settled)
        return replies

    def _opened(self) -> tuple[RedisEngine, Packer]:
        if self._engine is None or self._packer is None:
            raise Closed("redis: not open")
        return self._engine, self._packer

    # --- outcomes that were lost ---

    def _settled(self, replies: asyncio.Future[list[Outcome]]) -> None:
        if replies.cancelled() or _unknown(replies.exception()):
            self._doubt()

    def _doubt(self) -> None:
        """Whatever we announced under the old name is news from now on."""
        if self._packer is not None:
            self._packer.rename(_name())
            for following in tuple(self._followings):
                following.who = self._packer.who.encode()
                following.doubt()

    # --- replies to outcomes ---

    def _read(
        self, ops: Sequence[Operation], replies: list[Any]
    ) -> list[Outcome] | Coroutine[Any, Any, list[Outcome]]:
        wide = [at for at, op in enumerate(ops) if type(op) is Topics and MARK not in op.key]
        if not wide and Refusal not in map(type, replies):
            return [READ_REPLY[type(op)](op, reply) for op, reply in zip(ops, replies, strict=True)]
        outcomes: list[Outcome] = []
        unknown: list[int] = []
        for at, (op, reply) in enumerate(zip(ops, replies, strict=True)):
            if type(reply) is Refusal:
                self._opened()[0].refused(reply)
                if refusal_word(reply) == "NOSCRIPT":
                    unknown.append(at)
            outcomes.append(reply if at in wide else _outcome(op, reply))
        return self._more(ops, outcomes, unknown, wide) if unknown or wide else outcomes

    async def _more(
        self, ops: Sequence[Operation], outcomes: list[Outcome], unknown: list[int], wide: list[int]
    ) -> list[Outcome]:
        """Ask what one command could not answer: scripts that were flushed, topics of many namespaces."""
        if unknown:
            again = [ops[at] for at in unknown]
            for at, outcome in zip(unknown, await self._once_more(again), strict=True):
                outcomes[at] = outcome
        for at in wide:
            op = ops[at]
            assert type(op) is Topics
            try:
                outcomes[at] = await self._walk(op, outcomes[at])
            except HoldfastError as exc:
                outcomes[at] = exc
        return outcomes

    async def _once_more(self, ops: Sequence[Operation]) -> list[Outcome]:
        """An operation whose script was unknown did nothing, so it is sent again, its script along with it."""
        engine, packer = self._opened()
        word = _name()
        data = b"".join([packer.command(op, f"{word}{at:04}", by="EVAL") for at, op in enumerate(ops)])
        try:
            replies = await engine.send(data, len(ops))
        except HoldfastError as exc:
            if _unknown(exc):
                self._doubt()
            return [exc] * len(ops)
        return [_outcome(op, reply) for op, reply in zip(ops, replies, strict=True)]

    # --- topics of every namespace that starts so: rare, and no index of ours says which there are ---

    async def _walk(self, op: Topics, reply: Any) -> TopicPage:
        topics: list[Topic] = []
        for start in await self._namespaces(op, reply):
            if len(topics) == op.limit:
                return TopicPage(topics, topics[-1].key)
            script, listing, arguments = page_of(op, start)
            found = await self._opened()[0].call("EVAL", script.text, 1, listing, *arguments)
            one = page(start, op.limit - len(topics), found)
            topics += one.topics
            if one.cursor is not None:
                return TopicPage(topics, one.cursor)
        return TopicPage(topics, None)

    async def _namespaces(self, op: Topics, reply: Any) -> list[str]:
        """What the keys of the namespaces start with, from the cursor's on, in order."""
        engine = self._opened()[0]
        found: set[bytes] = set()
        while True:
            if type(reply) is Refusal:
                raise as_error(what(op), reply)
            cursor, keys = reply
            found.update(keys)
            if cursor == b"0":
                break
            (reply,) = await engine.send(look_for_namespaces(op.key, cursor.decode()), 1)
        starts = [f"{key.decode()}:" for key in sorted(found) if MARK.encode() not in key]
        return [start for start in starts if op.cursor is None or not _before(start, op.cursor)]


def _before(start: str, cursor: str) -> bool:
    """Whether every topic of the namespace stands before the cursor."""
    return not cursor.startswith(start) and start.encode() < cursor.encode()


def _outcome(op: Operation, reply: Any) -> Outcome:
    return as_error(what(op), reply) if type(reply) is Refusal else READ_REPLY[type(op)](op, reply)


def _unknown(fault: BaseException | None) -> bool:
    return isinstance(fault, StoreUnavailable) and fault.maybe_applied


def _name() -> str:
    """12 letters and digits that nobody had before."""
    return secrets.token_hex(6)
