"""How things are shown to people: times, keys, JSON, a minute as a line. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

__all__ = [
    "count_words",
    "highlighted",
    "key_markup",
    "link_markup",
    "size_words",
    "spark",
    "ttl_words",
    "when_markup",
]

HIGHLIGHTED_CHARACTERS = 100_000
"""Beyond this a value is shown plainly: tens of thousands of elements make a browser crawl."""

_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)')


def ttl_words(seconds: float | None) -> str:
    """What is left of a life, in its two largest units.

    >>> ttl_words(3552.2), ttl_words(0.3), ttl_words(None)
    ('59 min 12 s', 'under 1 s', 'never')
    """
    if seconds is None:
        return "never"
    if seconds < 1:
        return "under 1 s"
    whole = int(seconds)
    for unit, size, lower, lower_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // lower_size
            return f"{whole // size:,} {unit} {rest} {lower}" if rest else f"{whole // size:,} {unit}"
    return f"{whole} s"


def size_words(size: int) -> str:
    """A number of bytes."""
    if size < 1024:
        return f"{size} byte" if size == 1 else f"{size} bytes"
    return f"{size / 1024:.1f} KiB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


def when_markup(at: float) -> Markup:
    """A moment, in UTC, to the second.

    >>> str(when_markup(0.25))
    '<time datetime="1970-01-01T00:00:00.250Z">1970-01-01 00:00:00</time>'
    """
    moment = datetime.fromtimestamp(at, UTC)
    exact = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(exact, moment.strftime("%Y-%m-%d %H:%M:%S"))


def link_markup(url: str, text: str | None = None) -> Markup:
    """A link to somebody else's page, by its address without the scheme; what is no http(s) URL is text.

    >>> str(link_markup("https://bob.example/post"))
    '<a href="https://bob.example/post" rel="noreferrer noopener nofollow"><bdi>bob.example/post</bdi></a>'
    """
    shown = text or re.sub(r"^https?://", "", url).removesuffix("/")
    if not url.startswith(("http://", "https://")):
        return Markup("<bdi>{}</bdi>").format(key_markup(shown))
    return Markup('<a href="{}" rel="noreferrer noopener nofollow"><bdi>{}</bdi></a>').format(
        url, key_markup(shown)
    )


def count_words(count: float) -> str:
    """A rate or a mean, with a decimal only where it says something."""
    return f"{count:,.0f}" if count >= 10 or count == int(count) else f"{count:.1f}"


def key_markup(key: str) -> Markup:
    """The key with what cannot be seen made visible: control characters, direction marks, outer spaces."""
    inner = key.strip(" ")
    start = len(key) - len(key.lstrip(" "))
    parts: list[Markup] = []
    for at, character in enumerate(key):
        outer = character == " " and not start <= at < start + len(inner)
        if outer:
            parts.append(Markup('<span class="odd">␣</span>'))
        elif unicodedata.category(character)[0] in "CZ" and character != " ":
            name = character.encode("unicode_escape").decode()
            parts.append(Markup('<span class="odd">{}</span>').format(name))
        else:
            parts.append(escape(character))
    return Markup().join(parts)


def highlighted(text: str) -> Markup:
    """Laid-out JSON with its names, texts, numbers and words marked."""
    if len(text) > HIGHLIGHTED_CHARACTERS:
        return escape(text)
    parts: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        parts.append(str(escape(text[end : found.start()])))
        string, colon, word, number = found.groups()
        kind = "jk" if colon else "js" if string else "jw" if word else "jn"
        parts.append(f'<span class="{kind}">{escape(string or word or number)}</span>{colon or ""}')
        end = found.end()
    parts.append(str(escape(text[end:])))
    return Markup("".join(parts))  # every part was escaped above


def spark(series: Sequence[int], width: int = 600, height: int = 64) -> str:
    """A minute as the `d` of an SVG path, filling its box from the left."""
    top = max(max(series, default=0), 1)
    step = width / max(len(series) - 1, 1)
    points = (
        f"{at * step:.1f},{height - 2 - value / top * (height - 6):.1f}" for at, value in enumerate(series)
    )
    return "M" + " L".join(points)
