"""A Redis Cluster: an engine for each primary, and which of them has which slot.

Redirections prove that nothing was applied, so whoever meets one asks `refresh`
and sends again. Whatever else fails is told as the primary's own engine tells it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self, TypeAlias

from redis.crc import key_slot

from holdfast.engines.redis.address import cluster_addresses, node_address
from holdfast.engines.redis.engine import TIMEOUT, RedisEngine, Script
from holdfast.errors import Closed, HoldfastError, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.store import StoreURL

__all__ = ["RedisClusterEngine"]

SLOTS: Final = 16384
AGAIN: Final = 0.2  # seconds between two looks at the layout that nobody waits for

Place: TypeAlias = tuple[str, int]


class RedisClusterEngine:
    """The primaries of one cluster, found through any of its nodes.

    Args:
        seeds: nodes to ask first; any that answers will do.
        options: what every connection is told.
        tls: whether connections are encrypted.
        timeout: as of each primary's `RedisEngine`.
    """

    def __init__(
        self, seeds: list[Place], options: Mapping[str, Any], *, tls: bool = False, timeout: float = TIMEOUT
    ) -> None:
        self._seeds = seeds
        self._options = options
        self._tls = tls
        self._timeout = timeout
        self._scripts: tuple[Script, ...] = ()
        # INVARIANT: every place in `_slots` that could be reached has its engine here, and nothing else does.
        self._engines: dict[Place, RedisEngine] = {}
        self._slots: list[Place | None] = [None] * SLOTS
        self._looking = asyncio.Lock()
        self._layouts = 0  # how often the layout was read
        self._task: asyncio.Task[None] | None = None
        self._closed = True

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """The cluster at `redis+cluster://host:port,host:port`; no I/O."""
        seeds, options, tls = cluster_addresses(url)
        return cls(seeds, options, tls=tls, timeout=url.number("timeout", TIMEOUT, least=0.001))

    async def open(self) -> None:
        self._closed = False
        try:
            await self.refresh(self._layouts)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            await engine.close()

    @property
    def layouts(self) -> int:
        """How often the layout was read; `refresh` wants to know which one was found wrong."""
        return self._layouts

    def primary(self, key: str) -> RedisEngine:
        """The engine of the primary that has the key.

        Raises:
            StoreUnavailable: nobody has its slot, or whoever has it was not reached; it is being looked for.
        """
        if self._closed:
            raise Closed("redis: not open")
        place = self._slots[key_slot(key.encode())]
        engine = None if place is None else self._engines.get(place)
        if engine is None:
            self.look_soon()
            raise StoreUnavailable("redis: the primary of this key's slot is not reached")
        return engine

    def primaries(self) -> dict[str, RedisEngine]:
        """Every primary by `host:port`, in that order: the same at every call while the layout is."""
        if self._closed:
            raise Closed("redis: not open")
        return {f"{host}:{port}": self._engines[host, port] for host, port in sorted(self._engines)}

    async def load(self, *scripts: Script) -> None:
        """Have every primary know these scripts, those that come later too."""
        self._scripts = tuple(dict.fromkeys((*self._scripts, *scripts)))
        for engine in list(self._engines.values()):
            await engine.load(*scripts)

    def look_soon(self) -> None:
        """Read the layout again, in the background: something there does not answer."""
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._look(), name="holdfast redis cluster")

    async def _look(self) -> None:
        try:
            await self.refresh(self._layouts)
        except StoreError:
            pass  # whoever uses the slot is told; the next use looks again
        await asyncio.sleep(AGAIN)

    async def refresh(self, seen: int) -> None:
        """Read the layout, unless someone did since it was the one numbered `seen`.

        Raises:
            StoreUnavailable: no node answers.
            StoreMisconfigured: this is no cluster.
        """
        async with self._looking:
            if self._layouts != seen or self._closed:
                return
            slots = await self._ask()
            places = {place for place in slots if place is not None}
            for place in [place for place in self._engines if place not in places]:
                await self._engines.pop(place).close()
            fresh = [place for place in places if place not in self._engines]
            opened = await asyncio.gather(*map(self._reach, fresh), return_exceptions=True)
            faults = [fault for fault in opened if isinstance(fault, BaseException)]
            self._slots = slots
            self._layouts += 1
            if faults and not self._engines:
                raise faults[0]

    async def _reach(self, place: Place) -> None:
        engine = self._engine(place)
        await engine.open()
        if self._scripts:
            await engine.load(*self._scripts)
        self._engines[place] = engine

    def _engine(self, place: Place) -> RedisEngine:
        address = node_address(*place, self._options, self._tls, self._timeout)
        return RedisEngine(address, timeout=self._timeout)

    async def _ask(self) -> list[Place | None]:
        """The slots as any node tells them: those in use first, then the seeds."""
        fault: Exception = StoreUnavailable("redis: no node of the cluster answers")
        for place in dict.fromkeys((*self._engines, *self._seeds)):
            engine = self._engines.get(place)
            try:
                if engine is not None:
                    return _layout(await engine.call("CLUSTER", "SLOTS"), place)
                engine = self._engine(place)
                await engine.open()
                try:
                    return _layout(await engine.call("CLUSTER", "SLOTS"), place)
                finally:
                    await engine.close()
            except StoreUnavailable as exc:
                fault = exc
            except HoldfastError as exc:
                if "cluster support disabled" in str(exc):
                    raise StoreMisconfigured(
                        "redis: this server is no node of a cluster; use redis://"
                    ) from None
                raise
        raise fault


def _layout(reply: Any, asked: Place) -> list[Place | None]:
    slots: list[Place | None] = [None] * SLOTS
    for first, last, primary, *_ in reply:
        name, port = primary[0], int(primary[1])
        host = name.decode() if name and name != b"?" else asked[0]  # a node that knows no name for itself
        slots[first : last + 1] = [(host, port)] * (last + 1 - first)
    return slots
