"""Page cursors that went through somebody else's hands.

A driver's cursor is a place in its own table: it names the namespace, and one
made up could point outside of it. So what leaves here is sealed for its prefix
with a key made from the token's hash, and what comes back unsealed is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from holdfast.channels import Channels, TopicInfo
from holdfast.persist import Persist
from holdfast.web.access import Access

__all__ = ["Cursors"]

SEAL_BYTES: Final = 16


class Cursors:
    """`Persist.page` and `Channels.topic_page`, with sealed cursors."""

    def __init__(self, persist: Persist, access: Access) -> None:
        self._persist = persist
        self._access = access

    async def page(self, prefix: str, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        """Some of the keys, and the sealed cursor of the next page.

        Raises:
            ValueError: the prefix cannot start a key, or the cursor was not made here for this prefix.
        """
        seal = await self._seal("cursor")
        after = None if cursor is None else _unsealed(seal, prefix, cursor)
        keys, following = await self._persist.page(prefix, cursor=after, limit=limit)
        return keys, None if following is None else _sealed(seal, prefix, following)

    async def topics(
        self, channels: Channels, prefix: str, cursor: str | None, limit: int
    ) -> tuple[list[TopicInfo], str | None]:
        """The same of `Channels.topic_page`."""
        seal = await self._seal("topics")
        after = None if cursor is None else _unsealed(seal, prefix, cursor)
        topics, following = await channels.topic_page(prefix, cursor=after, limit=limit)
        return topics, None if following is None else _sealed(seal, prefix, following)

    async def _seal(self, of: str) -> bytes:
        return hashlib.sha256(f"{of} {await self._access.digest()}".encode()).digest()


def _mark(seal: bytes, prefix: str, place: bytes) -> bytes:
    text = prefix.encode("utf-8", "surrogatepass")
    message = len(text).to_bytes(4, "big") + text + place
    return hmac.digest(seal, message, "sha256")[:SEAL_BYTES]


def _sealed(seal: bytes, prefix: str, cursor: str) -> str:
    place = cursor.encode()
    return base64.urlsafe_b64encode(_mark(seal, prefix, place) + place).decode().rstrip("=")


def _unsealed(seal: bytes, prefix: str, text: str) -> str:
    try:
        both = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("cursor: not one of ours") from None
    mark, place = both[:SEAL_BYTES], both[SEAL_BYTES:]
    if not hmac.compare_digest(mark, _mark(seal, prefix, place)):
        raise ValueError("cursor: not one of ours for this prefix")
    return place.decode()
