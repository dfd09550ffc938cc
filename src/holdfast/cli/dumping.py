"""The work of `export`: keys page by page, values by as many as fit, each a line; then topics, then mentions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from holdfast.channels import Channels, Message
from holdfast.cli import lines
from holdfast.cli.output import Output
from holdfast.cli.progress import Bar
from holdfast.cli.sink import Sink
from holdfast.errors import InvalidConversion
from holdfast.persist import Entry, Persist

if TYPE_CHECKING:
    from holdfast.webmention import Webmention

__all__ = ["Dumping"]

PAGE: Final = 500
MESSAGES: Final = 200
AIM_BYTES: Final = 4 << 20
"""How much of values one read should bring; the number of keys follows from the sizes seen so far."""


class Dumping:
    """One export of what there is of the three.

    `rows` were written, `messages` of them of topics, `mentions` documents about mentions; `broken` left
    out because they are not JSON.
    """

    def __init__(
        self,
        persist: Persist | None,
        channels: Channels | None,
        out: Output,
        webmention: Webmention | None = None,
    ) -> None:
        self._persist = persist
        self._channels = channels
        self._webmention = webmention
        self._out = out
        self._at_once = 16
        self.rows = 0
        self.messages = 0
        self.mentions = 0
        self.broken = 0

    async def write(self, namespace: str, prefix: str, sink: Sink, bar: Bar) -> None:
        sink.write(lines.head(namespace, _now()))
        if self._persist is not None:
            await self._values(self._persist, prefix, sink, bar)
        if self._channels is not None:
            async for topic in self._channels.topics(prefix):
                await self._topic(self._channels, topic.topic, sink, bar)
        if self._webmention is not None:
            async for page in self._webmention.archived():
                sink.write(b"".join(map(lines.mention, page)))
                self.rows += len(page)
                self.mentions += len(page)
                bar.at(self.rows)
        sink.write(lines.end(self.rows))

    async def _values(self, persist: Persist, prefix: str, sink: Sink, bar: Bar) -> None:
        async for keys in self._keys(persist, prefix):
            text = await self._text(persist, keys)
            if text:
                sink.write(text)
            bar.at(self.rows)

    async def _topic(self, channels: Channels, topic: str, sink: Sink, bar: Bar) -> None:
        """Its messages, oldest first, as far as they reach now: a busy topic would have no end."""
        latest = await channels.history(topic, limit=1)
        after: str | None = None
        while latest:
            page = await channels.read(topic, after=after, limit=MESSAGES)
            for at, each in enumerate(page):
                if each.position == latest[0].position:
                    page, latest = page[: at + 1], []
                    break
            sink.write(b"".join(lines.message(_said(topic, each)) for each in page))
            self.rows += len(page)
            self.messages += len(page)
            bar.at(self.rows)
            if len(page) < MESSAGES:
                return
            after = page[-1].position

    async def _keys(self, persist: Persist, prefix: str) -> AsyncIterator[list[str]]:
        """The keys, in parts of the size that the values so far allow."""
        cursor: str | None = None
        while True:
            page, cursor = await persist.page(prefix, cursor=cursor, limit=PAGE)
            while page:
                part, page = page[: self._at_once], page[self._at_once :]
                yield part
            if cursor is None:
                return

    async def _text(self, persist: Persist, keys: list[str]) -> bytes:
        found = await self._entries(persist, keys)
        now, parts = _now(), []
        for key, entry in found.items():
            ends = None if entry.ttl is None else now + round(entry.ttl * 1000)
            try:
                parts.append(lines.row(key, bytes(entry.value), ends))
            except lines.Broken as exc:
                self._left_out(key, str(exc))
        self.rows += len(parts)
        text = b"".join(parts)
        if parts:
            self._at_once = max(1, min(PAGE, AIM_BYTES * len(parts) // len(text), self._at_once * 4))
        return text

    async def _entries(self, persist: Persist, keys: list[str]) -> dict[str, Entry[Raw]]:
        """All at once; where one of them is not JSON, one by one, so that the others are not lost with it."""
        try:
            return await persist.entries(keys, Raw)
        except InvalidConversion:
            found: dict[str, Entry[Raw]] = {}
            for key in keys:
                try:
                    found |= await persist.entries([key], Raw)
                except InvalidConversion:
                    self._left_out(key, f"{key!r}: what is stored is not JSON")
            return found

    def _left_out(self, key: str, why: str) -> None:
        self.broken += 1
        self._out.note(f"export {why}", key=key, error=why)


def _said(topic: str, message: Message) -> lines.Said:
    given = None if message.id == message.position else message.id
    at = round(message.at * 1000)
    return lines.Said(topic, message.event, message.payload, at, given, message.position, message.edited)


def _now() -> int:
    return time.time_ns() // 1_000_000
