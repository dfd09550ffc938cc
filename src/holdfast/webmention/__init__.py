"""Mentions between web sites, sent from a durable outbox and received, verified and shown.

What fetches and parses is loaded when it is first asked for: the names are here
without the extra `webmention`, and say so when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.errors import (
    AddressRefused,
    FetchFailed,
    MentionRefused,
    MissingExtra,
    StorageTooSmall,
    UnknownMention,
    WebmentionError,
)
from holdfast.webmention.api import Webmention
from holdfast.webmention.mentions import (
    Author,
    LogEntry,
    OutgoingMention,
    ParsedMention,
    ReceivedMention,
    Report,
    Rule,
)
from holdfast.webmention.pages import Page, Web
from holdfast.webmention.policy import NetworkPolicy
from holdfast.webmention.storage import Claimed, Outbox, Storage

if TYPE_CHECKING:
    from holdfast.webmention.archive import Archived as Archived
    from holdfast.webmention.asgi import advertise as advertise
    from holdfast.webmention.client import Delivery as Delivery
    from holdfast.webmention.client import Discovery as Discovery
    from holdfast.webmention.client import deliver as deliver
    from holdfast.webmention.client import discover as discover
    from holdfast.webmention.fetch import Fetcher as Fetcher
    from holdfast.webmention.formats import from_dump as from_dump
    from holdfast.webmention.inbound import InboxLimits as InboxLimits
    from holdfast.webmention.links import find_links as find_links
    from holdfast.webmention.parsing import parse_mention as parse_mention
    from holdfast.webmention.posts import Post as Post
    from holdfast.webmention.posts import read_post as read_post
    from holdfast.webmention.rehearsal import Rehearsal as Rehearsal
    from holdfast.webmention.rendering import STYLESHEET as STYLESHEET
    from holdfast.webmention.rendering import render as render
    from holdfast.webmention.verification import verify as verify

__all__ = [
    "STYLESHEET",
    "AddressRefused",
    "Archived",
    "Author",
    "Claimed",
    "Delivery",
    "Discovery",
    "FetchFailed",
    "Fetcher",
    "InboxLimits",
    "LogEntry",
    "MentionRefused",
    "NetworkPolicy",
    "Outbox",
    "OutgoingMention",
    "Page",
    "ParsedMention",
    "ReceivedMention",
    "Rehearsal",
    "Report",
    "Rule",
    "Storage",
    "StorageTooSmall",
    "UnknownMention",
    "Web",
    "Webmention",
    "WebmentionError",
    "advertise",
    "deliver",
    "discover",
    "find_links",
    "from_dump",
    "parse_mention",
    "read_post",
    "render",
    "verify",
]

_LATER = {
    "Archived": "archive",
    "Delivery": "client",
    "Discovery": "client",
    "Fetcher": "fetch",
    "Post": "posts",
    "InboxLimits": "inbound",
    "Rehearsal": "rehearsal",
    "STYLESHEET": "rendering",
    "advertise": "asgi",
    "deliver": "client",
    "discover": "client",
    "find_links": "links",
    "from_dump": "formats",
    "parse_mention": "parsing",
    "read_post": "posts",
    "render": "rendering",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    """Those that need the extra, when they are first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    except ModuleNotFoundError as exc:
        if isinstance(exc, MissingExtra) or (exc.name or "").startswith("holdfast"):
            raise
        raise MissingExtra(
            f'webmention: {exc.name} is not installed; pip install "holdfast[webmention]"'
        ) from exc
