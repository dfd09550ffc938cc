"""Everything that a store keeps of mentions, taken out and put back; and mentions that another service kept.

What is taken out is every document as it stands, of whatever driver, without
its namespace: its kind is one letter (see `SHAPES`).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from holdfast.webmention.driver import Driver, Put
from holdfast.webmention.inbox import Held, tags_of
from holdfast.webmention.lifecycle import DAY
from holdfast.webmention.mentions import LogEntry, OutgoingMention, ReceivedMention, Rule
from holdfast.webmention.urls import digest

__all__ = ["SHAPES", "Archive", "Archived"]

PAGE: Final = 50
"""Documents in one step: a photo may be some hundred KiB."""

SHAPES: Final[dict[str, Any]] = {"o": OutgoingMention, "i": Held, "r": Rule, "p": dict[str, Any]}
"""What goes out, what came in, rules, photos."""

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,200}\Z")]


class Archived(msgspec.Struct, frozen=True):
    """One document; the fields are those of an export's line."""

    mention: Literal["o", "i", "r", "p"]
    id: Name
    data: msgspec.Raw
    tags: Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)] = ()
    due: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)] | None = None  # milliseconds since 1970


class Archive:
    """Over an open driver. `now`: seconds since 1970."""

    def __init__(
        self,
        driver: Driver,
        namespace: str,
        *,
        now: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._driver, self._namespace, self._now, self._jitter = driver, namespace, now, jitter

    async def pages(self) -> AsyncIterator[list[Archived]]:
        """All of it, oldest first within each kind; what changes meanwhile may be seen or not."""
        for letter in SHAPES:
            after: int | None = None
            while True:
                page = await self._driver.page(self._kind(letter), after=after, limit=PAGE)
                if page:
                    yield [
                        Archived(letter, each.id, msgspec.Raw(each.data), each.tags, each.due)  # type: ignore[arg-type]
                        for each in page
                    ]
                if len(page) < PAGE:
                    break
                after = page[-1].number

    async def restore(self, rows: Sequence[Archived], *, replace: bool = True) -> list[bool | ValueError]:
        """For each whether it was stored: without `replace` what is there stays. `ValueError`: it is none.

        Twice is once. What was due is due at its time, or at once if that is over.
        """
        answers: list[bool | ValueError] = [True] * len(rows)
        puts: dict[tuple[str, str], tuple[int, Put]] = {}
        for at, row in enumerate(rows):
            try:
                msgspec.json.decode(row.data, type=SHAPES[row.mention])
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                answers[at] = ValueError(f"mention {row.id}: {exc}")
                continue
            puts[row.mention, row.id] = (at, self._put(row, replace))
        waiting = list(puts.values())
        for start in range(0, len(waiting), PAGE):
            part = waiting[start : start + PAGE]
            for (at, _), stored in zip(part, await self._write([put for _, put in part]), strict=True):
                answers[at] = stored
        return answers

    async def adopt(self, mentions: Iterable[ReceivedMention]) -> int:
        """Keep those that another service verified, where there is none of the same source and target; how many.

        They are looked at again within the next days, not all at once.
        """
        kept = sorted(mentions, key=lambda each: each.received_at)
        puts = {digest(each.source_url, each.target_url): self._adopted(each) for each in kept}
        waiting, stored = list(puts.values()), 0
        for start in range(0, len(waiting), PAGE):
            stored += sum(await self._write(waiting[start : start + PAGE]))
        return stored

    async def _write(self, puts: Sequence[Put]) -> list[bool]:
        """Which were written: in one step, or one by one where one of them expects what is not so."""
        if await self._driver.write(puts):
            return [True] * len(puts)
        return [await self._driver.write([put]) for put in puts]

    def _put(self, row: Archived, replace: bool) -> Put:
        wait = None if row.due is None else max(0, row.due - round(self._now() * 1000))
        expect = None if replace else ""
        return Put(self._kind(row.mention), row.id, bytes(row.data), row.tags, wait, expect)

    def _adopted(self, mention: ReceivedMention) -> Put:
        id = digest(mention.source_url, mention.target_url)
        wait = (1 + 7 * self._jitter()) * DAY
        log = (*mention.log, LogEntry(self._now(), f"imported as {mention.state}"))
        held = Held(
            mention=msgspec.structs.replace(mention, id=id, log=log),
            trusted=mention.state == "accepted",
            next_at=self._now() + wait,
        )
        return Put(self._kind("i"), id, msgspec.json.encode(held), tags_of(held), round(wait * 1000), "")

    def _kind(self, letter: str) -> str:
        return f"{self._namespace}:m:{letter}"
