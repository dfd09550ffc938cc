"""What is sent, read from the table of notes: where nothing says that there are any."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container
from typing import Final

from holdfast.channels.drivers.postgres import queries as read
from holdfast.channels.drivers.postgres.line import Fetch
from holdfast.errors import StoreError

__all__ = ["PAGE", "Notes"]

PAGE: Final = 64
"""Notes in one answer: they may be large."""
_ASKED: Final = 512
_SETTLED: Final = 10.0
"""Seconds after which a note that was numbered before another has become visible, or never will."""
_SEEN: Final = 4_096


class Notes:
    """The notes that became visible since the last look.

    Numbers are drawn before a note is committed, so one may become visible
    after a higher one: what was read stays in the question until it is so old
    that nothing below it can be under way any more.
    """

    def __init__(self, fetch: Fetch, number: int) -> None:
        self._fetch = fetch
        self._settled = number
        self._seen: deque[tuple[float, int]] = deque()  # when, and which, above `_settled`

    async def new(self, wanted: Container[str]) -> list[tuple[str, bytes]]:
        """Topic and data of each that is wanted; less where the store cannot be reached."""
        found: list[tuple[str, bytes]] = []
        try:
            while numbers := await self._page(wanted):
                for at in range(0, len(numbers), PAGE):
                    some = numbers[at : at + PAGE]
                    data = {row[0]: (row[1], row[2]) for row in await self._fetch(read.NOTES, some)}
                    found += [data[number] for number in some if number in data]
        except StoreError:
            pass  # what is sent reaches those who can be reached
        return found

    async def _page(self, wanted: Container[str]) -> list[int]:
        """The numbers of some that are wanted; none where none is left."""
        now = asyncio.get_running_loop().time()
        while True:
            while self._seen and (now - self._seen[0][0] > _SETTLED or len(self._seen) > _SEEN):
                self._settled = max(self._settled, self._seen.popleft()[1])
            seen = [number for _, number in self._seen]
            rows = await self._fetch(read.NEW_NOTES, self._settled, seen, _ASKED)
            self._seen.extend((now, row[0]) for row in rows)
            numbers = [row[0] for row in rows if row[1] in wanted]
            if numbers or not rows:
                return numbers
