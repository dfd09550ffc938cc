"""Who takes part: one file per engine, and what every one of them has to do.

Every peer does the same job: a typed record goes in and comes out, stored as
JSON (where a peer takes bytes, msgspec encodes and decodes on its behalf, as it
does for Holdfast), with an expiry of one hour. `create` is the peer's own
"only if absent". Each adapter is one thin `async def` over the peer's public
API, Holdfast's too, so that the frame costs everyone the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

__all__ = [
    "ENGINES",
    "EXPIRES",
    "FRESH",
    "KEYS",
    "Peer",
    "Place",
    "User",
    "decode",
    "encode",
    "peers",
    "users",
]

ENGINES: Final = ("memory", "sqlite", "redis", "postgres")
EXPIRES: Final = 3600
KEYS: Final = 10_000
FRESH: Final = "fresh:"
"""How the keys that `create` makes begin; they are deleted between rounds."""


class User(msgspec.Struct):
    """About 155 bytes of JSON."""

    id: int
    name: str
    email: str
    roles: list[str]
    active: bool
    score: float
    joined: str


encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(User).decode


def users(count: int = KEYS) -> list[tuple[str, User]]:
    """Keys and their records, always the same."""
    return [
        (
            f"user:{number:05}",
            User(
                id=100_000 + number,
                name="Adèle Lovelace",
                email=f"a.{number:05}@example.org",
                roles=["author", "editor"],
                active=number % 7 != 0,
                score=round(number * 0.37 + 0.25, 2),
                joined="2026-11-20T09:30:00",
            ),
        )
        for number in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engines are in this run."""

    directory: Path
    redis: str = ""  # redis://127.0.0.1:port/0
    postgres: str = ""
    server: int | None = None  # process id

    @property
    def redis_port(self) -> int:
        return int(self.redis.rsplit(":", 1)[1].split("/")[0])


class Peer:
    """One contestant. `set`, `get`, `create` take one key, or a list of `batch` keys where that is more than 1."""

    name: ClassVar[str] = ""
    about: ClassVar[str] = ""  # its settings, one line
    creates: ClassVar[bool] = True  # has something like `create`
    encodes: ClassVar[bool] = True  # False: holds the object itself, and hands the same one out
    only_tasks: ClassVar[int | None] = None  # runs at this number of tasks only
    batch: ClassVar[int] = 1  # more: the hand-made limit, which runs with `only_tasks` callers

    def __init__(self, place: Place) -> None:
        self.place = place

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def set(self, key: Any, user: Any) -> None:
        raise NotImplementedError

    async def get(self, key: Any) -> Any:
        raise NotImplementedError

    async def create(self, key: Any, user: Any) -> Any:
        """True, or how many were stored."""
        raise NotImplementedError

    async def clean(self) -> None:
        """Delete what `create` made. Not timed."""

    async def prefill(self, pairs: Sequence[tuple[str, User]]) -> None:
        """Store every record. Not timed."""
        for some in chunks(pairs, max(self.batch, 100)):
            if self.batch > 1:
                await self.set([key for key, _ in some], [user for _, user in some])
            else:
                await asyncio.gather(*(self.set(key, user) for key, user in some))


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """`items` in runs of `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def peers(engine: str, place: Place, only: Sequence[str] = ()) -> list[Peer]:
    """The contestants of one engine, Holdfast first. Client libraries are imported in `open`."""
    ours: list[type[Peer]] = import_module("bench.peers.ours").PEERS[engine]
    theirs: list[type[Peer]] = import_module(f"bench.peers.{engine}").PEERS
    everyone = [make(place) for make in (*ours, *theirs)]
    return [peer for peer in everyone if not only or any(word in peer.name for word in only)]
