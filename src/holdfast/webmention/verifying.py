"""One look at a source: fetch it, find the link, read what it says, keep what became of it.

Every way in which that can end is a `Finding` with its reason; what follows
from it is decided in `lifecycle`. Only a failing store is raised.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import msgspec

from holdfast import events
from holdfast.errors import AddressRefused, FetchFailed, StoreError
from holdfast.webmention import lifecycle, urls
from holdfast.webmention.charsets import charset_of, decode
from holdfast.webmention.driver import Document, Drop
from holdfast.webmention.inbox import Held, Inbox, held_of, netloc, tag_of, voice
from holdfast.webmention.lifecycle import Finding
from holdfast.webmention.mentions import ParsedMention, ReceivedMention
from holdfast.webmention.pages import Page, Web
from holdfast.webmention.parsing import parse_mention
from holdfast.webmention.portraits import Portraits
from holdfast.webmention.rules import Rulebook
from holdfast.webmention.verification import verify

__all__ = ["ACCEPT", "DEADLINE", "Accept", "OnMention", "Verifier"]

Accept: TypeAlias = Literal["all", "known", "none"]
OnMention: TypeAlias = Callable[[ReceivedMention], Awaitable[Any] | Any]

ACCEPT = "text/html, application/xhtml+xml, application/json;q=0.8, text/plain;q=0.7, */*;q=0.1"
DEADLINE = 30.0  # seconds for one source, whatever its `Web` allows; well below the lease
TELLING = 60.0  # seconds for the callback: nobody else's turn waits for what it does
LARGE = 32_768  # bytes from which on a page is read beside the loop, so that answers do not wait for it
TRIES = 8
_LATER = frozenset((408, 425, 429))


class Verifier:
    """Does one document at a time; several may be under way."""

    def __init__(
        self,
        inbox: Inbox,
        web: Web,
        rulebook: Rulebook,
        portraits: Portraits,
        *,
        accept: Accept,
        on_mention: OnMention | None,
        left_over: int,
    ) -> None:
        self._inbox, self._web, self._rulebook, self._portraits = inbox, web, rulebook, portraits
        self._accept, self._on_mention, self._left_over = accept, on_mention, left_over

    async def process(self, document: Document) -> None:
        """What is due of a claimed document: a look at its source, or its end."""
        held = held_of(document)
        if lifecycle.is_over(held):
            await self._inbox.driver.write([Drop(self._inbox.kind, document.id, expect=document.version)])
            return
        finding = await self._look(held)
        settled = await self._settle(held, document, finding)
        if settled is None:
            return
        before, after = settled
        await self.tell(before, after)
        photo = after.mention.mention.author.photo if after.mention.mention is not None else None
        if finding.found == "linked" and photo and after.mention.state in ("accepted", "pending"):
            await self._photo(photo, accepted=after.mention.state == "accepted")

    async def tell(self, before: Held, after: Held) -> None:
        """Let listeners and the callback know of a mention that is new, or another than it was."""
        was, now = before.mention, after.mention
        if was.state == now.state and was.mention == now.mention:
            return
        if now.state in ("queued", "invalid"):
            return
        if events.listeners:
            kind = now.mention.type if now.mention is not None else "mention"
            events.publish(events.MentionReceived(now.source_url, now.target_url, now.state, kind))
        if self._on_mention is None:
            return
        try:
            answer = self._on_mention(now)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(TELLING):
                    await answer
        except Exception as exc:  # noqa: BLE001 - the mention is stored; what is made of it elsewhere is not ours
            asyncio.get_running_loop().call_exception_handler(
                {"message": "webmention: on_mention failed", "exception": exc}
            )

    async def _photo(self, url: str, *, accepted: bool) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._portraits.keep(self._web, url, accepted=accepted)
        except TimeoutError:
            pass  # the placeholder stands for it
        except StoreError:
            raise
        except Exception as exc:  # noqa: BLE001 - a photo is no reason to lose the rest
            asyncio.get_running_loop().call_exception_handler(
                {"message": "webmention: a photo could not be kept", "exception": exc}
            )

    async def _settle(self, held: Held, document: Document, finding: Finding) -> tuple[Held, Held] | None:
        """Before and after; None where it is gone by now.

        Who told of it, accepted or declined it meanwhile has another version:
        the finding is applied to what there is now, and nothing is undone.
        """
        version, asks, jitter = document.version, held.asks, random.random()
        for _ in range(TRIES):
            after = lifecycle.settled(held, finding, asks=asks, now=self._inbox.now(), jitter=jitter)
            if await self._keep(after, version):
                return held, after
            found = await self._inbox.get(document.id)
            if found is None:
                return None
            held, version = found[0], found[1].version
        return None  # it is due again when the lease ends

    async def _keep(self, after: Held, version: str) -> bool:
        if lifecycle.is_left_over(after):
            state = after.mention.state
            if (await self._inbox.count(tag_of(state)))[0] >= self._left_over:
                return await self._inbox.driver.write(
                    [Drop(self._inbox.kind, after.mention.id, expect=version)]
                )
        return await self._inbox.put(after, expect=version)

    async def _look(self, held: Held) -> Finding:
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._examine(held)
        except AddressRefused as exc:
            return Finding(found="refused", says=f"the source is not fetched: {exc}")
        except FetchFailed as exc:
            return Finding(found="unanswered" if exc.transient else "refused", says=f"no answer: {exc}")
        except TimeoutError:
            return Finding(found="unanswered", says=f"no answer within {DEADLINE:.0f} s")
        except StoreError:
            raise
        except Exception as exc:  # noqa: BLE001 - one page that cannot be read is not to stop the others
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"webmention: mention {held.mention.id} could not be read", "exception": exc}
            )
            return Finding(found="unanswered", says="the page could not be read here")

    async def _examine(self, held: Held) -> Finding:
        source, target = held.mention.source_url, held.mention.target_url
        rules = await self._rulebook.rules()
        if (pattern := rules.blocked(source)) is not None:
            return Finding(found="blocked", says=f"blocked: {pattern}")
        page = await self._web.get(source, accept=ACCEPT)
        early = _without_body(page)
        if early is not None:
            return early
        if urls.without_fragment(page.url) == urls.without_fragment(target):
            return Finding(found="absent", says="the source leads to the target itself")
        large = len(page.body) > LARGE
        where, parsed = await asyncio.to_thread(_read, page, target) if large else _read(page, target)
        if where is None:
            if page.cut:  # what was not read may have it
                return Finding(found="refused", says="the link is not in the part that is read")
            return Finding(found="absent", says="the source does not link to the target")
        if (pattern := rules.blocked(page.url, parsed.author.url)) is not None:
            return Finding(found="blocked", says=f"blocked: {pattern}")
        says = f"the source links to the target ({where})"
        return await self._judge(held, Finding(found="linked", says=says, mention=parsed))

    async def _judge(self, held: Held, finding: Finding) -> Finding:
        """Whether it needs a moderator."""
        mention = msgspec.structs.replace(held.mention, mention=finding.mention)
        rules = await self._rulebook.rules()
        pattern = rules.accepted(mention.source_url)
        why = None
        if pattern is not None:
            why = f"a rule accepts {pattern}"
        elif self._accept == "all":
            why = "everybody is accepted"
        elif self._accept == "known" and await self._is_there(mention):
            finding = msgspec.structs.replace(
                finding, says=f"{finding.says}; it is here by its permalink already"
            )
        elif self._accept == "known" and (await self._inbox.count(f"k:{voice(mention)}"))[0]:
            why = f"{netloc(mention.source_url)} had one accepted before"
        says = finding.says
        if why is not None:
            return msgspec.structs.replace(finding, says=f"{says}; {why}", state="accepted")
        return msgspec.structs.replace(finding, says=f"{says}; a moderator decides", state="pending")

    async def _is_there(self, mention: ReceivedMention) -> bool:
        """Under the address that it gives itself. Strangers can tell of `?1`, `?2` … of a page whose voice is known."""
        url = None if mention.mention is None else mention.mention.url
        ident = mention.id if url is None else urls.digest(url, mention.target_url)
        return ident != mention.id and await self._inbox.get(ident) is not None


def _without_body(page: Page) -> Finding | None:
    """What an answer means that has nothing to look into."""
    if page.ok:
        return None
    if page.status == 410:
        return Finding(found="gone", says="the source is gone (410)")
    if page.status >= 500 or page.status in _LATER:
        asked = page.header("retry-after").strip()
        wait = float(asked) if asked.isdecimal() and len(asked) < 8 else 0.0
        return Finding(found="unanswered", says=f"the source answered {page.status}", wait=wait)
    return Finding(found="refused", says=f"the source answered {page.status}")


def _read(page: Page, target: str) -> tuple[str | None, ParsedMention]:
    """In words where the link is, and what the page says about the target."""
    body = decode(page.body, charset_of(page.header("content-type")))
    where = verify(body, page.media_type, target, base=page.url)
    if where is None or page.media_type not in ("text/html", "application/xhtml+xml"):
        return where, ParsedMention(url=urls.clean(page.url))
    return where, parse_mention(body, page.url, target)
