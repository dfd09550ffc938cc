"""A batch as statements one after the other, and who is told what where one fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.engines.postgres import StatementRefused
from holdfast.errors import StoreError, StoreUnavailable, again
from holdfast.persist.driver import KEEP, Increment, Operation, Outcome, Set
from holdfast.persist.drivers.postgres.sending import ALONE, SENT, Fetch
from holdfast.persist.waves import Wave, halves, parted, spread, unfolded, waves

__all__ = ["applied"]

ATTEMPTS = 5
"""How often a statement is sent that the server refuses for meeting another (deadlock, serialization)."""


async def applied(fetch: Fetch, batch: Sequence[Operation]) -> list[Outcome]:
    """The outcomes of the batch; raises only where not one statement was answered."""
    if len(batch) == 1:
        alone = ALONE.get(type(batch[0]))
        if alone is not None:
            try:
                return [await alone(fetch, batch[0])]
            except StatementRefused:
                pass  # nothing was applied: once more below, where refusals are dealt with
    todo = _statements(batch)
    outcomes: list[Outcome] = [None] * len(batch)
    for at, wave in enumerate(todo):
        try:
            answers = await SENT[wave.kind](fetch, wave, batch)
        except StatementRefused as exc:
            answers = await _in_parts(fetch, wave, batch, exc)
        except StoreError as exc:
            if at == 0:
                raise
            _unsent(todo[at:], exc, batch, outcomes)
            break
        spread(wave, answers, batch, outcomes)
        if wave.folded and wave.kind is Increment:
            await _unfold(fetch, wave, batch, outcomes)
    return outcomes


def _statements(batch: Sequence[Operation]) -> list[Wave]:
    """The waves, one of both kinds of Set as two: what an upsert stores cannot say KEEP and never."""
    found: list[Wave] = []
    for wave in waves(batch):
        if wave.kind is Set and len(wave.ops) > 1:
            kept = [_keeps(op) for op in wave.ops]
            found += parted(wave, _keeps) if any(kept) and not all(kept) else (wave,)
        else:
            found.append(wave)
    return found


def _keeps(op: Any) -> bool:
    return op.ttl is KEEP


# --- failure: what was refused, and what was not sent because of what was lost before it ---


async def _in_parts(
    fetch: Fetch, wave: Wave, batch: Sequence[Operation], refused: StatementRefused
) -> list[Outcome]:
    """The wave again, in halves, until each refusal has found its operation."""
    attempts = 1
    while refused.passing and attempts < ATTEMPTS:
        attempts += 1
        try:
            return await SENT[wave.kind](fetch, wave, batch)
        except StatementRefused as exc:
            refused = exc
        except StoreError as exc:
            return [again(exc) for _ in wave.ops]
    if len(wave.ops) == 1:
        return [_refusal(wave.ops[0], refused)]
    answers: list[Outcome] = []
    for half in halves(wave):
        try:
            answers += await SENT[half.kind](fetch, half, batch)
        except StatementRefused as exc:
            answers += await _in_parts(fetch, half, batch, exc)
        except StoreError as exc:
            answers += [again(exc) for _ in half.ops]
    return answers


def _refusal(op: Operation, refused: StatementRefused) -> StoreError:
    said = f"{type(op).__name__.lower()} {op.key!r}: {refused}"
    error = StoreUnavailable(said) if refused.passing else StoreError(said)
    error.__cause__ = refused
    return error


def _unsent(
    left: Sequence[Wave], lost: StoreError, batch: Sequence[Operation], outcomes: list[Outcome]
) -> None:
    """Tell the rest: the first of the waves met the error, those after it were never sent."""
    for at, wave in enumerate(left):
        error = lost if at == 0 else StoreUnavailable(f"not sent: {lost}")
        spread(wave, [again(error) for _ in wave.ops], batch, outcomes)


async def _unfold(fetch: Fetch, wave: Wave, batch: Sequence[Operation], outcomes: list[Outcome]) -> None:
    """Where a counter was too near the end of its range to be raised by several at once: one by one."""
    for at, place in enumerate(wave.places):
        if isinstance(outcomes[place], ValueError):
            for one in unfolded(wave, at, batch):
                try:
                    answers = await SENT[Increment](fetch, one, batch)
                except StatementRefused as exc:
                    answers = await _in_parts(fetch, one, batch, exc)
                except StoreError as exc:
                    answers = [exc]
                spread(one, answers, batch, outcomes)
