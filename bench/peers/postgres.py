"""Peers on Postgres. Each has a table of its own; JSON is `text`, as in Holdfast (py-key-value: its `jsonb`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import msgspec

from bench.peers import EXPIRES, FRESH, Peer, User, decode, encode

__all__ = ["PEERS"]

CONNECTIONS = 10
"""asyncpg's own default; 4 and 20 were no faster at 256 tasks."""


class OnTable(Peer):
    """What they share: a table, its statements, and the cleaning."""

    @property
    def table(self) -> str:
        return f"bench_{type(self).__name__.lower()}"

    @property
    def ddl(self) -> str:
        columns = 'key text COLLATE "C" PRIMARY KEY, value text NOT NULL, expires_at timestamptz'
        return f"CREATE TABLE {self.table} ({columns})"

    @property
    def insert(self) -> str:
        values = f"$1, $2, now() + interval '{EXPIRES} seconds'"
        return f"INSERT INTO {self.table} (key, value, expires_at) VALUES ({values})"

    update = "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"
    nothing = "ON CONFLICT (key) DO NOTHING"

    @property
    def select(self) -> str:
        return f"SELECT value FROM {self.table} WHERE key = $1 AND expires_at > now()"

    async def make_table(self) -> None:
        await self._admin(self.ddl)

    async def clean(self) -> None:
        await self._admin(f"DELETE FROM {self.table} WHERE key LIKE '{FRESH}%'")

    async def _admin(self, statement: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(self.place.postgres)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Pool(OnTable):
    name = "asyncpg pool"
    about = f"`create_pool` of {CONNECTIONS}, statement cache, autocommit; its reset query at every release"

    async def open(self) -> None:
        await self.make_table()
        self.pool = await self.make_pool()
        self.store = f"{self.insert} {self.update}"
        self.add = f"{self.insert} {self.nothing}"
        self.fetch = self.select

    async def make_pool(self) -> Any:
        import asyncpg

        return await asyncpg.create_pool(self.place.postgres, min_size=CONNECTIONS, max_size=CONNECTIONS)

    async def close(self) -> None:
        await self.pool.close()

    async def set(self, key: str, user: User) -> None:
        await self.pool.execute(self.store, key, encode(user).decode())

    async def get(self, key: str) -> User | None:
        found = await self.pool.fetchval(self.fetch, key)
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        return await self.pool.execute(self.add, key, encode(user).decode()) == "INSERT 0 1"


class PoolWithoutReset(Pool):
    name = "asyncpg pool, no reset"
    about = "the same with `reset=` a function that does nothing"

    async def make_pool(self) -> Any:
        import asyncpg

        async def nothing(connection: Any) -> None:
            pass

        return await asyncpg.create_pool(
            self.place.postgres, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=nothing
        )


class Connection(Pool):
    name = "asyncpg, one connection"
    about = "`connection.fetchval` and `execute` with asyncpg's own statement cache: the raw client, a lone caller"
    only_tasks = 1

    async def make_pool(self) -> Any:
        import asyncpg

        return await asyncpg.connect(self.place.postgres)

    async def prefill(self, pairs: Sequence[tuple[str, User]]) -> None:
        for key, user in pairs:  # one at a time is all that a connection does
            await self.set(key, user)


class Prepared(Connection):
    name = "asyncpg, prepared by hand"
    about = "three statements that the caller keeps prepared on one connection"

    async def open(self) -> None:
        await super().open()
        self.store, self.add, self.fetch = [
            await self.pool.prepare(text) for text in (self.store, f"{self.add} RETURNING true", self.fetch)
        ]

    async def set(self, key: str, user: User) -> None:
        await self.store.fetchval(key, encode(user).decode())

    async def get(self, key: str) -> User | None:
        found = await self.fetch.fetchval(key)
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        return bool(await self.add.fetchval(key, encode(user).decode()))


class SqlAlchemy(OnTable):
    name = "SQLAlchemy"
    about = (
        f"Core over asyncpg, {CONNECTIONS} connections, AUTOCOMMIT, no rollback or reset, statements cached"
    )

    async def open(self) -> None:
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import insert
        from sqlalchemy.ext.asyncio import create_async_engine

        await self.make_table()
        self.engine = create_async_engine(
            self.place.postgres.replace("postgresql://", "postgresql+asyncpg://"),
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=60,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )
        columns = sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text)
        kv = sa.Table(self.table, sa.MetaData(), *columns, sa.Column("expires_at", sa.DateTime(True)))
        new = insert(kv).values(
            key=sa.bindparam("key"),
            value=sa.bindparam("value"),
            expires_at=sa.func.now() + sa.text(f"interval '{EXPIRES} seconds'"),
        )
        named = {"value": new.excluded.value, "expires_at": new.excluded.expires_at}
        self.store = new.on_conflict_do_update(index_elements=[kv.c.key], set_=named)
        self.add = new.on_conflict_do_nothing()
        self.fetch = sa.select(kv.c.value).where(
            kv.c.key == sa.bindparam("key"), kv.c.expires_at > sa.func.now()
        )

    async def close(self) -> None:
        await self.engine.dispose()

    async def set(self, key: str, user: User) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(self.store, {"key": key, "value": encode(user).decode()})

    async def get(self, key: str) -> User | None:
        async with self.engine.connect() as connection:
            found = await connection.scalar(self.fetch, {"key": key})
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        async with self.engine.connect() as connection:
            added = await connection.execute(self.add, {"key": key, "value": encode(user).decode()})
        return added.rowcount == 1


class PyKeyValue(OnTable):
    name = "py-key-value"
    about = "`PostgreSQLStore(url=…)`: its own asyncpg pool of 10; the record goes in and out as a dict"
    creates = False

    async def open(self) -> None:
        from key_value.aio.stores.postgresql import PostgreSQLStore

        warnings.filterwarnings("ignore", "A configured store is unstable")
        self.store = PostgreSQLStore(url=self.place.postgres, table_name=self.table)
        await self.store.__aenter__()

    async def close(self) -> None:
        await self.store.__aexit__(None, None, None)

    async def set(self, key: str, user: User) -> None:
        await self.store.put(key, msgspec.to_builtins(user), ttl=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.store.get(key)
        return None if found is None else msgspec.convert(found, User)


class ByHand(OnTable):
    name = "by hand: unnest of 100"
    about = "prepared `unnest` and `= ANY` of 100 on two connections, `plan_cache_mode=force_generic_plan`"
    batch = 100
    only_tasks = 2

    async def open(self) -> None:
        await self.make_table()
        self.idle = [await self._connect() for _ in range(2)]

    async def _connect(self) -> tuple[Any, Any, Any, Any]:
        import asyncpg

        options = {"plan_cache_mode": "force_generic_plan"}
        connection = await asyncpg.connect(self.place.postgres, server_settings=options)
        rows = f"SELECT k, v, now() + interval '{EXPIRES} seconds' FROM unnest($1::text[], $2::text[]) AS _(k, v)"
        insert = f"INSERT INTO {self.table} (key, value, expires_at) {rows}"
        many = f"SELECT key, value FROM {self.table} WHERE key = ANY($1::text[]) AND expires_at > now()"
        statements = f"{insert} {self.update}", f"{insert} {self.nothing} RETURNING key", many
        return connection, *[await connection.prepare(statement) for statement in statements]

    async def close(self) -> None:
        for connection, *_ in self.idle:
            await connection.close()

    async def set(self, key: Sequence[str], user: Sequence[User]) -> None:
        await self._run(1, *_columns(key, user))

    async def create(self, key: Sequence[str], user: Sequence[User]) -> int:
        return len(await self._run(2, *_columns(key, user)))

    async def get(self, key: Sequence[str]) -> list[User]:
        found = dict(await self._run(3, key))
        return [decode(found[one]) for one in key]

    async def _run(self, which: int, *arguments: Any) -> Any:
        mine = self.idle.pop()
        try:
            return await mine[which].fetch(*arguments)
        finally:
            self.idle.append(mine)


def _columns(keys: Sequence[str], records: Sequence[User]) -> tuple[list[str], list[str]]:
    """Sorted, or two callers with keys in common would deadlock."""
    pairs = sorted(zip(keys, records, strict=True), key=lambda pair: pair[0])
    return [key for key, _ in pairs], [encode(user).decode() for _, user in pairs]


PEERS: list[type[Peer]] = [Pool, PoolWithoutReset, Connection, Prepared, SqlAlchemy, PyKeyValue, ByHand]
