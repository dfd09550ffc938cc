"""Notes between processes in a database that cannot wake anybody: written by one, found by the others when they look.

**None is skipped.** A note's number is drawn before its transaction commits, so
that of two writers the later number may be seen first. A reader therefore
remembers every number that it should have seen below the highest and has not,
and asks for exactly these again beside the new ones, until they turn up or
`LATE_SECONDS` have passed: three times as long as a transaction may take. The
alternatives cost more: a lock that makes writers commit in the order of their
numbers lets one process write at a time, for `persist.watch` too; reading a
window of time again and again reads all that a busy minute brought.

A number whose transaction was rolled back never turns up, which costs a few
bytes in a query for half a minute. Of a jump of more than `MOST_MISSING`
numbers (a server that gives each connection a block) the highest are looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import Integer, Select, bindparam, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.engines.sqlalchemy.clock import now_ms
from holdfast.engines.sqlalchemy.tables import as_text, notes, takes_text

__all__ = ["Note", "NoteReader", "padded", "post", "sweep"]

LATE_SECONDS: Final = 30.0
MOST_MISSING: Final = 1024
FIRST_MISSING: Final = 16
"""Below the first number of a table that was empty: all else was swept, not late."""
RECENT: Final = 256
"""Numbers among which, at the start, others may still be under way."""
PAGE: Final = 1000
DATA_PAGE: Final = 16
"""Notes whose data is held at once; one may be a mebibyte."""


class Note(msgspec.Struct, frozen=True, gc=False):
    """What one process tells the others."""

    channel: str
    data: bytes


def padded(choices: Sequence[Any]) -> list[Any]:
    """For an IN: the last one repeated up to a power of two. Few texts of a statement, all prepared."""
    return list(choices) + list(choices[-1:]) * ((1 << (len(choices) - 1).bit_length()) - len(choices))


async def post(connection: AsyncConnection, posted: Sequence[Note], now: int) -> None:
    """Write the notes, which `now` makes so many milliseconds old as they are."""
    text = takes_text(connection.dialect.name)
    rows = [
        {"channel": note.channel if text else note.channel.encode(), "data": note.data, "at": now}
        for note in posted
    ]
    await connection.execute(insert(notes), rows)


async def sweep(connection: AsyncConnection, life_ms: int) -> int:
    """Delete up to a thousand that are older; how many."""
    until = await now_ms(connection) - life_ms
    rows = await connection.execute(_OLDEST)
    gone = [row[0] for row in rows if row[1] < until]  # numbers and times rise together, all but
    if not gone:
        return 0
    return int((await connection.execute(_DELETE, {"numbers": padded(gone)})).rowcount)


_OLDEST: Final = select(notes.c.number, notes.c.at).order_by(notes.c.number).limit(PAGE)
_DELETE: Final = delete(notes).where(notes.c.number.in_(bindparam("numbers", expanding=True)))
_RECENT: Final = select(notes.c.number).order_by(notes.c.number.desc()).limit(RECENT)
_HIGHEST: Final = select(func.max(notes.c.number))
_DATA: Final = (
    select(notes.c.channel, notes.c.data)
    .where(notes.c.number.in_(bindparam("numbers", expanding=True)))
    .order_by(notes.c.number)
)


@cache
def _news(missing: bool) -> Select[Any]:
    """Numbers above `high`, and those that were missing; without their data, which most readers do not want."""
    new: Any = notes.c.number > bindparam("high")
    if missing:
        new = or_(new, notes.c.number.in_(bindparam("missing", expanding=True)))
    return (
        select(notes.c.number, notes.c.channel)
        .where(new)
        .order_by(notes.c.number)
        .limit(bindparam("rows", type_=Integer()))
    )


class NoteReader:
    """What one process has read of the notes.

    Args:
        life_ms: how old a note is when somebody may sweep it away.
        clock: seconds that only grow.
    """

    def __init__(self, life_ms: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._life_ms = life_ms
        self._clock = clock
        self._high = 0
        self._missing: dict[int, float] = {}  # numbers, and until when each is looked for
        self._found: list[Note] = []  # read and ticked off, but not yet answered
        self._read = clock()

    async def start(self, connection: AsyncConnection) -> None:
        """Take what is there now for read; not what was numbered before and is not yet to be seen."""
        recent = [row[0] for row in await connection.execute(_RECENT)]
        self._read = self._clock()
        self._missing.clear()
        self._high = recent[0] if recent else 0
        if recent:
            lowest = max(1, recent[-1] - FIRST_MISSING, self._high - MOST_MISSING)
            absent = sorted(set(range(lowest, self._high)).difference(recent))
            self._missing = dict.fromkeys(absent, self._read + LATE_SECONDS)

    def overslept(self) -> bool:
        """Whether notes may have been swept since the last look."""
        return (
            self._clock() - self._read
        ) * 1000 > self._life_ms / 2  # the other half is for clocks that differ

    async def resume(self, connection: AsyncConnection) -> None:
        """After a loss: go on from where it was, unless the database itself went back behind that."""
        highest = (await connection.execute(_HIGHEST)).scalar() or 0
        if highest < self._high:  # swept, or restored from a backup; either way nothing above is known
            self._high = highest
            self._missing.clear()

    async def read(self, connection: AsyncConnection, channels: Collection[str]) -> list[Note]:
        """The notes of these channels since the last look, in order but for those that were late."""
        looked = self._clock()
        while True:
            rows = await self._new(connection)
            page: list[Note] = []
            wanted = [row[0] for row in rows if as_text(row[1]) in channels]
            for at in range(0, len(wanted), DATA_PAGE):
                chosen = {"numbers": padded(wanted[at : at + DATA_PAGE])}
                answer = await connection.execute(_DATA, chosen)
                page += (Note(as_text(channel), bytes(data)) for channel, data in answer)
            self._tick_off([row[0] for row in rows], looked)
            self._found += page  # kept where the next page fails: these are not read again
            if len(rows) < PAGE:
                break
        self._read = looked
        found, self._found = self._found, []
        return found

    async def _new(self, connection: AsyncConnection) -> Sequence[Any]:
        sought: dict[str, Any] = {"high": self._high, "rows": PAGE}
        if self._missing:
            sought["missing"] = padded(list(self._missing))
        rows: Sequence[Any] = (await connection.execute(_news(bool(self._missing)), sought)).all()
        return rows

    def _tick_off(self, numbers: Sequence[int], now: float) -> None:
        for number in numbers:
            if number <= self._high:
                self._missing.pop(number, None)
                continue
            most = MOST_MISSING if self._high else FIRST_MISSING
            for absent in range(max(self._high + 1, number - most), number):
                self._missing[absent] = now + LATE_SECONDS
            self._high = number
        for absent in [number for number, until in self._missing.items() if until <= now]:
            del self._missing[absent]
        while len(self._missing) > MOST_MISSING:
            del self._missing[next(iter(self._missing))]
