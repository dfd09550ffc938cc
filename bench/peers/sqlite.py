"""Peers on SQLite, each with a file of its own; WAL, and `synchronous=FULL` unless their name says otherwise."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from bench.peers import EXPIRES, FRESH, Peer, User, decode, encode

__all__ = ["PEERS"]

TABLE = "CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at INTEGER)"
SET = """
INSERT INTO kv (key, value, expires_at) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
CREATE = "INSERT INTO kv (key, value, expires_at) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
GET = "SELECT value FROM kv WHERE key = ? AND expires_at > ?"
CLEAN = f"DELETE FROM kv WHERE key >= '{FRESH}' AND key < '{FRESH[:-1]};'"


def pragmas(synchronous: str) -> list[str]:
    return [
        "PRAGMA journal_mode = WAL",
        f"PRAGMA synchronous = {synchronous}",
        "PRAGMA busy_timeout = 10000",
        "PRAGMA wal_autocheckpoint = 4000",
    ]


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


def expiry() -> int:
    return milliseconds() + EXPIRES * 1000


class OnFile(Peer):
    synchronous: ClassVar[str] = "FULL"

    @property
    def path(self) -> Path:
        return self.place.directory / f"{type(self).__name__.lower()}.db"

    def row(self, key: str, user: User) -> tuple[str, bytes, int]:
        return key, encode(user), expiry()


class Aiosqlite(OnFile):
    name = "aiosqlite FULL"
    about = "one connection, autocommit, one thread hop an operation (no cursor closed by hand)"

    async def open(self) -> None:
        import aiosqlite

        self.db = await aiosqlite.connect(self.path, isolation_level=None, cached_statements=256)
        for pragma in pragmas(self.synchronous):
            await self.db.execute(pragma)
        await self.db.execute(TABLE)

    async def close(self) -> None:
        await self.db.close()

    async def set(self, key: str, user: User) -> None:
        await self.db.execute(SET, self.row(key, user))

    async def get(self, key: str) -> User | None:
        for (found,) in await self.db.execute_fetchall(GET, (key, milliseconds())):
            return decode(found)
        return None

    async def create(self, key: str, user: User) -> bool:
        return (await self.db.execute(CREATE, self.row(key, user))).rowcount == 1

    async def prefill(self, pairs: Sequence[tuple[str, User]]) -> None:
        await self.db.execute("BEGIN")
        await self.db.executemany(SET, [self.row(*pair) for pair in pairs])
        await self.db.commit()

    async def clean(self) -> None:
        await self.db.execute(CLEAN)


class AiosqliteCursor(Aiosqlite):
    name = "aiosqlite FULL, cursors"
    about = "the same as aiosqlite's own examples write it: `async with db.execute(…) as cursor`"

    async def set(self, key: str, user: User) -> None:
        async with self.db.execute(SET, self.row(key, user)):
            pass

    async def get(self, key: str) -> User | None:
        async with self.db.execute(GET, (key, milliseconds())) as cursor:
            found = await cursor.fetchone()
        return None if found is None else decode(found[0])

    async def create(self, key: str, user: User) -> bool:
        async with self.db.execute(CREATE, self.row(key, user)) as cursor:
            return cursor.rowcount == 1


class AiosqliteNormal(Aiosqlite):
    name = "aiosqlite NORMAL"
    about = "the same with `synchronous=NORMAL`: a power cut may take the last commits"
    synchronous = "NORMAL"


class SqlAlchemy(OnFile):
    name = "SQLAlchemy"
    about = "Core over aiosqlite, five connections, AUTOCOMMIT, no rollback or reset at release, statements cached"

    async def open(self) -> None:
        import sqlalchemy as sa
        from sqlalchemy.dialects.sqlite import insert
        from sqlalchemy.ext.asyncio import create_async_engine

        self.engine = create_async_engine(
            f"sqlite+aiosqlite:///{self.path}",
            pool_size=5,
            max_overflow=0,
            pool_timeout=60,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )
        kv = sa.Table(
            "kv",
            sa.MetaData(),
            sa.Column("key", sa.Text, primary_key=True),
            sa.Column("value", sa.LargeBinary),
            sa.Column("expires_at", sa.BigInteger),
        )
        new = insert(kv)
        named = {"value": new.excluded.value, "expires_at": new.excluded.expires_at}
        self.store = new.on_conflict_do_update(index_elements=[kv.c.key], set_=named)
        self.add = new.on_conflict_do_nothing()
        self.select = sa.select(kv.c.value).where(
            kv.c.key == sa.bindparam("key"), kv.c.expires_at > sa.bindparam("now")
        )
        self.text = sa.text
        async with self.engine.connect() as connection:
            for statement in (*pragmas(self.synchronous), TABLE):
                await connection.execute(sa.text(statement))

    async def close(self) -> None:
        await self.engine.dispose()

    def named(self, key: str, user: User) -> dict[str, Any]:
        return {"key": key, "value": encode(user), "expires_at": expiry()}

    async def set(self, key: str, user: User) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(self.store, self.named(key, user))

    async def get(self, key: str) -> User | None:
        async with self.engine.connect() as connection:
            found = await connection.scalar(self.select, {"key": key, "now": milliseconds()})
        return None if found is None else decode(found)

    async def create(self, key: str, user: User) -> bool:
        async with self.engine.connect() as connection:
            return (await connection.execute(self.add, self.named(key, user))).rowcount == 1

    async def prefill(self, pairs: Sequence[tuple[str, User]]) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(self.text("BEGIN"))
            await connection.execute(self.store, [self.named(*pair) for pair in pairs])
            await connection.execute(self.text("COMMIT"))

    async def clean(self) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(self.text(CLEAN.replace(":", r"\:")))


class PyKeyValueDisk(OnFile):
    name = "py-key-value DiskStore"
    about = "over a diskcache `Cache` (SQLite, WAL, FULL, no eviction); it blocks the loop meanwhile"
    creates = False

    async def open(self) -> None:
        from diskcache import Cache
        from key_value.aio.stores.disk import DiskStore

        self.cache = Cache(str(self.path), eviction_policy="none", cull_limit=0, sqlite_synchronous=2)
        self.cache["filled"] = True  # it takes an empty Cache, which is falsy, for none
        self.store = DiskStore(disk_cache=self.cache)
        await self.store.setup()

    async def close(self) -> None:
        self.cache.close()

    async def set(self, key: str, user: User) -> None:
        await self.store.put(key, msgspec.to_builtins(user), ttl=EXPIRES)

    async def get(self, key: str) -> User | None:
        found = await self.store.get(key)
        return None if found is None else msgspec.convert(found, User)

    async def prefill(self, pairs: Sequence[tuple[str, User]]) -> None:
        with self.cache.transact():
            for key, user in pairs:
                await self.set(key, user)


class CashewsDisk(OnFile):
    name = "cashews disk NORMAL"
    about = (
        "`disk://`, one diskcache shard (SQLite, WAL, NORMAL: it offers no other), on the default thread pool"
    )
    synchronous = "NORMAL"

    async def open(self) -> None:
        from cashews import Cache

        self.cache = Cache()
        self.cache.setup("disk://", directory=str(self.path), shards=1, check_repr=False, pickle_type="null")
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

    async def clean(self) -> None:
        with sqlite3.connect(self.path / "cache.db") as connection:
            connection.execute(f"DELETE FROM Cache WHERE key LIKE '{FRESH}%'")
        connection.close()


class Direct(OnFile):
    name = "sqlite3 itself"
    about = "the standard library on the loop thread, which it blocks: a lone SELECT, decoded"
    only_tasks = 1

    async def open(self) -> None:
        self.db = sqlite3.connect(self.path, isolation_level=None, cached_statements=256)
        for statement in (*pragmas(self.synchronous), TABLE):
            self.db.execute(statement)

    async def close(self) -> None:
        self.db.close()

    async def set(self, key: str, user: User) -> None:
        self.db.execute(SET, self.row(key, user))

    async def get(self, key: str) -> User | None:
        found = self.db.execute(GET, (key, milliseconds())).fetchone()
        return None if found is None else decode(found[0])

    async def create(self, key: str, user: User) -> bool:
        return self.db.execute(CREATE, self.row(key, user)).rowcount == 1

    async def prefill(self, pairs: Sequence[tuple[str, User]]) -> None:
        self.store(SET, [key for key, _ in pairs], [user for _, user in pairs])

    def store(self, statement: str, keys: Sequence[str], records: Sequence[User]) -> int:
        self.db.execute("BEGIN IMMEDIATE")
        rows = [self.row(*pair) for pair in zip(keys, records, strict=True)]
        stored = self.db.executemany(statement, rows).rowcount
        self.db.execute("COMMIT")
        return stored

    async def clean(self) -> None:
        self.db.execute(CLEAN)


class ByHand(Direct):
    name = "by hand: transaction of 100"
    about = "`executemany` in one transaction on the loop thread, FULL; reads 100 SELECTs in a row"
    batch = 100

    async def set(self, key: Any, user: Any) -> None:
        self.store(SET, key, user)

    async def create(self, key: Any, user: Any) -> Any:
        return self.store(CREATE, key, user)

    async def get(self, key: Any) -> Any:
        now = milliseconds()
        return [decode(self.db.execute(GET, (one, now)).fetchone()[0]) for one in key]


PEERS: list[type[Peer]] = [
    Aiosqlite,
    AiosqliteCursor,
    AiosqliteNormal,
    SqlAlchemy,
    PyKeyValueDisk,
    CashewsDisk,
    Direct,
    ByHand,
]
