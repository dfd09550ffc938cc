"""The keys of the store, a page at a time, each with what is left of its life, its version, and a glimpse of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
from starlette.responses import Response

from holdfast.errors import InvalidConversion
from holdfast.persist import Persist
from holdfast.web.cursors import Cursors
from holdfast.web.dashboard.forms import escaped
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages

__all__ = ["Listing", "Row"]

PAGE_KEYS: Final = 50
AT_ONCE: Final = 10
"""Values looked at together: a page of fifty values of a megabyte must not be held in memory whole."""
GLIMPSE: Final = 120
EMPTY_PAGES: Final = 20
"""A store may answer with empty pages that have a cursor; after so many the reader is shown a link instead."""


class Row(msgspec.Struct, frozen=True):
    """One line of the list."""

    key: str
    ttl: float | None
    version: str
    size: int
    glimpse: str


class Listing:
    """`/keys`."""

    def __init__(self, persist: Persist, cursors: Cursors, pages: Pages) -> None:
        self._persist = persist
        self._cursors = cursors
        self._pages = pages

    async def show(self, visit: Visit) -> Response:
        query = visit.request.query_params
        prefix, cursor = query.get("prefix", ""), query.get("cursor") or None
        error, rows, following = "", [], None
        try:
            keys, following = await self._keys(prefix, cursor)
            rows = await self._rows(keys)
        except ValueError:
            if cursor is not None:  # of another token's time, or made up: begin again
                return self._pages.redirect(visit.request, f"/keys?prefix={escaped(prefix)}")
            error = "No key can start like this: a key has at most 512 bytes and no NUL."
        return self._pages.render(
            visit.request,
            "keys.html",
            session=visit.session,
            status=400 if error else 200,
            prefix=prefix,
            rows=rows,
            following=following,
            later=cursor is not None,
            error=error,
            base=str(visit.request.base_url).rstrip("/"),
        )

    async def _keys(self, prefix: str, cursor: str | None) -> tuple[Iterable[str], str | None]:
        keys: list[str] = []
        for _ in range(EMPTY_PAGES):
            keys, cursor = await self._cursors.page(prefix, cursor, PAGE_KEYS)
            if keys or cursor is None:
                break
        return dict.fromkeys(keys), cursor

    async def _rows(self, keys: Iterable[str]) -> list[Row]:
        wanted, rows = list(keys), list[Row | None]()
        for start in range(0, len(wanted), AT_ONCE):
            rows += await asyncio.gather(*(self._row(key) for key in wanted[start : start + AT_ONCE]))
        return [row for row in rows if row is not None]

    async def _row(self, key: str) -> Row | None:
        """None where it expired or was removed since the page was read."""
        try:
            entry = await self._persist.entry(key, msgspec.Raw)
        except InvalidConversion:
            return Row(key, None, "", 0, "not JSON: stored by something else")
        if entry is None:
            return None
        text = bytes(entry.value)
        glimpse = text[: GLIMPSE * 4].decode("utf-8", "ignore")
        cut = glimpse[:GLIMPSE] + ("…" if len(glimpse) > GLIMPSE or len(text) > GLIMPSE * 4 else "")
        return Row(key, entry.ttl, entry.version, len(text), cut)
