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
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from types import CoroutineType, coroutine
from typing import Any, Final, TypeAlias

from holdfast.channels.protocol import Frame

__all__ = ["CLOSING", "MAX_FRAMES", "PATIENCE", "Send", "Writer"]

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
MAX_FRAMES: Final = 10_000
"""Frames that may wait for one client, however small."""
PATIENCE: Final = 20.0
"""Seconds that one `send` may take, twice that at most."""
CLOSING: Final = 5.0
"""Seconds that the last frames and the close may take."""


class Writer:
    """One connection's. `stalled` is called where the client reads too slowly, `gone` where it cannot be written to.

    INVARIANT: `_wake` is a future exactly while the task waits for something to
    do; then, and only then, nothing is queued and no `send` is under way.
    """

    __slots__ = (
        "_closing",
        "_context",
        "_gone",
        "_loop",
        "_max_bytes",
        "_queue",
        "_rest",
        "_send",
        "_sent",
        "_stalled",
        "_timer",
        "_wake",
        "_watch",
        "task",
        "unread",
    )

    def __init__(
        self, send: Send, *, max_bytes: int, stalled: Callable[[int], None], gone: Callable[[], None]
    ) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._stalled = stalled
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._queue: deque[Frame] = deque()
        self.unread = 0  # bytes in the queue
        self._sent = 0  # counts what the server took, while somebody watches
        self._rest: Coroutine[Any, Any, None] | Awaitable[None] | None = None  # a `send` to go on with
        self._wake: asyncio.Future[None] | None = None
        self._closing: tuple[int, str, asyncio.Task[None]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.task = self._loop.create_task(
            self._work(), name="holdfast channels writer", context=self._context
        )

    def send(self, frames: list[Frame]) -> None:
        """Send them in order, behind what waits already. Never waits, raises nothing."""
        if self._closing is not None:
            return
        wake = self._wake
        if wake is None:
            self._put(frames)
            return
        loop, task = self._loop, self.task
        outer = asyncio.current_task(loop)
        if outer is not None:
            asyncio._leave_task(loop, outer)
        asyncio._enter_task(loop, task)
        self._wake = None
        try:
            taken = self._context.run(self._step, frames)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - every server has its own for a client that is gone
            self._wake = wake
            self._gone()
            return
        finally:
            asyncio._leave_task(loop, task)
            if outer is not None:
                asyncio._enter_task(loop, outer)
        if self._rest is None:
            self._wake = wake
            return
        wake.set_result(None)
        self._watch_over()
        if taken < len(frames):
            self._put(frames[taken:])

    def _step(self, frames: list[Frame]) -> int:
        """Send until one does not return at once; how many are on their way."""
        send = self._send
        taken = 0
        for frame in frames:
            taken += 1
            under_way = send(_message(frame))
            if type(under_way) is not CoroutineType:
                self._rest = under_way
                break
            try:
                waits = under_way.send(None)
            except StopIteration:
                continue
            self._rest = _going_on(under_way, waits)
            break
        return taken

    def _put(self, frames: list[Frame]) -> None:
        queue = self._queue
        queue.extend(frames)
        for frame in frames:
            self.unread += len(frame.body)
        if self.unread > self._max_bytes or len(queue) > MAX_FRAMES:
            self._stalled(self.unread)

    def close(self, code: int, reason: str, *, after: asyncio.Task[None], drop: bool = False) -> None:
        """Send what waits (or not, with `drop`), then, when `after` is done, the close.

        The task ends then, or after a few seconds.
        """
        if self._closing is not None:
            return
        self._closing = (code, reason.encode()[:123].decode(errors="ignore"), after)
        if drop:
            self._queue.clear()
            self.unread = 0
        self._timer = self._loop.call_later(CLOSING, self.task.cancel)
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    async def end(self) -> None:
        """Stop, wherever it is."""
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _work(self) -> None:
        try:
            while True:
                if self._rest is not None:
                    rest, self._rest = self._rest, None
                    await rest
                    self._sent += 1
                while self._queue:
                    await self._send(_message(self._queue[0]))
                    self._sent += 1
                    if self._queue:  # it may have been dropped
                        self.unread -= len(self._queue.popleft().body)
                if self._closing is not None:
                    code, reason, after = self._closing
                    if not after.done():
                        await asyncio.wait({after})
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                self._wake = wake = self._loop.create_future()
                await wake
        except Exception:  # noqa: BLE001 - every server has its own for a client that is gone
            self._gone()

    # --- a `send` that does not return ---

    def _watch_over(self) -> None:
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._look, self._sent)

    def _look(self, sent: int) -> None:
        self._watch = None
        if self._wake is not None or self.task.done():
            return
        if self._sent == sent and self._closing is None:
            self._stalled(self.unread)
        else:
            self._watch_over()


def _message(frame: Frame) -> dict[str, Any]:
    if frame.binary:
        return {"type": "websocket.send", "bytes": frame.body}
    return {"type": "websocket.send", "text": frame.text}


@coroutine
def _going_on(under_way: Coroutine[Any, Any, None], waits: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine whose first step, already taken, waits for `waits`."""
    while True:
        try:
            value = yield waits
        except GeneratorExit:
            under_way.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - handed on
            error: BaseException | None = exc
        else:
            error = None
        try:
            waits = under_way.send(value) if error is None else under_way.throw(error)
        except StopIteration:
            return
