"""What goes out: which targets were told, which wait and why, and how each endpoint was looked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import quote, urlsplit

import msgspec
from starlette.responses import Response

from holdfast.errors import AddressRefused, FetchFailed, UnknownMention
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.mentions import Mentions
from holdfast.web.problems import Problem
from holdfast.webmention import OutgoingMention

__all__ = ["Outbox"]

PAGE: Final = 25
OF_SOURCE: Final = 200
"""Mentions of one page that are listed: a page that links to more is rare, and its others are counted."""
_PAGES: Final = frozenset(("text/html", "application/xhtml+xml"))
PATIENCE: Final = 4.0
"""Seconds that somebody who retries waits for what comes of it; it goes on by itself."""

STATUSES: Final = {
    "pending": "Waiting",
    "sent": "Sent",
    "not_found": "No endpoint",
    "failed": "Given up",
}


class Sending(msgspec.Struct, frozen=True):
    """A mention as the pages show it."""

    mention: OutgoingMention
    status: str  # in a word
    level: str  # how it is coloured
    rehearsed: bool
    wait: float | None  # seconds until the next attempt; None: there is none


class Looked(msgspec.Struct, frozen=True):
    """What looking for an endpoint found just now."""

    endpoint: str | None
    steps: Sequence[str]
    says: str  # where there is none


class Outbox:
    """`/outbox` and what is below it."""

    def __init__(self, mentions: Mentions, pages: Pages) -> None:
        self._mentions = mentions
        self._webmention = mentions.webmention
        self._pages = pages

    async def show(self, visit: Visit) -> Response:
        """The newest first, a page at a time; or all of one source."""
        query = visit.request.query_params
        status = query.get("status", "")
        return await self._show(
            visit,
            status=status if status in STATUSES else "",
            source=query.get("source", "").strip(),
            after=_number(query.get("after")),
        )

    async def _show(
        self, visit: Visit, *, status: str = "", source: str = "", after: int | None = None, trouble: str = ""
    ) -> Response:
        rows, following = await (self._of(source) if source else self._page(status, after))
        return self._pages.render(
            visit.request,
            "outbox.html",
            session=visit.session,
            status=400 if trouble else 200,
            trouble=trouble,
            rows=rows,
            following=following,
            later=after is not None,
            chosen=status,
            source=source,
            counts=await self._webmention.outgoing_counts(),
            names=STATUSES,
            site=self._webmention.site,
            rehearsing=self._mentions.rehearsing,
        )

    async def _page(self, status: str, after: int | None) -> tuple[list[Sending], int | None]:
        page = await self._webmention.outgoing_page(
            status=cast("None", status or None), after=after, limit=PAGE + 1
        )
        rows = [self._sending(mention) for _, mention in page[:PAGE]]
        return rows, page[PAGE - 1][0] if len(page) > PAGE else None

    async def _of(self, source: str) -> tuple[list[Sending], None]:
        rows: list[Sending] = []
        try:
            async for mention in self._webmention.outgoing(source):
                rows.append(self._sending(mention))
                if len(rows) == OF_SOURCE:
                    break
        except ValueError:  # no URL: there is nothing of it
            pass
        return rows, None

    def _sending(self, mention: OutgoingMention) -> Sending:
        from holdfast.webmention import Rehearsal

        due = mention.next_attempt if mention.status == "pending" else None
        rehearsed = Rehearsal.failed(mention)
        levels = {"pending": "note", "sent": "ok", "not_found": "note", "failed": "warning"}
        return Sending(
            mention,
            "Rehearsed" if rehearsed else STATUSES[mention.status],
            "ok" if rehearsed else levels[mention.status],
            rehearsed,
            None if due is None else max(0.0, due - time.time()),
        )

    async def send(self, visit: Visit) -> Response:
        """Fetch a page of the site, and tell those it mentions; one that answers 410 is told as gone."""
        source = visit.form.get("source", "").strip()
        try:
            where, done = await self._sent(source)
        except (AddressRefused, FetchFailed, ValueError) as exc:
            said = str(exc)
            return await self._show(visit, source=source, trouble=f"{said[:1].upper()}{said[1:]}.")
        return self._pages.redirect(visit.request, f"/outbox?source={_in_query(where)}&done={done}")

    async def _sent(self, source: str) -> tuple[str, str]:
        """The page's address after redirects, and the name of what to say."""
        from holdfast.webmention import read_post

        site = self._webmention.site or ""
        if urlsplit(source).netloc.lower() != urlsplit(site).netloc.lower():
            raise ValueError(f"only pages of {site} are sent from here")
        page = await self._mentions.web.get(source)
        if page.status != 410 and (not page.ok or page.media_type not in _PAGES):
            raise ValueError(
                f"{page.url} answered {page.status} with {page.media_type or 'nothing'}, and no page"
            )
        charset = page.header("content-type").partition("charset=")[2].strip("\"' ")
        try:
            async with asyncio.timeout(PATIENCE):
                if page.status == 410:
                    report = await self._webmention.delete(page.url)
                else:
                    post = read_post(page.body, page.url, charset=charset or None)
                    report = await self._webmention.send(page.url, post.html)
        except TimeoutError:
            return page.url, "telling"
        if report.unchanged:
            return page.url, "told-before"
        return page.url, "told" if report.mentions else "told-nobody"

    # --- one of them ---

    async def one(self, visit: Visit) -> Response:
        query = visit.request.query_params
        return await self._one(visit, query.get("source", ""), query.get("target", ""))

    async def look(self, visit: Visit) -> Response:
        """Look for the endpoint now, and say how; what is stored stays as it is."""
        source, target = _fields(visit)
        return await self._one(visit, source, target, await self._looked(target))

    async def _one(self, visit: Visit, source: str, target: str, looked: Looked | None = None) -> Response:
        mention = await self._find(source, target)
        if mention is None:
            raise Problem("not-found", "No such mention is in the outbox.")
        return self._pages.render(
            visit.request, "outgoing.html", session=visit.session, row=self._sending(mention), looked=looked
        )

    async def _find(self, source: str, target: str) -> OutgoingMention | None:
        try:
            async for mention in self._webmention.outgoing(source):
                if mention.target_url == target:
                    return mention
        except ValueError:
            pass
        return None

    async def _looked(self, target: str) -> Looked:
        from holdfast.webmention import discover

        try:
            found = await discover(target, web=self._mentions.web)
        except (AddressRefused, FetchFailed) as exc:
            said = str(exc)
            return Looked(None, [f"{said[:1].upper()}{said[1:]}."], "The page could not be looked at.")
        return Looked(found.endpoint, found.steps, "There is no endpoint: this page takes no mentions.")

    async def retry(self, visit: Visit) -> Response:
        """One target, or all of a source that are not sent."""
        source, target = _fields(visit)
        done = "retried"
        try:
            async with asyncio.timeout(PATIENCE):
                await self._webmention.retry(source, target or None)
        except TimeoutError:
            done = "retrying"
        except (UnknownMention, ValueError):
            done = "mention-gone"
        where = f"/outbox/mention?source={_in_query(source)}&target={_in_query(target)}&done={done}"
        if not target or done == "mention-gone":
            where = f"/outbox?source={_in_query(source)}&done={done}"
        return self._pages.redirect(visit.request, where)


def _fields(visit: Visit) -> tuple[str, str]:
    return visit.form.get("source", ""), visit.form.get("target", "")


def _in_query(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _number(text: str | None) -> int | None:
    """A page's place; None where there is none, or somebody made it up."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None
