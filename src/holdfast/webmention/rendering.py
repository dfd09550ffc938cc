"""Mentions as HTML to put below a post: faces for likes and reposts, a list of comments for what has text.

Nothing of what others wrote reaches the page but escaped, or sanitised again.
Photos are shown only from where `photo` says (one's own origin): a visitor's
browser asks no stranger for anything. Without one there is the name's initial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final, TypeAlias

from holdfast.webmention.mentions import Author, ParsedMention, ReceivedMention
from holdfast.webmention.sanitising import printable, sanitised
from holdfast.webmention.urls import clean, host_of

__all__ = ["STYLESHEET", "author_of", "day", "permalink", "render"]

Photo: TypeAlias = Callable[[str], str | None]

_PILES: Final = (
    ("like", None, "like", "likes"),
    ("repost", None, "repost", "reposts"),
    ("bookmark", None, "bookmark", "bookmarks"),
    ("rsvp", "yes", "person is going", "people are going"),
    ("rsvp", "interested", "person is interested", "people are interested"),
    ("rsvp", "maybe", "person may come", "people may come"),
    ("rsvp", "no", "person cannot come", "people cannot come"),
)
"""Type, answer, and what one and several of them are called."""

_REL: Final = 'rel="nofollow ugc noopener"'


def render(
    mentions: Sequence[ReceivedMention], *, heading: str = "Responses", photo: Photo | None = None
) -> str:
    """A `<section>`; an empty string where there is nothing to show. `STYLESHEET` goes with it.

    `photo` turns the URL of an author's photo into one on this site, or None.
    Comments stay in the order given. What is private is left out.
    """
    seen = [each for each in mentions if each.mention and not each.private]
    if not seen:
        return ""
    parts = [
        f'<section class="hf-mentions" aria-label="{_attribute(heading)}">',
        f"<h2>{_text(heading)}</h2>",
    ]
    for kind, answer, one, many in _PILES:
        pile = [
            each for each in seen if _what(each).type == kind and (kind != "rsvp" or _answer(each) == answer)
        ]
        if pile:
            said = f"{len(pile)} {one if len(pile) == 1 else many}"
            parts.append(f"<h3>{said}</h3>")
            parts.append(f'<ul class="hf-faces" aria-label="{said}">')
            parts.extend(_face(each, photo) for each in pile)
            parts.append("</ul>")
    comments = [each for each in seen if _what(each).type in ("reply", "mention")]
    if comments:
        parts.append(f"<h3>{_counted(comments)}</h3>")
        parts.append('<ol class="hf-comments">')
        parts.extend(_comment(each, photo) for each in comments)
        parts.append("</ol>")
    parts.append("</section>")
    return "\n".join(parts) + "\n"


def author_of(received: ReceivedMention) -> Author:
    """With a name to show in any case, and URLs that are http or https."""
    author = _what(received).author
    url = clean(author.url) if author.url else None
    photo = clean(author.photo) if author.photo else None
    name = " ".join(printable(author.name or "").split())[:200] or host_of(url or received.source_url)
    return Author(name=name, url=url, photo=photo)


def permalink(received: ReceivedMention) -> str:
    """Where it can be read: what it calls its own address, else where it was found; empty where neither is a link."""
    url = _what(received).url
    return (clean(url) if url else None) or clean(received.source_url) or ""


def day(written: str) -> str:
    """`2026-11-21T02:00:00Z` as a person writes it; empty where it is no date."""
    try:
        at = datetime.fromisoformat(written.strip())
    except ValueError:
        return ""
    return f"{at.day} {at:%B} {at.year}"


def _what(received: ReceivedMention) -> ParsedMention:
    return received.mention or ParsedMention()


def _answer(received: ReceivedMention) -> str:
    return _what(received).rsvp or "yes"


def _counted(comments: Sequence[ReceivedMention]) -> str:
    replies = sum(1 for each in comments if _what(each).type == "reply")
    others = len(comments) - replies
    said = []
    if replies:
        said.append(f"{replies} {'reply' if replies == 1 else 'replies'}")
    if others:
        said.append(f"{others} {'mention' if others == 1 else 'mentions'}")
    return " and ".join(said)


def _face(received: ReceivedMention, photo: Photo | None) -> str:
    author = author_of(received)
    name = author.name or ""
    return (
        f'<li><a href="{_attribute(author.url or permalink(received))}" {_REL} title="{_attribute(name)}">'
        f'{_picture(author, photo)}<span class="hf-name"><bdi>{_text(name)}</bdi></span></a></li>'
    )


def _comment(received: ReceivedMention, photo: Photo | None) -> str:
    author, what = author_of(received), _what(received)
    name = f"<bdi>{_text(author.name or '')}</bdi>"
    if author.url:
        name = f'<a href="{_attribute(author.url)}" {_REL}>{name}</a>'
    does = "replied" if what.type == "reply" else "mentioned this"
    lines = [
        f'<li><article class="hf-comment">{_picture(author, photo)}',
        f'<header><span class="hf-author">{name}</span> {does}'
        f' <a class="hf-when" href="{_attribute(permalink(received))}" {_REL}>{_when(received)}</a></header>',
    ]
    if what.name:
        title = f'<a href="{_attribute(permalink(received))}" {_REL}>{_text(what.name)}</a>'
        lines.append(f'<p class="hf-title"><bdi>{title}</bdi></p>')
    if body := body_of(what):
        lines.append(f'<div class="hf-text" dir="auto">{body}</div>')
    return "\n".join(lines) + "\n</article></li>"


def body_of(what: ParsedMention) -> str:
    """Its text as HTML, harmless however it was stored."""
    if what.html and (html := sanitised(what.html)):
        return html
    return "<br>\n".join(_text(line) for line in (what.text or "").splitlines())


def _when(received: ReceivedMention) -> str:
    written = _what(received).published or ""
    said = day(written)
    if not said:
        at = datetime.fromtimestamp(received.received_at, UTC)
        written, said = f"{at:%Y-%m-%dT%H:%M:%SZ}", day(f"{at:%Y-%m-%d}")
    return f'<time datetime="{_attribute(written)}">{said}</time>'


def _picture(author: Author, photo: Photo | None) -> str:
    """The name stands beside it: for those who hear the page there is nothing to say twice."""
    ours = photo(author.photo) if photo and author.photo else None
    if ours:
        return f'<img class="hf-photo" src="{_attribute(ours)}" alt="" width="48" height="48" loading="lazy">'
    initial = next((c for c in author.name or "" if c.isalnum()), "?").upper()
    return f'<span class="hf-photo hf-initial" aria-hidden="true">{_text(initial)}</span>'


def _text(text: str) -> str:
    return escape(printable(text), quote=False)


def _attribute(text: str) -> str:
    return escape(printable(text))


STYLESHEET: Final = """\
.hf-mentions { --hf-line: color-mix(in srgb, currentColor 18%, transparent); line-height: 1.5; }
.hf-mentions h2 { font-size: 1.25em; margin: 0 0 .5em; }
.hf-mentions h3 { font-size: 1em; margin: 1.25em 0 .5em; }
.hf-mentions ul.hf-faces, .hf-mentions ol.hf-comments { list-style: none; margin: 0; padding: 0; }
.hf-faces { display: flex; flex-wrap: wrap; gap: .375rem; }
.hf-faces a { display: block; border-radius: 50%; color: inherit; text-decoration: none; }
.hf-faces a:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.hf-faces .hf-name {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}
.hf-photo { display: block; width: 3rem; height: 3rem; border-radius: 50%; object-fit: cover; }
.hf-initial {
  display: grid; place-items: center; font-weight: 600; color: inherit;
  background: color-mix(in srgb, currentColor 14%, transparent);
}
.hf-comment {
  display: grid; grid-template-columns: 3rem minmax(0, 1fr); column-gap: .75rem;
  padding: .875rem 0; border-top: 1px solid var(--hf-line); overflow-wrap: anywhere;
}
.hf-comment > .hf-photo { grid-row: 1 / span 3; }
.hf-comment > :not(.hf-photo) { grid-column: 2; }
.hf-comment .hf-author { font-weight: 600; }
.hf-comment .hf-when { color: inherit; opacity: .75; white-space: nowrap; }
.hf-comment .hf-title { margin: .125rem 0 0; font-weight: 600; }
.hf-text { margin-top: .25rem; }
.hf-text > :first-child { margin-top: 0; }
.hf-text > :last-child { margin-bottom: 0; }
.hf-text pre { overflow-x: auto; }
"""
"""For `render`; takes colours and fonts from the page around it, light or dark."""
