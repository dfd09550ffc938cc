"""Appends as one statement: topics in their order, messages by the place of their topic."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

from holdfast.channels.driver import Append, Appended, Outcome
from holdfast.channels.drivers.postgres.announcements import chunks, joined
from holdfast.channels.drivers.postgres.line import Line
from holdfast.channels.drivers.postgres.statements import APPEND
from holdfast.engines.postgres import StatementRefused

__all__ = ["append", "decoded"]


async def append(line: Line, ops: Sequence[Append]) -> list[Outcome]:
    """Store messages that share one retention. One round trip; one more where an id was there already."""
    outcomes: list[Outcome] = [None] * len(ops)
    given = [op.id for op in ops].count(None) != len(ops)
    left, again = _firsts(ops) if given else (list(range(len(ops))), {})
    while left:
        left = await _appended(line, ops, left, outcomes, given=given)
    for place, first in again.items():
        there = cast("Appended", outcomes[first])
        outcomes[place] = Appended(there.offset, there.epoch, there.at, True)
    return outcomes


async def _appended(
    line: Line, ops: Sequence[Append], left: list[int], outcomes: list[Outcome], *, given: bool
) -> list[int]:
    """Store those in `left`. Where ids of some are there already, answer those, and which others are still left."""
    topics: dict[str, list[int]] = {}
    for place in left:
        topics.setdefault(ops[place].key, []).append(place)
    keys = sorted(topics)
    order = [place for key in keys for place in topics[key]]
    whole, between = joined(keys)
    ats = [ops[place].at for place in order]
    args: list[Any] = [
        whole,
        between,
        *_placed(ops, [topics[key] for key in keys]),
        decoded([ops[place].payload for place in order]),
        *_events([ops[place].event for place in order]),
        _unless_none(ats),
        _word(),
        f"k{line.origin}",
        chunks(keys, whole),
    ]
    if given:
        args.append([ops[place].id for place in order])
    retention = ops[0].max_messages is not None or ops[0].max_age is not None
    if retention:
        most = ops[0].max_messages
        args += (most, None if most is None else most + max(most // 8, 16), ops[0].max_age)
    ((epochs, lasts, now, _, *repeated),) = await line.fetch(APPEND[given, retention], *args)
    if epochs is None:
        for nth, offset, at, epoch in zip(*repeated, strict=True):
            outcomes[order[nth - 1]] = Appended(offset, epoch, at, True)
        return [place for place in left if outcomes[place] is None]
    for key, epoch, last in zip(keys, epochs, lasts, strict=True):
        places = topics[key]
        for offset, place in enumerate(places, last - len(places) + 1):
            at = ops[place].at
            outcomes[place] = Appended(offset, epoch, now if at is None else at)
    return []


def _firsts(ops: Sequence[Append]) -> tuple[list[int], dict[int, int]]:
    """The places to send, and of the others, which repeat an id of their topic, whose they repeat."""
    first: dict[tuple[str, str], int] = {}
    left: list[int] = []
    again: dict[int, int] = {}
    for place, op in enumerate(ops):
        there = place if op.id is None else first.setdefault((op.key, op.id), place)
        if there == place:
            left.append(place)
        else:
            again[place] = there
    return left, again


def _placed(ops: Sequence[Append], topics: list[list[int]]) -> tuple[Any, ...]:
    """How many messages each topic gets, when its latest was said, and of each message topic and distance from it."""
    counts = [len(places) for places in topics]
    latest = [ops[places[-1]].at for places in topics]
    numbers = "".join([f"{number} " * count for number, count in enumerate(counts, 1)])
    backs = " ".join([_countdown(count) for count in counts])
    return " ".join(map(str, counts)), _unless_none(latest), numbers[:-1], backs


@lru_cache(1024)
def _countdown(count: int) -> str:
    return " ".join(map(str, range(count - 1, -1, -1)))


def _unless_none(ats: list[int | None]) -> list[int | None]:
    return [] if ats.count(None) == len(ats) else ats


def _events(events: list[str]) -> tuple[str | None, list[str]]:
    """One that all share, or each its own."""
    return (events[0], []) if events.count(events[0]) == len(events) else (None, events)


def decoded(payloads: Iterable[bytes]) -> str:
    """The payloads as one text. JSON escapes control characters, so U+001F is in none of them; were it in one,
    there would be more payloads than messages, which the table refuses."""
    try:
        return b"\x1f".join(payloads).decode()
    except UnicodeDecodeError as exc:
        raise StatementRefused("a payload is not UTF-8", code="22021") from exc


def _word() -> str:
    """12 random letters and digits; the place of the topic follows, for an epoch of 16 at most."""
    return f"{int.from_bytes(os.urandom(6)):012x}"
