"""Peers that keep values in the process."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.peers import EXPIRES, FRESH, Peer, User, decode, encode

__all__ = ["PEERS"]


class PyKeyValue(Peer):
    name = "py-key-value"
    about = "`MemoryStore`, which keeps JSON; the record goes in and out as a dict (msgspec `to_builtins`, `convert`)"
    creates = False

    async def open(self) -> None:
        from key_value.aio.stores.memory import MemoryStore

        self.store = MemoryStore()
        await self.store.setup()

    async def close(self) -> None:
        await self.store.destroy()

    async def set(self, key: str, user: User) -> None:
        await self.store.put(key, msgspec.to_builtins(user), ttl=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.store.get(key)
        return None if found is None else msgspec.convert(found, User)


class CashewsObjects(Peer):
    name = "cashews, objects"
    about = "`mem://`, no serializer: keeps a shallow copy and hands it out"
    encodes = False

    async def open(self) -> None:
        from cashews import Cache

        self.cache = Cache()
        # Its sweep reads every key; once a minute instead of once a second leaves it out of the cells.
        self.cache.setup("mem://", size=100_000_000, check_interval=60, check_repr=False)
        await self.cache.init()

    async def close(self) -> None:
        await self.cache.close()

    async def set(self, key: str, user: Any) -> None:
        await self.cache.set(key, user, expire=EXPIRES)

    async def get(self, key: str) -> Any:
        return await self.cache.get(key)

    async def create(self, key: str, user: Any) -> bool:
        return bool(await self.cache.set(key, user, expire=EXPIRES, exist=False))

    async def clean(self) -> None:
        await self.cache.delete_match(FRESH + "*")


class Cashews(CashewsObjects):
    name = "cashews"
    about = "`mem://`, values encoded with msgspec"
    encodes = True

    async def set(self, key: str, user: Any) -> None:
        await self.cache.set(key, encode(user), expire=EXPIRES)

    async def get(self, key: str) -> Any:
        found = await self.cache.get(key)
        return None if found is None else decode(found)

    async def create(self, key: str, user: Any) -> bool:
        return bool(await self.cache.set(key, encode(user), expire=EXPIRES, exist=False))


class AiocacheObjects(Peer):
    name = "aiocache, objects"
    about = "`SimpleMemoryCache` as it comes (NullSerializer), `timeout=0`"
    encodes = False

    async def open(self) -> None:
        from aiocache import SimpleMemoryCache

        self.cache = SimpleMemoryCache(timeout=0)

    async def close(self) -> None:
        await self._drop("")

    async def set(self, key: str, user: User) -> None:
        await self.cache.set(key, user, ttl=EXPIRES)

    async def get(self, key: str) -> User | None:
        return await self.cache.get(key)

    async def create(self, key: str, user: User) -> bool:
        try:
            return await self.cache.add(key, user, ttl=EXPIRES)
        except ValueError:
            return False

    async def clean(self) -> None:
        await self._drop(FRESH)

    async def _drop(self, prefix: str) -> None:
        # Key by key: `clear` would leave one timer a key in the loop for an hour.
        for key in [key for key in self.cache._cache if key.startswith(prefix)]:
            await self.cache.delete(key)


class Aiocache(AiocacheObjects):
    name = "aiocache"
    about = "`SimpleMemoryCache` with a msgspec serializer, `timeout=0`"
    encodes = True

    async def open(self) -> None:
        from aiocache import SimpleMemoryCache

        self.cache = SimpleMemoryCache(serializer=aiocache_serializer(), timeout=0)


class Litestar(Peer):
    name = "litestar"
    about = "`MemoryStore`, values encoded with msgspec"
    creates = False

    async def open(self) -> None:
        from litestar.stores.memory import MemoryStore

        self.store = MemoryStore()

    async def close(self) -> None:
        await self.store.delete_all()

    async def set(self, key: str, user: User) -> None:
        await self.store.set(key, encode(user), expires_in=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.store.get(key)
        return None if found is None else decode(found)


def aiocache_serializer() -> Any:
    """msgspec in aiocache's own seam for it."""
    from aiocache.serializers import BaseSerializer

    class Records(BaseSerializer):
        DEFAULT_ENCODING = None

        def dumps(self, value: Any) -> Any:
            return encode(value)

        def loads(self, value: Any) -> Any:
            return None if value is None else decode(value)

    return Records()


PEERS: list[type[Peer]] = [PyKeyValue, Cashews, CashewsObjects, Aiocache, AiocacheObjects, Litestar]
