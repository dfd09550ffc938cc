"""Connections to databases, one per URL: `lease(Engine, url)`.

However many capabilities use a URL, a process has one engine for it on one
event loop: one SQLite writer, one set of Postgres lanes, one Redis connection
for commands. The first lease opens it, the last one given back closes it.
"""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, Self, TypeAlias, TypeVar

from holdfast.store import StoreURL

__all__ = ["Engine", "Lease", "lease"]


class Engine(Protocol):
    """What can be leased: made from a URL without I/O, opened once, closed once."""

    @classmethod
    def from_url(cls, url: StoreURL) -> Self: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...


E_co = TypeVar("E_co", bound=Engine, covariant=True)


class _Shared:
    """One engine and how many hold it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.holders = 0
        self.turn = asyncio.Lock()  # opening and closing happen one at a time
        self.opened = False


_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, type, str, tuple[tuple[str, str], ...]]

# INVARIANT: an entry is here from before its engine opens until after it has
# closed, so that nobody opens a second one beside it.
_shared: dict[_Key, _Shared] = {}


class Lease(Generic[E_co]):
    """A share in one engine; `await lease.release()` gives it back, and twice is once."""

    def __init__(self, key: _Key, shared: _Shared, engine: E_co) -> None:
        self._key = key
        self._shared: _Shared | None = shared
        self.engine = engine

    async def release(self) -> None:
        shared, self._shared = self._shared, None
        if shared is None:
            return
        async with shared.turn:
            shared.holders -= 1
            if shared.holders == 0:
                try:
                    await shared.engine.close()
                finally:
                    shared.opened = False
                    if _shared.get(self._key) is shared:
                        del _shared[self._key]


async def lease(kind: type[E_co], url: StoreURL) -> Lease[E_co]:
    """A share in this loop's engine for `url`, opened if nobody holds it yet.

    Raises what the engine's `open` raises; then nothing is held.
    """
    for gone in [each for each in _shared if each[0].is_closed()]:
        del _shared[gone]  # never released, on a loop that ended: nobody can come back for it
    key = (asyncio.get_running_loop(), kind, url.text, tuple(sorted(url.options.items())))
    while True:
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = _Shared(kind.from_url(url))
        async with shared.turn:
            if _shared.get(key) is not shared:
                continue  # the last holder closed it while this one waited for its turn
            if not shared.opened:
                try:
                    await shared.engine.open()
                except BaseException:
                    del _shared[key]
                    raise
                shared.opened = True
            shared.holders += 1
            assert isinstance(shared.engine, kind)
            return Lease(key, shared, shared.engine)
