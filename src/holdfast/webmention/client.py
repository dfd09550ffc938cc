"""The two questions that a sender asks the web: where does this page take webmentions, and does it take this one?

::

    found = await discover("https://bob.example/post")
    if found.endpoint:
        answer = await deliver(found.endpoint, "https://alice.example/reply", "https://bob.example/post")

Each alone opens its own connections; `web` lends those of a `Fetcher`.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from holdfast.webmention.client_caching import fresh_for, retry_after
from holdfast.webmention.discovery import Discovered, enough, find_endpoint
from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.pages import Page, Web
from holdfast.webmention.policy import NetworkPolicy
from holdfast.webmention.urls import resolve, without_fragment

__all__ = ["Delivery", "Discovery", "deliver", "discover"]

_SAID_CHARACTERS: Final = 300
_TAG: Final = re.compile(r"<[^<>]*>")
_UNSEEN: Final = re.compile(r"<(script|style|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]+")


class Discovery(msgspec.Struct, frozen=True):
    """Where a target takes webmentions, and how that was found out."""

    endpoint: str | None  # absolute; None: it takes none
    url: str  # of the page that was looked at, redirects followed
    steps: tuple[str, ...] = ()  # a sentence each, for a person who asks why
    where: str | None = None  # "header", "link" or "a"
    fresh_for: float = 0.0  # seconds that this may be remembered
    page: Page | None = None  # what was looked at, as far as it was read


class Delivery(msgspec.Struct, frozen=True):
    """What an endpoint answered."""

    status: int
    ok: bool  # it was accepted
    location: str | None = None  # where it says how the mention fares; absolute
    retry_after: float | None = None  # seconds, where it asked for patience
    said: str = ""  # the beginning of its words, as plain text in one line


async def discover(
    target: str,
    *,
    policy: NetworkPolicy | None = None,
    web: Web | None = None,
    now: Callable[[], float] = time.time,
) -> Discovery:
    """Where `target` takes webmentions, by one GET that ends at the first link that says so.

    There is no HEAD before it: a page that is to be asked once only would be
    gone, and most endpoints stand in the page and not in a header. An answer
    that says "later" (5xx, 429) has no endpoint, whatever its headers say: it is
    not the target that answered.

    Raises:
        AddressRefused: the policy does not let the target, or where it leads, be fetched.
        FetchFailed: no answer, or none that can be used.
    """
    async with _lent(web, policy) as fetcher:
        page = await fetcher.get(target, enough=enough)
    if page.status >= 500 or page.status == 429:
        later = f"{page.url} answered {page.status}: that is for another time, so it was not looked through."
        found = Discovered(None, None, (later,))
    else:
        found = find_endpoint(page)
    return Discovery(found.endpoint, page.url, found.steps, found.where, fresh_for(page, now()), page)


async def deliver(
    endpoint: str,
    source: str,
    target: str,
    *,
    policy: NetworkPolicy | None = None,
    web: Web | None = None,
    now: Callable[[], float] = time.time,
) -> Delivery:
    """Tell `endpoint` that `source` links to `target`. Any 2xx is acceptance.

    The endpoint's query goes with its URL and not into the form. It is asked
    once: whether a second time does harm is for the caller to know.

    Raises:
        AddressRefused: the policy does not let the endpoint be reached; nothing was sent.
        FetchFailed: no answer; `transient` where it may come later. It may have been received all the same.
    """
    async with _lent(web, policy) as fetcher:
        page = await fetcher.post(without_fragment(endpoint), {"source": source, "target": target})
    location = page.header("location").strip()
    return Delivery(
        status=page.status,
        ok=page.ok,
        location=resolve(page.url, location) if location and page.ok else None,
        retry_after=retry_after(page, now()),
        said=_words(page),
    )


@asynccontextmanager
async def _lent(web: Web | None, policy: NetworkPolicy | None) -> AsyncIterator[Web]:
    if web is not None:
        if policy is not None:
            raise ValueError("policy belongs to a Fetcher: one that is passed as web has its own")
        yield web
        return
    async with Fetcher(policy) as fetcher:
        yield fetcher


def _words(page: Page) -> str:
    """What the answer says to a person; empty where that is not text."""
    kind = page.media_type
    if not (kind.startswith("text/") or kind.endswith("json")):
        return ""
    text = page.body[: 8 * _SAID_CHARACTERS].decode(errors="replace")
    if kind == "text/html":
        text = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
    return " ".join(_CONTROL.sub(" ", text).split())[:_SAID_CHARACTERS]
