"""Which targets of a source have to be told, seen from what is stored and what the source says now. Pure.

========================== ==========================================================
the target is              then
========================== ==========================================================
new                        told
there, content changed     told again, from a fresh discovery
gone from the content      told once, so that its receiver can take the mention down
there, content unchanged   `sent`: skipped; `pending`: on its schedule; `not_found`:
                           looked at again after a day; `failed`: left, until `retry`
========================== ==========================================================

It is decided for each row by its own `sha`, so a `send` that was cut short is
taken up where it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.schedule import DAY

__all__ = ["Plan", "afresh", "is_first", "plan_delete", "plan_retry", "plan_send"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be kept before anything is fetched."""

    puts: tuple[OutgoingMention, ...] = ()  # pending, due now
    skipped: tuple[str, ...] = ()  # targets that were told already
    unchanged: bool = False  # whether the same content was sent before, and nothing of it is new


def plan_send(
    rows: Iterable[OutgoingMention], source_url: str, targets: Sequence[str], *, sha: str, now: float
) -> Plan:
    """For a source that links to these targets now."""
    kept = {row.target_url: row for row in rows}
    puts: list[OutgoingMention] = []
    skipped: list[str] = []
    changed = False
    for target in targets:
        row = kept.pop(target, None)
        if row is None:
            puts.append(_new(source_url, target, sha, now))
            changed = True
        elif row.sha != sha or not row.present:
            puts.append(afresh(row, now=now, sha=sha, present=True))
            changed = True
        elif row.status == "sent":
            skipped.append(target)
        elif row.status == "not_found" and now - (row.updated_at or 0.0) >= DAY:
            puts.append(afresh(row, now=now, sha=sha, present=True))
    for row in kept.values():  # that the source links to no more
        if row.present and row.sha != sha:
            puts.append(afresh(row, now=now, sha=sha, present=False))
            changed = True
    return Plan(puts=tuple(puts), skipped=tuple(skipped), unchanged=bool(targets) and not changed)


def plan_delete(rows: Iterable[OutgoingMention], *, now: float) -> Plan:
    """For a source that is gone: all are told, but those that were told of that already. Its `sha` is ``""``."""
    puts: list[OutgoingMention] = []
    skipped: list[str] = []
    for row in rows:
        if row.present or row.sha or row.status in ("failed", "not_found"):
            puts.append(afresh(row, now=now, sha="", present=False))
        elif row.status == "sent":
            skipped.append(row.target_url)
    return Plan(puts=tuple(puts), skipped=tuple(skipped), unchanged=not puts and bool(skipped))


def plan_retry(rows: Iterable[OutgoingMention], target_url: str | None, *, now: float) -> Plan:
    """By hand: all that is not sent, or this one target, whatever became of it."""
    return Plan(
        puts=tuple(
            afresh(row, now=now, sha=row.sha, present=row.present)
            for row in rows
            if (row.status != "sent" if target_url is None else row.target_url == target_url)
        )
    )


def afresh(row: OutgoingMention, *, now: float, sha: str, present: bool) -> OutgoingMention:
    """Pending and due now, as if nothing had been tried; when it came to be is kept."""
    created = row.created_at if row.created_at is not None else now
    return OutgoingMention(
        source_url=row.source_url,
        target_url=row.target_url,
        sha=sha,
        present=present,
        created_at=created,
        updated_at=max(now, created + 0.001),  # what `is_first` looks at, on clocks that stand still too
        next_attempt=now,
    )


def is_first(mention: OutgoingMention) -> bool:
    """Whether its target was never told of this source, so that a discovery of before may serve."""
    return (
        mention.attempts == 0 and mention.created_at is not None and mention.created_at == mention.updated_at
    )


def _new(source_url: str, target_url: str, sha: str, now: float) -> OutgoingMention:
    return OutgoingMention(
        source_url=source_url,
        target_url=target_url,
        sha=sha,
        created_at=now,
        updated_at=now,
        next_attempt=now,
    )
