"""One connection that LISTENs, for every capability that wants to hear something.

It is made when the first hearer comes and kept until the engine closes. When it
ends it is made again: at once the first time, then with a growing pause. What
was announced meanwhile is gone, so every hearer is told `lost` as soon as it
could hear again.

A connection that nobody writes to does not notice that its peer is gone: every
`BEAT` seconds it is asked something, and ended if there is no answer.

Hearers are called on the event loop, in the order in which the server commits.
They must not block, and not raise.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from holdfast import events
from holdfast.engines.postgres import failures
from holdfast.engines.postgres.lane import FIRST_PAUSE, LONGEST_PAUSE, Connect, Sleep
from holdfast.errors import StoreError, StoreUnavailable

__all__ = ["BEAT", "Heard", "Hearing", "Listening"]

Heard: TypeAlias = Callable[[str], None]
"""Called with the payload of a notification."""

BEAT = 10.0


class Hearing:
    """One hearer of one channel; `close()` ends it, and twice is once."""

    def __init__(self, listening: Listening, channel: str, heard: Heard, lost: Callable[[], None]) -> None:
        self._listening = listening
        self.channel = channel
        self.heard = heard
        self.lost = lost

    async def ready(self) -> None:
        """Return where announcements are heard now.

        Raises:
            StoreUnavailable: the connection is lost, and `timeout` seconds did not bring it back.
        """
        await self._listening.ready()

    async def close(self) -> None:
        """Hear nothing more. Never raises."""
        await self._listening.forget(self)


class Listening:
    """The connection, its hearers, and who mends it.

    Args:
        connect: makes a connection.
        timeout: seconds that a statement, or waiting for the connection, may take.
        mended: called when a lost connection was got back.
        sleep: pauses between tries.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        timeout: float,
        mended: Callable[[], None] = lambda: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._mended = mended
        self._sleep = sleep
        self._hearings: dict[str, list[Hearing]] = {}
        self._turn = asyncio.Lock()  # whose statement is under way
        # INVARIANT: `_up` is set while `_connection` is one that listens to every channel of
        # `_hearings`; `_tending` runs from the first connection until `close`.
        self._connection: Any = None
        self._up = asyncio.Event()
        self._ended = asyncio.Event()
        self._since = 0.0  # loop time when the connection was made
        self._tending: asyncio.Task[None] | None = None
        self._resting: asyncio.Future[None] | None = None

    async def listen(self, channel: str, heard: Heard, lost: Callable[[], None]) -> Hearing:
        """Call `heard` with what is announced in `channel` from now on; `lost` says that some was missed.

        Raises:
            StoreError: there is no connection; nothing is heard.
        """
        async with self._turn:
            if self._tending is None:
                self._adopt(await self._connect(), 1)
                self._tending = asyncio.create_task(self._tend(), name="holdfast postgres listen")
        await self.ready()
        hearing = Hearing(self, channel, heard, lost)
        async with self._turn:
            there = self._hearings.get(channel)
            if there is None:
                await self._say(channel)
                there = self._hearings.setdefault(channel, [])
            there.append(hearing)
        return hearing

    async def ready(self) -> None:
        """See `Hearing.ready`."""
        if self._up.is_set():
            return
        try:
            await asyncio.wait_for(self._up.wait(), self._timeout)
        except TimeoutError:
            raise StoreUnavailable("postgres: not listening, no connection in time") from None

    async def forget(self, hearing: Hearing) -> None:
        """See `Hearing.close`."""
        async with self._turn:
            there = self._hearings.get(hearing.channel, [])
            if hearing in there:
                there.remove(hearing)
            if there or self._hearings.pop(hearing.channel, None) is None or not self._up.is_set():
                return
            try:
                await self._connection.remove_listener(hearing.channel, self._told)
            except failures.STATEMENT:
                self._connection.terminate()  # mended without this channel

    async def close(self) -> None:
        """End the connection; nobody hears any more. Twice is once."""
        tending, self._tending = self._tending, None
        if tending is not None:
            tending.cancel()
            await asyncio.wait({tending})
        self._hearings.clear()
        self._up.clear()
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=self._timeout)
            except failures.STATEMENT:
                connection.terminate()

    def hurry(self) -> None:
        """Try now instead of after the pause: somebody else has found the server."""
        if self._resting is not None:
            self._resting.cancel()

    def _told(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        for hearing in self._hearings.get(channel, ()):
            hearing.heard(payload)

    async def _say(self, channel: str) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._connection.add_listener(channel, self._told)
        except failures.STATEMENT as exc:
            self._connection.terminate()
            raise failures.of_statement(exc, sent=False)[0] from exc

    # --- losing the connection, and getting it back ---

    def _adopt(self, connection: Any, attempts: int) -> None:
        self._connection = connection
        self._since = asyncio.get_running_loop().time()
        self._ended = ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        self._up.set()
        if events.listeners:
            events.publish(events.Connected("postgres", attempts))

    async def _tend(self) -> None:
        while True:
            await self._until_it_ends()
            self._up.clear()
            if events.listeners:
                events.publish(events.Disconnected("postgres", "the connection that listens has ended"))
            await self._mend()
            self._mended()  # first: who hears that something was lost is about to read it
            for hearing in [each for there in self._hearings.values() for each in there]:
                hearing.lost()

    async def _until_it_ends(self) -> None:
        while not self._connection.is_closed():
            try:
                await asyncio.wait_for(self._ended.wait(), BEAT)
            except TimeoutError:
                await self._beat()

    async def _beat(self) -> None:
        async with self._turn:
            try:
                await self._connection.execute("SELECT 1 AS beat", timeout=self._timeout)
            except failures.STATEMENT:
                self._connection.terminate()

    async def _mend(self) -> None:
        """Connect again: at once after a while of listening, after a pause where the last one ended at once."""
        pause = FIRST_PAUSE
        attempts = 0
        if asyncio.get_running_loop().time() - self._since < LONGEST_PAUSE:
            pause = await self._pause(pause)
        while True:
            attempts += 1
            try:
                async with self._turn:
                    self._connection = await self._connect()
                    for channel in self._hearings:
                        await self._say(channel)
                    self._adopt(self._connection, attempts)
            except StoreError:
                pause = await self._pause(pause)
            else:
                return

    async def _pause(self, seconds: float) -> float:
        """Rest, unless hurried; the next pause."""
        self._resting = asyncio.ensure_future(self._sleep(seconds * random.uniform(0.5, 1.0)))
        try:
            await asyncio.wait({self._resting})
        finally:
            self._resting.cancel()
        return min(seconds * 2, LONGEST_PAUSE)
