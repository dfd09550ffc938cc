"""What becomes of a received mention: pure steps from one `Held` to the next, each with its reason in the log.

::

    told of ──► queued ──► pending ──► accepted ──► gone
                   │          └──────► declined       │
                   └──► invalid                       └─ told of again: queued

A mention that was verified keeps its state while it is looked at again: only
410, or an answer without the link, takes it away. A time-out, a 5xx or any
other failure never does.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from holdfast.webmention.inbox import Held
from holdfast.webmention.mentions import LogEntry, ParsedMention, ReceivedMention, State

__all__ = [
    "ATTEMPTS",
    "Finding",
    "Found",
    "asked",
    "decided",
    "due_again",
    "is_left_over",
    "is_over",
    "new",
    "settled",
]

ATTEMPTS = 6
BACKOFF = 60.0  # seconds after the first failure; each further one waits four times as long
DAY = 86_400.0
CHECKS = (1 * DAY, 7 * DAY, 30 * DAY, 90 * DAY)  # after it was verified; the last again and again
# Then it is forgotten; what a person declined is not.
KEPT = {"invalid": 7 * DAY, "gone": 30 * DAY, "declined": 30 * DAY}
LOG = 20
SAYS = 300  # characters of one entry

Found: TypeAlias = Literal["linked", "absent", "gone", "unanswered", "refused", "blocked"]
"""`absent`: an answer without the link. `unanswered`: later may be better. `refused`: it will not be."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at the source showed."""

    found: Found
    says: str
    mention: ParsedMention | None = None
    state: State = "pending"  # of one that is linked and new
    wait: float = 0.0  # seconds that the source asked for


def new(id: str, source: str, target: str, *, client: str | None, now: float) -> Held:
    """One that was never heard of before."""
    mention = ReceivedMention(
        id=id, source_url=source, target_url=target, received_at=now, asked_at=now, client=client
    )
    return _with(
        Held(mention=mention, waiting=True, asks=1, next_at=now), now, "received; queued to be verified"
    )


def asked(held: Held, *, client: str | None, now: float) -> Held:
    """Told of again by a sender: the same entry, looked at anew, unless it was declined."""
    mention = held.mention
    if mention.state == "declined":
        return held
    if held.waiting:  # its turn stays; but who is looking just now has to look once more
        return msgspec.structs.replace(
            held, asks=held.asks + 1, mention=msgspec.structs.replace(mention, asked_at=now)
        )
    state: State = mention.state if mention.state in ("accepted", "pending") else "queued"
    mention = msgspec.structs.replace(mention, state=state, asked_at=now, attempts=0, client=client)
    held = msgspec.structs.replace(held, mention=mention, waiting=True, asks=held.asks + 1, next_at=now)
    return _with(held, now, "told of again; queued to be verified")


def settled(held: Held, finding: Finding, *, asks: int, now: float, jitter: float) -> Held:
    """After a look at the source, begun when it had been asked for `asks` times. `jitter`: from 0 to 1."""
    if held.mention.state == "declined" and finding.found != "linked":
        return msgspec.structs.replace(
            held, waiting=False, next_at=None
        )  # a person has said what is to be said
    held = _STEPS[finding.found](held, finding, now, jitter)
    if held.asks == asks or held.waiting or held.mention.state == "declined":
        return held
    # A sender told of it while somebody was looking: what was seen may be what it was before.
    state: State = held.mention.state if _was_verified(held) else "queued"
    mention = msgspec.structs.replace(held.mention, state=state)
    return msgspec.structs.replace(held, mention=mention, waiting=True, next_at=now)


def decided(held: Held, state: Literal["accepted", "declined"], says: str, *, now: float) -> Held:
    """By a person or by a rule; twice is once. What was not verified cannot be accepted: that is for the caller."""
    if held.mention.state == state:
        return held
    if state == "declined":
        return _with(held, now, says, state="declined", waiting=False, trusted=False, next_at=None)
    if held.mention.state == "declined":  # it may be old by now
        return _with(held, now, says, state="accepted", trusted=True, waiting=True, next_at=now)
    return _with(held, now, says, state="accepted", trusted=True)


def is_over(held: Held) -> bool:
    """Whether what is due is that it be forgotten."""
    return held.mention.state in KEPT and not held.waiting and held.next_at is not None


def is_left_over(held: Held) -> bool:
    """Whether it is kept for its sender alone, to read why: strangers can make any number of these."""
    return is_over(held) and not held.trusted


def due_again(checks: int, jitter: float) -> float:
    """Seconds until it is looked at again, spread by a tenth."""
    return CHECKS[min(checks, len(CHECKS) - 1)] * (0.95 + 0.1 * jitter)


def _linked(held: Held, finding: Finding, now: float, jitter: float) -> Held:
    mention = held.mention
    state = mention.state if mention.state in ("accepted", "declined") else finding.state
    says = finding.says if state == mention.state else f"{finding.says}: {state}"
    checks = 0 if held.waiting else held.checks + 1
    after = None if state == "declined" else now + due_again(checks, jitter)
    return _with(
        held, now, says, state=state, mention=finding.mention, verified_at=now, attempts=0, waiting=False,
        checks=checks, trusted=held.trusted or state == "accepted", next_at=after,
    )  # fmt: skip


def _absent(held: Held, finding: Finding, now: float, jitter: float) -> Held:
    state: State = "gone" if _was_verified(held) else "invalid"
    return _with(
        held, now, finding.says, state=state, attempts=0, waiting=False, checks=0, next_at=now + KEPT[state]
    )


def _unanswered(held: Held, finding: Finding, now: float, jitter: float) -> Held:
    attempts = held.mention.attempts + 1
    if attempts >= ATTEMPTS:
        given_up = msgspec.structs.replace(finding, says=f"{finding.says}; given up")
        return _refused(held, given_up, now, jitter)
    wait = max(BACKOFF * 4 ** (attempts - 1) * (0.8 + 0.4 * jitter), min(finding.wait, DAY))
    return _with(
        held, now, f"{finding.says}; tried again in {_spoken(wait)}", attempts=attempts, next_at=now + wait
    )


def _refused(held: Held, finding: Finding, now: float, jitter: float) -> Held:
    if not _was_verified(held):
        return _absent(held, finding, now, jitter)
    checks = held.checks + 1
    says = f"{finding.says}; it stays {held.mention.state}"
    return _with(
        held, now, says, attempts=0, waiting=False, checks=checks, next_at=now + due_again(checks, jitter)
    )


def _blocked(held: Held, finding: Finding, now: float, jitter: float) -> Held:
    declined = decided(held, "declined", finding.says, now=now)
    return declined if held.trusted else msgspec.structs.replace(declined, next_at=now + KEPT["declined"])


_STEPS = {
    "linked": _linked,
    "absent": _absent,
    "gone": _absent,
    "unanswered": _unanswered,
    "refused": _refused,
    "blocked": _blocked,
}


def _was_verified(held: Held) -> bool:
    return held.mention.state in ("accepted", "pending")


_OF_HELD = frozenset(("waiting", "checks", "trusted", "next_at"))


def _with(held: Held, now: float, says: str, **changes: Any) -> Held:
    """With a step in the log; what is no field of `Held` is one of the mention."""
    log = (*held.mention.log, LogEntry(now, says[:SAYS]))[-LOG:]
    inner = {name: value for name, value in changes.items() if name not in _OF_HELD}
    outer = {name: value for name, value in changes.items() if name in _OF_HELD}
    mention = msgspec.structs.replace(held.mention, log=log, **inner)
    return msgspec.structs.replace(held, mention=mention, **outer)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
