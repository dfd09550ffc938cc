"""Photos of authors, kept to be served from our own origin: one document a URL, of the kind ``<namespace>:m:p``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from holdfast.webmention import urls
from holdfast.webmention.driver import Driver, Drop, Put
from holdfast.webmention.pages import Web
from holdfast.webmention.photos import Photo, fetch_photo

__all__ = ["Portraits"]

FRESH = 7 * 86_400.0  # seconds before it is fetched again
AT_ONCE = 20  # read in order to be dropped: each may have 350 KB
STRANGE = "strange"
"""Tag of those that only mentions have which wait for a moderator."""
Fetch: TypeAlias = Callable[[Web, str], Awaitable[Photo | None]]


class Kept(msgspec.Struct, frozen=True):
    """What a document says; JSON has the bytes in base64."""

    url: str
    at: float
    media_type: str
    data: bytes


class Portraits:
    """At most `most` of them: beyond it the one that was kept first goes, of those whom nobody accepted before others.

    Else a stranger with a page of many faces would put out everybody else's.
    """

    def __init__(
        self,
        driver: Driver,
        kind: str,
        *,
        most: int,
        now: Callable[[], float],
        fetch: Fetch = fetch_photo,
    ) -> None:
        self._driver, self._kind, self._most, self._now, self._fetch = driver, kind, most, now, fetch

    async def get(self, digest: str) -> tuple[str, bytes] | None:
        """Media type and bytes of the photo whose URL has this digest."""
        if not digest.isascii() or not 1 <= len(digest) <= 200:
            return None
        document = (await self._driver.get(self._kind, [digest]))[0]
        if document is None:
            return None
        kept = msgspec.json.decode(document.data, type=Kept)
        return kept.media_type, kept.data

    async def keep(self, web: Web, url: str, *, accepted: bool = True) -> None:
        """Fetch it, unless that was done not long ago. One that cannot be had is none: a placeholder stands for it."""
        tags = () if accepted else (STRANGE,)
        ident = urls.digest(url)
        document = (await self._driver.get(self._kind, [ident]))[0]
        if document is not None:
            kept = msgspec.json.decode(document.data, type=Kept)
            accepted = accepted or not document.tags
            tags = () if accepted else (STRANGE,)
            if self._now() - kept.at < FRESH:
                if tags != document.tags:
                    await self._driver.write([Put(self._kind, ident, document.data, expect=document.version)])
                return
        photo = await self._fetch(web, url)
        if photo is None:
            return
        if document is None:
            await self._make_room()
        data = msgspec.json.encode(Kept(url, self._now(), photo.media_type, photo.data))
        await self._driver.write([Put(self._kind, ident, data, tags)])

    async def _make_room(self) -> None:
        there = (await self._driver.count(self._kind, [""]))[0]
        if there >= self._most:
            wanted = min(AT_ONCE, there - self._most + 1)
            oldest = await self._driver.page(self._kind, STRANGE, limit=wanted)
            if len(oldest) < wanted:
                oldest = await self._driver.page(self._kind, limit=wanted)
            await self._driver.write([Drop(self._kind, each.id) for each in oldest])
