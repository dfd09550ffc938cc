"""Who stands in which table, under which name."""

from __future__ import annotations

import inspect
from typing import Final

import msgspec

from holdfast.webmention.outbound import Outbound

__all__ = ["CALLERS", "EVERYONE", "LIBRARIES", "PLACES", "TITLES", "Contestant"]

PLACES: Final = int(inspect.signature(Outbound).parameters["at_once"].default)
"""Targets that Holdfast tells at once, and so the floor beside it."""

CALLERS: Final = 64
"""Threads that a caller brings to a library which has none of its own."""


class Contestant(msgspec.Struct, frozen=True):
    """One row."""

    name: str
    title: str
    about: str
    many: bool = True  # whether it is in the table of two thousand targets
    why: str = ""  # where it is not


_LOOP: Final = "tells one target a call: nothing of it grows with their number"

EVERYONE: Final = (
    Contestant(
        "holdfast",
        "Holdfast",
        f"`Webmention(\"memory://\")`, {PLACES} targets at once; every mention is stored before it is told, "
        "its result after",
    ),
    Contestant("holdfast-sqlite", "Holdfast, SQLite", "the same with `sqlite:///`: both are on disk"),
    Contestant(
        "floor", f"floor, {PLACES} at once",
        "asyncio's streams and `bytes.partition`: a GET, a POST on the same connection; no guard, no HTML, no store",
    ),
    Contestant("floor-all", "floor, all at once", "the same without a bound on how many are told at once"),
    Contestant(
        "webmentions", "webmentions",
        "PyPI `webmentions`: a pool of ten threads, a connection a request; kept in a dict; without its guard, "
        "which has no exceptions and would refuse loopback",
    ),
    Contestant(
        "webmentions-sqlite", "webmentions, SQLite", "the same with its storage for databases (SQLAlchemy)"
    ),
    Contestant("indieweb-utils", "indieweb-utils", "`send_webmention` in a loop", many=False, why=_LOOP),
    Contestant(
        "indieweb-utils-threads", f"indieweb-utils, {CALLERS} threads",
        f"the same in {CALLERS} threads of the caller's own, which no page of its documentation has",
        many=False, why=_LOOP,
    ),
    Contestant("ronkyuu", "ronkyuu", "`findMentions`, then `sendWebmention` in a loop", many=False, why=_LOOP),
    Contestant(
        "ronkyuu-threads", f"ronkyuu, {CALLERS} threads", f"the same in {CALLERS} threads of the caller's own",
        many=False, why=_LOOP,
    ),
)  # fmt: skip

TITLES: Final = {each.name: each.title for each in EVERYONE}
LIBRARIES: Final = ("webmentions", "webmentions-sqlite", "indieweb-utils", "ronkyuu")
"""As they come; a caller's own threads are shown and not judged."""
