"""The work of `import`: lines to rows, rows to the store, a batch at a time, and where to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from holdfast.channels import Channels, Message
from holdfast.cli import lines
from holdfast.cli.output import Output
from holdfast.cli.progress import Bar
from holdfast.cli.source import TooLong, Unreadable
from holdfast.errors import ChannelError, DuplicateKey, PersistError
from holdfast.persist import Persist

if TYPE_CHECKING:
    from holdfast.webmention import Archived, Webmention

__all__ = ["Counts", "Existing", "Loading"]

Existing: TypeAlias = Literal["overwrite", "keep"]
BATCH: Final = 512  # rows written at a time: one transaction of SQLite, one statement of Postgres
Numbered: TypeAlias = "tuple[int, bytes | TooLong]"


class Counts(msgspec.Struct):
    """What became of the lines."""

    stored: int = 0
    kept: int = 0  # a live value was there, and `keep` was asked for; a message was there as it is
    expired: int = 0  # their time was over before they came
    left_out: int = 0  # messages and mentions for a store that cannot have any
    broken: int = 0

    def words(self) -> str:
        rest = [
            (self.kept, "kept as they were"),
            (self.expired, "expired"),
            (self.left_out, "left out"),
            (self.broken, "broken"),
        ]
        return ", ".join([f"{self.stored:,} stored", *(f"{n:,} {what}" for n, what in rest if n)])


OpenChannels: TypeAlias = Callable[[], Awaitable[Channels | None]]
"""Opens the store's rooms when the first message comes; None: it cannot have any."""
OpenWebmention: TypeAlias = Callable[[], Awaitable["Webmention | None"]]
"""The same, for mentions."""
Kept: TypeAlias = "lines.Row | lines.Said | Archived"


class _Waiting(msgspec.Struct, frozen=True):
    """A row on its way to the store, with its line's number."""

    number: int
    row: Kept
    expires: timedelta | None


_Answer: TypeAlias = "tuple[int, bool | BaseException]"
"""A line's number, and whether something was stored, or what went wrong."""


class Loading:
    """One import.

    INVARIANT: every line before `line` is done: stored, kept, expired or
    reported. Lines after it may be done too; doing them again changes nothing,
    so going on from `line` is always right.
    """

    def __init__(
        self,
        out: Output,
        *,
        existing: Existing,
        from_line: int,
        channels: OpenChannels | None = None,
        webmention: OpenWebmention | None = None,
        now: int | None = None,
    ) -> None:
        self._out = out
        self._open_channels = channels
        self._open_webmention = webmention
        self._create = existing == "keep"
        self._from = from_line
        self._now = now
        self._channels: Channels | None = None
        self._webmention: Webmention | None = None
        self._asked: set[str] = set()
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
            if not isinstance(row, lines.Row) or row.expires_at is None:
                found.append(_Waiting(number, row, None))
            elif row.expires_at > now:
                found.append(_Waiting(number, row, timedelta(milliseconds=row.expires_at - now)))
            else:
                self.counts.expired += 1
        return found

    def _row(self, number: int, line: bytes | TooLong) -> Kept | None:
        """The row of a line; None where it is something else, which has then been seen to."""
        try:
            if isinstance(line, TooLong):
                raise lines.Broken("longer than any value may be; --max-bytes raises that")
            found = lines.read(line)
        except lines.Broken as exc:
            self._report(number, str(exc))
            return None
        if found is None or isinstance(found, lines.Head | lines.End):
            if found is not None:
                self._ends = isinstance(found, lines.End)
            return None
        return found

    async def _store(self, persist: Persist, rows: list[_Waiting]) -> None:
        answers = [
            *await self._values(persist, rows),
            *await self._messages(rows),
            *await self._mentions(rows),
        ]
        failed: BaseException | None = None
        for number, answer in sorted(answers, key=itemgetter(0)):
            if answer is True:
                self.counts.stored += 1
            elif answer is False or isinstance(answer, DuplicateKey):
                self.counts.kept += 1
            elif isinstance(answer, PersistError | ChannelError | ValueError | TypeError | OverflowError):
                self._report(number, str(answer))
            elif failed is None:
                failed, self.line = answer, number
        if failed is not None:
            raise failed

    async def _values(self, persist: Persist, rows: list[_Waiting]) -> Iterable[_Answer]:
        waiting = [(each.number, each.row, each.expires) for each in rows if isinstance(each.row, lines.Row)]
        writes = (self._one(persist, row, expires) for _, row, expires in waiting)
        answers = await asyncio.gather(*writes, return_exceptions=True)
        return zip((number for number, *_ in waiting), answers, strict=True)

    async def _one(self, persist: Persist, row: lines.Row, expires: timedelta | None) -> bool:
        if self._create:
            await persist.create(row.key, row.value, expires=expires)
        else:
            await persist.set(row.key, row.value, expires=expires)
        return True

    async def _messages(self, rows: list[_Waiting]) -> list[_Answer]:
        """Those of one topic together, in their order."""
        topics: dict[str, list[tuple[int, Message]]] = {}
        for each in rows:
            if isinstance(each.row, lines.Said):
                topics.setdefault(each.row.topic, []).append((each.number, _message(each.row)))
        if not topics:
            return []
        channels: Channels | Exception | None
        try:
            channels = await self._rooms()
        except Exception as exc:  # noqa: BLE001 - every message is told, and the first in the file decides
            channels = exc
        work = (self._restored(channels, topic, said) for topic, said in topics.items())
        return [answer for answers in await asyncio.gather(*work) for answer in answers]

    async def _rooms(self) -> Channels | None:
        """Opened when the first message comes."""
        if "channels" not in self._asked and self._open_channels is not None:
            self._channels = await self._open_channels()
            self._asked.add("channels")
            if self._channels is None:
                why = "this store cannot have channels: messages are left out"
                self._out.note(f"import: {why}", error=why)
        return self._channels

    async def _mentions(self, rows: list[_Waiting]) -> Iterable[_Answer]:
        """Those about mentions; nothing where the store cannot have any."""
        waiting = [
            (each.number, each.row) for each in rows if not isinstance(each.row, lines.Row | lines.Said)
        ]
        if not waiting:
            return []
        found: Sequence[bool | Exception]
        try:
            mentions = await self._inbox()
            if mentions is None:
                self.counts.left_out += len(waiting)
                return []
            found = await mentions.restore([row for _, row in waiting], replace=not self._create)
        except Exception as exc:  # noqa: BLE001 - as for messages: the first in the file decides
            found = [exc] * len(waiting)
        return zip((number for number, _ in waiting), found, strict=True)

    async def _inbox(self) -> Webmention | None:
        """Opened when the first mention comes."""
        if "webmention" not in self._asked and self._open_webmention is not None:
            self._webmention = await self._open_webmention()
            self._asked.add("webmention")
            if self._webmention is None:
                why = "this store cannot have mentions, or holdfast[webmention] is not installed: they are left out"
                self._out.note(f"import: {why}", error=why)
        return self._webmention

    async def _restored(
        self, channels: Channels | Exception | None, topic: str, said: list[tuple[int, Message]]
    ) -> Iterable[_Answer]:
        """For each what became of it; nothing where the store cannot have any."""
        if channels is None:
            self.counts.left_out += len(said)
            return []
        found: Sequence[bool | Exception]
        try:
            if isinstance(channels, Exception):
                raise channels
            messages = [message for _, message in said]
            found = await channels.restore(topic, messages, replace=not self._create)
        except Exception as exc:  # noqa: BLE001 - as above
            found = [exc] * len(said)
        return zip((number for number, _ in said), found, strict=True)

    def _report(self, number: int, why: str) -> None:
        self.counts.broken += 1
        self._out.note(f"import: line {number}: {why}", line=number, error=why)


def _message(said: lines.Said) -> Message:
    """Known by its publisher's id, or else by where it stood."""
    known = said.id or said.position or ""
    return Message(known, said.position or "", said.event, said.payload, said.at / 1000, said.edited)
