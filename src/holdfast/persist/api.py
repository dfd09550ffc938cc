"""`Persist`: typed values between requests, with expiry.

What it can do with one key is in `values`, with many in `many`; here is its
life, and what is built from those operations: `update`, loaders, locks.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

import msgspec

from holdfast.errors import StoreMisconfigured
from holdfast.persist.codec import decoder, invalid
from holdfast.persist.core import Core
from holdfast.persist.driver import KEEP, Create, Driver, Get, GetEntry, Keep, Replace, Stored, Text, Traits
from holdfast.persist.keys import Expires, Namespace, check_key, check_prefix, milliseconds
from holdfast.persist.lock import Lock
from holdfast.persist.many import ManyValues
from holdfast.persist.registry import driver_for
from holdfast.persist.values import Entry
from holdfast.persist.watch import Change, Watch
from holdfast.store import Finding, Health, Migration, masked

__all__ = ["Change", "Entry", "Persist", "Watch", "reserved"]

T = TypeVar("T")


class Persist(ManyValues):
    """A typed key/value store with expiry, behind one URL.

    ::

        async with Persist("sqlite:///app.db", namespace="app") as persist:
            await persist.set("user:1", User("Ada"), expires=3600)
            user = await persist.get("user:1", User)     # User | None

    Keys are text of 1 to 512 UTF-8 bytes without NUL. Values are what msgspec
    encodes as JSON (and pydantic models), at most `max_bytes` of it. An expired
    value is absent, for every operation. Concurrent operations share round
    trips; writes to one key apply in the order in which they were called.

    Args:
        store: a URL (`memory://`, `sqlite:///app.db`, `redis://…`,
            `postgresql://…`, `sqlalchemy+…`), or a driver made by hand.
        namespace: keeps applications apart in one store. It starts every key.
        auto_migrate: make and update tables when opened. None: on SQLite and
            memory yes, elsewhere `NotMigrated` is raised until somebody migrates.
        max_bytes: the largest encoded value; a larger one is a `ValueError`.
        watch: announce every change, for `watch` here and in other processes. It
            costs each write something; without it nothing is announced.

    Raises, from every operation:
        StoreUnavailable: the store did not answer; `maybe_applied` tells
            whether a write may have happened. No write is ever sent twice.
        Overloaded: too many operations wait already; nothing was sent.
        Closed: outside `async with`.
    """

    def __init__(
        self,
        store: str | Driver = "memory://",
        *,
        namespace: str = "holdfast",
        auto_migrate: bool | None = None,
        max_bytes: int = 1 << 20,
        watch: bool = False,
    ) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise ValueError(f"max_bytes: {max_bytes!r} is not a number of bytes")
        root = Namespace(namespace)
        channel = root.prefix("w") if watch else None
        core = Core(driver_for(store), auto_migrate=auto_migrate, max_bytes=max_bytes, watch=channel)
        self._start(core, root, "p")
        self._store = masked(store) if isinstance(store, str) else core.traits.name
        self._owner = True

    def _beside(self, namespace: Namespace, family: str) -> Persist:
        """Another view of the same store, which it neither opens nor closes."""
        other = Persist.__new__(Persist)
        other._start(self._core, namespace, family)
        other._store = self._store
        other._owner = False
        return other

    # --- life ---

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and see to the tables; `async with` calls it.

        What was left open on an event loop that has ended is opened anew.

        Raises:
            StoreError: it is open.
            NotMigrated: tables are missing or old, and `auto_migrate` is off.
            StoreUnavailable, StoreMisconfigured: the store cannot be used.
        """
        self._must_own("open")
        await self._core.open()

    async def close(self) -> None:
        """Take no more operations, finish those under way, disconnect. Twice is once.

        Loads under way are cancelled and whoever waits for them gets `Closed`; the
        body of a held lock is cancelled and gets `LockLost`. A cancelled `close`
        disconnects too, and fails what it did not finish.
        """
        self._must_own("close")
        await self._core.close()

    def _must_own(self, what: str) -> None:
        if not self._owner:
            raise StoreMisconfigured(
                f"{what}: a namespace lives as long as the Persist it was made from; {what} that one"
            )

    async def migrate(self) -> Sequence[Migration]:
        """Make or update the tables, opened or not; what was applied, oldest first.

        Safe in several processes at once: one applies, the others wait.
        """
        return await self._with_driver(lambda driver: driver.migrate())

    async def pending(self) -> Sequence[Migration]:
        """The migrations that the store still lacks, oldest first."""
        return await self._with_driver(lambda driver: driver.pending())

    async def describe(self) -> Sequence[Finding]:
        """What the store promises as it is configured, in sentences: `holdfast doctor`."""
        return await self._with_driver(lambda driver: driver.describe())

    async def health(self) -> Health:
        """Whether the store answers now. One round trip, bounded in time; never raises for a store that is down."""
        return await self._core.driver.health()

    async def _with_driver(self, ask: Callable[[Driver], Awaitable[Sequence[T]]]) -> Sequence[T]:
        driver = self._core.driver
        if self._core.is_open:
            return await ask(driver)
        await driver.open()
        try:
            return await ask(driver)
        finally:
            await driver.close()

    @property
    def store(self) -> str:
        """The URL with its password masked, or the driver's name."""
        return self._store

    @property
    def traits(self) -> Traits:
        """What this store does and does not promise."""
        return self._core.traits

    def namespace(self, name: str) -> Persist:
        """A place of its own inside this one, on the same connection; neither sees the other's keys."""
        return self._beside(Namespace(name, self._namespace.path), self._family)

    # --- built from those ---

    async def update(
        self,
        key: str,
        type: type[T],
        change: Callable[[T | None], T | Awaitable[T]],
        *,
        expires: Expires | Keep = KEEP,
    ) -> T:
        """Read, change, and store only if nobody else did meanwhile; else again. What was stored.

        `change` gets the live value, or None where there is none, and may run
        more than once; what it raises is raised here and nothing is stored. The
        expiry stays as it is unless `expires` says otherwise.

        Callers in one process take turns for each key; between processes the
        first to store wins and the others read again. A `change` that itself
        awaits `update` of the same key waits for ever.

        Raises:
            InvalidConversion: what is stored is not a `type`.
        """
        full = self._full("update", key)
        ttl = KEEP if expires is KEEP else milliseconds(expires)
        turns, conflicts = self._core.turns, 0
        await turns.take(full)
        try:
            while True:
                stored: Stored | None = await self._core.run(GetEntry(full))
                new = change(None if stored is None else self._entry("update", key, stored, type).value)
                value = cast("T", await new if inspect.isawaitable(new) else new)
                text = self._encoded("update", key, value)
                if stored is None:
                    fresh = None if ttl is KEEP else ttl
                    done = await self._core.run(Create(full, text, fresh), len(text))
                else:
                    done = await self._core.run(Replace(full, text, stored.version, ttl), len(text))
                if done:
                    return value
                conflicts += 1
                await asyncio.sleep(random.uniform(0, min(0.001 * 2**conflicts, 0.1)))
        finally:
            turns.give(full)

    @overload
    async def get_or_create(
        self, key: str, type: type[T], load: Callable[[], T | Awaitable[T]], *, expires: Expires = None
    ) -> T: ...
    @overload
    async def get_or_create(
        self, key: str, type: Any, load: Callable[[], Any], *, expires: Expires = None
    ) -> Any: ...
    async def get_or_create(
        self, key: str, type: Any, load: Callable[[], Any], *, expires: Expires = None
    ) -> Any:
        """The live value, or the one that `load()` makes and this stores.

        One loader runs at a time for a key, across tasks and processes; the
        others wait for its value. Its claim is a lease of 30 s, renewed while it
        runs: if its process dies another starts, and should it come back late,
        its result is discarded. What a loader raises is raised in every waiter
        of its process; other processes try for themselves. It runs in a task of
        its own, which is cancelled when nobody waits any more or the store is
        closed; one that asks for its own key waits for ever.

        Raises:
            InvalidConversion: what is stored is not a `type`.
        """
        full = self._full("get_or_create", key)
        ttl = milliseconds(expires)
        text: Text | None = await self._core.run(Get(full))
        if text is None:

            async def produce() -> bytes:
                made = load()
                return self._encoded("get_or_create", key, await made if inspect.isawaitable(made) else made)

            lease_key = self._namespace.prefix("o") + key
            text = await self._core.loaders.load(full, lease_key, produce, ttl)
        try:
            return decoder(type)(text)
        except msgspec.DecodeError as exc:
            raise invalid("get_or_create", key, exc) from None

    def lock(self, name: str, *, expires: float = 30, wait: float | None = None) -> Lock:
        """One holder at a time, in any process: `async with persist.lock("nightly") as fence:`.

        `expires` seconds are the lease, renewed at every third of it while the
        body runs; a holder that dies is succeeded when it ends. `wait` is how
        long to wait for it: None for ever, 0 not at all. `fence` is a number
        that only grows from holder to holder and outlives the lock: hand it to
        what you write to, so that it can refuse a holder of the past.

        It fails closed: where the store does not answer, nobody gets in, and a
        holder whose lease can no longer be certain, or whose store is closed,
        has its body cancelled. `wait` does not count an answer that the store
        is slow to give. A lock cannot be taken again inside itself, and each
        name leaves its fence, a small key, in the store for ever.

        Raises:
            LockBusy: not free within `wait`.
            LockLost: the lease ended while the body ran. What the body itself
                raised comes first.
        """
        check_key("lock", name)
        ttl = milliseconds(expires)
        if ttl is None:
            raise ValueError(f"lock {name!r}: expires is the lease, in seconds")
        if wait is not None and not wait >= 0:
            raise ValueError(f"lock {name!r}: wait is {wait}; seconds, 0 for not at all, None for ever")
        keys = (self._namespace.prefix("l") + name, self._namespace.prefix("f") + name)
        core = self._core
        return Lock(core.run, core.run_inside, core.spawn, core.turns, name, keys, ttl=ttl, wait=wait)

    def watch(self, prefix: str = "") -> Watch:
        """Changes to this namespace's values whose keys start with the prefix, in any process, as they happen.

        ::

            async for change in persist.watch("user:"):      # Change(kind, key)
                ...

        `set`: stored by `set`, `create`, `replace`, `increment`, `update` or
        `get_or_create`. `removed`: by `remove`, or by `clear`, which announces
        each key. Not announced: a value that ends by expiring, and `touch` and
        `renew`, which leave it as it is. `lost`, with no key: some changes were
        missed, because the store was away or because 1,024 waited to be read
        here (they are dropped); what follows is new.

        Changes of one key come in their order, several of one kind that were
        stored together perhaps as one. A change is announced if and only if it
        was stored, by every process with `watch=True` and by no other. Where
        the store has to be looked at, that takes up to `traits.latency` seconds.

        From when on changes are seen, see `Watch`. A nested namespace has a
        watch of its own. `close` lets a watcher read what it has; then the
        iteration ends.

        Raises:
            StoreMisconfigured: this `Persist` was made without `watch=True`, or its
                store cannot be listened to as it is set up.
            StoreUnavailable: (the first step) the store cannot be listened to now.
        """
        check_prefix("watch", prefix)
        watchers = self._core.watchers
        if self._family != "p":
            raise StoreMisconfigured("watch: what is kept for Holdfast itself is not announced")
        return Watch(watchers, self._prefix, prefix)


def reserved(persist: Persist) -> Persist:
    """What a server keeps for itself in the same store and namespace: no call on `persist` can reach it."""
    return persist._beside(persist._namespace, "s")
