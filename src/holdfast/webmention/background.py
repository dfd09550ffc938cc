"""Work that goes on by itself: looked for when it is due, when woken, and every few seconds besides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from holdfast import events
from holdfast.errors import StoreError

__all__ = ["NAP", "keep_working"]

NAP: Final = 5.0
"""Seconds after which another process may have added something that nobody here knows of."""
LEAST: Final = 0.02
LONGEST: Final = 30.0  # seconds between tries while the store fails


async def keep_working(
    where: str,
    work: Callable[[], Awaitable[Any]],
    next_due: Callable[[], Awaitable[float | None]],
    wake: asyncio.Event,
    *,
    nap: float = NAP,
) -> None:
    """Until it is cancelled. What fails is told as an event, and tried again after a while that grows."""
    failures = 0
    while True:
        wake.clear()
        try:
            due = await next_due()
            if due == 0:
                await work()
                due = await next_due()
            failures = 0
        except Exception as exc:  # noqa: BLE001 - a storage of one's own may raise anything; nothing is lost
            failures += 1
            due = min(2.0 ** min(failures, 10) / 2, LONGEST)  # a night without the store: 2**1024 is no float
            _tell(where, exc)
        if failures:
            await asyncio.sleep(due or LEAST)  # woken or not
        else:
            await _sleep_until(wake, nap if due is None else min(max(due, LEAST), nap))


async def _sleep_until(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass


def _tell(where: str, exc: Exception) -> None:
    if events.listeners:
        events.publish(events.WorkFailed(where, type(exc).__name__))
    if not isinstance(exc, StoreError):
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"webmention: the {where} failed", "exception": exc}
        )
