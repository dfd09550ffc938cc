"""Pictures of authors, fetched through the guard: small, and what they are by their bytes and not by their word.

Never SVG: it is a document that runs scripts, not a picture.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.errors import AddressRefused, FetchFailed
from holdfast.webmention.pages import Web

__all__ = ["MAX_PHOTO_BYTES", "Photo", "fetch_photo", "media_type_of"]

MAX_PHOTO_BYTES: Final = 256 * 1024
_ACCEPT: Final = "image/webp, image/png, image/jpeg, image/gif"


class Photo(msgspec.Struct, frozen=True):
    """A picture that may be served from our own origin as `media_type`."""

    media_type: str
    data: bytes


async def fetch_photo(web: Web, url: str) -> Photo | None:
    """The picture at `url`; None where there is none to be had, whatever the reason.

    A mention without a photo is as good: no fault is told apart from another.
    """
    try:
        page = await web.get(url, accept=_ACCEPT, max_bytes=MAX_PHOTO_BYTES)
    except (AddressRefused, FetchFailed):
        return None
    media_type = media_type_of(page.body)
    if not page.ok or page.cut or media_type is None:
        return None
    return Photo(media_type, page.body)


def media_type_of(data: bytes) -> str | None:
    """What the first bytes say: PNG, JPEG, GIF or WebP; None for everything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None
