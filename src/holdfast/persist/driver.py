"""What a persist driver promises, and the operations it is handed.

A driver turns a batch of operations into as few round trips as its engine
allows, and answers by position. It is dumb on purpose: keys arrive checked and
with their namespace in front, values arrive encoded, lifetimes arrive in whole
milliseconds, and what an answer means to the caller (which exception, which
type) is decided in `api`.

**Batches.** `apply(batch, lane)` is handed 1 to `traits.max_ops` operations in
the order in which they were submitted. It answers with a list as long as the
batch: at each position the outcome that the operation's docstring names, or an
exception instance for that operation alone. It *raises* only where the whole
round trip failed, and then `StoreUnavailable`, with `maybe_applied` true as
soon as one byte of a write may have left. A batch of one is no special case.

**Order.** Writes to one key take effect in the order of the batch, whatever the
driver does to group them (a `Create` after a `Remove` of the same key creates).
Reads in the same batch may see any state in between. Operations on different
keys are independent, and a batch is not a transaction: where a part is refused
the rest stands.

**Lanes.** The Batcher sends an operation down lane `hash(key) % traits.lanes`
(a write down lane 0 where `traits.writes_in_one_lane`; once `traits.overlap_from`
of them wait, down lane 0 or 1, beside the reads that are there, and no key in both).
Otherwise batches of one lane never overlap, unless `traits.pipeline` is more than 1: then
up to that many may be under way in one lane, `apply` must have handed its batch
to the wire, in order, *before it returns its awaitable*, and the engine must
answer in order. A driver with `pipeline == 1` simply writes `async def apply`.

**Expired is absent.** From the millisecond its lifetime ends, a row is absent
for every operation, swept or not. `Create` succeeds over it; `Set` with `KEEP`
over it stores a value that never expires; `Increment` over it starts afresh;
`Clear` deletes it but does not count it. `traits.clock` says whose clock.

**Versions.** A version is an opaque string of at most 64 ASCII characters
(letters, digits, `-`, `_`), different whenever the stored bytes differ, also
after a removal and a new creation. Where `traits.version_from_content` is true
it is derived from the value, and a value that came back has its old version.
`Touch` and `GetRenew` leave it as it is; a version that nobody gave out matches
nothing and is no error.

**Text order.** `Keys` and `Clear` walk keys by their UTF-8 bytes where the
engine can (SQL), or in the engine's own order (Redis). A prefix is plain text:
`%`, `_`, `*`, `[` and `\\` have no meaning in it.

**Immediate operations.** Where an operation never waits, its class stands in
`traits.immediate`, and `now(op)` answers at once with the outcome, raises what
`apply` would have put in its place, or returns `LATER` (a busy file, a cold
page), upon which the operation goes through `apply`.

**Announcements.** A driver whose traits say `notifies` is a `Notifying`: it can
be told, before it is opened, to announce what happens to users' values, and
then lets a process listen. An announcement is part of the step that makes the
change: both happen or neither does, and what was refused announces nothing.

=========  ===================================================================
set        `Set`; a `Create`, `Replace` or `Increment` that stored something
removed    a `Remove` that deleted something; every live value that a `Clear`
           deleted, each page in the step that deletes it
nothing    `Touch` and `GetRenew`, for the value is what it was; a value's end
           by expiry, and the deletion of what is expired by whomever
=========  ===================================================================

Only keys of the family `p` are announced (`announcing.is_value`): leases, locks
and fences are nobody's business. For one key, announcements are heard in the
order of its changes; several changes of one kind in a batch may be announced as
one. What this process changed itself is heard like everything else.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias

import msgspec

from holdfast.store import Finding, Health, Migration

__all__ = [
    "KEEP",
    "LATER",
    "Clear",
    "Cleared",
    "Create",
    "Driver",
    "Get",
    "GetEntry",
    "GetRenew",
    "Increment",
    "Keep",
    "Keys",
    "Listener",
    "Notifying",
    "Operation",
    "Outcome",
    "Page",
    "Remove",
    "Replace",
    "Set",
    "Stored",
    "Subscription",
    "Sweep",
    "Touch",
    "Traits",
    "prefix_end",
]


class Keep(enum.Enum):
    """The type of `KEEP`."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep.KEEP
"""Leave the remaining expiry as it is."""


class _Later(enum.Enum):
    LATER = "later"


LATER: Final = _Later.LATER
"""What `now` answers where the operation would have to wait after all."""

Text: TypeAlias = bytes | str
"""Encoded JSON. Drivers are given `bytes` and may answer with either: decoding takes both."""


# --- operations; `key` always has its namespace in front, `ttl` is milliseconds (None: never expires) ---


class _Read(msgspec.Struct, frozen=True, gc=False):
    key: str
    repeatable: ClassVar[bool] = True  # may be sent again after a lost connection


class _Write(msgspec.Struct, frozen=True, gc=False):
    key: str
    repeatable: ClassVar[bool] = False


class Get(_Read, frozen=True, gc=False):
    """Outcome: the stored text, or None."""


class GetEntry(_Read, frozen=True, gc=False):
    """Outcome: `Stored`, or None."""


class GetRenew(_Write, frozen=True, gc=False):
    """Read a live value and give it a new lifetime, in one step. Outcome: the stored text, or None."""

    ttl: int | None


class Set(_Write, frozen=True, gc=False):
    """Store, whatever was there. `KEEP` keeps a live value's lifetime; nothing live: never expires. Outcome: None."""

    value: bytes
    ttl: int | Keep | None


class Create(_Write, frozen=True, gc=False):
    """Store unless a live value exists. Outcome: whether it was stored."""

    value: bytes
    ttl: int | None


class Replace(_Write, frozen=True, gc=False):
    """Store over the live value of this version. Outcome: the new version, or None where it was another or absent."""

    value: bytes
    version: str
    ttl: int | Keep | None


class Remove(_Write, frozen=True, gc=False):
    """Delete a live value, of this version where one is named. Outcome: whether there was such a one."""

    version: str | None = None


class Touch(_Write, frozen=True, gc=False):
    """Give a live value a new lifetime. Outcome: whether there was one."""

    ttl: int | None


class Increment(_Write, frozen=True, gc=False):
    """Add to a live counter, or start one at `by` with the lifetime `ttl`; a live counter keeps its own.

    Outcome: the new value, `InvalidConversion` where what is stored is not a
    JSON integer in the signed 64-bit range, or `ValueError` where the sum would
    leave that range; both leave the value as it was.
    """

    by: int
    ttl: int | None


class Keys(msgspec.Struct, frozen=True, gc=False):
    """One page of the live keys that start with `key`. Outcome: `Page`.

    `cursor` is None for the first page and else what the last page answered.
    A key that lives throughout the walk is in one page (in one or more, where
    `traits.scan_repeats`); one that comes or goes meanwhile may be in none.
    A page may be empty and yet have a cursor; `limit` is a wish, not a bound.
    """

    key: str
    cursor: str | None
    limit: int
    repeatable: ClassVar[bool] = True


class Clear(msgspec.Struct, frozen=True, gc=False):
    """Delete one page of the keys that start with `key`. Outcome: `Cleared`; walks like `Keys`."""

    key: str
    cursor: str | None
    limit: int
    repeatable: ClassVar[bool] = False


Operation: TypeAlias = (
    Get | GetEntry | GetRenew | Set | Create | Replace | Remove | Touch | Increment | Keys | Clear
)


# --- outcomes ---


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A live value with what is known about it."""

    value: Text
    ttl: int | None  # milliseconds left, at least 1; None: never expires
    version: str


class Page(msgspec.Struct, frozen=True):
    """Some keys (namespace in front), and where to go on; a cursor of None says that this was the last page."""

    keys: Sequence[str]
    cursor: str | None


class Cleared(msgspec.Struct, frozen=True):
    """How many live keys were deleted, and where to go on."""

    removed: int
    cursor: str | None


class Sweep(msgspec.Struct, frozen=True):
    """How many expired rows one chunk deleted, and where to go on; None: the table is done."""

    removed: int
    cursor: str | None


Outcome: TypeAlias = Any  # what the operation's docstring says, or an Exception instance


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between drivers, stated rather than probed. `docs/guarantees.md` is made from these."""

    name: str
    durable: Literal["no", "yes", "as configured"]  # does an acknowledged write survive kill -9 of the engine
    shared: Literal["process", "machine", "network"]  # who else sees the data
    clock: Literal["process", "machine", "server"]  # whose clock decides about expiry
    version_from_content: bool
    lanes: int = 1
    writes_in_one_lane: bool = False  # writes keep to lane 0: fewer, larger commits; reads use all
    pipeline: int = 1  # batches under way at once in one lane
    overlap_from: int = 0  # so many writes that wait leave by lanes 0 and 1 side by side; 0: never
    max_ops: int = 512  # in one batch
    max_bytes: int = 4 << 20  # of keys and values in one batch; one larger operation goes alone
    immediate: frozenset[type] = frozenset()
    sweeps: bool = False  # expired rows stay until `sweep` deletes them
    scan_repeats: bool = False  # `Keys` may list a key twice
    notifies: bool = False  # is a `Notifying`
    latency: float = 0.0  # seconds until another process hears of a change, where it has to look for it
    auto_migrate: bool = False  # make and update tables at open unless told otherwise


class Driver(Protocol):
    """The whole of what `api` needs from an engine."""

    traits: Traits

    async def open(self) -> None:
        """Take the engine's lease. Touches the network; does not create tables.

        Raises:
            StoreMisconfigured: the server will never accept this set-up.
            StoreUnavailable: it does not answer now.
        """

    async def close(self) -> None:
        """Give the lease back; a client that was passed in stays open. Twice is once.

        An `apply` under way is settled, with outcomes or a `StoreError`, nothing
        is left open, and `open` works again.
        """

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

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        """Look at about `limit` rows from `cursor` on and delete the expired ones.

        Called only where `traits.sweeps`, by one process at a time, from one
        task. Walks the primary key: an index on expiry would cost every write
        a quarter of its speed to make this rare reader faster. Deletes at most
        twice `limit`. Where announcements are stored, a walk ends with deleting
        those that nobody needs any more; they are not counted.
        """


class Listener(Protocol):
    """Who hears announcements, on the event loop. Must not block, must not raise."""

    def changed(self, key: str, removed: bool) -> None:
        """A value was set, or removed; the key has its namespace in front."""

    def lost(self) -> None:
        """Some may have been missed: a connection was lost, a buffer ran over. It is back now."""


class Subscription(Protocol):
    """What `subscribe` answers."""

    async def close(self) -> None:
        """Tell the listener nothing more. Never raises; twice is once."""


class Notifying(Driver, Protocol):
    """A driver whose traits say `notifies`. Without `announce` it does no more than any other."""

    def announce(self, channel: str) -> None:
        """From the next `open` on, announce changes, in this channel: `<namespace>:w:`. No I/O.

        Called at most once, before `open`, and before `pending` and `migrate`
        where the channel needs a table.
        """

    async def subscribe(self, listener: Listener) -> Subscription:
        """Tell the listener what is announced in the channel, from the return on. Only after `announce`.

        Everything that is acknowledged to its writer after the return is told,
        or `lost` is; of what was under way, some. `close` ends it too.

        Raises:
            StoreUnavailable: the engine cannot be reached; nothing is heard.
            StoreMisconfigured: it can be written to but not listened to, as it is set up.
        """


def prefix_end(prefix: str) -> str | None:
    """The least text greater than every text that starts with `prefix`, in UTF-8 byte order; None: there is none.

    >>> prefix_end("user:")
    'user;'
    """
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at]) + 1
        if point == 0xD800:  # surrogates are not text
            point = 0xE000
        if point <= 0x10FFFF:
            return prefix[:at] + chr(point)
    return None
