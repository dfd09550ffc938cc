"""What an answer says about time: how long it may be remembered, when to ask again. Pure.

`fresh_for` is RFC 9111 for a private cache of one answer, with an hour as its
bound. Where nothing is said and nothing can be guessed it is 0.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from holdfast.webmention.pages import Page

__all__ = ["fresh_for", "retry_after"]

AN_HOUR: Final = 3600.0
A_DAY: Final = 86400.0
_SECONDS: Final = re.compile(r"[0-9]{1,10}")
# RFC 9110, 15.1: what may be remembered although nothing was said.
_GUESSED: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})


def fresh_for(page: Page, now: float) -> float:
    """Seconds that the answer may be used again for its URL, an hour at most.

    0 for an answer that came by way of redirects: their own rules are not in
    it, and one that is good once only may lie between.
    """
    said = _directives(page)
    if page.redirects or "no-store" in said or "no-cache" in said or "*" in page.header("vary"):
        return 0.0
    if "max-age" in said:
        lives = _seconds(said["max-age"])
    elif page.header("expires"):
        lives = _distance(page.header("expires"), _date(page, "date") or now)
    else:
        lives = _guess(page, now)
    return min(max(lives - _seconds(page.header("age")), 0.0), AN_HOUR)


def retry_after(page: Page, now: float) -> float | None:
    """Seconds until `Retry-After`, given as seconds or as a date; a day at most, None where nothing is said."""
    value = page.header("retry-after").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), A_DAY)
    when = _timestamp(value)
    return None if when is None else min(max(when - now, 0.0), A_DAY)


def _guess(page: Page, now: float) -> float:
    """A tenth of the time since it last changed, as browsers do."""
    modified = _date(page, "last-modified")
    if modified is None or page.status not in _GUESSED:
        return 0.0
    return ((_date(page, "date") or now) - modified) / 10


def _directives(page: Page) -> dict[str, str]:
    """Of all `Cache-Control` headers; the first of a name counts."""
    found: dict[str, str] = {}
    for name, value in page.headers:
        if name != "cache-control":
            continue
        for part in value.split(","):
            key, _, argument = part.strip().partition("=")
            found.setdefault(key.strip().lower(), argument.strip().strip('"'))
    return found


def _seconds(text: str) -> float:
    return float(text) if _SECONDS.fullmatch(text.strip()) else 0.0


def _distance(date: str, since: float) -> float:
    when = _timestamp(date)
    return 0.0 if when is None else when - since  # "Expires: 0" is no date, and means: not at all


def _date(page: Page, name: str) -> float | None:
    return _timestamp(page.header(name))


def _timestamp(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
