"""What webmention.io answers at ``/api/mentions`` and ``/api/count``, made of our mentions; and its dumps, read.

The shapes are those its users' pages read: the `children` of a JF2 feed, the
older `links`, an h-feed, an Atom feed. Who may be asked for what, and in which
order, is decided before; this turns a sequence into bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

import msgspec

from holdfast.webmention.mentions import Author, MentionType, ParsedMention, ReceivedMention, State
from holdfast.webmention.rendering import STYLESHEET, Photo, author_of, body_of, permalink, render
from holdfast.webmention.sanitising import printable, sanitised
from holdfast.webmention.urls import clean, digest, resolve

__all__ = ["MEDIA_TYPES", "as_atom", "as_count", "as_html", "as_jf2", "as_json", "from_dump", "relation"]

MEDIA_TYPES: Final = {
    "json": "application/json",
    "jf2": "application/jf2feed+json",
    "html": "text/html; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
}
"""By the end of the path."""

RELATIONS: Final[dict[MentionType, str]] = {
    "mention": "mention-of",
    "reply": "in-reply-to",
    "like": "like-of",
    "repost": "repost-of",
    "bookmark": "bookmark-of",
    "rsvp": "rsvp",
}
_DOES: Final[dict[MentionType, str]] = {
    "mention": "mentioned",
    "reply": "replied to",
    "like": "liked",
    "repost": "reposted",
    "bookmark": "bookmarked",
    "rsvp": "answered the invitation of",
}


def relation(received: ReceivedMention) -> str:
    """Its `wm-property`: ``in-reply-to``, ``like-of``, ``mention-of`` …"""
    return RELATIONS[_what(received).type]


def as_jf2(mentions: Sequence[ReceivedMention], *, photo: Photo | None = None) -> bytes:
    """A JF2 feed. `photo` turns the URL of an author's photo into an absolute one on this site."""
    children = [_entry(each, photo) for each in mentions]
    return _json({"type": "feed", "name": "Webmentions", "children": children})


def as_json(mentions: Sequence[ReceivedMention], *, photo: Photo | None = None) -> bytes:
    """The older shape: `links`."""
    return _json({"links": [_link(each, photo) for each in mentions]})


def as_html(
    mentions: Sequence[ReceivedMention], *, photo: Photo | None = None, heading: str = "Webmentions"
) -> bytes:
    """A whole page, which loads nothing but photos."""
    body = render(mentions, heading=heading, photo=photo) or f"<h1>{escape(heading)}</h1>\n<p>None yet.</p>\n"
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(printable(heading))}</title>\n<style>\n"
        ":root { color-scheme: light dark; }\n"
        "body { max-width: 42rem; margin: 2rem auto; padding: 0 1rem; font-family: system-ui, sans-serif; }\n"
        f"{STYLESHEET}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
    return page.encode()


def as_atom(mentions: Sequence[ReceivedMention], *, url: str, title: str = "Webmentions") -> bytes:
    """An Atom feed whose own address is `url`."""
    times = [each.verified_at or each.received_at for each in mentions]
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<title>{_xml(title)}</title>",
        f"<id>{_xml(url)}</id>",
        f'<link rel="self" href="{_xml(url)}"/>',
        f"<updated>{_at(max(times, default=0.0))}</updated>",
    ]
    for each in mentions:
        lines.extend(_atom_entry(each))
    lines.append("</feed>\n")
    return "\n".join(lines).encode()


def as_count(counts: Mapping[str, int]) -> bytes:
    """How many there are in all and of each type, from the number of each type; types without any are left out."""
    some = {kind: number for kind, number in counts.items() if number}
    return _json({"count": sum(some.values()), "type": some})


def _entry(received: ReceivedMention, photo: Photo | None) -> dict[str, Any]:
    what, author = _what(received), author_of(received)
    target = clean(received.target_url) or ""
    entry: dict[str, Any] = {
        "type": "entry",
        "author": {
            "type": "card",
            "name": author.name or "",
            "photo": _photo(author.photo, photo),
            "url": author.url or "",
        },
        "url": permalink(received),
        "published": what.published,
        "wm-received": _at(received.received_at),
        "wm-id": received.number,
        "wm-source": clean(received.source_url) or "",
        "wm-target": target,
        "wm-protocol": "webmention",
    }
    if what.name:
        entry["name"] = printable(what.name)
    content = _content(what)
    if content:
        entry["content"] = content
    if what.type == "rsvp":
        entry["rsvp"] = what.rsvp or "yes"
        entry["in-reply-to"] = target
    else:
        entry[relation(received)] = target
    entry["wm-property"] = relation(received)
    entry["wm-private"] = received.private
    return entry


def _content(what: ParsedMention) -> dict[str, str]:
    content: dict[str, str] = {}
    if what.html and (html := sanitised(what.html)):
        content["html"] = html
    if what.text:
        content["text"] = printable(what.text)
    return content


def _link(received: ReceivedMention, photo: Photo | None) -> dict[str, Any]:
    what, author = _what(received), author_of(received)
    data: dict[str, Any] = {
        "author": {
            "name": author.name or "",
            "url": author.url,
            "photo": _photo(author.photo, photo) or None,
        },
        "url": permalink(received),
        "name": printable(what.name) if what.name else None,
        "content": body_of(what) or None,
        "published": what.published,
        "published_ts": _timestamp(what.published),
    }
    if what.type == "rsvp":
        data["rsvp"] = what.rsvp or "yes"
    target = clean(received.target_url) or ""
    return {
        "source": clean(received.source_url) or "",
        "verified": received.verified_at is not None,
        "verified_date": _at(received.verified_at) if received.verified_at is not None else None,
        "id": received.number,
        "private": received.private,
        "data": data,
        "activity": {
            "type": what.type if what.type != "mention" else "link",
            "sentence": f"{author.name} {_DOES[what.type]} {target}",
            "sentence_html": _sentence(received),
        },
        "target": target,
    }


def _sentence(received: ReceivedMention) -> str:
    author, target = author_of(received), clean(received.target_url) or ""
    who = escape(author.name or "")
    if author.url:
        who = f'<a href="{escape(author.url)}">{who}</a>'
    does = f'<a href="{escape(permalink(received))}">{_DOES[_what(received).type]}</a>'
    return f'{who} {does} <a href="{escape(target)}">{escape(target)}</a>'


def _atom_entry(received: ReceivedMention) -> list[str]:
    what, author = _what(received), author_of(received)
    title = what.name or f"{author.name} {_DOES[what.type]} {received.target_url}"
    lines = [
        "<entry>",
        f"<title>{_xml(title)}</title>",
        f"<id>urn:holdfast:mention:{_xml(received.id)}</id>",
        f'<link rel="alternate" href="{_xml(permalink(received))}"/>',
        f'<link rel="related" href="{_xml(clean(received.target_url) or "")}"/>',
        f"<published>{_at(received.received_at)}</published>",
        f"<updated>{_at(received.verified_at or received.received_at)}</updated>",
        f"<author><name>{_xml(author.name or '')}</name>",
    ]
    if author.url:
        lines.append(f"<uri>{_xml(author.url)}</uri>")
    lines.append("</author>")
    # Escaped HTML, as the feed's readers expect of type html: they sanitise it once more.
    lines.append(f'<content type="html">{_xml(body_of(what) or escape(title))}</content>')
    lines.append("</entry>")
    return lines


def _what(received: ReceivedMention) -> ParsedMention:
    return received.mention or ParsedMention()


def _photo(url: str | None, photo: Callable[[str], str | None] | None) -> str:
    if not url:
        return ""
    return (photo(url) or "") if photo else url


# Of the years that can be written; with a zone a date of the last one may be later.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


def _timestamp(written: str | None) -> int | None:
    try:
        at = datetime.fromisoformat((written or "").strip())
        seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if _FIRST <= seconds <= _LAST else None


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _xml(text: str) -> str:
    return escape(printable(text))


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def from_dump(
    data: bytes | str, *, skipped: Callable[[str], None] | None = None
) -> Iterator[ReceivedMention]:
    """The mentions of a webmention.io dump, accepted, as they were first received: JF2, `links`, or one entry a line.

    An entry without two http(s) URLs is passed over and `skipped` told which
    and why. Numbers are the store's to give; a repeated pair of source and
    target has the same `id`.

    Raises:
        ValueError: it is no JSON.
    """
    for position, entry in enumerate(_entries(data), 1):
        read = _read(entry) if isinstance(entry, dict) else "no object"
        if isinstance(read, ReceivedMention):
            yield read
        elif skipped:
            skipped(f"entry {position}: {read}")


def _entries(data: bytes | str) -> list[Any]:
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    text = text.removeprefix("\ufeff")
    try:
        value = _loaded(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        value = [_loaded(line) for line in lines]
    if isinstance(value, dict):
        inside = value.get("children", value.get("links"))
        return inside if isinstance(inside, list) else [value]
    if not isinstance(value, list):
        raise ValueError("read a dump of webmention.io: neither an object nor a list")
    return value


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as exc:
        raise ValueError("read a dump of webmention.io: nested too deep") from exc


def _read(entry: dict[str, Any]) -> ReceivedMention | str:
    """The mention, or why there is none."""
    older = isinstance(entry.get("data"), dict)
    source, target = _ends(entry, older)
    if not source or not target:
        return f"no http(s) {'source' if not source else 'target'}"
    said = entry["data"] if older else entry
    at = max(_timestamp(_string(entry.get("verified_date" if older else "wm-received"))) or 0, 0)
    state: State = "pending" if entry.get("verified") is False else "accepted"
    return ReceivedMention(
        id=digest(source, target),
        source_url=source,
        target_url=target,
        state=state,
        received_at=float(at),
        asked_at=float(at),
        verified_at=float(at) if at else None,
        mention=_said(said, _kind(entry, older), source),
        private=(entry.get("private") if older else entry.get("wm-private")) is True,
    )


def _ends(entry: dict[str, Any], older: bool) -> tuple[str | None, str | None]:
    if older:
        return _url(entry.get("source")), _url(entry.get("target"))
    related = entry.get(_string(entry.get("wm-property")) or "mention-of") or entry.get("in-reply-to")
    return _url(entry.get("wm-source") or entry.get("url")), _url(entry.get("wm-target") or related)


def _kind(entry: dict[str, Any], older: bool) -> MentionType:
    activity = entry.get("activity")
    said = _string(activity.get("type") if isinstance(activity, dict) else None) if older else None
    said = said or _string(entry.get("wm-property")) or ""
    return next((kind for kind, name in RELATIONS.items() if said in (kind, name)), "mention")


def _said(said: dict[str, Any], kind: MentionType, source: str) -> ParsedMention:
    content = said.get("content")
    html, text = "", ""
    if isinstance(content, dict):
        value = _string(content.get("value")) or ""
        is_html = content.get("content-type") == "text/html"
        html = _string(content.get("html")) or (value if is_html else "")
        text = _string(content.get("text")) or ("" if is_html else value)
    elif isinstance(content, str):
        html = content  # the older shape has the HTML, or the text where there was none
    author = said.get("author")
    rsvp = (_string(said.get("rsvp")) or "").lower()
    return ParsedMention(
        type=kind,
        author=_author(author if isinstance(author, dict) else {}, source),
        url=_url(said.get("url")),
        name=_short(said.get("name"), 300),
        text=_bounded(text) or None,
        html=sanitised(html, base=source) or None,
        published=_short(said.get("published"), 40),
        rsvp=rsvp if rsvp in ("yes", "no", "maybe", "interested") else None,  # type: ignore[arg-type]
    )


def _author(author: dict[str, Any], source: str) -> Author:
    url, photo = _string(author.get("url")), _string(author.get("photo"))
    return Author(
        name=_short(author.get("name"), 200),
        url=resolve(source, url) if url else None,
        photo=resolve(source, photo) if photo else None,
    )


def _string(value: object) -> str | None:
    """A dump may have a list where one value is meant."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _short(value: object, chars: int) -> str | None:
    return " ".join(printable(_string(value) or "").split())[:chars] or None


def _bounded(text: str) -> str:
    return printable(text)[:2_000].strip()


def _url(value: object) -> str | None:
    text = _string(value)
    return clean(text) if text else None
