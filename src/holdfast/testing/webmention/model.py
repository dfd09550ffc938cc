"""`MentionsModel`: what a store has to answer, as a dict and a clock."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.testing.webmention.running import SuiteCore
from holdfast.webmention.driver import Change, Document, Drop

__all__ = ["MentionsModel", "ModelCases", "Row"]


class Row(msgspec.Struct, frozen=True):
    """A document as it has to be; `due` is on the model's own clock."""

    data: bytes
    tags: frozenset[str]
    due: int | None
    number: int
    version: str


class MentionsModel:
    """Told every call and its answer, it raises `AssertionError` where no right store could answer so.

    Its clock begins at 0 and moves by `now` alone. So where the store's own
    cannot be moved, waits and leases have to be 0, or longer than the test.
    """

    def __init__(self) -> None:
        self.now = 0
        self.rows: dict[tuple[str, str], Row] = {}
        self._highest = 0
        self._versions: dict[tuple[str, str], set[str]] = {}

    # --- writes ---

    def writes(self, changes: Sequence[Change]) -> bool:
        """Whether a write of these has to succeed now."""
        return all(self._holds(change) for change in changes)

    def _holds(self, change: Change) -> bool:
        row = self.rows.get((change.kind, change.id))
        return change.expect is None or change.expect == (row.version if row else "")

    def wrote(self, changes: Sequence[Change], after: Sequence[Document | None]) -> None:
        """A write succeeded; `after` are its documents as they were found then, by position."""
        for change, document in zip(changes, after, strict=True):
            at = change.kind, change.id
            if isinstance(change, Drop):
                assert document is None, f"{change}: it is there still"
                self.rows.pop(at, None)
                continue
            assert document is not None, f"{change}: it is not there"
            old = self.rows.get(at)
            if old is None:
                assert document.number > self._highest, (
                    f"{document}: the number {self._highest} was given before"
                )
                self._highest = document.number
            number = document.number if old is None else old.number
            due = None if change.wait is None else self.now + change.wait
            self.rows[at] = Row(
                change.data, frozenset(change.tags), due, number, self._new(at, document.version)
            )
            self.found(change.kind, change.id, document)

    def _new(self, at: tuple[str, str], version: str) -> str:
        seen = self._versions.setdefault(at, set())
        assert version not in seen, f"{at}: had the version {version} before"
        seen.add(version)
        return version

    # --- reads ---

    def found(self, kind: str, id: str, document: Document | None) -> None:
        """A look at one document told this."""
        row = self.rows.get((kind, id))
        if row is None or document is None:
            assert (row is None) is (document is None), f"{kind} {id}: found {document}, there is {row}"
            return
        assert (document.kind, document.id) == (kind, id), document
        told = (document.number, document.version, document.data, frozenset(document.tags))
        assert told == (row.number, row.version, row.data, row.tags), f"found {document}, there is {row}"
        assert (document.due is None) is (row.due is None), f"found {document}, there is {row}"

    def page(self, kind: str, tag: str, after: int | None, limit: int, newest: bool) -> list[str]:
        """The ids that a page has to have."""
        rows = [
            (row.number, id)
            for (of, id), row in self.rows.items()
            if of == kind and (not tag or tag in row.tags)
        ]
        rows.sort(reverse=newest)
        if after is not None:
            rows = [each for each in rows if (each[0] < after if newest else each[0] > after)]
        return [id for _, id in rows[:limit]]

    def count(self, kind: str, tag: str) -> int:
        return len(self.page(kind, tag, None, len(self.rows), False))

    # --- what is due ---

    def claimed(self, kind: str, tag: str, limit: int, lease: int, answer: Sequence[Document]) -> None:
        """A claim was answered so."""
        ready = sorted(
            row.due
            for (of, _), row in self.rows.items()
            if of == kind and row.due is not None and row.due <= self.now and (not tag or tag in row.tags)
        )
        got = []
        for document in answer:
            at = kind, document.id
            assert at in self.rows, f"claimed {document}, which is not there"
            row = self.rows[at]
            assert row.due is not None, f"claimed {document}, which is never due"
            assert not tag or tag in row.tags, f"claimed {document}, which has not the tag {tag!r}"
            got.append(row.due)
            self.rows[at] = msgspec.structs.replace(
                row, due=self.now + lease, version=self._new(at, document.version)
            )
            self.found(kind, document.id, document)
        assert got == ready[:limit], f"claimed what is due at {got}, of {ready} and at most {limit}"

    def next_due(self, kind: str) -> int | None:
        """How many milliseconds a store has to tell."""
        due = [row.due for (of, _), row in self.rows.items() if of == kind and row.due is not None]
        return max(0, min(due) - self.now) if due else None


class ModelCases(SuiteCore):
    """Histories that Hypothesis makes up; `HOLDFAST_SOAK=1` makes up many more and longer ones."""

    def test_any_history_agrees_with_a_dict_and_a_clock(self) -> None:
        from holdfast.testing.webmention.machine import run_histories  # needs Hypothesis

        run_histories(self)
