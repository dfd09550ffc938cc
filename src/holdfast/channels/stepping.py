"""Coroutines whose first step is taken on the spot, in the name of a task.

Most of what is awaited here ends without having waited for anything: a server's
`send` whose buffer has room, a handler that broadcasts what nobody keeps. A task
for each would be made, scheduled, switched to and thrown away. So the first step
is taken where one stands, and only what does suspend becomes a task's. That task
is what `asyncio.current_task` says in either case, or a `timeout` inside would
end somebody else.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
from types import CoroutineType, coroutine
from typing import Any, Final, TypeAlias, cast

__all__ = ["ENDED", "Beginning", "Driver", "free", "give_back", "going_on"]

ENDED: Final = object()
"""What a driver answers when it has nothing to do."""
Driver: TypeAlias = Generator[Any, Any, None]
_current, _enter, _leave = asyncio.current_task, asyncio._enter_task, asyncio._leave_task
_spare: list[Driver] = []
"""Drivers with nothing to do: as many as were under way at one time. One that is always the same is at hand in the
processor's cache, which one for each connection is not; that was a fifth of what a message costs."""


@coroutine
def _drive() -> Generator[Any, Any, None]:
    """Runs what it is sent, one after the other; yields what that waits for, or `ENDED` when it is done.

    As cheap as `await`: calling a coroutine's own `send` ends in an exception each time.
    """
    while True:
        under_way = yield ENDED
        if type(under_way) is not CoroutineType:
            under_way = under_way.__await__()
        yield from under_way


def free() -> Driver:
    """One with nothing to do."""
    try:
        return _spare.pop()
    except IndexError:  # asked before and not in advance: event loops of other threads take some too
        pass
    driver = cast("Driver", _drive())
    next(driver)
    return driver


give_back = _spare.append
"""It has nothing to do again."""


@coroutine
def going_on(
    driver: Driver, waits: Any, cancelled: asyncio.CancelledError | None = None
) -> Generator[Any, Any, None]:
    """The rest of what a driver began and that waits for `waits`; then it is given back.

    `cancelled` is what its task was told before it came to this: as of a task
    that waits, it is for what it waits for first.
    """
    if cancelled is not None and not (asyncio.isfuture(waits) and waits.cancel(*cancelled.args)):
        waits = driver.throw(cancelled)
    while waits is not ENDED:
        try:
            value = yield waits
        except GeneratorExit:
            driver.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - handed on
            waits = driver.throw(exc)
        else:
            waits = driver.send(value)
    give_back(driver)


# --- work that has no task yet ---


class _Waiting:
    """A task that has nothing to do yet: it does the rest of one thing, and ends with it."""

    __slots__ = ("before", "context", "rest", "task", "wake")

    def __init__(self, loop: asyncio.AbstractEventLoop, before: contextvars.Context) -> None:
        self.before = before
        self.context = before.copy()
        self.rest: tuple[Driver, Any] | None = None
        self.wake: asyncio.Future[None] = loop.create_future()
        run = self._run()
        run.send(None)  # a task that is cancelled before its first step would not get to its `except`
        self.task = loop.create_task(run, context=self.context)

    async def _run(self) -> None:
        try:
            await _begun()
            await self.wake
        except asyncio.CancelledError as exc:
            if self.rest is None:
                raise
            await going_on(*self.rest, exc)
        else:
            assert self.rest is not None
            await going_on(*self.rest)


@coroutine
def _begun() -> Generator[None, Any, None]:
    yield


class Beginning:
    """Begins work on the spot; owns the tasks that wait for some."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Not that of where something begins: it may be of one client, and tasks serve one after the other.
        self._context = contextvars.copy_context()
        self._waiting: list[_Waiting] = []

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Take its first step; the task that does the rest, or None where that was all.

        Within another task it is begun in the next turn, or what begins what begins
        what would go as deep as there are members.
        """
        loop = self._loop
        if _current(loop) is not None:
            return loop.create_task(work)
        one = self._waiting.pop() if self._waiting else _Waiting(loop, self._context)
        driver, task = free(), one.task
        _enter(loop, task)
        try:
            waits = one.context.run(driver.send, work)
        except asyncio.CancelledError:  # of what it awaited; a task would end with it in silence
            pass
        except Exception as exc:  # noqa: BLE001 - as of a task that nobody asks
            loop.call_exception_handler({"message": "channels: a task failed", "exception": exc})
        else:
            if waits is not ENDED:
                one.rest = driver, waits
                if not one.wake.done():  # it may have cancelled itself
                    one.wake.set_result(None)
                return task
            give_back(driver)
        finally:
            _leave(loop, task)
        if one.context == one.before and not one.wake.done():
            self._waiting.append(one)
        else:  # it has cancelled itself, or set a context variable, which is for nobody else to see
            task.cancel()
        return None

    def close(self) -> None:
        """Nobody begins anything more."""
        for one in self._waiting:
            one.task.cancel()
        self._waiting.clear()
