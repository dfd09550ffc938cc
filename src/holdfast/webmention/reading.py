"""The reading side: webmention.io's ``/api/mentions`` and ``/api/count`` over one's own store, and photos.

Accepted mentions only, for every origin. A request reads at most `MOST` of
them, the newest: who needs more asks by target, or goes on with `since_id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from holdfast.errors import StoreError
from holdfast.webmention import formats, urls
from holdfast.webmention.inbound import Inbound
from holdfast.webmention.mentions import MentionType, ReceivedMention
from holdfast.webmention.replies import App, Receive, Reply, Scope, Send, here, json, path_of, quoted, respond

__all__ = ["MOST", "Query", "reading"]

MOST = 5_000
MOST_TARGETS = 50
_PATH = re.compile(r"(.*)/(?:(mentions)(?:\.(json|jf2|html|atom))?|(count)|photo/([0-9a-f]{40}))")
_CORS = (("access-control-allow-origin", "*"),)
_PREFLIGHT = (
    ("allow", "GET, HEAD, OPTIONS"),
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "86400"),
)
_CLOSED = "default-src 'none'; sandbox"
_PAGE = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors *; base-uri 'none'"
PLACEHOLDER: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48" width="48" height="48">'
    b'<rect width="48" height="48" fill="#9aa3ad"/><circle cx="24" cy="18" r="8" fill="#f4f6f8"/>'
    b'<path d="M8 44a16 14 0 0 1 32 0z" fill="#f4f6f8"/></svg>'
)
_PROPERTIES: Final[Mapping[str, MentionType]] = {
    "mention-of": "mention",
    "in-reply-to": "reply",
    "like-of": "like",
    "repost-of": "repost",
    "bookmark-of": "bookmark",
    "rsvp": "rsvp",
}
_RSVP = ("yes", "interested", "maybe", "no", None)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    targets: tuple[str, ...] = ()
    domain: str | None = None
    since: float | None = None
    since_id: int | None = None
    types: frozenset[MentionType] | None = None  # None: all
    sort: str = "created"  # a name in `_KEYS`
    down: bool = True
    page: int = 0
    per_page: int = 20

    @classmethod
    def read(cls, query: str) -> Query:
        """`ValueError` with words for whoever asked."""
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=200)
        except ValueError:
            raise ValueError("too many parameters") from None
        last = dict(pairs)
        targets = tuple(dict.fromkeys(_all(pairs, "target")))
        if len(targets) > MOST_TARGETS:
            raise ValueError(f"at most {MOST_TARGETS} targets")
        properties = _all(pairs, "wm-property")
        types = frozenset(_PROPERTIES[each] for each in properties if each in _PROPERTIES)
        sort = last.get("sort-by") or "created"
        if sort not in _KEYS:
            raise ValueError("sort-by: created, received, published, updated or rsvp")
        direction = last.get("sort-dir") or "down"
        if direction not in ("up", "down"):
            raise ValueError("sort-dir: up or down")
        return cls(
            targets=targets,
            domain=last.get("domain") or None,
            since=_time(last.get("since")),
            since_id=_number(last, "since_id", None),
            types=types if properties else None,
            sort=sort,
            down=direction == "down",
            page=_number(last, "page", 0) or 0,
            per_page=min(1000, max(1, _number(last, "per-page", 20) or 20)),
        )

    def wants(self, mention: ReceivedMention) -> bool:
        """Whether it passes what is no list of its own."""
        kind = mention.mention.type if mention.mention is not None else "mention"
        return (
            (self.since is None or mention.received_at > self.since)
            and (self.since_id is None or mention.number > self.since_id)
            and (self.types is None or kind in self.types)
            and (self.domain is None or urls.host_of(mention.target_url) == self.domain.lower())
        )


def reading(inbound: Inbound) -> App:
    """For /api: ``mentions`` (``.json``, ``.jf2``, ``.html``, ``.atom``), ``count``, ``photo/<digest>``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(
                f"webmention: no {scope['type']} here; mount it in an app that opens it"
            )
        try:
            reply = await _answer(inbound, scope)
        except ValueError as error:
            reply = json({"error": "invalid_query", "error_description": str(error)}, 400)
        except StoreError:
            reply = json({"error": "unavailable", "error_description": "the store does not answer"}, 503)
        reply = msgspec.structs.replace(reply, headers=(*reply.headers, *_CORS))
        await respond(scope, send, reply)

    return app


async def _answer(inbound: Inbound, scope: Scope) -> Reply:
    found = _PATH.fullmatch(path_of(scope))
    if found is None:
        return json({"error": "not_found", "error_description": "there is no such list"}, 404)
    if scope["method"] == "OPTIONS":
        return Reply(204, headers=_PREFLIGHT)
    if scope["method"] not in ("GET", "HEAD"):
        return json(
            {"error": "method_not_allowed", "error_description": "GET"}, 405, allow="GET, HEAD, OPTIONS"
        )
    mount, mentions, ending, _, digest = found.groups()
    if digest:
        return await _photo(inbound, digest)
    query = Query.read(bytes(scope.get("query_string", b"")).decode("latin-1"))
    if not mentions:
        return await _count(inbound, query)
    origin = here(scope, inbound.site)
    path = quoted(path_of(scope))
    return await _mentions(inbound, query, ending or "json", origin + quoted(mount), origin + path)


async def _mentions(inbound: Inbound, query: Query, ending: str, mount: str, url: str) -> Reply:
    found = await _found(inbound, query)

    def photo(of: str) -> str:
        return f"{mount}/photo/{urls.digest(of)}"

    made: dict[str, Callable[[Sequence[ReceivedMention]], bytes]] = {
        "json": lambda some: formats.as_json(some, photo=photo),
        "jf2": lambda some: formats.as_jf2(some, photo=photo),
        "html": lambda some: formats.as_html(some, photo=photo),
        "atom": lambda some: formats.as_atom(some, url=url),
    }
    policy = (("content-security-policy", _PAGE if ending == "html" else _CLOSED),)
    return Reply(200, made[ending](found), formats.MEDIA_TYPES[ending], policy)


async def _found(inbound: Inbound, query: Query) -> list[ReceivedMention]:
    """The page of them, in order."""
    start, end = query.page * query.per_page, (query.page + 1) * query.per_page
    # Numbers are given in the order of creation, so that lists need not be read to their ends.
    by_number = query.sort in ("created", "received")
    newest = query.down or not by_number or query.since is not None
    enough = min(end, MOST) if by_number and newest == query.down else MOST
    after = None if newest else query.since_id
    found: list[ReceivedMention] = []
    read = 0
    for target, domain, kind in _lists(query):
        some = 0
        async for mention in inbound.received(target, domain=domain, type=kind, newest=newest, after=after):
            read += 1
            if query.wants(mention):
                found.append(mention)
                some += 1
            beyond = newest and query.since_id is not None and mention.number <= query.since_id
            if some >= enough or read >= MOST or beyond:
                break
        if read >= MOST:
            break
    ordered = {mention.id: mention for mention in found}.values()
    return sorted(ordered, key=_KEYS[query.sort], reverse=query.down)[start:end]


def _lists(query: Query) -> list[tuple[str | None, str | None, MentionType | None]]:
    """The shortest ones that have all of it, each by target, domain and type; the rest is for `Query.wants`."""
    if query.domain is not None and not query.targets:
        return [(None, query.domain, None)]
    kinds = (None,) if query.types is None else sorted(query.types)
    return [(target, None, kind) for target in query.targets or (None,) for kind in kinds]


async def _count(inbound: Inbound, query: Query) -> Reply:
    counts: dict[str, int] = {}
    for target in query.targets or (None,):
        for kind, number in (await inbound.counts(target)).items():
            counts[kind] = counts.get(kind, 0) + number
    return Reply(
        200, formats.as_count(counts), formats.MEDIA_TYPES["json"], (("content-security-policy", _CLOSED),)
    )


async def _photo(inbound: Inbound, digest: str) -> Reply:
    kept = await inbound.photo(digest)
    media_type, data, age = ("image/svg+xml", PLACEHOLDER, 300) if kept is None else (*kept, 86_400)
    return Reply(
        200,
        data,
        media_type,
        (("content-security-policy", _CLOSED), ("cache-control", f"public, max-age={age}")),
    )


def _all(pairs: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in pairs if key in (name, f"{name}[]") and value]


def _number(query: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not text.isascii() or len(text) > 15:
        raise ValueError(f"{name}: a whole number")
    return int(text)


def _time(text: str | None) -> float | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("since: a time such as 2026-11-21T10:00:00+01:00") from None


def _time_of(text: str | None) -> float:
    try:
        return _time(text) or 0.0
    except ValueError:
        return 0.0


def _number_of(mention: ReceivedMention) -> tuple[Any, ...]:
    return (mention.number,)


# By what; the number decides between equals.
_KEYS: Final[Mapping[str, Callable[[ReceivedMention], tuple[Any, ...]]]] = {
    "created": _number_of,
    "received": _number_of,
    "published": lambda each: (_time_of(each.mention.published if each.mention else None), each.number),
    "updated": lambda each: (each.verified_at or 0.0, each.number),
    "rsvp": lambda each: (-_RSVP.index(each.mention.rsvp if each.mention else None), each.number),
}
