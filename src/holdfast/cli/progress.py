"""The progress bar of long work: on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from holdfast.cli.output import Output, blocking

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar"]

EVERY = 0.1  # seconds between two updates


class Bar:
    """Rows done and, where the end is known, how far; notes of the command are printed above it."""

    def __init__(self, out: Output, doing: str, *, total: int | None, unit: str = "rows") -> None:
        self._out = out
        self._doing = doing
        self._total = total
        self._unit = unit
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._next = 0.0

    def __enter__(self) -> Self:
        if self._out.json or not sys.stderr.isatty():
            return self
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True, highlight=False)
        ends = [BarColumn(), TaskProgressColumn()] if self._total else []
        words = TextColumn("{task.description} {task.fields[rows]:,} " + self._unit)
        self._progress = Progress(words, *ends, TimeElapsedColumn(), console=console, transient=True)
        self._task = self._progress.add_task(self._doing, total=self._total, rows=0)
        self._progress.start()

        def above(text: str) -> None:
            with blocking():
                console.print(text, markup=False, soft_wrap=True)

        self._plain, self._out.write_note = self._out.write_note, above
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._out.write_note = self._plain
            self._progress.stop()

    def at(self, rows: int, done: int | None = None) -> None:
        """So many rows; `done` of the total."""
        if self._progress is None or self._task is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        self._progress.update(self._task, completed=done, rows=rows)
