"""The words that engines and capabilities share about a store: its URL, its tables, its health.

Pure: standard library, msgspec and `errors` only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec

from holdfast.errors import StoreMisconfigured

__all__ = ["Finding", "Health", "Migration", "StoreURL", "closest"]


class StoreURL(msgspec.Struct, frozen=True):
    """One store URL, taken apart. `str()` and `repr()` never show its password."""

    text: str  # as given, the options removed that are Holdfast's own
    scheme: str
    options: Mapping[str, str]  # Holdfast's options from the query, values unparsed

    @classmethod
    def parse(cls, text: str, *, own: Iterable[str] = (), foreign: bool = False) -> StoreURL:
        """The URL with the options named in `own` taken out of its query.

        With `foreign` the rest of the query is left for the client library;
        without, an option that is not Holdfast's own is a `StoreMisconfigured`
        that suggests the nearest one.
        """
        try:
            parts = urlsplit(text)
        except ValueError:  # its text may quote the password
            raise StoreMisconfigured(
                f"store URL {masked(text)!r}: the host is not one; what is special in a password, escape as %XX"
            ) from None
        if "#" in text:  # the rest would be dropped without a word: another file, half a password
            raise StoreMisconfigured(f"store URL {masked(text)!r}: a # is written %23")
        if not parts.scheme or "://" not in text:
            raise StoreMisconfigured(
                f"store URL {masked(text)!r}: no scheme; a file is sqlite:///app.db, memory is memory://"
            )
        known = tuple(own)
        options: dict[str, str] = {}
        rest: list[tuple[str, str]] = []
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name in known:
                options[name] = value
            elif foreign:
                rest.append((name, value))
            else:
                raise StoreMisconfigured(
                    f"store URL {masked(text)!r}: unknown option {name!r}{closest(name, known)}"
                )
        base = text.partition("?")[0]
        bare = f"{base}?{urlencode(rest)}" if rest else base
        return cls(bare, parts.scheme, options)

    @property
    def path(self) -> str:
        """The file of a file-like URL: `sqlite:///app.db` is `app.db`, `sqlite:////var/app.db` is `/var/app.db`."""
        return unquote(urlsplit(self.text).path[1:])

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """The option's value, which must be one of `allowed`; case does not matter."""
        value = self.options.get(name, default).lower()
        if value not in allowed:
            raise StoreMisconfigured(
                f"store URL {self}: {name}={value!r} is not one of {', '.join(allowed)}{closest(value, allowed)}"
            )
        return value

    def flag(self, name: str) -> bool:
        """Whether the option says yes: `true`, `1`, `yes`, `on`, or nothing after the name."""
        answer = self.choice(name, ("true", "1", "yes", "on", "", "false", "0", "no", "off"), "false")
        return answer in ("true", "1", "yes", "on", "")

    def number(self, name: str, default: float, *, least: float = 0) -> float:
        """The option's value as a number of at least `least`."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            raise StoreMisconfigured(
                f"store URL {self}: {name}={text!r} is not a number of at least {least:g}"
            )
        return value

    def __str__(self) -> str:
        return masked(self.text)

    def __repr__(self) -> str:
        return f"StoreURL({masked(self.text)!r})"


def masked(text: str) -> str:
    """The URL as it may be printed: the password, and any option that looks like one, as `***`."""
    head, sep, tail = text.partition("://")
    if not sep:  # no URL yet, but perhaps one with a slash forgotten
        head, tail = "", text
    tail = _SECRET.sub(r"\1***", tail)  # first, for an option may hold an @ too
    if "@" in tail:  # the last one: a password may hold what should have been escaped
        user, _, host = tail.rpartition("@")
        name, colon, _ = user.partition(":")
        tail = f"{name}{':***' if colon else ''}@{host}"
    return f"{head}{sep}{tail}"


_SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


def closest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is near, else the list of what is known, else nothing."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(options)}" if options else ""


class Migration(msgspec.Struct, frozen=True):
    """One numbered step of a capability's tables, as the SQL of one dialect."""

    capability: str  # "persist"
    version: int  # 1, 2, 3 ... within the capability
    summary: str
    statements: tuple[str, ...]


class Health(msgspec.Struct, frozen=True):
    """Whether the store answers now."""

    ok: bool
    store: str  # the driver's name
    seconds: float  # one round trip
    detail: str = ""  # why not, or what it says of itself; never a secret


Level: TypeAlias = Literal["ok", "note", "warning"]


class Finding(msgspec.Struct, frozen=True):
    """One sentence of `holdfast doctor` about what the store promises as it is configured."""

    level: Level
    subject: str  # "durability", "eviction", "clock", "migrations", ...
    text: str
