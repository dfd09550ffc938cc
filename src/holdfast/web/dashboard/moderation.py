"""What came in: who says what about which page, and whether it is shown; by keyboard too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from starlette.responses import Response

from holdfast.errors import MentionRefused, UnknownMention
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.mentions import Mentions
from holdfast.web.problems import Problem
from holdfast.webmention import ReceivedMention

__all__ = ["STATES", "Card", "Moderation"]

PAGE: Final = 20
SHORT: Final = 600  # characters of a text in the list; the rest is one step away

STATES: Final = {
    "pending": "Waiting for you",
    "accepted": "Accepted",
    "declined": "Declined",
    "queued": "To be verified",
    "gone": "Gone",
    "invalid": "Not verified",
}
_LEVELS: Final = {"pending": "warning", "accepted": "ok"}
_DID: Final = {
    "mention": "mentioned",
    "reply": "replied to",
    "like": "liked",
    "repost": "reposted",
    "bookmark": "bookmarked",
    "rsvp": "answered the invitation",
}
_ID: Final = re.compile(r"[0-9a-f]{40}")


class Card(msgspec.Struct, frozen=True):
    """A mention as the pages show it."""

    mention: ReceivedMention
    name: str  # the author's, else the source's host
    author_url: str | None
    host: str  # of the source
    photo: str | None
    did: str  # "replied to"
    rsvp: str | None
    title: str | None
    text: str
    cut: bool  # whether there is more text
    level: str
    state: str  # in words
    can_accept: bool
    can_decline: bool
    following: str  # the id of the one that is looked at next


class Moderation:
    """`/mentions` and `/mention`."""

    def __init__(self, mentions: Mentions, pages: Pages) -> None:
        self._webmention = mentions.webmention
        self._pages = pages

    async def show(self, visit: Visit) -> Response:
        """The newest first, a page at a time, of one state or of all."""
        query = visit.request.query_params
        state, after = _state(query), _after(query)
        found: list[ReceivedMention] = []
        async for mention in self._webmention.received(
            state=cast("Any", None if state == "all" else state), after=after
        ):
            found.append(mention)
            if len(found) > PAGE:
                break
        shown = found[:PAGE]
        root = visit.request.scope.get("root_path", "")
        return self._pages.render(
            visit.request,
            "mentions.html",
            session=visit.session,
            cards=[
                self.card(each, root, following=_neighbour(shown, at), short=True)
                for at, each in enumerate(shown)
            ],
            state=state,
            after=after,
            following=shown[-1].number if len(found) > PAGE else None,
            counts=await self._webmention.states(),
            names=STATES,
            was=query.get("was", "") if _ID.fullmatch(query.get("was", "")) else "",
            site=self._webmention.site,
        )

    async def one(self, visit: Visit) -> Response:
        """All that is known of it, and every step with its reason."""
        mention = await self.find(visit.request.query_params.get("id", ""))
        root = visit.request.scope.get("root_path", "")
        card = self.card(mention, root)
        return self._pages.render(visit.request, "mention.html", session=visit.session, card=card)

    async def find(self, id: str) -> ReceivedMention:
        mention = await self._webmention.get(id) if _ID.fullmatch(id) else None
        if mention is None:
            raise Problem("not-found", "No such mention is kept.")
        return mention

    def card(self, mention: ReceivedMention, root: str, *, following: str = "", short: bool = False) -> Card:
        said = mention.mention
        host = urlsplit(mention.source_url).netloc
        text = "" if said is None else said.text or ""
        cut = short and len(text) > SHORT
        return Card(
            mention,
            name=(said.author.name if said is not None else None) or host,
            author_url=None if said is None else said.author.url,
            host=host,
            photo=self._webmention.photo_url(mention, f"{root}/api"),
            did="links to" if said is None else _DID[said.type],
            rsvp=None if said is None else said.rsvp,
            title=None if said is None else said.name,
            text=text[:SHORT].rsplit(" ", 1)[0] + " …" if cut else text,
            cut=cut,
            level=_LEVELS.get(mention.state, "note"),
            state=STATES[mention.state],
            can_accept=said is not None and mention.state in ("pending", "declined"),
            can_decline=mention.state in ("queued", "pending", "accepted"),
            following=following,
        )

    # --- deciding ---

    async def decide(self, visit: Visit) -> Response:
        """Accept or decline one, and go on with the next."""
        id, what = visit.form.get("id", ""), visit.form.get("do", "")
        decisions = {"accept": self._webmention.accept, "decline": self._webmention.decline}
        if what not in decisions or not _ID.fullmatch(id):
            raise Problem("bad-parameter", "Accept or decline a mention.")
        done = f"mention-{what}ed" if what == "accept" else "mention-declined"
        try:
            await decisions[what](id)
        except UnknownMention:
            done = "mention-gone"
        except MentionRefused:
            done = "mention-unverified"
        if visit.form.get("back") == "one":
            return self._pages.redirect(visit.request, f"/mention?id={id}&done={done}")
        return self._pages.redirect(visit.request, _list_again(visit.form, done, id))


def _list_again(form: Mapping[str, str], done: str, id: str) -> str:
    after, following = _after(form), form.get("next", "")
    return (
        f"/mentions?state={_state(form)}"
        + ("" if after is None else f"&after={after}")
        + f"&done={done}&was={id}"
        + (f"#m-{following}" if _ID.fullmatch(following) else "")
    )


def _neighbour(shown: Sequence[ReceivedMention], at: int) -> str:
    """Whom to go on with: the next, or the one before the last."""
    if at + 1 < len(shown):
        return shown[at + 1].id
    return shown[at - 1].id if at else ""


def _state(fields: Mapping[str, str]) -> str:
    state = fields.get("state", "")
    return state if state in STATES or state == "all" else "pending"


def _after(fields: Mapping[str, str]) -> int | None:
    text = fields.get("after", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
