"""`ManyValues`: several keys in shared round trips, and walks over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, TypeVar, overload

import msgspec

from holdfast.persist.codec import decoder, invalid
from holdfast.persist.driver import KEEP, Clear, Cleared, Get, GetEntry, Keep, Keys, Page, Remove, Set
from holdfast.persist.keys import Expires, check_prefix, milliseconds
from holdfast.persist.values import Entry, Values

__all__ = ["ManyValues"]

T = TypeVar("T")

PAGE: Final = 500
"""Keys in one page of a walk."""


class ManyValues(Values):
    """One namespace's values, many at a time. Together they are not a transaction."""

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
        seen: set[str] | None = set() if self._core.traits.scan_repeats else None
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
