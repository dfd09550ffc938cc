"""`Rehearsal`: a web in which everything can be read and nobody is told.

For development: pages are fetched through the guard, so that endpoints are
found or not as they would be; a mention that would be delivered is written down
instead. In the outbox it has then failed, in words that `Rehearsal.failed` knows:
nothing claims that it was sent, and `retry` delivers it where the web is real::

    async with Rehearsal() as web, Webmention(store, site=site, web=web) as mentions:
        await mentions.send(url, html)
        print(web.told)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import msgspec

from holdfast.errors import FetchFailed
from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.pages import Page
from holdfast.webmention.policy import NetworkPolicy

__all__ = ["Rehearsal", "Rehearsed"]

_WORDS: Final = "rehearsed, and nothing was sent"
MOST: Final = 1_000


class Rehearsed(msgspec.Struct, frozen=True):
    """What would have been told."""

    endpoint: str
    source: str
    target: str


class Rehearsal:
    """A `Web`, and an async context manager over what it reads with.

    Attributes:
        told: the latest thousand, the oldest first.
    """

    def __init__(self, policy: NetworkPolicy | None = None) -> None:
        self.policy = NetworkPolicy() if policy is None else policy
        self.told: deque[Rehearsed] = deque(maxlen=MOST)
        self._web = Fetcher(self.policy)

    async def __aenter__(self) -> Self:
        await self._web.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._web.close()

    async def get(
        self,
        url: str,
        *,
        accept: str = "text/html, */*;q=0.5",
        headers: Mapping[str, str] = {},
        max_bytes: int = 1 << 20,
        enough: Callable[[Page, bytes], bool] | None = None,
    ) -> Page:
        """As a `Fetcher` does."""
        return await self._web.get(url, accept=accept, headers=headers, max_bytes=max_bytes, enough=enough)

    async def post(self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str] = {}) -> Page:
        """Write it down.

        Raises:
            AddressRefused: it would not have been sent either.
            FetchFailed: always, and for good.
        """
        self.policy.check_url(url)
        self.told.append(Rehearsed(url, fields.get("source", ""), fields.get("target", "")))
        raise FetchFailed(_WORDS, transient=False)

    @staticmethod
    def failed(mention: OutgoingMention) -> bool:
        """Whether the outbox has it as failed because its delivery was a rehearsal, in whichever process."""
        return mention.status == "failed" and _WORDS in (mention.error or "")
