"""What a case talks to: one driver, a namespace of its own, ears, and time that can be let pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from holdfast.channels.driver import (
    LATER,
    Append,
    Appended,
    Clear,
    Driver,
    Entry,
    Log,
    Operation,
    Outcome,
    Read,
    Subscription,
    Topic,
    Topics,
)
from holdfast.coalesce import Batcher
from holdfast.testing.channels.ear import Ear
from holdfast.testing.clock import ManualClock

__all__ = [
    "HOUR",
    "SHORT",
    "Following",
    "Subject",
    "batcher_for",
    "body",
    "offsets",
    "text",
]

SHORT = 40
"""An age that a test can afford to wait for, in milliseconds."""
HOUR = 3_600_000
"""An age that no test reaches."""
PATIENCE_SECONDS = 10.0
"""How much longer than the driver says an announcement may take: machines are slow at times."""


def body(number: int | str) -> bytes:
    """A payload that says which message it is of."""
    return b'{"message":"%s"}' % str(number).encode()


def text(payload: bytes | str | None) -> str | None:
    """The payload as text, in whatever form the driver answered it."""
    return payload.decode() if isinstance(payload, bytes) else payload


def offsets(entries: Log | Iterable[Entry]) -> list[int]:
    return [entry.offset for entry in (entries.entries if isinstance(entries, Log) else entries)]


class Subject:
    """One open driver. Topics of operations handed to it are short; it puts the namespace in front."""

    def __init__(
        self, driver: Driver, *, space: str, clock: ManualClock | None = None, via_now: bool = False
    ) -> None:
        self.driver = driver
        self.space = space  # the namespace; all that a case stores starts with it
        self.prefix = f"{space}:c:"
        self.clock = clock
        self.spaces = [space]  # what is emptied in the end
        # Seconds until what was announced is heard, at the worst.
        self.patience = driver.traits.latency + PATIENCE_SECONDS
        self._via_now = via_now

    # --- asking ---

    def place(self, op: Operation) -> Operation:
        """The same operation with the namespace in front of its topic."""
        return msgspec.structs.replace(op, key=self.prefix + op.key)

    async def batch(self, *ops: Operation) -> list[Outcome]:
        """The outcomes of one round trip, by position; exceptions as they are."""
        placed = [self.place(op) for op in ops]
        outcomes = await self.driver.apply(placed, self._lane(placed))
        assert len(outcomes) == len(ops), f"{len(outcomes)} outcomes for {len(ops)} operations"
        return outcomes

    def _lane(self, placed: Sequence[Operation]) -> int:
        traits = self.driver.traits
        if traits.writes_in_one_lane and not all(op.repeatable for op in placed):
            return 0
        return hash(placed[0].key) % traits.lanes

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

    async def all(self, ops: Iterable[Operation]) -> list[Outcome]:
        """The outcomes of as many round trips as it takes; none may be an exception."""
        left, outcomes, most = list(ops), list[Outcome](), self.driver.traits.max_ops
        while left:
            outcomes += await self.batch(*left[:most])
            del left[:most]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes

    async def say(self, key: str, what: int | str = 0, **rest: Any) -> Appended:
        """Append one message whose payload says `what`."""
        outcome = await self.do(Append(key, "said", body(what), **rest))
        assert isinstance(outcome, Appended), f"an append answered {outcome!r}"
        return outcome

    async def fill(self, key: str, count: int, **rest: Any) -> list[Appended]:
        """Append this many messages, numbered from 1."""
        return await self.all(Append(key, "said", body(number), **rest) for number in range(1, count + 1))

    async def log(self, key: str, limit: int = 1000, **where: Any) -> Log:
        """One stretch of a log, its payloads as text."""
        log = await self.do(Read(key, limit, **where))
        assert isinstance(log, Log), f"a read answered {log!r}"
        return msgspec.structs.replace(log, entries=[_readable(entry) for entry in log.entries])

    async def topics(self, prefix: str = "", limit: int = 100) -> list[Topic]:
        """Every page of the walk, the namespace taken off."""
        found: list[Topic] = []
        cursor: str | None = None
        for _ in range(10_000):
            page = await self.do(Topics(prefix, cursor, limit))
            found += (msgspec.structs.replace(each, key=self.short(each.key)) for each in page.topics)
            cursor = page.cursor
            if cursor is None:
                return found
        raise AssertionError("a walk over the topics does not end")

    def short(self, key: str) -> str:
        """The topic without the namespace."""
        assert key.startswith(self.prefix), f"{key!r} is of another namespace"
        return key[len(self.prefix) :]

    # --- hearing ---

    @asynccontextmanager
    async def listening(self, *keys: str) -> AsyncIterator[Following]:
        """An ear that follows these topics, until the end."""
        ear = Ear()
        subscription = await self.driver.subscribe(ear)
        following = Following(self, ear, subscription)
        try:
            for key in keys:
                await following.follow(key)
            yield following
        finally:
            await subscription.close()

    # --- time ---

    def wall(self) -> int:
        """Milliseconds since 1970, on the test's side."""
        return self.clock() if self.clock else time.time_ns() // 1_000_000

    @property
    def skew(self) -> int:
        """By how many milliseconds the clock that stamps messages may differ from the test's."""
        if self.clock is not None:
            return 0
        return 60_000 if self.driver.traits.clock == "server" else 50

    async def pass_time(self, ms: int) -> None:
        """Return when whatever was said before this call is older than `ms`."""
        if self.clock is not None:
            self.clock.advance((ms + 1) / 1000)
        else:
            await asyncio.sleep((ms + 20) / 1000)

    # --- more of it ---

    async def leave_nothing(self) -> None:
        """Forget every topic of the namespace, and of the ones that `elsewhere` made."""
        most = self.driver.traits.max_ops
        for space in self.spaces:
            for _ in range(100):
                (page,) = await self.driver.apply([Topics(f"{space}:c:", None, most)])
                if not page.topics:
                    break
                doomed: list[Operation] = [Clear(topic.key) for topic in page.topics]
                for start in range(0, len(doomed), most):
                    await self.driver.apply(doomed[start : start + most])
            else:
                raise AssertionError("topics that were cleared are listed still")

    def beside(self, driver: Driver) -> Subject:
        """Another driver over the same topics and the same clock."""
        return Subject(driver, space=self.space, clock=self.clock, via_now=self._via_now)

    def elsewhere(self, space: str) -> Subject:
        """The same driver in another namespace, which is emptied together with this one."""
        self.spaces.append(space)
        return Subject(self.driver, space=space, clock=self.clock, via_now=self._via_now)

    @asynccontextmanager
    async def batcher(self, driver: Driver | None = None) -> AsyncIterator[Batcher[Operation]]:
        """A Batcher set up as `api` does it, closed at the end."""
        made = batcher_for(self.driver if driver is None else driver)
        made.start()
        try:
            yield made
        finally:
            await made.close()


class Following:
    """A subscription and the ear behind it, in the words of one subject."""

    def __init__(self, subject: Subject, ear: Ear, subscription: Subscription) -> None:
        self.subject = subject
        self.ear = ear
        self.subscription = subscription

    async def follow(self, key: str) -> None:
        await self.subscription.follow(self.subject.prefix + key)

    async def unfollow(self, key: str) -> None:
        await self.subscription.unfollow(self.subject.prefix + key)

    def reach(self, key: str) -> int:
        return self.ear.reach(self.subject.prefix + key)

    def sends(self, key: str) -> list[bytes]:
        return [data for each, data in self.ear.sends if each == self.subject.prefix + key]

    async def hears(self, key: str, last: int) -> None:
        """Return when it was announced that the topic's log reaches this far."""
        what = f"topic {key!r} reaches {last}"
        await self.ear.until(lambda: self.reach(key) >= last, self.subject.patience, what)

    async def gets(self, key: str, count: int = 1) -> list[bytes]:
        """What was sent in the topic, when this many have come."""
        what = f"{count} sent in {key!r}"
        await self.ear.until(lambda: len(self.sends(key)) >= count, self.subject.patience, what)
        return self.sends(key)


def _readable(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, payload=text(entry.payload))


def batcher_for(driver: Driver) -> Batcher[Operation]:
    traits = driver.traits
    return Batcher(
        driver.apply,
        name=traits.name,
        lanes=traits.lanes,
        writes_in_one_lane=traits.writes_in_one_lane,
        pipeline=traits.pipeline,
        max_ops=traits.max_ops,
        max_bytes=traits.max_bytes,
    )
