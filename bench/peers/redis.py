"""Peers on Redis. Each has a database number of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from bench.peers import EXPIRES, FRESH, Peer, User, decode, encode
from bench.peers.memory import aiocache_serializer

__all__ = ["PEERS"]


class OnRedis(Peer):
    """What they share: a database number, a redis-py client with the best pool found, and the cleaning."""

    database: ClassVar[int]

    def client(self, **options: Any) -> Any:
        from redis.asyncio import ConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        # Measured at 256 tasks: 8, 16, 50 (blocking) or 300 connections and RESP 2 or 3 differ by less than
        # 8% in throughput, but where tasks wait for a connection the p99 is five times as long.
        pool = ConnectionPool(
            host="127.0.0.1",
            port=self.place.redis_port,
            db=self.database,
            max_connections=300,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        return Redis.from_pool(pool)

    async def clean(self) -> None:
        async with self.client() as admin:
            found: list[Any] = []
            async for key in admin.scan_iter(match=f"*{FRESH}*", count=5000):
                found.append(key)
                if len(found) == 5000:
                    await admin.unlink(*found)
                    found.clear()
            if found:
                await admin.unlink(*found)


class RedisPy(OnRedis):
    name = "redis-py"
    about = "`Redis.from_pool(ConnectionPool(max_connections=300))`, hiredis parser, RESP2, no retries"
    database = 1

    async def open(self) -> None:
        self.redis = self.client()

    async def close(self) -> None:
        await self.redis.aclose()

    async def set(self, key: str, user: User) -> None:
        await self.redis.set(key, encode(user), ex=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.redis.get(key)
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        return bool(await self.redis.set(key, encode(user), ex=EXPIRES, nx=True))


class RedisPySingle(RedisPy):
    name = "redis-py, one connection"
    about = "`Redis(single_connection_client=True)`: the raw client at its best for a lone caller"
    only_tasks = 1
    database = 2

    async def open(self) -> None:
        from redis.asyncio import Redis

        self.redis = Redis(
            host="127.0.0.1",
            port=self.place.redis_port,
            db=self.database,
            single_connection_client=True,
            protocol=2,
        )
        await self.redis.initialize()


class Litestar(OnRedis):
    name = "litestar"
    about = "`RedisStore` over the redis-py pool above"
    creates = False
    database = 3

    async def open(self) -> None:
        from litestar.stores.redis import RedisStore

        self.redis = self.client()
        self.store = RedisStore(self.redis)

    async def close(self) -> None:
        await self.redis.aclose()

    async def set(self, key: str, user: User) -> None:
        await self.store.set(key, encode(user), expires_in=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.store.get(key)
        return None if found is None else decode(found)


class PyKeyValue(OnRedis):
    name = "py-key-value"
    about = "`RedisStore` over the redis-py pool above; the record goes in and out as a dict"
    creates = False
    database = 4

    async def open(self) -> None:
        from key_value.aio.stores.redis import RedisStore

        self.redis = self.client(decode_responses=True)
        self.store = RedisStore(client=self.redis)
        await self.store.setup()

    async def close(self) -> None:
        await self.redis.aclose()

    async def set(self, key: str, user: User) -> None:
        await self.store.put(key, msgspec.to_builtins(user), ttl=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.store.get(key)
        return None if found is None else msgspec.convert(found, User)


class Aiocache(OnRedis):
    name = "aiocache"
    about = "`RedisCache` with a msgspec serializer, `timeout=0`, its own pool of up to 300"
    database = 5

    async def open(self) -> None:
        from aiocache import RedisCache

        self.cache = RedisCache(
            serializer=aiocache_serializer(),
            endpoint="127.0.0.1",
            port=self.place.redis_port,
            db=self.database,
            timeout=0,
            pool_max_size=300,
        )

    async def close(self) -> None:
        await self.cache.close()

    async def set(self, key: str, user: User) -> None:
        await self.cache.set(key, user, ttl=EXPIRES)

    async def get(self, key: str) -> User | None:
        return await self.cache.get(key)

    async def create(self, key: str, user: User) -> bool:
        try:
            return bool(await self.cache.add(key, user, ttl=EXPIRES))
        except ValueError:
            return False


class Cashews(OnRedis):
    name = "cashews"
    about = "`redis://` without client-side cache, 300 connections, no pickle, errors not suppressed"
    database = 6

    async def open(self) -> None:
        from cashews import Cache

        self.cache = Cache()
        self.cache.setup(
            f"redis://127.0.0.1:{self.place.redis_port}/{self.database}",
            max_connections=300,
            suppress=False,
            check_repr=False,
            pickle_type="null",
            health_check_interval=0,
        )
        await self.cache.init()

    async def close(self) -> None:
        await self.cache.close()

    async def set(self, key: str, user: User) -> None:
        await self.cache.set(key, encode(user), expire=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.cache.get(key)
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        return bool(await self.cache.set(key, encode(user), expire=EXPIRES, exist=False))


class Glide(OnRedis):
    name = "valkey-glide"
    about = "`GlideClient`, one multiplexed connection, RESP3, request timeout 10 s"
    database = 7

    async def open(self) -> None:
        import glide

        self.options = {"expiry": glide.ExpirySet(glide.ExpiryType.SEC, EXPIRES)}
        self.absent = glide.ConditionalChange.ONLY_IF_DOES_NOT_EXIST
        self.glide = await glide.GlideClient.create(
            glide.GlideClientConfiguration(
                [glide.NodeAddress("127.0.0.1", self.place.redis_port)],
                database_id=self.database,
                request_timeout=10_000,
            )
        )

    async def close(self) -> None:
        await self.glide.close()

    async def set(self, key: str, user: User) -> None:
        await self.glide.set(key, encode(user), **self.options)

    async def get(self, key: str) -> User | None:
        found = await self.glide.get(key)
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        return (
            await self.glide.set(key, encode(user), conditional_set=self.absent, **self.options) is not None
        )


class Pipeline(OnRedis):
    name = "by hand: redis-py pipeline of 100"
    about = "`pipeline(transaction=False)`, two callers, each with the next 100 at hand"
    batch = 100
    only_tasks = 2
    database = 8

    async def open(self) -> None:
        self.redis = self.client()

    async def close(self) -> None:
        await self.redis.aclose()

    async def set(self, key: Sequence[str], user: Sequence[User]) -> None:
        await self._store(key, user, nx=False)

    async def create(self, key: Sequence[str], user: Sequence[User]) -> int:
        return sum(map(bool, await self._store(key, user, nx=True)))

    async def get(self, key: Sequence[str]) -> list[User]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for one in key:
                pipe.get(one)
            return [decode(found) for found in await pipe.execute()]

    async def _store(self, keys: Sequence[str], records: Sequence[User], *, nx: bool) -> list[Any]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for key, user in zip(keys, records, strict=True):
                pipe.set(key, encode(user), ex=EXPIRES, nx=nx)
            return await pipe.execute()


class RawHiredis(OnRedis):
    name = "by hand: hiredis, 100 a write"
    about = "an asyncio protocol with hiredis on one connection, two callers, each with the next 100 at hand"
    batch = 100
    only_tasks = 2
    database = 9

    async def open(self) -> None:
        import hiredis

        self.pack = hiredis.pack_command
        loop = asyncio.get_running_loop()
        self.transport, self.wire = await loop.create_connection(
            lambda: _Wire(hiredis.Reader()), "127.0.0.1", self.place.redis_port
        )
        await self._ask([("SELECT", str(self.database))])

    async def close(self) -> None:
        self.transport.close()

    async def set(self, key: Sequence[str], user: Sequence[User]) -> None:
        pairs = zip(key, user, strict=True)
        await self._ask([("SET", one, encode(record), "EX", EXPIRES) for one, record in pairs])

    async def create(self, key: Sequence[str], user: Sequence[User]) -> int:
        pairs = zip(key, user, strict=True)
        answers = await self._ask(
            [("SET", one, encode(record), "EX", EXPIRES, "NX") for one, record in pairs]
        )
        return sum(map(bool, answers))

    async def get(self, key: Sequence[str]) -> list[User]:
        return [decode(found) for found in await self._ask([("GET", one) for one in key])]

    async def _ask(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        waiter = self.wire.expect(len(commands))
        self.transport.write(b"".join(map(self.pack, commands)))
        return await waiter


class _Wire(asyncio.Protocol):
    """Answers in order: the next so many belong to the oldest waiter."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.waiting: list[tuple[int, asyncio.Future[list[Any]]]] = []
        self.got: list[Any] = []

    def expect(self, count: int) -> asyncio.Future[list[Any]]:
        waiter: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.waiting.append((count, waiter))
        return waiter

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (answer := self.reader.gets()) is not False:
            self.got.append(answer)
            count, waiter = self.waiting[0]
            if len(self.got) == count:
                del self.waiting[0]
                waiter.set_result(self.got)
                self.got = []


PEERS: list[type[Peer]] = [
    RedisPy,
    RedisPySingle,
    Litestar,
    PyKeyValue,
    Aiocache,
    Cashews,
    Glide,
    Pipeline,
    RawHiredis,
]
