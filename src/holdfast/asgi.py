"""ASGI's lifespan around an app that may or may not know it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

__all__ = ["serve_lifespan"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


async def serve_lifespan(
    resource: AbstractAsyncContextManager[Any],
    app: Callable[[Message, Receive, Send], Awaitable[None]],
    scope: Message,
    receive: Receive,
    send: Send,
) -> None:
    """Open `resource` before the app's startup, close it after the app's shutdown.

    An app without lifespan support (it raises, or returns, before it answers
    the startup) is served as if it had answered, as the ASGI specification asks
    of servers. A failed opening is told to the server as `startup.failed`.
    """
    await receive()  # lifespan.startup
    try:
        await resource.__aenter__()
    except Exception as exc:  # noqa: BLE001 - the server is told and ends the process
        await send({"type": "lifespan.startup.failed", "message": f"{type(exc).__name__}: {exc}"})
        return
    inner = _Inner(app, scope)
    try:
        failed = await inner.ask("lifespan.startup")
        if failed is not None:
            await send({"type": "lifespan.startup.failed", "message": failed})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        failed = await inner.ask("lifespan.shutdown")
    finally:
        await inner.end()
        await resource.__aexit__(None, None, None)
    if failed is not None:
        await send({"type": "lifespan.shutdown.failed", "message": failed})
    else:
        await send({"type": "lifespan.shutdown.complete"})


class _Inner:
    """The app's own lifespan, driven one event at a time."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], scope: Message) -> None:
        self._events: asyncio.Queue[Message] = asyncio.Queue(2)  # startup and shutdown are all there is
        self._answers: asyncio.Queue[Message] = asyncio.Queue(2)
        self._task = asyncio.ensure_future(app(scope, self._events.get, self._answers.put))
        self._knows = True
        self._has_answered = False

    async def ask(self, event: str) -> str | None:
        """The app's complaint, or None: it agreed, or knows nothing of lifespan."""
        if not self._knows:
            return None
        self._events.put_nowait({"type": event})
        answer = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()  # nothing where it is done
        if not answer.done():
            self._knows = False
            return self._failure() if self._has_answered else None
        self._has_answered = True
        told = answer.result()
        return str(told.get("message", "")) if told["type"].endswith(".failed") else None

    def _failure(self) -> str | None:
        """What an app that does know lifespan raised instead of an answer."""
        error = None if self._task.cancelled() else self._task.exception()
        return None if error is None else f"{type(error).__name__}: {error}"

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # an app without lifespan raises here; that is its answer
