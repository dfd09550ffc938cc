"""What a mention is, sent or received: the words that storages, the two directions and the pages share.

Pure. Times are seconds since 1970; URLs are http or https, without userinfo.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "Author",
    "LogEntry",
    "MentionType",
    "OutgoingMention",
    "ParsedMention",
    "ReceivedMention",
    "Report",
    "Rule",
    "State",
    "Status",
]

Status: TypeAlias = Literal["pending", "sent", "not_found", "failed"]
"""Of a mention that goes out: `pending` is still to be delivered (or tried again), `sent` was accepted,
`not_found` met no endpoint, `failed` was refused for good or is out of attempts."""

State: TypeAlias = Literal["queued", "pending", "accepted", "declined", "invalid", "gone"]
"""Of a mention that came in: `queued` is still to be verified, `pending` waits for a moderator, `invalid` did not
link to its target, `gone` did and does no more."""

MentionType: TypeAlias = Literal["mention", "reply", "like", "repost", "bookmark", "rsvp"]


class OutgoingMention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One source telling one target. The first five are what a user's own storage must keep."""

    source_url: str
    target_url: str
    endpoint: str | None = None
    status: Status = "pending"
    sha: str = ""  # SHA-512 of the html that was passed to `send`, in hex

    present: bool = True  # whether the source still links to the target
    attempts: int = 0  # since the content last changed
    answer: int | None = None  # HTTP status of the last delivery
    error: str | None = None  # why it is not sent yet, in words
    location: str | None = None  # of a 201 answer: where its status can be asked for
    location_polls: int = 0  # how often it was
    location_says: str | None = None  # the last it said, in words
    created_at: float | None = None
    updated_at: float | None = None
    next_attempt: float | None = None  # None: nothing more happens by itself


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one `send` or `delete` did."""

    source_url: str
    mentions: tuple[OutgoingMention, ...] = ()  # as they are now, those of this source and content
    skipped: tuple[str, ...] = ()  # targets that were told before and need not be told again
    unchanged: bool = False  # whether the content was sent before

    def of(self, status: Status) -> tuple[OutgoingMention, ...]:
        """Those with this status."""
        return tuple(each for each in self.mentions if each.status == status)


class Author(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who wrote the source, as far as it says."""

    name: str | None = None
    url: str | None = None
    photo: str | None = None


class ParsedMention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a source says about a target; see `parse_mention`."""

    type: MentionType = "mention"
    author: Author = Author()
    url: str | None = None  # its own permalink
    name: str | None = None  # a title, where it has one that is not its text
    text: str | None = None
    html: str | None = None  # sanitised
    published: str | None = None  # ISO 8601, as it stands there
    updated: str | None = None
    rsvp: Literal["yes", "no", "maybe", "interested"] | None = None


class LogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step in the life of a received mention, and why."""

    at: float
    says: str


class ReceivedMention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One source about one target of ours."""

    id: str
    source_url: str
    target_url: str
    state: State = "queued"
    number: int = 0  # grows with each that comes for the first time; `wm-id` for those who read
    received_at: float = 0.0  # first
    asked_at: float = 0.0  # last told of by the sender
    verified_at: float | None = None
    attempts: int = 0  # of the verification under way
    client: str | None = None  # the address that sent it
    mention: ParsedMention | None = None
    private: bool = False  # leaves room: not part of any list
    log: tuple[LogEntry, ...] = ()  # the latest twenty


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is accepted without being asked for, or not at all."""

    kind: Literal["accept", "block"]
    pattern: str  # a domain (with all below it), or a URL pattern in which * is any text
    created_at: float = 0.0
