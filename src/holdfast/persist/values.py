"""`Values`: the operations on one key, each one operation of the contract in `driver.py`.

Arguments are checked, values encoded and outcomes turned into what the caller
asked for here, once, for all drivers. `get`, `set` and `create` write out what
the others leave to `_full`, `_encoded` and `Core.run`: where nothing waits, each
call is a part of the whole.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar, cast, overload

import msgspec

from holdfast.errors import DuplicateKey, VersionConflict
from holdfast.events import listeners
from holdfast.persist.codec import DECODERS, decoder, encode, invalid
from holdfast.persist.core import Core
from holdfast.persist.driver import (
    KEEP,
    LATER,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keep,
    Remove,
    Replace,
    Set,
    Stored,
    Text,
    Touch,
)
from holdfast.persist.keys import LONGEST_SECONDS, Expires, Namespace, check_key, milliseconds

__all__ = ["Entry", "Values"]

T = TypeVar("T")

INT64: Final = range(-(2**63), 2**63)
UNENCODABLE: Final = (TypeError, UnicodeEncodeError, RecursionError, OverflowError)
"""What encoding raises; the last from msgspec before 0.20, for integers beyond 64 bits."""


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A live value with what is known about it; tells a stored null from absence."""

    value: T
    ttl: float | None  # seconds left; None: never expires
    version: str  # opaque; differs whenever the stored value differs


class Values:
    """One namespace's values, one at a time."""

    def _start(self, core: Core, namespace: Namespace, family: str) -> None:
        self._core = core
        self._namespace = namespace
        self._family = family
        self._prefix = namespace.prefix(family)
        self._max_bytes = core.max_bytes
        self._get_now = Get in core.immediate
        self._set_now = {Set, Create} <= core.immediate

    async def create(self, key: str, value: object, *, expires: Expires = None) -> None:
        """Store the value unless a live one exists. Atomic: of many callers, in any process, one succeeds.

        Raises:
            DuplicateKey: a live value exists; an expired one does not count.
            ValueError: a bad key or lifetime, or more than `max_bytes`.
            TypeError: the value cannot be encoded.
        """
        if not (type(key) is str and key.isascii() and 0 < len(key) <= 512 and "\0" not in key):
            check_key("create", key)
        try:
            text = encode(value)
        except UNENCODABLE as exc:
            raise self._unencoded("create", key, exc) from None
        if len(text) > self._max_bytes:
            raise self._oversized("create", key, text)
        op = Create(self._prefix + key, text, milliseconds(expires))
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
        if not (type(key) is str and key.isascii() and 0 < len(key) <= 512 and "\0" not in key):
            check_key("set", key)
        try:
            text = encode(value)
        except UNENCODABLE as exc:
            raise self._unencoded("set", key, exc) from None
        if len(text) > self._max_bytes:
            raise self._oversized("set", key, text)
        if type(expires) is int and 0 < expires < LONGEST_SECONDS:
            op = Set(self._prefix + key, text, expires * 1000)
        else:
            op = Set(self._prefix + key, text, KEEP if expires is KEEP else milliseconds(expires))
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
        else:
            op = Get(self._full("get", key))
            if not self._get_now or (text := core.now(op)) is LATER:
                text = await core.submit(op, 0)
            elif listeners:
                core.tell(op)
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

    # --- arguments and answers ---

    def _full(self, operation: str, key: str) -> str:
        if not (type(key) is str and key.isascii() and 0 < len(key) <= 512 and "\0" not in key):
            check_key(operation, key)
        return self._prefix + key

    def _encoded(self, operation: str, key: str, value: object) -> bytes:
        try:
            text = encode(value)
        except UNENCODABLE as exc:
            raise self._unencoded(operation, key, exc) from None
        if len(text) > self._max_bytes:
            raise self._oversized(operation, key, text)
        return text

    def _unencoded(self, operation: str, key: str, exc: Exception) -> Exception:
        if isinstance(exc, UnicodeEncodeError):  # its own text quotes the value
            return ValueError(f"{operation} {key!r}: text with lone surrogates has no UTF-8")
        if isinstance(exc, RecursionError):
            return ValueError(f"{operation} {key!r}: nested too deeply")
        told = f"{operation} {key!r}: {exc}"
        return TypeError(told) if isinstance(exc, TypeError) else ValueError(told)

    def _oversized(self, operation: str, key: str, text: bytes) -> ValueError:
        told = f"{len(text)} bytes encoded, over max_bytes={self._max_bytes}"
        return ValueError(f"{operation} {key!r}: {told}")

    def _entry(self, operation: str, key: str, stored: Stored, type: Any) -> Entry[Any]:
        try:
            value = decoder(type)(stored.value)
        except msgspec.DecodeError as exc:
            raise invalid(operation, key, exc) from None
        return Entry(value, None if stored.ttl is None else stored.ttl / 1000, stored.version)

    def _check_version(self, operation: str, key: str, version: str) -> None:
        if not isinstance(version, str):
            raise TypeError(f"{operation} {key!r}: version is a str, not {type(version).__name__}")
