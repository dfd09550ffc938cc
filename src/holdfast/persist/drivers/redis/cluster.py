"""The persist driver for Redis Cluster: each operation at the primary of its key's slot.

Each primary's part of a batch is one write; the batch ends with the slowest. Keys
of one command would have to share a slot, so there is no MGET. Batches of a lane
wait for each other, because an operation that is redirected goes once more. A
walk over keys takes the primaries in turn; slots that move meanwhile may be
walked twice or not at all. Nothing is announced: nodes pass messages on to each
other and tell nobody when one is lost on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec

from holdfast.engines import Lease, lease
from holdfast.engines.redis import RedisClusterEngine, RedisEngine, Refusal, pack, refusal_word
from holdfast.errors import Closed, HoldfastError, StoreError, StoreUnavailable, again
from holdfast.persist.driver import LATER, Clear, Cleared, Keys, Operation, Outcome, Page, Sweep, Traits
from holdfast.persist.drivers.redis.commands import PACK, SCRIPTS, packed, scripted
from holdfast.persist.drivers.redis.doctor import findings
from holdfast.persist.drivers.redis.driver import TRAITS, outcome_of
from holdfast.store import Finding, Health, Migration, StoreURL

__all__ = ["RedisClusterDriver"]

REDIRECTIONS: Final = 8
_ASKING: Final = pack(("ASKING",))


class RedisClusterDriver:
    """Values as plain strings, spread over a cluster's primaries."""

    traits: Traits = msgspec.structs.replace(TRAITS, lanes=8, pipeline=1, notifies=False)

    def __init__(self, url: StoreURL) -> None:
        self._url = url
        self._lease: Lease[RedisClusterEngine] | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        RedisClusterEngine.from_url(url)  # an unknown option is told here, before any I/O
        return cls(url)

    async def open(self) -> None:
        if self._lease is not None:
            return
        self._lease = await lease(RedisClusterEngine, self._url)
        try:
            await self._lease.engine.load(*SCRIPTS)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        held, self._lease = self._lease, None
        if held is not None:
            await held.release()

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        try:
            primaries = self._opened().primaries()
            seconds = max([await engine.ping() for engine in primaries.values()], default=0.0)
        except HoldfastError as exc:
            return Health(False, "redis", 0.0, str(exc))
        return Health(bool(primaries), "redis", seconds, f"a cluster of {len(primaries)} primaries")

    async def describe(self) -> Sequence[Finding]:
        told: list[Finding] = []
        for name, engine in self._opened().primaries().items():
            told += [
                msgspec.structs.replace(each, text=f"{name}: {each.text}") for each in await findings(engine)
            ]
        return told

    def now(self, op: Operation) -> Outcome:
        return LATER

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        return Sweep(0, None)

    async def apply(self, batch: Sequence[Operation], lane: int = 0) -> list[Outcome]:
        outcomes: list[Outcome] = [None] * len(batch)
        walks = [at for at, op in enumerate(batch) if type(op) in (Keys, Clear)]
        plain = [at for at, op in enumerate(batch) if type(op) not in (Keys, Clear)]
        cluster = self._opened()
        for _ in range(REDIRECTIONS):
            if not plain:
                break
            seen = cluster.layouts
            plain = await self._send(batch, plain, outcomes)
            if plain:
                await self._refresh(cluster, seen)
        for at in walks:
            outcomes[at] = await self._walk(batch[at])
        if len(batch) == 1 and isinstance(outcomes[0], StoreUnavailable):
            raise outcomes[0]  # the whole round trip failed: a read may go once more
        return outcomes

    async def _refresh(self, cluster: RedisClusterEngine, seen: int) -> None:
        try:
            await cluster.refresh(seen)
        except StoreError:
            pass  # the next attempt meets what is wrong, and tells each operation

    def _opened(self) -> RedisClusterEngine:
        if self._lease is None:
            raise Closed("redis: not open")
        return self._lease.engine

    async def _send(
        self, batch: Sequence[Operation], positions: list[int], outcomes: list[Outcome]
    ) -> list[int]:
        """One round trip to every primary concerned; the positions of those that were sent elsewhere."""
        cluster = self._opened()
        parts: dict[int, tuple[RedisEngine, list[int]]] = {}
        for at in positions:
            try:
                engine = cluster.primary(batch[at].key)
            except HoldfastError as exc:
                outcomes[at] = exc
            else:
                parts.setdefault(id(engine), (engine, []))[1].append(at)
        sent = [engine.send(packed([batch[at] for at in part]), len(part)) for engine, part in parts.values()]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        moved: list[int] = []
        for (engine, part), answer in zip(parts.values(), answers, strict=True):
            if isinstance(answer, StoreError):
                cluster.look_soon()
                for at in part:
                    outcomes[at] = again(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                moved += await self._read(engine, batch, part, answer, outcomes)
        return sorted(moved)

    async def _read(
        self,
        engine: RedisEngine,
        batch: Sequence[Operation],
        part: list[int],
        replies: list[Any],
        outcomes: list[Outcome],
    ) -> list[int]:
        moved: list[int] = []
        for at, reply in zip(part, replies, strict=True):
            op = batch[at]
            word = refusal_word(reply) if type(reply) is Refusal else ""
            outcomes[at] = outcome_of(op, reply)
            if word in ("MOVED", "TRYAGAIN"):
                moved.append(at)
            elif word == "ASK":
                outcomes[at] = await self._elsewhere(op, str(reply))
            elif word == "NOSCRIPT":
                (reply,) = await engine.send(scripted(op, "EVAL"), 1)
                outcomes[at] = outcome_of(op, reply)
            elif word:
                engine.refused(reply)
                self._opened().look_soon()
        return moved

    async def _elsewhere(self, op: Operation, asked: str) -> Outcome:
        """The operation's slot is on its way to another primary, and its key is there already, or not yet anywhere."""
        engine = self._opened().primaries().get(asked.rpartition(" ")[2])
        if engine is None:
            return StoreUnavailable("redis: the slot is moving to a primary that is not known yet")
        try:
            _, reply = await engine.send(_ASKING + PACK[type(op)](op), 2)
        except StoreError as exc:
            return exc
        return outcome_of(op, reply)

    async def _walk(self, op: Any) -> Outcome:
        """A page of one primary. The cursor is `host:port/cursor`; a primary's end is the next one's beginning."""
        primaries = self._opened().primaries()
        place, _, cursor = (op.cursor or "/0").rpartition("/")
        left = [name for name in primaries if name >= place]
        if not left:
            return Page((), None) if type(op) is Keys else Cleared(0, None)
        name = left[0]
        page = msgspec.structs.replace(op, cursor=cursor if name == place else None)
        try:
            (reply,) = await primaries[name].send(PACK[type(page)](page), 1)
            if type(reply) is Refusal and refusal_word(reply) == "NOSCRIPT":
                (reply,) = await primaries[name].send(scripted(page, "EVAL"), 1)
        except StoreError as exc:
            return exc
        outcome = outcome_of(page, reply)
        if isinstance(outcome, Exception):
            return outcome
        more = f"{name}/{outcome.cursor}" if outcome.cursor else f"{left[1]}/0" if len(left) > 1 else None
        return msgspec.structs.replace(outcome, cursor=more)
