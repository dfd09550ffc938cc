"""What this process follows, and how it hears of it.

Where the server can be listened to, announcements come by NOTIFY and are looked
up among the topics followed. A NOTIFY that is lost with the connection is made
up for by `lost`; for one that got lost otherwise, every `SWEEP` seconds the
table of topics is asked which of those followed went on.

Behind a pgbouncer without `?listen=`, the same question is asked every `POLL`
seconds, and the notes are read; nothing else tells.

What is too long for an announcement waits for its note to be read, and what
comes after it waits with it, so that what is sent keeps its order: at most
`WAITING`, above which what is sent is dropped, as it may be.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from holdfast.channels.driver import Listener
from holdfast.channels.drivers.postgres import queries as read
from holdfast.channels.drivers.postgres.announcements import Sent, Told, heard, joined
from holdfast.channels.drivers.postgres.line import Fetch
from holdfast.channels.drivers.postgres.notes import PAGE, Notes
from holdfast.channels.drivers.postgres.statements import CHANNEL
from holdfast.engines.postgres import Hearing, PostgresEngine
from holdfast.errors import Closed, StoreError

__all__ = ["POLL", "SWEEP", "Following", "PostgresSubscription"]

SWEEP: Final = 5.0
POLL: Final = 0.5
WAITING: Final = 1_000
_ASKED: Final = 512
"""Topics in one question, so that its answer is a short work for the event loop."""

_UNKNOWN: Final = ("", -1)


class PostgresSubscription:
    """What one listener follows."""

    def __init__(self, owner: Following, listener: Listener) -> None:
        self._owner = owner
        self.listener = listener
        self.keys: set[str] = set()
        self.closed = False

    async def follow(self, key: str) -> None:
        await self._owner.follow(self, key)

    async def unfollow(self, key: str) -> None:
        self._owner.unfollow(self, key)

    async def close(self) -> None:
        await self._owner.forget(self)


class Following:
    """The subscriptions of one driver.

    Args:
        engine: where to listen, if it can.
        fetch: sends a statement down the lane that reads.
        sleep: pauses between two looks.
    """

    def __init__(
        self,
        engine: PostgresEngine,
        fetch: Fetch,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._fetch = fetch
        self._sleep = sleep
        self.origin = _origin()
        self._subscriptions: list[PostgresSubscription] = []
        # INVARIANT: `_known` has an entry for each key of `_followers`: the epoch
        # and offset that its followers were told last.
        self._followers: dict[str, list[PostgresSubscription]] = {}
        self._known: dict[str, tuple[str, int]] = {}
        self._hearing: Hearing | None = None
        self._looking: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: deque[Sent] = deque()
        self._turn = asyncio.Lock()

    async def subscribe(self, listener: Listener) -> PostgresSubscription:
        """A subscription that follows nothing yet; the first one begins to listen."""
        async with self._turn:
            if self._looking is None:
                if self._engine.listens:
                    self._hearing = await self._engine.listen(CHANNEL, self._heard, self._lost)
                    look = self._sweep()
                else:
                    ((number,),) = await self._fetch(read.LATEST_NOTE)
                    look = self._poll(number)
                self._looking = asyncio.create_task(look, name="holdfast postgres channels")
            subscription = PostgresSubscription(self, listener)
            self._subscriptions.append(subscription)
            return subscription

    async def follow(self, subscription: PostgresSubscription, key: str) -> None:
        if subscription.closed:
            raise Closed("postgres: the subscription is closed")
        if "\0" in key or any("\ud800" <= char <= "\udfff" for char in key):
            # No log has such a name, and one in a question would have all of it refused.
            raise StoreError(f"follow {key!r}: Postgres has no such text")
        if self._hearing is not None:
            await self._hearing.ready()
        else:
            await self._fetch("SELECT 1")
        if key not in subscription.keys and not subscription.closed:
            subscription.keys.add(key)
            self._followers.setdefault(key, []).append(subscription)
            # Who begins to follow reads the log; the next look tells once more how far it is.
            self._known[key] = _UNKNOWN

    def unfollow(self, subscription: PostgresSubscription, key: str) -> None:
        if key in subscription.keys:
            subscription.keys.discard(key)
            self._followers[key].remove(subscription)
            if not self._followers[key]:
                del self._followers[key], self._known[key]

    async def forget(self, subscription: PostgresSubscription) -> None:
        subscription.closed = True
        for key in tuple(subscription.keys):
            self.unfollow(subscription, key)
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    async def close(self) -> None:
        """End every subscription. Twice is once."""
        for subscription in tuple(self._subscriptions):
            await self.forget(subscription)
        async with self._turn:
            tasks = [task for task in (self._looking, self._reading) if task is not None]
            self._looking = self._reading = None
            self._waiting.clear()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            hearing, self._hearing = self._hearing, None
            if hearing is not None:
                await hearing.close()

    def doubt(self) -> None:
        """A change of this process has an unknown outcome: what it announces is from now on another's."""
        self.origin = _origin()
        self._lost()

    # --- what is heard ---

    def _heard(self, payload: str) -> None:
        said = heard(payload)
        if said is None:
            return
        own = said.origin == self.origin
        self._tell(said.told, own=own)
        if not own:
            for sent in said.sent:
                self._pass(sent)

    def _tell(self, told: Iterable[Told], *, own: bool = False) -> None:
        for each in told:
            if each.key not in self._known:
                continue
            self._known[each.key] = (each.epoch, each.last)
            if not own:
                for subscription in tuple(self._followers[each.key]):
                    subscription.listener.kept(each.key, each.epoch, each.last, None)

    def _lost(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.listener.lost()

    def _pass(self, sent: Sent) -> None:
        """To the followers, at once unless a note is to be read first."""
        if sent.key not in self._followers:
            return
        if sent.data is not None and not self._waiting and self._reading is None:
            self._deliver(sent.key, sent.data)
        elif len(self._waiting) < WAITING:
            self._waiting.append(sent)
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_notes(), name="holdfast postgres notes")

    def _deliver(self, key: str, data: bytes) -> None:
        for subscription in tuple(self._followers.get(key, ())):
            subscription.listener.sent(key, data)

    async def _read_notes(self) -> None:
        try:
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(PAGE, len(self._waiting)))]
                numbers = [sent.number for sent in some if sent.data is None]
                try:
                    rows = await self._fetch(read.NOTES, numbers) if numbers else []
                except StoreError:
                    rows = []  # what is sent reaches those who can be reached
                found = {row[0]: row[2] for row in rows}
                for sent in some:
                    data = found.get(sent.number) if sent.data is None else sent.data
                    if data is not None:
                        self._deliver(sent.key, data)
        finally:
            self._reading = None

    # --- looking ---

    async def _sweep(self) -> None:
        while True:
            await self._sleep(SWEEP)
            await self._look()

    async def _poll(self, number: int) -> None:
        notes = Notes(self._fetch, number)
        while True:
            await self._sleep(POLL)
            await self._look()
            for key, data in await notes.new(self._followers):
                self._deliver(key, data)

    async def _look(self) -> None:
        """Ask which of the topics followed went on, and tell."""
        keys = list(self._known)
        for at in range(0, len(keys), _ASKED):
            some = [key for key in keys[at : at + _ASKED] if key in self._known]
            known = [self._known[key] for key in some]
            try:
                rows = await self._fetch(
                    read.MOVED, *joined(some), [last for _, last in known], [epoch for epoch, _ in known]
                )
            except StoreError:
                return  # the next look sees all that this one would have
            before = dict(zip(some, known, strict=True))
            # What was heard since the question is newer than the answer.
            self._tell(Told(*row) for row in rows if self._known.get(row[0]) == before[row[0]])


def _origin() -> str:
    return secrets.token_hex(4)
