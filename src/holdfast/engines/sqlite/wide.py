"""One statement for many rows.

Not about SQLite, which is as quick with one row at a time: every statement lets
go of Python's interpreter lock and must win it back from an event loop that may
keep it for 5 ms. So a batch is better off with one statement that is padded to
a width that was prepared before than with several that fit exactly.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

__all__ = ["WIDTHS", "Wide"]

WIDTHS: Final = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Rows in one statement. A quarter of them may be padding, which costs a few nanoseconds each."""


class Wide:
    """A statement around `(VALUES (?, ...), ...)`, prepared at a few widths.

    What a batch lacks to the next width is filled up with rows of NULL, so
    `tail` has to skip those whose `column1` is NULL.
    """

    def __init__(self, head: str, columns: int, tail: str) -> None:
        row = f"({', '.join('?' * columns)})"
        self._texts = [f"{head} (VALUES {', '.join([row] * width)}) {tail}" for width in WIDTHS]
        self._columns = columns

    def execute(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """For all of the rows: one statement for up to 512 of them."""
        for start in range(0, len(rows), WIDTHS[-1]):
            some = rows[start : start + WIDTHS[-1]]
            at = bisect_left(WIDTHS, len(some))
            padding = (None,) * ((WIDTHS[at] - len(some)) * self._columns)
            connection.execute(self._texts[at], (*chain.from_iterable(some), *padding))
