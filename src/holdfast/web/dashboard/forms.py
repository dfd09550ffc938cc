"""What comes back from a form: read strictly, kept whole, so that nothing that was typed is ever lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import msgspec
from starlette.requests import Request

from holdfast.persist import KEEP, Keep
from holdfast.web.problems import Problem
from holdfast.web.requests import body_of, checked_key

__all__ = ["UNITS", "Draft", "Refused", "carried", "escaped", "read_form", "unescaped"]

UNITS: Final[Mapping[str, int]] = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


_OF_THE_DOOR: Final = frozenset({"csrf", "stamp", "next", "username", "token"})


class Refused(ValueError):
    """A field cannot be taken as it is; the message says why, and `field` which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Draft(msgspec.Struct, frozen=True):
    """What somebody is about to save."""

    key: str
    text: str
    version: str = ""  # the one that was looked at; empty: there was none, create it
    lifetime: str = "keep"  # keep, never, after
    number: str = ""
    unit: str = "minutes"

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Draft:
        """The draft in a form's fields. The key is escaped in `at`, or was typed in `key`."""
        return cls(
            key=unescaped(form["at"]) if form.get("at") else form.get("key", ""),
            text=form.get("text", ""),
            version=form.get("version", ""),
            lifetime=form.get("lifetime", "keep"),
            number=form.get("number", "").strip(),
            unit=form.get("unit", "minutes"),
        )

    def checked_key(self) -> str:
        """The key, where it can be one."""
        try:
            return checked_key(self.key)
        except Problem as exc:
            raise Refused("key", exc.detail) from None

    def expires(self) -> float | Keep | None:
        """The lifetime that was chosen; `KEEP` on a new value means never."""
        if self.lifetime == "keep":
            return KEEP if self.version else None
        if self.lifetime == "never":
            return None
        try:
            seconds = float(self.number.replace(",", ".")) * UNITS[self.unit]
        except (ValueError, KeyError):
            seconds = math.nan
        if not 0 < seconds <= 250_000_000_000:
            raise Refused("number", "How long? A number greater than zero.")
        return seconds


def escaped(key: str) -> str:
    """The key as it travels in links and hidden fields: browsers rewrite line ends in what is not escaped."""
    return quote(key, safe="", errors="surrogatepass")


def unescaped(text: str) -> str:
    """The key that `escaped` was given; a bad-key problem where it was not made by it."""
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("bad-key", "What the escapes stand for is not UTF-8.") from None


def carried(form: Mapping[str, str]) -> Mapping[str, str] | None:
    """The fields of somebody's draft, which must outlive signing in; None: there is none in this form."""
    if "text" not in form:
        return None
    return {name: text for name, text in form.items() if name not in _OF_THE_DOOR}


async def read_form(request: Request, max_bytes: int) -> Mapping[str, str]:
    """The fields of a form, the last of each name; a text in it may have about `max_bytes`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem("not-json", "The dashboard's forms are application/x-www-form-urlencoded.")
    body = await body_of(request, 3 * max_bytes + 65536)  # escaping makes up to three bytes of one
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise Problem("bad-parameter", "The form cannot be read.") from None
    return dict(pairs)
