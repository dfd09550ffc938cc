"""`ChannelsModel`: what a store has to answer, as a dict of logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
    Changed,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Found,
    Log,
    Operation,
    Outcome,
    Read,
    Send,
    Trim,
)
from holdfast.testing.channels.running import SuiteCore
from holdfast.testing.channels.subject import text

__all__ = ["ChannelsModel", "ModelCases", "State"]


class State(msgspec.Struct, frozen=True):
    """One log at one moment. How much of it retention took away is known only within bounds.

    `rows` is what may be there; the lowest ones, up to `gone_to`, may be gone.
    """

    epoch: str
    last: int
    rows: tuple[Entry, ...]
    gone_from: int = 0  # `trimmed` is at least this
    gone_to: int = 0  # and at most this: the offset of a message, or `gone_from`

    def without(self, trimmed: int) -> State:
        """The same, when it has turned out what is gone."""
        rows = tuple(row for row in self.rows if row.offset > trimmed)
        return msgspec.structs.replace(
            self, rows=rows, gone_from=trimmed, gone_to=max(trimmed, self.gone_to) if rows else trimmed
        )

    def with_row(self, at: int, row: Entry) -> State:
        rows = (*self.rows[:at], row, *self.rows[at + 1 :])
        return msgspec.structs.replace(self, last=self.last + 1, rows=rows)


class ChannelsModel:
    """Told every batch and its outcomes, it raises `AssertionError` where no right store could answer so.

    Messages may not be told as older than those before them, and `max_age` is not for this model.

    Args:
        skew: by how many ms the store's clock may be off.
    """

    def __init__(self, *, skew: int = 0) -> None:
        self._skew = skew
        self.logs: dict[str, State] = {}
        self._epochs: set[str] = set()  # of every log that there was

    def told(self, ops: Sequence[Operation], outcomes: Sequence[Outcome], start: int, end: int) -> None:
        """These operations were sent at `start` and answered at `end` (ms), in this order per topic.

        Raises:
            AssertionError: an outcome is impossible.
        """
        states: dict[str, list[State | None]] = {}
        for op in ops:
            states.setdefault(op.key, [self.logs.get(op.key)])
        for op, outcome in zip(ops, outcomes, strict=True):
            assert not isinstance(outcome, Exception), f"{op}: {outcome!r}"
            if not isinstance(op, Read | Find):
                self._write(op, outcome, (start - self._skew, end + self._skew))
                states[op.key].append(self.logs.get(op.key))
        # Reads of a batch may see any state in between, so they are judged when all states are known.
        for op, outcome in zip(ops, outcomes, strict=True):
            if isinstance(op, Read | Find):
                possible = states[op.key]
                seen = any(_fits(op, outcome, state) for state in possible)
                assert seen, f"{op}: {outcome!r} fits none of {possible}"
                (*_, now) = possible
                if isinstance(op, Read) and now is not None and outcome.epoch == now.epoch:
                    self.logs[op.key] = now.without(max(now.gone_from, outcome.trimmed))

    # --- writes ---

    def _write(self, op: Operation, outcome: Any, span: tuple[int, int]) -> None:
        match op:
            case Append():
                self._append(op, outcome, span)
            case Edit() | Erase():
                self._change(op, outcome)
            case Trim():
                self._trim(op, outcome)
            case Clear():
                assert outcome is (op.key in self.logs), f"{op}: {outcome!r}"
                self.logs.pop(op.key, None)
            case Send():
                assert outcome is None, f"{op}: {outcome!r}"
            case _:
                raise TypeError(f"the model does not know {type(op).__name__}")

    def _append(self, op: Append, outcome: Any, span: tuple[int, int]) -> None:
        assert isinstance(outcome, Appended), f"{op}: {outcome!r}"
        log = self.logs.get(op.key)
        if log is None:
            assert outcome.epoch not in self._epochs, f"{op}: the epoch {outcome.epoch} came back"
            self._epochs.add(outcome.epoch)
            log = State(outcome.epoch, 0, ())
        assert outcome.epoch == log.epoch, f"{op}: {outcome!r}, the epoch is {log.epoch}"
        twin = None if op.id is None else next((row for row in log.rows if row.id == op.id), None)
        if twin is not None and (outcome.repeated or twin.offset > log.gone_to):
            wanted = Appended(twin.offset, log.epoch, twin.at, True)
            assert outcome == wanted, f"{op}: {outcome!r}, not {wanted!r}"
            self.logs[op.key] = msgspec.structs.replace(
                log, gone_to=max(log.gone_from, min(log.gone_to, twin.offset - 1))
            )
            return
        if twin is not None:  # it was taken away, or its id would be taken
            log = log.without(max(log.gone_from, twin.offset))
        assert (outcome.offset, outcome.repeated) == (log.last + 1, False), (
            f"{op} after {log.last}: {outcome!r}"
        )
        low, high = span if op.at is None else (op.at, op.at)
        assert low <= outcome.at <= high, f"{op}: said at {outcome.at}, not {low} to {high}"
        row = Entry(outcome.offset, op.id, op.event, text(op.payload), outcome.at)
        log = msgspec.structs.replace(log, last=outcome.offset, rows=(*log.rows, row))
        self.logs[op.key] = _retained(log, op.max_messages)

    def _change(self, op: Edit | Erase, outcome: Any) -> None:
        log = self.logs.get(op.key)
        at = None if log is None else _named(log, op)
        if log is None or at is None:
            assert outcome is None, f"{op} of nothing: {outcome!r}"
            return
        row = log.rows[at]
        if outcome is None:
            assert row.offset <= log.gone_to, f"{op} of {row}: None"
            self.logs[op.key] = log.without(row.offset)
            return
        payload = text(op.payload) if isinstance(op, Edit) else None
        wanted = Entry(row.offset, row.id, row.event, payload, row.at, log.last + 1)
        assert isinstance(outcome, Changed), f"{op}: {outcome!r}"
        assert (outcome.epoch, readable(outcome.entry)) == (log.epoch, wanted), f"{op}: {outcome!r}"
        log = msgspec.structs.replace(log, gone_to=max(log.gone_from, min(log.gone_to, row.offset - 1)))
        self.logs[op.key] = log.with_row(at, wanted)

    def _trim(self, op: Trim, outcome: Any) -> None:
        log = self.logs.get(op.key)
        if log is None or op.max_messages is None:
            assert outcome == 0, f"{op}: {outcome!r}"
            return
        doomed = log.rows[: max(0, len(log.rows) - op.max_messages)]
        sure = sum(row.offset > log.gone_to for row in doomed)
        assert sure <= outcome <= len(doomed), f"{op}: {outcome!r} went, {sure} to {len(doomed)} had to"
        if doomed:
            self.logs[op.key] = log.without(max(log.gone_from, doomed[-1].offset))


def _retained(log: State, most: int | None) -> State:
    """After an append that may have taken away what is more than `most`, and has where it is far more."""
    if most is None:
        return log
    spare = len(log.rows) - most
    if spare <= 0:
        return log
    log = msgspec.structs.replace(log, gone_to=max(log.gone_to, log.rows[spare - 1].offset))
    too_many = spare - max(16, -(-most // 8))
    return log.without(max(log.gone_from, log.rows[too_many - 1].offset)) if too_many > 0 else log


# --- reads ---


def _fits(op: Read | Find, outcome: Any, log: State | None) -> bool:
    if isinstance(op, Find):
        return _found_fits(op, outcome, log)
    assert isinstance(outcome, Log), f"{op}: {outcome!r}"
    if log is None:
        return outcome.epoch is None and (outcome.last, outcome.trimmed, len(outcome.entries)) == (0, 0, 0)
    if (outcome.epoch, outcome.last) != (log.epoch, log.last):
        return False
    gone = [row.offset for row in log.rows if row.offset <= log.gone_to]
    # What went and what is left may have offsets of edits between them.
    floor = log.rows[len(gone)].offset if len(gone) < len(log.rows) else log.last + 1
    if not log.gone_from <= outcome.trimmed < max(floor, log.gone_from + 1):
        return False
    there = [row for row in log.rows if row.offset > outcome.trimmed]
    return [readable(entry) for entry in outcome.entries] == _stretch(op, there)


def _stretch(op: Read, rows: list[Entry]) -> list[Entry]:
    if op.changes_after is not None:
        above = [row for row in rows if _latest(row) > op.changes_after]
        return sorted(above, key=_latest)[: op.limit]
    live = [row for row in rows if row.payload is not None]
    if op.after is not None:
        return [row for row in live if row.offset > op.after][: op.limit]
    if op.before is not None:
        live = [row for row in live if row.offset < op.before]
    return live[-op.limit :]


def _latest(row: Entry) -> int:
    return max(row.offset, row.changed or 0)


def _found_fits(op: Find, outcome: Any, log: State | None) -> bool:
    at = None if log is None else _named(log, op)
    if log is None or at is None:
        return outcome is None
    if outcome is None:
        return log.rows[at].offset <= log.gone_to
    assert isinstance(outcome, Found), f"{op}: {outcome!r}"
    return (outcome.epoch, readable(outcome.entry)) == (log.epoch, log.rows[at])


def _named(log: State, op: Edit | Erase | Find) -> int | None:
    """Which of the rows the operation names, unless it was erased."""
    for at, row in enumerate(log.rows):
        named = row.id == op.id if op.id is not None else (row.offset, log.epoch) == (op.offset, op.epoch)
        if named:
            return None if row.payload is None else at
    return None


def readable(entry: Entry) -> Entry:
    """Its payload as text, in whatever form the driver answered it."""
    return Entry(entry.offset, entry.id, entry.event, text(entry.payload), entry.at, entry.changed)


class ModelCases(SuiteCore):
    """Histories that Hypothesis makes up; `HOLDFAST_SOAK=1` makes up many more and longer ones."""

    def test_any_history_agrees_with_a_dict_of_logs(self) -> None:
        from holdfast.testing.channels.machine import run_histories  # needs Hypothesis

        run_histories(self)
