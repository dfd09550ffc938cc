"""The work of `import`: lines to rows, rows to the store, a batch at a time, and where to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from holdfast.cli import lines
from holdfast.cli.output import Output
from holdfast.cli.progress import Bar
from holdfast.cli.source import TooLong, Unreadable
from holdfast.errors import DuplicateKey, PersistError
from holdfast.persist import Persist

__all__ = ["Counts", "Existing", "Loading"]

Existing: TypeAlias = Literal["overwrite", "keep"]
BATCH: Final = 512  # rows written at a time: one transaction of SQLite, one statement of Postgres
Numbered: TypeAlias = "tuple[int, bytes | TooLong]"


class Counts(msgspec.Struct):
    """What became of the lines."""

    stored: int = 0
    kept: int = 0  # a live value was there, and `keep` was asked for
    expired: int = 0  # their time was over before they came
    broken: int = 0

    def words(self) -> str:
        rest = [(self.kept, "kept as they were"), (self.expired, "expired"), (self.broken, "broken")]
        return ", ".join([f"{self.stored:,} stored", *(f"{n:,} {what}" for n, what in rest if n)])


class _Waiting(msgspec.Struct, frozen=True):
    """A row on its way to the store, with its line's number."""

    number: int
    row: lines.Row
    expires: timedelta | None


class Loading:
    """One import.

    INVARIANT: every line before `line` is done: stored, kept, expired or
    reported. Lines after it may be done too; doing them again changes nothing,
    so going on from `line` is always right.
    """

    def __init__(self, out: Output, *, existing: Existing, from_line: int, now: int | None = None) -> None:
        self._out = out
        self._create = existing == "keep"
        self._from = from_line
        self._now = now
        self._ends = True  # False: a first line was seen and no last one yet
        self.counts = Counts()
        self.line = from_line
        self.cut_short = False

    async def read(
        self, persist: Persist, parts: AsyncIterator[list[Numbered]], bar: Bar, done: list[int]
    ) -> None:
        """Store everything that comes; `done[0]` is how many bytes have been read."""
        try:
            async for part in parts:
                for start in range(0, len(part), BATCH):
                    batch = part[start : start + BATCH]
                    await self._store(persist, self._rows(batch))
                    self.line = max(self.line, batch[-1][0] + 1)
                    bar.at(self.counts.stored, done[0])
        except Unreadable as exc:
            self._out.note(f"import: after line {self.line - 1}: {exc}", line=self.line, error=str(exc))
            self.cut_short = True
            return
        if not self._ends:
            why = "the last line of the export is missing: it was cut short"
            self._out.note(f"import: {why}", line=self.line, error=why)
            self.cut_short = True

    def _rows(self, batch: list[Numbered]) -> list[_Waiting]:
        now = time.time_ns() // 1_000_000 if self._now is None else self._now
        found = []
        for number, line in batch:
            if number < self._from:
                if isinstance(line, bytes) and line.startswith(lines.FRAME):
                    self._row(number, line)  # the format, and that the end was there, hold for every part
                continue
            row = self._row(number, line)
            if row is None:
                continue
            if row.expires_at is None:
                found.append(_Waiting(number, row, None))
            elif row.expires_at > now:
                found.append(_Waiting(number, row, timedelta(milliseconds=row.expires_at - now)))
            else:
                self.counts.expired += 1
        return found

    def _row(self, number: int, line: bytes | TooLong) -> lines.Row | None:
        """The row of a line; None where it is something else, which has then been seen to."""
        try:
            if isinstance(line, TooLong):
                raise lines.Broken("longer than any value may be; --max-bytes raises that")
            found = lines.read(line)
        except lines.Broken as exc:
            self._report(number, str(exc))
            return None
        if isinstance(found, lines.Row):
            return found
        if found is not None:
            self._ends = isinstance(found, lines.End)
        return None

    async def _store(self, persist: Persist, rows: list[_Waiting]) -> None:
        answers = await asyncio.gather(*(self._one(persist, each) for each in rows), return_exceptions=True)
        failed: BaseException | None = None
        for each, answer in zip(rows, answers, strict=True):
            if answer is None:
                self.counts.stored += 1
            elif isinstance(answer, DuplicateKey):
                self.counts.kept += 1
            elif isinstance(answer, PersistError | ValueError | TypeError | OverflowError):
                self._report(each.number, str(answer))
            elif failed is None:
                failed, self.line = answer, each.number
        if failed is not None:
            raise failed

    async def _one(self, persist: Persist, each: _Waiting) -> None:
        if self._create:
            await persist.create(each.row.key, each.row.value, expires=each.expires)
        else:
            await persist.set(each.row.key, each.row.value, expires=each.expires)

    def _report(self, number: int, why: str) -> None:
        self.counts.broken += 1
        self._out.note(f"import: line {number}: {why}", line=number, error=why)
