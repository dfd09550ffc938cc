"""`PersistModel`: what a store has to answer, as a dict and a clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    KEEP,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keep,
    Operation,
    Outcome,
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
)
from holdfast.testing.persist.subject import SuiteCore, read, same

__all__ = ["ModelCases", "PersistModel", "Unclear"]


class Unclear(Exception):
    """A lifetime ended somewhere within the round trip: no answer would be wrong."""


class Row(msgspec.Struct, frozen=True):
    """One value. Its life ends between two moments, because only the store knows when it was given."""

    value: Any
    write: int  # which write put it here
    sure_until: float | None  # ms; None: for ever
    gone_from: float | None


class Written(msgspec.Struct, frozen=True):
    """What a version is known to stand for."""

    value: Any
    write: int


class PersistModel:
    """Told every batch and its outcomes, it raises `AssertionError` where no right store could answer so.

    Args:
        version_from_content: as in the driver's traits.
        tolerance: by how many ms the store's clock may be off.
    """

    def __init__(self, *, version_from_content: bool, tolerance: float = 0) -> None:
        self._from_content = version_from_content
        self._tolerance = tolerance
        self._rows: dict[str, Row] = {}
        self._writes = 0
        self.versions: dict[str, dict[str, Written]] = {}
        """Every version seen so far, by key: newest last."""

    def live(self, at: float) -> set[str]:
        """The keys that are there at this moment (ms)."""
        return {key for key in list(self._rows) if self._live(key, at, at) is not None}

    def forget(self, keys: Sequence[str] | set[str]) -> None:
        """These keys were cleared."""
        for key in keys:
            self._rows.pop(key, None)

    def told(self, ops: Sequence[Operation], outcomes: Sequence[Outcome], start: float, end: float) -> None:
        """These operations were sent at `start` and answered at `end` (ms), in this order per key.

        Raises:
            AssertionError: an outcome is impossible.
            Unclear: a lifetime ended within the round trip; the model knows nothing more.
        """
        states: dict[str, list[Row | None]] = {}
        for op in ops:
            if op.key not in states:
                states[op.key] = [self._live(op.key, start, end)]
        for op, outcome in zip(ops, outcomes, strict=True):
            if not isinstance(op, Get | GetEntry):
                row = self._write(op, outcome, start, end)
                states[op.key].append(row)
        # Reads of a batch may see any state in between, so they are judged when all states are known.
        for op, outcome in zip(ops, outcomes, strict=True):
            if isinstance(op, Get | GetEntry):
                possible = states[op.key]
                seen = any(self._read_fits(op, outcome, row, start, end) for row in possible)
                assert seen, f"{op}: {outcome!r} fits none of {possible}"

    # --- reads ---

    def _read_fits(self, op: Get | GetEntry, outcome: Any, row: Row | None, start: float, end: float) -> bool:
        if row is None or outcome is None:
            return row is None and outcome is None
        if isinstance(op, Get):
            return same(read(outcome), row.value)
        assert isinstance(outcome, Stored)
        if not same(read(outcome.value), row.value):
            return False
        if outcome.ttl is None or row.sure_until is None or row.gone_from is None:
            if (outcome.ttl is None) is not (row.sure_until is None):
                return False
        elif not (
            row.sure_until - end - self._tolerance <= outcome.ttl <= row.gone_from - start + self._tolerance
        ):
            return False
        self._learn(op.key, outcome.version, row)
        return True

    def _learn(self, key: str, version: str, row: Row) -> None:
        known = self.versions.setdefault(key, {}).get(version)
        assert known is None or same(known.value, row.value), f"{key!r}: one version for two values"
        self.versions[key][version] = Written(row.value, row.write)

    # --- writes; each answers the state that it leaves ---

    def _write(self, op: Operation, outcome: Any, start: float, end: float) -> Row | None:
        row = self._live(op.key, start, end)
        match op:
            case Set():
                assert outcome is None, f"{op}: {outcome!r}"
                return self._put(op.key, read(op.value), op.ttl, row, start, end)
            case Create():
                assert outcome is (row is None), f"{op} over {row}: {outcome!r}"
                return row or self._put(op.key, read(op.value), op.ttl, None, start, end)
            case GetRenew():
                if row is None:
                    assert outcome is None, f"{op} of nothing: {outcome!r}"
                    return None
                assert outcome is not None, f"{op} of {row}: None"
                assert same(read(outcome), row.value), f"{op} of {row}: {outcome!r}"
                return self._renew(op.key, row, op.ttl, start, end)
            case Touch():
                assert outcome is (row is not None), f"{op} of {row}: {outcome!r}"
                return None if row is None else self._renew(op.key, row, op.ttl, start, end)
            case Remove():
                self._expect(op, outcome, outcome is True, self._removable(op, row))
                if outcome is True:
                    self._rows.pop(op.key, None)
                    return None
                return row
            case Replace():
                self._expect(op, outcome, outcome is not None, self._matches(op.key, op.version, row))
                if outcome is None:
                    return row
                written = self._put(op.key, read(op.value), op.ttl, row, start, end)
                self._learn(op.key, outcome, written)
                return written
            case Increment():
                return self._increment(op, outcome, row, start, end)
        raise TypeError(f"the model does not know {type(op).__name__}")

    def _expect(self, op: Operation, outcome: Any, done: bool, wanted: bool | None) -> None:
        assert wanted is None or done is wanted, f"{op} of {self._rows.get(op.key)}: {outcome!r}"

    def _increment(
        self, op: Increment, outcome: Any, row: Row | None, start: float, end: float
    ) -> Row | None:
        if row is None:
            assert same(outcome, op.by), f"{op} of nothing: {outcome!r}"
            return self._put(op.key, op.by, op.ttl, None, start, end)
        bounds = range(-(2**63), 2**63)
        if type(row.value) is not int or row.value not in bounds:
            assert isinstance(outcome, InvalidConversion), f"{op} of {row}: {outcome!r}"
            return row
        if row.value + op.by not in bounds:
            assert isinstance(outcome, ValueError), f"{op} of {row}: {outcome!r}"
            return row
        assert same(outcome, row.value + op.by), f"{op} of {row}: {outcome!r}"
        return self._put(op.key, outcome, KEEP, row, start, end)

    def _removable(self, op: Remove, row: Row | None) -> bool | None:
        return row is not None if op.version is None else self._matches(op.key, op.version, row)

    def _matches(self, key: str, version: str, row: Row | None) -> bool | None:
        """Whether this version names the live value; None: it may or may not."""
        known = self.versions.get(key, {}).get(version)
        if row is None or known is None or not same(known.value, row.value):
            return False
        return True if self._from_content or known.write == row.write else None

    # --- rows ---

    def _put(
        self, key: str, value: Any, ttl: int | Keep | None, old: Row | None, start: float, end: float
    ) -> Row:
        self._writes += 1
        sure: float | None = None
        gone: float | None = None
        if isinstance(ttl, int):
            sure, gone = start + ttl, end + ttl
        elif ttl is KEEP and old is not None:
            sure, gone = old.sure_until, old.gone_from
        row = self._rows[key] = Row(value, self._writes, sure, gone)
        return row

    def _renew(self, key: str, row: Row, ttl: int | None, start: float, end: float) -> Row:
        sure, gone = (None, None) if ttl is None else (start + ttl, end + ttl)
        renewed = self._rows[key] = Row(row.value, row.write, sure, gone)
        return renewed

    def _live(self, key: str, start: float, end: float) -> Row | None:
        row = self._rows.get(key)
        if row is None or row.sure_until is None or row.gone_from is None:
            return row
        if end < row.sure_until - self._tolerance:
            return row
        if start >= row.gone_from + self._tolerance:
            del self._rows[key]
            return None
        raise Unclear(key)


class ModelCases(SuiteCore):
    """Histories that Hypothesis makes up; `HOLDFAST_SOAK=1` makes up many more and longer ones."""

    def test_any_history_agrees_with_a_dict_and_a_clock(self) -> None:
        from holdfast.testing.persist.machine import run_histories  # needs Hypothesis

        run_histories(self)
