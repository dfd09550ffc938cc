"""What a case talks to: one driver, a namespace of its own, and time that can be let pass."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from holdfast.coalesce import Batcher
from holdfast.errors import HoldfastError
from holdfast.persist.api import Persist
from holdfast.persist.driver import (
    LATER,
    Clear,
    Create,
    Driver,
    Get,
    GetEntry,
    Keys,
    Operation,
    Outcome,
    Stored,
)
from holdfast.testing.clock import ManualClock

__all__ = ["HOUR", "SHORT", "Found", "Subject", "SuiteCore", "case", "read", "same", "tidy"]

SHORT = 40
"""A lifetime that a test can afford to wait for, in milliseconds."""
HOUR = 3_600_000
"""A lifetime that no test outlives."""
PATIENCE_SECONDS = 60.0
"""A case that takes longer has lost a waiter."""


class Found(msgspec.Struct, frozen=True):
    """A live value, decoded; `ttl` is milliseconds."""

    value: Any
    ttl: int | None
    version: str


def read(text: bytes | str) -> Any:
    """What the stored JSON says."""
    return msgspec.json.decode(text)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON, where 1, 1.0 and true are three different things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


class Subject:
    """One open driver. Keys of operations handed to it are short; it puts the namespace in front."""

    def __init__(
        self, driver: Driver, *, space: str, clock: ManualClock | None = None, via_now: bool = False
    ) -> None:
        self.driver = driver
        self.space = space  # the namespace; all that a case stores starts with it
        self.prefix = f"{space}:v:"
        self.clock = clock
        self.tolerance = 0 if clock else 10  # ms by which a server's clock may be coarse
        self._via_now = via_now

    # --- asking ---

    def place(self, op: Operation) -> Operation:
        """The same operation with the namespace in front of its key."""
        return msgspec.structs.replace(op, key=self.prefix + op.key)

    async def batch(self, *ops: Operation) -> list[Outcome]:
        """The outcomes of one round trip, by position; exceptions as they are."""
        placed = [self.place(op) for op in ops]
        outcomes = await self.driver.apply(placed, hash(placed[0].key) % self.driver.traits.lanes)
        assert len(outcomes) == len(ops), f"{len(outcomes)} outcomes for {len(ops)} operations"
        return outcomes

    async def do(self, op: Operation) -> Outcome:
        """The outcome of one operation; raises it where it is an exception."""
        if self._via_now and type(op) in self.driver.traits.immediate:
            outcome = self.driver.now(self.place(op))
            if outcome is not LATER:
                return outcome
        (outcome,) = await self.batch(op)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def find(self, key: str) -> Found | None:
        """The live value with its ttl and version, decoded."""
        stored = await self.do(GetEntry(key))
        if stored is None:
            return None
        assert isinstance(stored, Stored)
        return Found(read(stored.value), stored.ttl, stored.version)

    async def found(self, key: str) -> Found:
        """The same, of a key that must be live."""
        found = await self.find(key)
        assert found is not None, f"{key!r} is not there"
        return found

    async def values(self, keys: Iterable[str]) -> list[Any]:
        """What the keys hold, decoded, in one batch; all must be live."""
        texts = await self.batch(*map(Get, keys))
        assert None not in texts, "a key is not there"
        return [read(text) for text in texts]

    async def keys(self, prefix: str = "", limit: int = 100) -> list[str]:
        """Every page of the walk, the namespace taken off."""
        found: list[str] = []
        cursor: str | None = None
        for _ in range(10_000):
            page = await self.do(Keys(prefix, cursor, limit))
            found += (self.short(key) for key in page.keys)
            cursor = page.cursor
            if cursor is None:
                return found
        raise AssertionError("a walk over the keys does not end")

    async def clear(self, prefix: str = "", limit: int = 100) -> int:
        """How many live keys all pages of the walk deleted."""
        removed = 0
        cursor: str | None = None
        for _ in range(10_000):
            cleared = await self.do(Clear(prefix, cursor, limit))
            removed += int(cleared.removed)
            cursor = cleared.cursor
            if cursor is None:
                return removed
        raise AssertionError("a walk that clears does not end")

    def short(self, key: str) -> str:
        """The key without the namespace."""
        assert key.startswith(self.prefix), f"{key!r} is of another namespace"
        return key[len(self.prefix) :]

    # --- time ---

    def now_ms(self) -> float:
        """Milliseconds on the test's side."""
        return float(self.clock()) if self.clock else time.monotonic() * 1000

    async def pass_time(self, ms: int) -> None:
        """Return when whatever was given a lifetime of `ms` before this call has ended.

        Where the clock is real this waits: until the store itself says that a
        value stored just now with that lifetime is gone.
        """
        if self.clock is not None:
            self.clock.advance(ms / 1000)
            return
        sentinel = self.place(Create(f"sentinel {secrets.token_hex(8)}", b"0", ms))
        await self.driver.apply([sentinel])
        due = self.now_ms() + ms
        await asyncio.sleep(ms / 1000)
        gone = Get(sentinel.key)
        while (await self.driver.apply([gone]))[0] is not None:
            assert self.now_ms() < due + 5000, f"a value with a lifetime of {ms} ms is still there"
            await asyncio.sleep(0.002)

    # --- more of it ---

    async def leave_nothing(self) -> None:
        """Delete all that starts with the namespace, also what `Persist` keeps for itself."""
        cursor: str | None = None
        while True:
            (cleared,) = await self.driver.apply([Clear(self.space, cursor, 500)])
            cursor = cleared.cursor
            if cursor is None:
                return

    def beside(self, driver: Driver) -> Subject:
        """Another driver over the same keys and the same clock."""
        return Subject(driver, space=self.space, clock=self.clock, via_now=self._via_now)

    @asynccontextmanager
    async def batcher(self, driver: Driver | None = None) -> AsyncIterator[Batcher[Operation]]:
        """A Batcher set up as `api` does it, closed at the end."""
        target = self.driver if driver is None else driver
        made = batcher_for(target)
        made.start()
        try:
            yield made
        finally:
            await made.close()


def batcher_for(driver: Driver) -> Batcher[Operation]:
    traits = driver.traits
    return Batcher(
        driver.apply,
        name=traits.name,
        lanes=traits.lanes,
        pipeline=traits.pipeline,
        max_ops=traits.max_ops,
        max_bytes=traits.max_bytes,
    )


class SuiteCore:
    """What every part of the suite stands on: how a driver is made, opened and given back."""

    clock: ManualClock | None = None
    """Set by `make_driver` where the driver's time can be moved; without it the suite waits for real."""
    via_now: bool = False
    """Ask through `Driver.now` where the driver's traits allow it, instead of `apply`."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """Another event loop: `staticmethod(uvloop.new_event_loop)`."""

    async def make_driver(self) -> Driver:
        """A driver that is not open yet. Called twice in one test, both must reach the same data."""
        raise NotImplementedError(f"{type(self).__name__} must say how its driver is made: make_driver")

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one case on an event loop of its own."""
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            runner.run(work())

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
    async def persist(self, subject: Subject, **options: Any) -> AsyncIterator[Persist]:
        """`Persist` over a driver of its own, in the subject's namespace."""
        driver = await self.make_driver()
        async with Persist(driver, namespace=subject.space, auto_migrate=True, **options) as made:
            yield made

    @asynccontextmanager
    async def subject(self) -> AsyncIterator[Subject]:
        """An open driver with an empty namespace, emptied again afterwards."""
        async with self.another_driver() as driver:
            space = f"suite{secrets.token_hex(5)}"
            subject = Subject(driver, space=space, clock=self.clock, via_now=self.via_now)
            try:
                yield subject
            except BaseException:
                try:
                    await subject.leave_nothing()
                except (HoldfastError, AssertionError):
                    pass  # the case's own failure is the one to be seen
                raise
            await subject.leave_nothing()


S = TypeVar("S", bound=SuiteCore)
P = ParamSpec("P")


def case(body: Callable[Concatenate[S, Subject, P], Awaitable[None]]) -> Callable[Concatenate[S, P], None]:
    """A test method over one fresh subject, as a plain function: no asyncio plugin is needed to run it."""

    def test(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        async def work() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS), self.subject() as subject:
                await body(self, subject, *args, **kwargs)

        self.run(work)

    # Not `functools.wraps`: pytest would read the parameters of the body through it.
    test.__name__, test.__qualname__, test.__doc__ = body.__name__, body.__qualname__, body.__doc__
    test.__module__ = body.__module__
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
