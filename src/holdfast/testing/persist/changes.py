"""How the cases of watching ask: two that watch and write, and patience with what is announced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from unittest import SkipTest

from holdfast.errors import HoldfastError, StoreMisconfigured
from holdfast.persist.api import Change, Persist, Watch
from holdfast.testing.persist.subject import Subject, SuiteCore

__all__ = [
    "Ear",
    "WatchedCore",
    "entry",
    "following",
    "gathered",
    "in_time",
    "misconfigured",
    "refused",
    "seen",
]

PATIENCE_SECONDS = 15.0
"""How long an announcement may take: machines are slow at times."""


class WatchedCore(SuiteCore):
    """What the cases of watching stand on."""

    @asynccontextmanager
    async def watching(self, s: Subject) -> AsyncIterator[tuple[Persist, Persist]]:
        """One that watches and another that writes; the same where drivers of this kind share nothing."""
        if not s.driver.traits.notifies:
            raise SkipTest("this driver announces nothing")
        async with self.persist(s, watch=True) as one:
            if s.driver.traits.shared == "process":
                yield one, one
            else:
                async with self.persist(s, watch=True) as other:
                    yield one, other


class Ear:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bool]] = []
        self._rung = asyncio.Event()

    def changed(self, key: str, removed: bool) -> None:
        self.heard.append((key, removed))
        self._rung.set()

    def lost(self) -> None:
        raise AssertionError("announcements were lost")

    async def until(self, key: str) -> None:
        """Return when a change of this key was heard."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(each == key for each, _ in self.heard):
                self._rung.clear()
                await self._rung.wait()


async def entry(persist: Persist, key: str) -> Any:
    found = await persist.entry(key)
    assert found is not None
    return found


async def refused(kind: type[Exception], work: Awaitable[Any]) -> None:
    try:
        got = await work
    except kind:
        return
    except HoldfastError as exc:
        raise AssertionError(f"{exc!r} instead of {kind.__name__}") from exc
    raise AssertionError(f"{got!r} instead of {kind.__name__}")


def misconfigured(persist: Persist) -> str:
    """What is said to who watches where nothing is announced."""
    try:
        persist.watch()
    except StoreMisconfigured as exc:
        return str(exc)
    raise AssertionError("one that does not announce let somebody watch")


async def following(changes: Watch) -> Change:
    """The next change."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await anext(changes)
    except TimeoutError:
        raise AssertionError(f"nothing is heard within {PATIENCE_SECONDS:g} s") from None


async def seen(
    writer: Persist, changes: Watch, mark: str = "u:!", *, unordered: bool = False
) -> list[Change]:
    """What was heard before a change that is made now."""
    await writer.set(mark, "mark")
    found: list[Change] = []
    while (change := await following(changes)).key != mark:
        assert change.kind != "lost", "changes were lost"
        found.append(change)
    return sorted(found, key=lambda each: each.key or "") if unordered else found


async def gathered(changes: Watch) -> list[Change]:
    return [each async for each in changes]


async def in_time(work: Awaitable[Any]) -> Any:
    """What it answers, if it does so in time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await work
