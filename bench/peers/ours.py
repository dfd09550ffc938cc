"""Holdfast's own side: its public API and nothing else."""

from __future__ import annotations

from typing import ClassVar

from bench.peers import EXPIRES, FRESH, Peer, User

__all__ = ["PEERS"]


class Holdfast(Peer):
    name = "holdfast"

    def url(self) -> str:
        raise NotImplementedError

    async def open(self) -> None:
        from holdfast.persist import DuplicateKey, Persist

        self.duplicate = DuplicateKey
        self.persist = Persist(self.url(), namespace="bench", auto_migrate=True)
        await self.persist.__aenter__()

    async def close(self) -> None:
        await self.persist.__aexit__(None, None, None)

    async def set(self, key: str, user: User) -> None:
        await self.persist.set(key, user, expires=EXPIRES)

    async def get(self, key: str) -> User | None:
        return await self.persist.get(key, User)

    async def create(self, key: str, user: User) -> bool:
        try:
            await self.persist.create(key, user, expires=EXPIRES)
        except self.duplicate:
            return False
        return True

    async def clean(self) -> None:
        await self.persist.clear(FRESH)


class OnMemory(Holdfast):
    about = "`memory://`"

    def url(self) -> str:
        return "memory://"


class OnSqlite(Holdfast):
    about = "`sqlite:///` as it comes: WAL, `synchronous=FULL`"
    query: ClassVar[str] = ""

    def url(self) -> str:
        return f"sqlite:///{self.place.directory / self.name.replace(' ', '-')}.db{self.query}"


class OnSqliteNormal(OnSqlite):
    name = "holdfast NORMAL"
    about = "`sqlite:///…?synchronous=normal`"
    query = "?synchronous=normal"


class OnRedis(Holdfast):
    about = "`redis://`"

    def url(self) -> str:
        return self.place.redis


class OnPostgres(Holdfast):
    about = "`postgresql://`"

    def url(self) -> str:
        return self.place.postgres


PEERS: dict[str, list[type[Peer]]] = {
    "memory": [OnMemory],
    "sqlite": [OnSqlite, OnSqliteNormal],
    "redis": [OnRedis],
    "postgres": [OnPostgres],
}
