"""What became of one attempt, and what that makes of a mention. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.schedule import ATTEMPTS, POLLS, next_poll, next_try

__all__ = ["Ended", "Outcome", "Polled", "asked_again", "put_back", "settled"]

Ended: TypeAlias = Literal["sent", "not_found", "refused", "later"]
"""`refused`: another attempt would end the same. `later`: it may not."""

WORDS = 300  # characters of a reason that are kept


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended."""

    ended: Ended
    says: str | None = None  # why it is not sent
    endpoint: str | None = None
    answer: int | None = None
    location: str | None = None
    retry_after: float | None = None


class Polled(msgspec.Struct, frozen=True):
    """What a status URL said."""

    says: str
    over: bool = False  # whether there is nothing more to be learnt from it


def settled(mention: OutgoingMention, outcome: Outcome, *, now: float, jitter: float) -> OutgoingMention:
    """The mention after the attempt."""
    attempts = mention.attempts + 1
    says = None if outcome.says is None else outcome.says[:WORDS]
    after = msgspec.structs.replace(
        mention,
        attempts=attempts,
        endpoint=outcome.endpoint,
        answer=outcome.answer,
        error=says,
        location=None,
        location_polls=0,
        location_says=None,
        updated_at=now,
        next_attempt=None,
    )
    if outcome.ended == "sent":
        wait = None if outcome.location is None else next_poll(0)
        return msgspec.structs.replace(
            after, status="sent", location=outcome.location, next_attempt=None if wait is None else now + wait
        )
    if outcome.ended != "later":
        return msgspec.structs.replace(
            after, status="not_found" if outcome.ended == "not_found" else "failed"
        )
    wait = next_try(attempts, retry_after=outcome.retry_after, jitter=jitter)
    if wait is None:
        return msgspec.structs.replace(
            after, status="failed", error=f"given up after {ATTEMPTS} attempts: {says}"
        )
    return msgspec.structs.replace(after, status="pending", next_attempt=now + wait)


def asked_again(mention: OutgoingMention, polled: Polled, *, now: float) -> OutgoingMention:
    """A sent mention after its status URL was asked for."""
    polls = mention.location_polls + 1
    wait = None if polled.over or polls >= POLLS else next_poll(polls)
    return msgspec.structs.replace(
        mention,
        location_polls=polls,
        location_says=polled.says[:WORDS],
        updated_at=now,
        next_attempt=None if wait is None else now + wait,
    )


def put_back(mention: OutgoingMention, *, endpoint: str | None, now: float) -> OutgoingMention:
    """One whose turn did not come in time: due at once, and nothing was tried.

    An endpoint that was found on the way is kept for the first attempt, so that
    the target is not asked for it again and again while the endpoint's host is busy.
    """
    if endpoint is None or mention.attempts:
        return msgspec.structs.replace(mention, next_attempt=now)
    return msgspec.structs.replace(mention, endpoint=endpoint, updated_at=now, next_attempt=now)
