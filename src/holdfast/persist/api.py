"""`Persist`: typed values between requests, with expiry.

Every method is one operation of the contract in `driver.py`, or is built from
them; arguments are checked, values encoded and outcomes turned into what the
caller asked for here, once, for all drivers.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast, overload

import msgspec

from holdfast.errors import DuplicateKey, StoreMisconfigured, VersionConflict
from holdfast.events import listeners
from holdfast.persist.codec import DECODERS, decoder, encode, invalid
from holdfast.persist.core import Core
from holdfast.persist.driver import (
    KEEP,
    LATER,
    Clear,
    Cleared,
    Create,
    Driver,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keep,
    Keys,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Text,
    Touch,
    Traits,
)
from holdfast.persist.keys import Expires, Namespace, check_key, check_prefix, milliseconds
from holdfast.persist.lock import Lock
from holdfast.persist.registry import driver_for
from holdfast.store import Finding, Health, Migration, masked

__all__ = ["Entry", "Persist", "reserved"]

T = TypeVar("T")

INT64: Final = range(-(2**63), 2**63)
PAGE: Final = 500
"""Keys in one page of a walk."""


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A live value with what is known about it; tells a stored null from absence."""

    value: T
    ttl: float | None  # seconds left; None: never expires
    version: str  # opaque; differs whenever the stored value differs


class Persist:
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
    ) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise ValueError(f"max_bytes: {max_bytes!r} is not a number of bytes")
        core = Core(driver_for(store), auto_migrate=auto_migrate, max_bytes=max_bytes)
        self._start(core, Namespace(namespace), "p")
        self._store = masked(store) if isinstance(store, str) else core.traits.name
        self._owner = True

    def _start(self, core: Core, namespace: Namespace, family: str) -> None:
        self._core = core
        self._namespace = namespace
        self._family = family
        self._prefix = namespace.prefix(family)
        self._max_bytes = core.max_bytes
        self._get_now = Get in core.immediate
        self._set_now = {Set, Create} <= core.immediate

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

    # --- one value ---

    async def create(self, key: str, value: object, *, expires: Expires = None) -> None:
        """Store the value unless a live one exists. Atomic: of many callers, in any process, one succeeds.

        Raises:
            DuplicateKey: a live value exists; an expired one does not count.
            ValueError: a bad key or lifetime, or more than `max_bytes`.
            TypeError: the value cannot be encoded.
        """
        full = self._full("create", key)
        text = self._encoded("create", key, value)
        op = Create(full, text, milliseconds(expires))
        core = self._core
        if not self._set_now or (created := core.now(op)) is LATER:
            created = await core.submit(op, len(text))
        elif listeners:
            core.tell(op)
        if not created:
            raise DuplicateKey(f"create {key!r}: a live value exists")

    async def set(self, key: str, value: object, *, expires: Expires | Keep = KEEP) -> None:
        """Store the value, whatever was there.

        A live key keeps the expiry it has (`KEEP`); a new one never expires.
        `expires=60` is a minute from now, `expires=None` never from now on.

        Raises:
            ValueError, TypeError: as `create`.
        """
        text = self._encoded("set", key, value)
        op = Set(self._full("set", key), text, KEEP if expires is KEEP else milliseconds(expires))
        core = self._core
        if self._set_now and core.now(op) is not LATER:
            if listeners:
                core.tell(op)
            return
        await core.submit(op, len(text))

    @overload
    async def get(self, key: str, type: type[T], *, renew: Expires | Keep = KEEP) -> T | None: ...
    @overload
    async def get(self, key: str, type: Any = Any, *, renew: Expires | Keep = KEEP) -> Any: ...
    async def get(self, key: str, type: Any = Any, *, renew: Expires | Keep = KEEP) -> Any:
        """The live value as `type`, or None. With `renew` it lives that long from now: sliding expiry, in one step.

        Raises:
            InvalidConversion: what is stored is not a `type`.
        """
        core = self._core
        text: Text | None
        if renew is not KEEP:
            text = await core.run(GetRenew(self._full("get", key), milliseconds(renew)))
        elif self._get_now:
            # Nothing waits here, so every call counts. What is found was a good key.
            op = Get(self._prefix + key)
            text = core.now(op)
            if text is LATER:
                text = await core.submit(op, 0)
            elif listeners:
                core.tell(op)
            if text is None:
                check_key("get", key)
        else:
            text = await core.submit(Get(self._full("get", key)), 0)
        if text is None:
            return None
        try:
            decode = DECODERS[type]
        except (KeyError, TypeError):
            decode = decoder(type)
        try:
            return decode(text)
        except msgspec.DecodeError as exc:
            raise invalid("get", key, exc) from None

    @overload
    async def entry(self, key: str, type: type[T]) -> Entry[T] | None: ...
    @overload
    async def entry(self, key: str, type: Any = Any) -> Entry[Any] | None: ...
    async def entry(self, key: str, type: Any = Any) -> Entry[Any] | None:
        """The live value with its remaining seconds and version, or None: one moment's truth.

        Raises:
            InvalidConversion: what is stored is not a `type`.
        """
        stored = await self._core.run(GetEntry(self._full("entry", key)))
        return None if stored is None else self._entry("entry", key, stored, type)

    async def remove(self, key: str, *, version: str | None = None) -> bool:
        """Delete the live value, only of this version where one is named. Whether it was deleted."""
        full = self._full("remove", key)
        if version is not None:
            self._check_version("remove", key, version)
        return bool(await self._core.run(Remove(full, version)))

    async def touch(self, key: str, expires: Expires) -> bool:
        """Let the live value end this long from now, never with None. Whether there was one."""
        return bool(await self._core.run(Touch(self._full("touch", key), milliseconds(expires))))

    async def increment(self, key: str, *, by: int = 1, expires: Expires = None) -> int:
        """Add to a 64-bit counter, and the sum. Atomic across processes.

        A counter that lives keeps its expiry; one that starts gets `expires`
        and starts at `by`.

        Raises:
            InvalidConversion: what is stored is not an integer; it stays.
            ValueError: the sum would leave the signed 64-bit range; it stays.
        """
        full = self._full("increment", key)
        if isinstance(by, bool) or not isinstance(by, int):
            raise TypeError(f"increment {key!r}: by is an int, not {type(by).__name__}")
        if by not in INT64:
            raise ValueError(f"increment {key!r}: by is beyond 64 bits")
        return int(await self._core.run(Increment(full, by, milliseconds(expires))))

    async def replace(self, key: str, value: object, *, version: str, expires: Expires | Keep = KEEP) -> str:
        """Store the value over the live one of this version; the new version.

        Raises:
            VersionConflict: the live value is another version, or there is none.
            ValueError, TypeError: as `create`.
        """
        full = self._full("replace", key)
        self._check_version("replace", key, version)
        text = self._encoded("replace", key, value)
        ttl = KEEP if expires is KEEP else milliseconds(expires)
        new = await self._core.run(Replace(full, text, version, ttl), len(text))
        if new is None:
            raise VersionConflict(f"replace {key!r}: the value is another version by now, or gone")
        return cast("str", new)

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

    # --- many ---

    @overload
    async def get_many(self, keys: Iterable[str], type: type[T]) -> dict[str, T]: ...
    @overload
    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]: ...
    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        """Those that live, by key, in the order asked. Together they are not one moment's truth.

        Raises:
            InvalidConversion: one of them is not a `type`.
        """
        names = list(dict.fromkeys(keys))
        texts = await self._core.run_many((Get(self._full("get_many", name)), 0) for name in names)
        decode, found = decoder(type), {}
        for name, text in zip(names, texts, strict=True):
            if text is not None:
                try:
                    found[name] = decode(text)
                except msgspec.DecodeError as exc:
                    raise invalid("get_many", name, exc) from None
        return found

    @overload
    async def entries(self, keys: Iterable[str], type: type[T]) -> dict[str, Entry[T]]: ...
    @overload
    async def entries(self, keys: Iterable[str], type: Any = Any) -> dict[str, Entry[Any]]: ...
    async def entries(self, keys: Iterable[str], type: Any = Any) -> dict[str, Entry[Any]]:
        """As `get_many`, each with its remaining seconds and version."""
        names = list(dict.fromkeys(keys))
        found = await self._core.run_many((GetEntry(self._full("entries", name)), 0) for name in names)
        return {
            name: self._entry("entries", name, stored, type)
            for name, stored in zip(names, found, strict=True)
            if stored is not None
        }

    async def set_many(self, values: Mapping[str, object], *, expires: Expires | Keep = KEEP) -> None:
        """`set` for each, in shared round trips. Not a transaction: if this raises, some may be stored.

        Every key and value is checked and encoded before the first is sent.
        """
        ttl = KEEP if expires is KEEP else milliseconds(expires)
        ops = [
            Set(self._full("set_many", key), self._encoded("set_many", key, value), ttl)
            for key, value in values.items()
        ]
        await self._core.run_many((op, len(op.value)) for op in ops)

    async def remove_many(self, keys: Iterable[str]) -> int:
        """How many of them there were, and are no more."""
        ops = [Remove(self._full("remove_many", key)) for key in dict.fromkeys(keys)]
        return sum(await self._core.run_many((op, 0) for op in ops))

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Every live key of this namespace that starts with the prefix, fetched page by page.

        What lives throughout the walk is listed exactly once, whatever is
        written meanwhile; what comes or goes may or may not be. Ordered by UTF-8
        bytes on SQL, in no order elsewhere. On Redis the walk remembers what it
        has listed, which takes memory by the number of keys.
        """
        seen: set[str] | None = set() if self.traits.scan_repeats else None
        cursor: str | None = None
        while True:
            page, cursor = await self.page(prefix, cursor=cursor, limit=PAGE)
            for key in page:
                if seen is not None:
                    if key in seen:
                        continue
                    seen.add(key)
                yield key
            if cursor is None:
                return

    async def page(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[str], str | None]:
        """Some of the live keys, and the cursor of the next page; None: that was the last.

        `limit` is a wish: a page may be longer, shorter, or empty with a cursor.
        On Redis a key can be on two pages. A cursor is good for the prefix that
        it was answered for, and may name the store's own keys: seal it before
        it goes through anybody else's hands.
        """
        full = self._prefix + check_prefix("keys", prefix)
        if limit < 1:
            raise ValueError(f"keys {prefix!r}: limit is {limit}")
        page: Page = await self._core.run(Keys(full, cursor, limit))
        cut = len(self._prefix)
        # A cursor made up could point in front of the prefix, into another namespace.
        return [key[cut:] for key in page.keys if key.startswith(full)], page.cursor

    async def clear(self, prefix: str = "") -> int:
        """Delete the keys of this namespace that start with the prefix, page by page; how many lived.

        Nested namespaces are not touched. What is written meanwhile may stay.
        """
        full = self._prefix + check_prefix("clear", prefix)
        removed, cursor = 0, None
        while True:
            part: Cleared = await self._core.run(Clear(full, cursor, PAGE))
            removed, cursor = removed + part.removed, part.cursor
            if cursor is None:
                return removed

    # --- arguments and answers ---

    def _full(self, operation: str, key: str) -> str:
        if type(key) is str and key.isascii() and 0 < len(key) <= 512 and "\0" not in key:
            return self._prefix + key
        return self._prefix + check_key(operation, key)

    def _encoded(self, operation: str, key: str, value: object) -> bytes:
        try:
            text = encode(value)
        except OverflowError as exc:  # msgspec before 0.20, for integers beyond 64 bits
            raise ValueError(f"{operation} {key!r}: {exc}") from None
        except TypeError as exc:
            raise TypeError(f"{operation} {key!r}: {exc}") from None
        if len(text) > self._max_bytes:
            raise ValueError(
                f"{operation} {key!r}: {len(text)} bytes encoded, over max_bytes={self._max_bytes}"
            )
        return text

    def _entry(self, operation: str, key: str, stored: Stored, type: Any) -> Entry[Any]:
        try:
            value = decoder(type)(stored.value)
        except msgspec.DecodeError as exc:
            raise invalid(operation, key, exc) from None
        return Entry(value, None if stored.ttl is None else stored.ttl / 1000, stored.version)

    def _check_version(self, operation: str, key: str, version: str) -> None:
        if not isinstance(version, str):
            raise TypeError(f"{operation} {key!r}: version is a str, not {type(version).__name__}")


def reserved(persist: Persist) -> Persist:
    """What a server keeps for itself in the same store and namespace: no call on `persist` can reach it."""
    return persist._beside(persist._namespace, "s")
