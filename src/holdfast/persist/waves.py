"""How a batch becomes statements that each name a key once: for drivers that speak SQL.

SQL applies one kind of change to a set of rows, and Postgres refuses a key that
comes twice in one upsert. So a batch is cut into *waves*: operations of one
kind, each key once, writes sorted by key (whoever locks rows in one order
cannot deadlock with another who does). Waves are sent one after the other; what a key
was told first is in an earlier wave than what it was told later.

A busy key must not cost a round trip an operation. Neighbours in one key's
history that are of one kind are folded into one operation, and the answers of
the others follow from its answer:

=========  =============================================  ==========================================
kind       sent                                           the others are answered
=========  =============================================  ==========================================
Set        the last value; the last lifetime that is      None
           not `KEEP`, else `KEEP`
Create     the first                                      False: by then a live value exists
Replace    the first of several that name one version     None: by then it is another version
Remove     the first of several that name one version,    False: by then it is gone
           or of any after one that names none
Touch      the last                                       as the one that was sent
GetRenew   the last                                       as the one that was sent
Increment  the sum, with the lifetime of the first        the sums on the way
Get ...    one of them                                    as the one that was sent
=========  =============================================  ==========================================

A folded Increment stands for several only if *every* sum on the way stays in
the 64-bit range, which depends on what is stored: `slack` says how far from the
end of the range that has to be. Nearer to it the driver changes nothing, and
sends the operations one by one (`unfolded`), each with the answer it deserves.

`Clear` is a write to keys that nobody has counted: whatever came before it in
the batch is in an earlier wave, whatever came after in a later one. Reads may
see any state in between and go first, before anything that could fail.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias, cast

import msgspec

from holdfast.errors import again
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Outcome,
    Remove,
    Replace,
    Set,
    Touch,
)

__all__ = ["INT64_MAX", "INT64_MIN", "Wave", "halves", "parted", "slack", "spread", "unfolded", "waves"]

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1


class Wave(msgspec.Struct, frozen=True):
    """Operations of one kind for one statement: each key once, writes in key order.

    `Keys` and `Clear` come alone.
    """

    kind: type[Operation]
    ops: Sequence[Operation]  # as they are sent: a folded one is not in the batch
    places: Sequence[int]  # where in the batch each one's answer goes (a folded one's first)
    folded: dict[int, list[int]]  # index in `ops` -> every place that it answers for, in order


def waves(batch: Sequence[Operation]) -> list[Wave]:
    """The statements for this batch, in the order in which they must take effect."""
    if len(batch) == 1:
        return [Wave(type(batch[0]), batch, (0,), {})]
    kinds: dict[type, list[int]] = {}
    for place, op in enumerate(batch):
        kinds.setdefault(type(op), []).append(place)
    return _by_kind(batch, kinds) or _in_levels(batch, kinds)


def slack(wave: Wave, batch: Sequence[Operation]) -> tuple[int, int]:
    """How far the Increments of the wave stray below and above their sums on the way there.

    One pair for the whole wave, because an upsert's condition sees only what is
    stored and what would be inserted. An Increment may take effect where stored
    value plus sum, *and* that less the first and plus the second, are within 64
    bits; the first and second are 0 where nothing is folded.
    """
    below = above = 0
    for at, places in wave.folded.items():
        sums = _sums(batch, places)
        total = cast("Increment", wave.ops[at]).by
        below, above = max(below, total - min(sums)), max(above, max(sums) - total)
    return below, above


def unfolded(wave: Wave, at: int, batch: Sequence[Operation]) -> Iterator[Wave]:
    """What `wave.ops[at]` stands for, one wave each; itself where it stands for no other."""
    for place in wave.folded.get(at, (wave.places[at],)):
        yield Wave(wave.kind, (batch[place],), (place,), {})


def halves(wave: Wave) -> tuple[Wave, Wave]:
    """The wave as two smaller ones: how a driver finds the one operation that a statement was refused for."""
    middle = len(wave.ops) // 2
    return _part(wave, range(middle)), _part(wave, range(middle, len(wave.ops)))


def parted(wave: Wave, test: Callable[[Any], bool]) -> tuple[Wave, Wave]:
    """Those operations that pass the test, and those that do not, where that takes two statements."""
    passed = [test(op) for op in wave.ops]
    places = range(len(passed))
    return (
        _part(wave, [at for at in places if passed[at]]),
        _part(wave, [at for at in places if not passed[at]]),
    )


def spread(
    wave: Wave, answers: Sequence[Outcome], batch: Sequence[Operation], outcomes: list[Outcome]
) -> None:
    """Put the answers, one for each of `wave.ops`, where they belong in the batch's outcomes."""
    for place, answer in zip(wave.places, answers, strict=True):
        outcomes[place] = answer
    for at, places in wave.folded.items():
        answer = answers[at]
        if isinstance(answer, Exception):
            for place in places[1:]:
                outcomes[place] = again(answer)  # no two waiters share an exception
        elif wave.kind is Increment:
            before = answer - cast("Increment", wave.ops[at]).by
            for place, total in zip(places, _sums(batch, places), strict=True):
                outcomes[place] = before + total
        else:
            rest = _AFTER_THE_FIRST.get(wave.kind, answer)
            for place in places[1:]:
                outcomes[place] = rest


def _part(wave: Wave, chosen: Sequence[int]) -> Wave:
    folded = {at: wave.folded[was] for at, was in enumerate(chosen) if was in wave.folded}
    return Wave(wave.kind, [wave.ops[at] for at in chosen], [wave.places[at] for at in chosen], folded)


# --- nearly always: no key is told things of two kinds, and what it is told twice folds ---


def _by_kind(batch: Sequence[Operation], kinds: dict[type, list[int]]) -> list[Wave] | None:
    """One wave for each kind, or None where the order of kinds matters to some key."""
    if Clear in kinds:
        return None
    reads: list[Wave] = []
    writes: list[Wave] = []
    written: set[str] = set()
    for kind, places in kinds.items():
        if kind is Keys:
            reads += _each_alone(batch, places)
            continue
        wave = _of_one_kind(batch, kind, places)
        if wave is None:
            return None
        if kind in _READS:
            reads.append(wave)
            continue
        writes.append(wave)
        if len(kinds) > 1:
            keys = {op.key for op in wave.ops}
            if not written.isdisjoint(keys):
                return None
            written |= keys
    return reads + writes


def _of_one_kind(batch: Sequence[Operation], kind: type, places: Sequence[int]) -> Wave | None:
    ops: Sequence[Operation] = batch if len(places) == len(batch) else [batch[place] for place in places]
    keys = [op.key for op in ops]
    if len(set(keys)) == len(keys):
        if kind in _READS:
            return Wave(kind, ops, places, {})
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Wave(kind, [ops[at] for at in order], [places[at] for at in order], {})
    fold = _FOLDS[kind]
    known: dict[str, int] = {}
    sent: list[Operation] = []
    where: list[int] = []
    folded: dict[int, list[int]] = {}
    for place, op in zip(places, ops, strict=True):
        at = known.setdefault(op.key, len(sent))
        if at == len(sent):
            sent.append(op)
            where.append(place)
            continue
        together = fold(sent[at], op)
        if together is None:
            return None
        sent[at] = together
        folded.setdefault(at, [where[at]]).append(place)
    keys = list(known)
    return _part(Wave(kind, sent, where, folded), sorted(range(len(keys)), key=keys.__getitem__))


def _each_alone(batch: Sequence[Operation], places: Sequence[int]) -> list[Wave]:
    return [Wave(type(batch[place]), (batch[place],), (place,), {}) for place in places]


# --- the general case: a level for each time that a key is told something else ---

_Level: TypeAlias = dict[type, list["_Step"]]


class _Step:
    """One operation as it will be sent."""

    __slots__ = ("level", "op", "places")

    def __init__(self, op: Any, place: int, level: int) -> None:
        self.op = op
        self.places = [place]
        self.level = level


def _in_levels(batch: Sequence[Operation], kinds: dict[type, list[int]]) -> list[Wave]:
    found: list[Wave] = []
    for read in _READS:
        if read in kinds:
            reads = _of_one_kind(batch, read, kinds[read])
            assert reads is not None  # reads always fold
            found.append(reads)
    found += _each_alone(batch, kinds.get(Keys, ()))
    last: dict[str, _Step] = {}  # the latest step of each key since the last Clear
    levels: list[_Level] = []
    for place, op in enumerate(batch):
        kind = type(op)
        if kind is Clear:
            found += _waves_of(levels) + _each_alone(batch, (place,))
            last, levels = {}, []
        elif kind is not Keys and kind not in _READS:
            _write(op, place, last, levels)
    return found + _waves_of(levels)


def _write(op: Operation, place: int, last: dict[str, _Step], levels: list[_Level]) -> None:
    before = last.get(op.key)
    if before is not None and type(before.op) is type(op):
        folded = _FOLDS[type(op)](before.op, op)
        if folded is not None:
            before.op = folded
            before.places.append(place)
            return
    step = _Step(op, place, 0 if before is None else before.level + 1)
    last[op.key] = step
    if step.level == len(levels):
        levels.append({})
    levels[step.level].setdefault(type(op), []).append(step)


def _waves_of(levels: Sequence[_Level]) -> list[Wave]:
    found: list[Wave] = []
    for level in levels:
        for kind, steps in level.items():
            steps.sort(key=_key)
            folded = {at: step.places for at, step in enumerate(steps) if len(step.places) > 1}
            found.append(Wave(kind, [step.op for step in steps], [step.places[0] for step in steps], folded))
    return found


def _key(step: _Step) -> str:
    return cast("str", step.op.key)


def _sums(batch: Sequence[Operation], places: Sequence[int]) -> list[int]:
    return list(accumulate(cast("Increment", batch[place]).by for place in places))


# --- folding: what two neighbours of one kind are together, or None where it takes both ---


def _set(first: Set, second: Set) -> Set:
    return Set(second.key, second.value, first.ttl if second.ttl is KEEP else second.ttl)


def _first(first: Operation, second: Operation) -> Operation:
    return first


def _last(first: Operation, second: Operation) -> Operation:
    return second


def _replace(first: Replace, second: Replace) -> Replace | None:
    return first if first.version == second.version else None


def _remove(first: Remove, second: Remove) -> Remove | None:
    return first if first.version is None or first.version == second.version else None


def _increment(first: Increment, second: Increment) -> Increment | None:
    by = first.by + second.by
    if not (INT64_MIN <= first.by <= INT64_MAX and INT64_MIN <= by <= INT64_MAX):
        return None
    return Increment(first.key, by, first.ttl)  # by the second the counter lives, and keeps its lifetime


_FOLDS: dict[type, Callable[[Any, Any], Any]] = {
    Get: _first,
    GetEntry: _first,
    Set: _set,
    Create: _first,
    Replace: _replace,
    Remove: _remove,
    Touch: _last,
    GetRenew: _last,
    Increment: _increment,
}
_AFTER_THE_FIRST: dict[type, Outcome] = {Create: False, Remove: False, Replace: None}
_READS = (Get, GetEntry)  # that share statements
