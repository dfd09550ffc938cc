"""What a channels driver promises, and the operations it is handed.

A topic's history is a log. Every message, every edit and every removal takes
the topic's next *offset*: 1, 2, 3 ..., without holes, in the one order in which
all processes and all subscribers see them. A topic's log has an *epoch*, a
random word that is drawn when the log begins and never comes back: offsets of
another epoch mean nothing. Offsets and epoch together are what clients know as
a position.

A driver turns a batch of operations into as few round trips as its engine
allows, and answers by position. It is dumb on purpose: topics arrive checked
and with their namespace in front (`key`), payloads arrive encoded, and what an
answer means to a client is decided above.

**Batches, lanes, immediate operations** are as in `persist.driver`: `apply`
answers a list as long as the batch, an outcome or an exception in each place,
and *raises* only where the whole round trip failed (`StoreUnavailable`, with
`maybe_applied` true as soon as a byte of a write may have left); writes to one
key take effect in the order of the batch; batches of one lane never overlap
unless `traits.pipeline` is more than 1; `now(op)` answers the kinds in
`traits.immediate` at once, or `LATER`.

**Atomic.** One `Append` stores the message, advances the topic, trims what is
too old and announces it to the other processes, or does none of it. So do
`Edit` and `Erase`. In a log that several processes write, an offset is visible
only when every lower one is: a reader that has seen 7 never meets a 6 later.

**One layout per database**: see `channels.migrations`.

**Announcements.** `subscribe(listener)` tells this process what happens in the
topics that it follows. The listener hears, on the event loop:

- `kept(key, epoch, last, entry)`: the log of `key` now reaches `last`, at
  least. `entry` is the message itself where the engine carried it along and it
  is the one at `last`; else None, and the log is read.
- `sent(key, data)`: somebody's `Send`.
- `lost()`: announcements may have been missed (a connection was lost, a buffer
  ran over). The listener reads every log it follows; nothing else is repeated.

What this process appends itself may be announced to it or not; a listener that
knows how far it is has no trouble with either. From the moment that `follow`
returns, every `kept` is announced, or `lost` is called. `Send` is at most once:
it reaches the processes that follow the topic now and can be reached. A driver
whose `traits.shared` is "process" announces nothing: there is nobody else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from holdfast.store import Finding, Health, Migration

__all__ = [
    "LATER",
    "Append",
    "Appended",
    "Changed",
    "Clear",
    "Driver",
    "Edit",
    "Entry",
    "Erase",
    "Find",
    "Found",
    "Listener",
    "Log",
    "Operation",
    "Outcome",
    "Read",
    "Send",
    "Subscription",
    "Topic",
    "TopicPage",
    "Topics",
    "Traits",
    "Trim",
]


class _Later:
    def __repr__(self) -> str:
        return "LATER"


LATER = _Later()
"""What `now` answers where the operation would have to wait after all."""


# --- what is stored ---


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One message as it is now. Text may be `bytes` or `str`: decoding takes both."""

    offset: int
    id: str | None  # as its publisher gave it; None: it is known by its position
    event: str
    payload: bytes | str | None  # a JSON object; None: it was erased
    at: int  # milliseconds since 1970 when it was appended, by the deciding clock
    changed: int | None = None  # the offset of its latest edit, or of its removal


# --- operations ---


class Append(msgspec.Struct, frozen=True, gc=False):
    """Store a message under the topic's next offset and announce it. Outcome: `Appended`.

    Where `id` is given and the log holds a message of this id, erased or not,
    nothing is stored or announced, and the outcome is that message's, `repeated`.

    At least the newest `max_messages` stay, and no more than an eighth (or 16)
    above; what is older than `max_age` milliseconds may go. Both None: all stay.
    """

    key: str
    event: str
    payload: bytes
    id: str | None = None
    at: int | None = None  # when it was said, in milliseconds since 1970, for an import; None: now
    max_messages: int | None = None
    max_age: int | None = None
    repeatable: ClassVar[bool] = False


class Edit(msgspec.Struct, frozen=True, gc=False):
    """Give a live message another payload, under the topic's next offset. Outcome: `Changed`, or None: no such one.

    The message is named by the `id` that its publisher gave, or by `offset` and
    `epoch`; an erased one cannot be edited.
    """

    key: str
    payload: bytes
    id: str | None = None
    offset: int | None = None
    epoch: str | None = None
    repeatable: ClassVar[bool] = False


class Erase(msgspec.Struct, frozen=True, gc=False):
    """Erase a live message's payload, under the next offset. Outcome: `Changed`, or None: no such one."""

    key: str
    id: str | None = None
    offset: int | None = None
    epoch: str | None = None
    repeatable: ClassVar[bool] = False


class Find(msgspec.Struct, frozen=True, gc=False):
    """One live message, named as in `Edit`. Outcome: `Found`, or None: no such one, or it was erased."""

    key: str
    id: str | None = None
    offset: int | None = None
    epoch: str | None = None
    repeatable: ClassVar[bool] = True


class Read(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a topic's log, oldest first. Outcome: `Log`.

    ================  =======================================================
    neither           the last `limit` live messages
    `before`          the last `limit` live messages with an offset below it
    `after`           the first `limit` live messages with an offset above it
    `changes_after`   what happened above it: every message whose `offset` *or*
                      `changed` is above, erased ones included, in the order of
                      the higher of the two, the first `limit` of them
    ================  =======================================================

    At most one of the three is given. `entries`, `last` and `trimmed` are of
    one moment.
    """

    key: str
    limit: int
    before: int | None = None
    after: int | None = None
    changes_after: int | None = None
    repeatable: ClassVar[bool] = True


class Send(msgspec.Struct, frozen=True, gc=False):
    """Announce `data` to the other processes that follow the topic; nothing is kept. Outcome: None.

    Up to 1 MiB. Whether this process hears it too is up to the driver.
    """

    key: str
    data: bytes
    repeatable: ClassVar[bool] = False


class Trim(msgspec.Struct, frozen=True, gc=False):
    """Apply a retention to a topic that nobody writes to, exactly. Outcome: how many messages went."""

    key: str
    max_messages: int | None
    max_age: int | None  # milliseconds
    repeatable: ClassVar[bool] = False


class Clear(msgspec.Struct, frozen=True, gc=False):
    """Forget a topic's whole log; the next message begins a new epoch. Outcome: whether there was one."""

    key: str
    repeatable: ClassVar[bool] = False


class Topics(msgspec.Struct, frozen=True, gc=False):
    """One page of the topics that have a log and start with `key`, by their text. Outcome: `TopicPage`.

    `cursor` is None for the first page and else what the last page answered.
    """

    key: str
    cursor: str | None
    limit: int
    repeatable: ClassVar[bool] = True


Operation: TypeAlias = Append | Edit | Erase | Find | Read | Send | Trim | Clear | Topics


# --- outcomes ---


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Where a message stands."""

    offset: int
    epoch: str  # 1 to 16 ASCII letters and digits
    at: int
    repeated: bool = False


class Changed(msgspec.Struct, frozen=True, gc=False):
    """An edit or a removal, and the message as it is now."""

    epoch: str
    entry: Entry  # `entry.changed` is the offset of this change


class Found(msgspec.Struct, frozen=True, gc=False):
    """A message, and the epoch that its offset is of."""

    epoch: str
    entry: Entry


class Log(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a log."""

    epoch: str | None  # None: there is no log, and all else is zero or empty
    last: int  # the highest offset that was given out
    trimmed: int  # the highest offset that retention took away; 0: everything since the beginning is there
    entries: Sequence[Entry]


class Topic(msgspec.Struct, frozen=True, gc=False):
    """A topic with a log."""

    key: str
    epoch: str
    last: int
    kept: int  # messages in it, erased ones included; roughly
    at: int  # milliseconds since 1970 of its latest message


class TopicPage(msgspec.Struct, frozen=True):
    """Some topics, and where to go on; a cursor of None says that this was the last page."""

    topics: Sequence[Topic]
    cursor: str | None


Outcome: TypeAlias = Any  # what the operation's docstring says, or an Exception instance


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between drivers, stated rather than probed. `docs/guarantees.md` is made from these."""

    name: str
    durable: Literal[
        "no", "yes", "as configured"
    ]  # does an acknowledged message survive kill -9 of the engine
    shared: Literal["process", "machine", "network"]  # who else sees the data
    clock: Literal["process", "machine", "server"]  # whose clock stamps messages and decides about their age
    notifies: Literal["no", "push", "poll"]  # how other processes' messages arrive
    latency: float = 0.0  # seconds until another process hears of a message, where it polls
    lanes: int = 1
    writes_in_one_lane: bool = False
    pipeline: int = 1
    max_ops: int = 512
    max_bytes: int = 4 << 20
    immediate: frozenset[type] = frozenset()
    auto_migrate: bool = False


class Listener(Protocol):
    """Who hears announcements; see the module's docstring. Must not block, must not raise."""

    def kept(self, key: str, epoch: str, last: int, entry: Entry | None) -> None: ...

    def sent(self, key: str, data: bytes) -> None: ...

    def lost(self) -> None: ...


class Subscription(Protocol):
    """What one process follows."""

    async def follow(self, key: str) -> None:
        """Hear of this topic from now on. Twice is once.

        Raises:
            StoreUnavailable: the engine cannot be reached; nothing is followed.
        """

    async def unfollow(self, key: str) -> None:
        """Hear no more of it. Never raises; what was on its way may still arrive."""

    async def close(self) -> None:
        """Hear nothing more. Twice is once."""


class Driver(Protocol):
    """The whole of what `api` needs from an engine."""

    traits: Traits

    async def open(self) -> None:
        """Take the engine's lease. Touches the network; does not create tables. Raises as `persist`'s does."""

    async def close(self) -> None:
        """Give the lease back, and close every subscription. Twice is once, and `open` works again."""

    async def pending(self) -> Sequence[Migration]:
        """The migrations this store still lacks, oldest first; empty where there are no tables."""

    async def migrate(self) -> Sequence[Migration]:
        """Apply what is pending and answer what was applied. Two processes at once: one applies, one waits."""

    async def health(self) -> Health:
        """One round trip, bounded in time. Never raises for a store that is down: that is its answer."""

    async def describe(self) -> Sequence[Finding]:
        """What the store promises as it is configured, for `holdfast doctor`."""

    def apply(self, batch: Sequence[Operation], lane: int = 0) -> Awaitable[list[Outcome]]:
        """Do all of it; see the module's docstring."""

    def now(self, op: Operation) -> Outcome:
        """The outcome at once, or `LATER`. Called only for classes in `traits.immediate`."""

    async def subscribe(self, listener: Listener) -> Subscription:
        """A subscription that follows nothing yet. One a process is usual, several work.

        Where `traits.notifies` is "no", `follow` is accepted and nothing is ever heard.
        """

    async def sweep(self) -> int:
        """Delete a bounded number of announcements that nobody needs any more; how many. 0 where none are stored.

        Called now and then, by every process.
        """
