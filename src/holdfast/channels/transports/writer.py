"""Frames out through ASGI's `send`, one at a time and in order, without waiting where nothing has to be waited for.

A server's `send` returns at once as long as its buffer has room. So the first
step of each is taken on the spot, whoever sends, in the name of the writer's
task: what would be a switch of tasks for each message and member is a call.
Only where it does suspend does the task go on with it, and what is sent
meanwhile waits in a bounded queue. The task is what `asyncio.current_task` says
in either case, or a `timeout` inside a middleware would end somebody else.

Seen in: uvicorn (websockets-sansio, wsproto, websockets) returns at once;
hypercorn mostly; granian answers a future from another thread, so that every
message goes by the task.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

from holdfast import events
from holdfast.channels.channel import User
from holdfast.channels.hub import Hub
from holdfast.channels.protocol import Frame
from holdfast.channels.socket import RESTART, SMALLEST, TOO_SLOW, Socket
from holdfast.channels.stepping import ENDED, Driver, free, give_back, going_on

__all__ = ["CLOSING", "MAX_FRAMES", "PATIENCE", "Send", "Writing"]

_current, _enter, _leave = asyncio.current_task, asyncio._enter_task, asyncio._leave_task
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
MAX_FRAMES: Final = 10_000
"""Frames that may wait for one client, however small, beside those of a past."""
PATIENCE: Final = 20.0
"""Seconds that one `send` may take, twice that at most."""
CLOSING: Final = 5.0
"""Seconds that the last frames and the close may take."""


class Writing(Socket):
    """The half of a connection that writes. It is one object with the half that reads: what a message touches counts.

    INVARIANT: `_idle` is true exactly while the task waits for `_wake`; then, and
    only then, nothing is queued and no `send` is under way.
    """

    __slots__ = (
        "_closing",
        "_context",
        "_hushed",
        "_idle",
        "_loop",
        "_make",
        "_queue",
        "_rest",
        "_sent",
        "_task",
        "_timer",
        "_waiting",
        "_wake",
        "_watch",
    )

    def __init__(self, hub: Hub, user: User | None, send: Send) -> None:
        super().__init__(hub, user)
        self._make = send  # the awaitable of one message
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Frame] = deque()
        self._waiting = 0  # bytes in the queue
        self._sent = 0  # counts what went, while somebody watches
        self._idle = False
        self._wake: asyncio.Future[None]
        self._rest: tuple[Driver, Any] | None = None  # a `send` under way, and what it waits for
        self._closing: tuple[int, str] | None = None
        self._hushed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._context = contextvars.copy_context()
        self._task = self._loop.create_task(
            self._work(), name="holdfast channels writer", context=self._context
        )

    def send_all(self, frames: list[Frame]) -> None:
        if not self._idle:
            self._put(frames)
            return
        self._idle = False
        loop, task = self._loop, self._task
        driver = free()
        outer = _current(loop)
        if outer is not None:
            _leave(loop, outer)
        _enter(loop, task)
        make, run, drive = self._make, self._context.run, driver.send
        taken = 0
        try:
            for frame in frames:
                taken += 1
                if frame.binary:
                    under_way = make({"type": "websocket.send", "bytes": frame.body})
                else:
                    under_way = make({"type": "websocket.send", "text": frame._text or frame.text})
                waits = run(drive, under_way)
                if waits is not ENDED:
                    self._rest = driver, waits
                    break
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - every server has its own for a client that is gone
            self._gone()
            return
        finally:
            _leave(loop, task)
            if outer is not None:
                _enter(loop, outer)
        if self._rest is None:
            self._idle = True
            give_back(driver)
            return
        if not self._wake.done():  # what it runs may have cancelled it: `_woken` sees to that
            self._wake.set_result(None)
        self._put(frames[taken:])

    def _put(self, frames: Iterable[Frame]) -> None:
        if self._closing is not None:
            return
        for frame in frames:
            self._queue.append(frame)
            self._waiting += len(frame.body)
        self._watch_over()
        granted = self.granted
        if (
            self._waiting > self.hub.limits.unread + granted
            or len(self._queue) > MAX_FRAMES + granted // SMALLEST
        ):
            self._stalled()

    @property
    def unread(self) -> int:
        return self._waiting

    # --- its end ---

    def close(self, code: int, reason: str = "") -> None:
        """What waits goes first; where that takes more than a few seconds, nothing is said."""
        if self._closing is not None:
            return
        self._closing = (code, reason.encode()[:123].decode(errors="ignore"))
        self._hush()
        self._timer = self._loop.call_later(CLOSING, self._task.cancel)
        if self._idle:
            self._idle = False
            self._wake.set_result(None)
        # Not now: a room may be in the midst of handing out frames to its members.
        self._loop.call_soon(self.lost, "shutdown" if code == RESTART else "closed")

    def _stalled(self) -> None:
        """The client reads too slowly. It is let go, to come back and say where it was."""
        if self._closing is not None:
            return
        self.hub.counts.dropped += 1
        if events.listeners:
            events.publish(events.ReaderDropped(self._waiting))
        self._queue.clear()
        self._waiting = 0
        self._loop.call_soon(self.lost, "slow")
        self.close(TOO_SLOW, "too slow")

    def _gone(self) -> None:
        """Nothing can be sent any more."""
        self._closing = self._closing or (0, "")
        self._hush()
        self._task.cancel()
        self._loop.call_soon(self.lost)

    def _hush(self) -> None:
        """Begin to stop reading; `_hushed` is done when nobody receives any more."""

    async def _stop(self) -> None:
        """Stop writing, wherever it is."""
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _work(self) -> None:
        try:
            while True:
                if self._rest is not None:
                    driver, waits = self._rest
                    self._rest = None
                    await going_on(driver, waits)
                    self._sent += 1
                while self._queue:
                    frame = self._queue.popleft()
                    self._waiting -= len(frame.body)
                    self._sent += 1
                    await self._make(_message(frame))
                self.granted = 0
                if self._closing is not None:
                    code, reason = self._closing
                    if self._hushed is not None:
                        await self._hushed
                    await self._make({"type": "websocket.close", "code": code, "reason": reason})
                    return
                self._wake = self._loop.create_future()
                self._idle = True
                await self._woken()
        except Exception:  # noqa: BLE001 - every server has its own for a client that is gone
            self._gone()
        finally:
            self._idle = False
            self._closing = self._closing or (0, "")  # nothing more is queued

    async def _woken(self) -> None:
        try:
            await self._wake
        except asyncio.CancelledError as exc:
            if self._rest is None:
                raise
            driver, waits = self._rest
            self._rest = None
            await going_on(driver, waits, exc)
            self._sent += 1

    # --- a `send` that does not return ---

    def _watch_over(self) -> None:
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._look, self._sent)

    def _look(self, sent: int) -> None:
        self._watch = None
        if self._idle or self._task.done():
            return
        if self._sent == sent and self._closing is None:
            self._stalled()
        else:
            self._watch_over()


def _message(frame: Frame) -> dict[str, Any]:
    if frame.binary:
        return {"type": "websocket.send", "bytes": frame.body}
    return {"type": "websocket.send", "text": frame.text}
