"""How a case is run: a driver made, opened, emptied and given back around each."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from unittest import SkipTest

from holdfast.errors import HoldfastError
from holdfast.testing.clock import ManualClock
from holdfast.testing.webmention.subject import Subject
from holdfast.webmention.driver import Driver

__all__ = ["SuiteCore", "case", "on_a_loop", "shared_or_skip", "tidy"]

PATIENCE_SECONDS = 60.0
"""A case that takes longer has lost a waiter."""
CLEANING_SECONDS = 10.0
"""What is given to a driver that has failed already."""


class OnALoop(Protocol):
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None


def on_a_loop(suite: OnALoop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one case on an event loop of its own, within `PATIENCE_SECONDS`."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work()

    with asyncio.Runner(loop_factory=suite.loop_factory) as runner:
        runner.run(patiently())


def shared_or_skip(s: Subject) -> None:
    if s.driver.traits.shared == "process":
        raise SkipTest("two drivers of this kind share nothing")


class SuiteCore:
    """What every part of the suite stands on: how a driver is made, opened and given back."""

    clock: ManualClock | None = None
    """Set by `make_driver` where the driver's time can be moved; without it the suite waits for real."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """Another event loop: `staticmethod(uvloop.new_event_loop)`."""

    async def make_driver(self) -> Driver:
        """A driver that is not open yet. Two made in one test are two processes over the same data."""
        raise NotImplementedError(f"{type(self).__name__} must say how its driver is made: make_driver")

    @asynccontextmanager
    async def another_driver(self) -> AsyncIterator[Driver]:
        """One more driver, open and migrated."""
        driver = await self.make_driver()
        await driver.open()
        try:
            await driver.migrate()
            yield driver
        finally:
            await driver.close()

    @asynccontextmanager
    async def another(self, subject: Subject) -> AsyncIterator[Subject]:
        """The same kinds as another process sees them; skips where there is no other process."""
        shared_or_skip(subject)
        async with self.another_driver() as driver:
            yield subject.beside(driver)

    @asynccontextmanager
    async def subject(self) -> AsyncIterator[Subject]:
        """An open driver with an empty namespace, emptied again afterwards."""
        async with self.another_driver() as driver:
            subject = Subject(driver, space=f"suite{secrets.token_hex(5)}", clock=self.clock)
            try:
                yield subject
            except BaseException:
                try:
                    async with asyncio.timeout(CLEANING_SECONDS):
                        await subject.leave_nothing()
                except (HoldfastError, AssertionError, TimeoutError):
                    pass  # the case's own failure is the one to be seen
                raise
            await subject.leave_nothing()


S = TypeVar("S", bound=SuiteCore)
P = ParamSpec("P")


def case(
    written: Callable[Concatenate[S, Subject, P], Awaitable[None]],
) -> Callable[Concatenate[S, P], None]:
    """A test method over one fresh subject, as a plain function: no asyncio plugin is needed to run it."""

    def test(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        async def work() -> None:
            async with self.subject() as subject:
                await written(self, subject, *args, **kwargs)

        on_a_loop(self, work)

    # Not `functools.wraps`: pytest would read the parameters of the body through it.
    test.__name__, test.__qualname__, test.__doc__ = written.__name__, written.__qualname__, written.__doc__
    test.__module__ = written.__module__
    return test


def tidy(test: Callable[[S], None]) -> Callable[[S], None]:
    """After the case, whatever was left open is collected: its warning is this test's and not a later one's."""

    def collected(self: S, /) -> None:
        test(self)
        gc.collect()

    collected.__name__, collected.__qualname__, collected.__doc__ = (
        test.__name__,
        test.__qualname__,
        test.__doc__,
    )
    collected.__module__ = test.__module__
    return collected
