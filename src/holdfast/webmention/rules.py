"""Who is accepted without being asked for, and who not at all: patterns, and where they are kept.

A pattern is a domain, which stands for all below it (``spam.example``; with a
port, for that port alone), or a URL in which ``*`` is any text
(``https://host.example/~mallory/*``; without a scheme it is of both). Letters
are compared without case, and after percent-decoding: who is blocked would
find the other spelling. What is blocked is blocked, whatever else accepts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from holdfast.webmention import urls
from holdfast.webmention.driver import Driver, Drop, Put
from holdfast.webmention.mentions import Rule

__all__ = ["MAX_RULES", "Rulebook", "Rules", "matches", "normal"]

MAX_RULES = 10_000
MAX_LENGTH = 500
FRESH = 5.0  # seconds for which what another process changed may go unnoticed
_DOMAIN = re.compile(r"(?:[^\s/*?#@:\[\]]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")


def normal(pattern: str) -> str:
    """The pattern as it is kept; `ValueError` where it is none."""
    text = pattern.strip()
    if not text or len(text) > MAX_LENGTH:
        raise ValueError(f"pattern: from 1 to {MAX_LENGTH} characters")
    domain = text.removeprefix("*.").rstrip(".")
    if _DOMAIN.fullmatch(domain):
        url = urls.clean(f"http://{domain}/")
        if url is None:
            raise ValueError("pattern: no domain")
        return urlsplit(url).netloc
    if any(character.isspace() for character in text):
        raise ValueError("pattern: a domain, or a URL in which * is any text")
    scheme, found, _ = text.partition("://")
    if found and scheme.lower() not in ("http", "https", "*"):
        raise ValueError("pattern: http and https only")
    return text


def matches(pattern: str, url: str) -> bool:
    """Whether a (normal) pattern is of this URL."""
    return Rules([Rule("block", pattern)]).blocked(url) is not None


class Rules:
    """All of them, ready to be asked; it costs a look-up per label of the host, and one search per URL pattern."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.all: tuple[Rule, ...] = tuple(rules)
        self._domains: dict[str, dict[str, str]] = {"accept": {}, "block": {}}
        self._globs: dict[str, list[tuple[list[str], str]]] = {"accept": [], "block": []}
        for rule in self.all:
            if _DOMAIN.fullmatch(rule.pattern):
                self._domains[rule.kind][rule.pattern] = rule.pattern
            else:
                pieces = unquote(rule.pattern).casefold().split("*")
                self._globs[rule.kind].append((pieces, rule.pattern))

    def blocked(self, *found: str | None) -> str | None:
        """The pattern that blocks one of these URLs, or None."""
        return self._first("block", found)

    def accepted(self, *found: str | None) -> str | None:
        """The pattern that accepts one of these URLs, or None."""
        return self._first("accept", found)

    def _first(self, kind: Literal["accept", "block"], found: Sequence[str | None]) -> str | None:
        for url in found:
            pattern = self._of(kind, url) if url else None
            if pattern is not None:
                return pattern
        return None

    def _of(self, kind: Literal["accept", "block"], url: str) -> str | None:
        domains = self._domains[kind]
        if domains:
            for name in _names(url):
                if name in domains:
                    return domains[name]
        if self._globs[kind]:
            full = unquote(url).casefold()
            bare = full.partition("://")[2]
            for pieces, pattern in self._globs[kind]:
                text = full if any("://" in piece for piece in pieces) else bare
                if _fits(pieces, text):
                    return pattern
        return None


def _names(url: str) -> list[str]:
    """Its host with the port, its host, and every domain above that."""
    try:
        netloc = urlsplit(url).netloc.lower()
    except ValueError:
        return []
    host = urls.host_of(url).rstrip(".")
    if ":" in host:
        return [netloc, f"[{host}]"]
    labels = [] if host.replace(".", "").isdigit() else host.split(".")
    return [netloc, host, *(".".join(labels[start:]) for start in range(1, len(labels)))]


def _fits(pieces: list[str], text: str) -> bool:
    """Whether the pieces follow each other in the text. Not a regular expression: `.*` in a row takes for ever."""
    if len(pieces) == 1:
        return text == pieces[0]
    first, *middle, last = pieces
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in middle:
        position = text.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


class Rulebook:
    """The rules of a store: one document a pattern, read again every few seconds."""

    def __init__(self, driver: Driver, kind: str, *, now: Callable[[], float]) -> None:
        self._driver, self._kind, self._now = driver, kind, now
        self._rules = Rules()
        self._read_at: float | None = None
        self._changes = 0  # made here: what was read across one of them is not fresh

    async def rules(self) -> Rules:
        """As they are now, or were seconds ago."""
        if self._read_at is None or not 0 <= self._now() - self._read_at < FRESH:
            await self._read()
        return self._rules

    async def add(self, kind: Literal["accept", "block"], pattern: str) -> Rule:
        """Keep it, in place of what was said of this pattern before.

        Raises:
            ValueError: it is no pattern, or there are too many.
        """
        rule = Rule(kind, normal(pattern), self._now())
        if (await self._driver.count(self._kind, [""]))[0] >= MAX_RULES:
            raise ValueError(f"{kind}: there are {MAX_RULES:,} rules already")
        await self._driver.write(
            [Put(self._kind, urls.digest(rule.pattern), msgspec.json.encode(rule), tags=(kind,))]
        )
        self._changed()
        return rule

    async def remove(self, pattern: str) -> bool:
        """Whether there was one."""
        ident = urls.digest(normal(pattern))
        there = (await self._driver.get(self._kind, [ident]))[0] is not None
        await self._driver.write([Drop(self._kind, ident)])
        self._changed()
        return there

    def _changed(self) -> None:
        self._changes += 1
        self._read_at = None

    async def _read(self) -> None:
        read_at, changes, found, after = self._now(), self._changes, list[Rule](), None
        while True:
            page = await self._driver.page(self._kind, after=after, limit=1000)
            found += [msgspec.json.decode(document.data, type=Rule) for document in page]
            if len(page) < 1000 or len(found) >= MAX_RULES:
                break
            after = page[-1].number
        self._rules, self._read_at = Rules(found), read_at if changes == self._changes else None
