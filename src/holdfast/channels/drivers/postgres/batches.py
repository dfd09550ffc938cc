"""A batch as statements one after the other, and who is told what where one fails.

A batch is cut into *waves*, each of one kind and one statement. What a topic
was told first is in an earlier wave than what it was told later, or before it
in the same one. Appends and sends of any number share a wave; of changes each
topic has one a wave.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

import msgspec

from holdfast.channels.driver import Append, Clear, Edit, Erase, Operation, Outcome, Read, Send, Topics, Trim
from holdfast.channels.drivers.postgres.announcements import INLINE_BYTES
from holdfast.channels.drivers.postgres.line import Line
from holdfast.channels.drivers.postgres.sending import SENT
from holdfast.engines.postgres import StatementRefused
from holdfast.errors import StoreError, StoreUnavailable, again

__all__ = ["applied"]

ATTEMPTS = 5
"""How often a statement is sent that the server refuses for meeting another."""
_MET = "23505"
"""An id was stored by somebody else between the look and the insert: the next look finds it."""
_ONCE: Final = frozenset((Edit, Erase, Trim, Clear))


class Wave(msgspec.Struct):
    """Operations of one kind, and where they stand in the batch."""

    kind: Hashable
    ops: list[Any]
    places: Sequence[int]


async def applied(line: Line, batch: Sequence[Operation]) -> list[Outcome]:
    """The outcomes of the batch; raises only where not one statement was answered."""
    outcomes: list[Outcome] = [None] * len(batch)
    todo = waves(batch)
    for at, wave in enumerate(todo):
        try:
            answers = await _answered(line, wave.ops)
        except StoreError as exc:
            if at == 0:
                raise
            _unsent(todo[at:], exc, outcomes)
            break
        for place, answer in zip(wave.places, answers, strict=True):
            outcomes[place] = answer
    return outcomes


def waves(batch: Sequence[Operation]) -> list[Wave]:
    """The batch as waves, in the order in which they are sent."""
    first = batch[0]
    if type(first) is Append:
        most, age = first.max_messages, first.max_age
        if all(type(op) is Append and op.max_messages == most and op.max_age == age for op in batch):
            return [Wave(Append, list(batch), range(len(batch)))]
    found: list[Wave] = []
    ends: dict[str, int] = {}  # key -> the wave of its latest operation
    for place, op in enumerate(batch):
        kind = _kind(op)
        # A page of topics is a question about all of them: it may see any state in between.
        since = 0 if type(op) is Topics else ends.get(op.key, 0)
        if type(op) in _ONCE and op.key in ends:
            since += 1
        for at in range(since, len(found)):
            if found[at].kind == kind:
                break
        else:
            at = len(found)
            found.append(Wave(kind, [], []))
        found[at].ops.append(op)
        found[at].places.append(place)  # type: ignore[attr-defined]
        if type(op) is not Topics:
            ends[op.key] = at
    return found


def _kind(op: Operation) -> Hashable:
    kind = type(op)
    if isinstance(op, Append):
        return kind, op.max_messages, op.max_age
    if isinstance(op, Read):
        return kind, op.after is None, op.changes_after is None
    if isinstance(op, Send):
        return kind, len(op.data) <= INLINE_BYTES
    return Edit if kind is Erase else kind


async def _answered(line: Line, ops: Sequence[Any]) -> list[Outcome]:
    """The outcomes of one wave; where the server refuses it, in halves, until each refusal has found its operation."""
    send: Callable[..., Any] = SENT[type(ops[0])]
    attempts = 0
    while True:
        attempts += 1
        try:
            answers: list[Outcome] = await send(line, ops)
        except StatementRefused as exc:
            refused = exc
            if attempts < ATTEMPTS and (exc.passing or exc.code == _MET):
                continue
        else:
            return answers
        break
    if len(ops) == 1:
        return [_refusal(ops[0], refused)]
    middle = len(ops) // 2
    answers = []
    for half in (ops[:middle], ops[middle:]):
        try:
            answers += await _answered(line, half)
        except StoreError as exc:
            answers += [again(exc) for _ in half]
    return answers


def _refusal(op: Operation, refused: StatementRefused) -> StoreError:
    said = f"{type(op).__name__.lower()} {op.key!r}: {refused}"
    error = StoreUnavailable(said) if refused.passing else StoreError(said)
    error.__cause__ = refused
    return error


def _unsent(left: Sequence[Wave], lost: StoreError, outcomes: list[Outcome]) -> None:
    """Tell the rest: the first of the waves met the error, those after it were never sent."""
    for at, wave in enumerate(left):
        error = lost if at == 0 else StoreUnavailable(f"not sent: {lost}")
        for place in wave.places:
            outcomes[place] = again(error)
