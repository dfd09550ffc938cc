"""Every exception that Holdfast raises, as one tree.

::

    HoldfastError
    ├── StoreError
    │   ├── StoreUnavailable      the store did not answer, or could not finish; `maybe_applied` says what is known
    │   │   └── Overloaded        the bounded queue in front of the store is full; nothing was sent
    │   ├── StoreMisconfigured    the URL, an option or the server's set-up is wrong; nothing was done
    │   │   └── MissingExtra      the client library is not installed; the message is the pip line
    │   ├── NotMigrated           the tables are missing or old; the message says how to make them
    │   └── Closed                used before it was opened or after it was closed
    ├── PersistError
    │   ├── DuplicateKey          `create` found a live value
    │   ├── VersionConflict       the value is not the version named, or is gone
    │   ├── InvalidConversion     what is stored is not what was asked for
    │   ├── LockBusy              the lock was not free in time
    │   └── LockLost              the lock's lease ended under its holder
    ├── ChannelError
    │   ├── TopicRefused          no channel serves the topic, or it keeps no history
    │   ├── HistoryLost           what came after the position is no longer all there
    │   └── MessageTooLarge       the payload is above the limit; nothing was kept or sent
    └── WebmentionError
        ├── StorageTooSmall       the storage cannot do this; the message names the protocol that can
        ├── AddressRefused        the address is not one that may be connected to
        ├── FetchFailed           no answer, or none that can be used; `transient` says whether later may be better
        ├── MentionRefused        what somebody sent is no webmention of ours; the message is for the sender
        └── UnknownMention        there is no mention with this id

Wrong arguments are `ValueError` and `TypeError`, as everywhere in Python.
"""

from __future__ import annotations

import copy
from typing import TypeVar

__all__ = [
    "AddressRefused",
    "ChannelError",
    "Closed",
    "DuplicateKey",
    "FetchFailed",
    "HistoryLost",
    "HoldfastError",
    "InvalidConversion",
    "LockBusy",
    "LockLost",
    "MentionRefused",
    "MessageTooLarge",
    "MissingExtra",
    "NotMigrated",
    "Overloaded",
    "PersistError",
    "StorageTooSmall",
    "StoreError",
    "StoreMisconfigured",
    "StoreUnavailable",
    "TopicRefused",
    "UnknownMention",
    "VersionConflict",
    "WebmentionError",
]


class HoldfastError(Exception):
    """Root of everything Holdfast raises."""


class StoreError(HoldfastError):
    """The store, rather than the data, is the problem."""


class StoreUnavailable(StoreError):
    """The store did not answer, or could not finish what was asked.

    `maybe_applied` is false where it is certain that nothing was changed, and
    true where a write's bytes may have reached the store before the connection
    was lost. Holdfast never repeats such a write: only the caller can know
    whether a second time does harm.
    """

    maybe_applied: bool

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class Overloaded(StoreUnavailable):
    """The bounded queue in front of the store is full; nothing was sent."""


class StoreMisconfigured(StoreError):
    """The URL, one of its options, or the server's own set-up is wrong."""


class MissingExtra(StoreMisconfigured, ImportError):
    """A client library is not installed; the message is the line that installs it."""


class NotMigrated(StoreError):
    """The store's tables are missing or older than this version of Holdfast."""


class Closed(StoreError):
    """Used before it was opened, or after it was closed."""


class PersistError(HoldfastError):
    """A fact about one stored value."""


class DuplicateKey(PersistError):
    """`create` found a live value under the key."""


class VersionConflict(PersistError):
    """The stored value is not the version that was named, or there is none."""


class InvalidConversion(PersistError):
    """What is stored cannot be read as the type that was asked for."""


class LockBusy(PersistError):
    """The lock was not free within the time allowed."""


class LockLost(PersistError):
    """The lock's lease ended, or was taken, while its holder was at work."""


class ChannelError(HoldfastError):
    """A fact about one topic."""


class TopicRefused(ChannelError):
    """No channel serves the topic, or the one that does keeps no history."""


class HistoryLost(ChannelError):
    """What was said after the position is no longer all there."""


class MessageTooLarge(ChannelError, ValueError):
    """The payload is above the limit; nothing was kept or sent."""


class WebmentionError(HoldfastError):
    """A fact about one mention, or about what it takes to send or receive it."""


class StorageTooSmall(WebmentionError):
    """The storage is a smaller one than this needs; the message names the protocol that has it."""


class AddressRefused(WebmentionError):
    """The network policy does not let this address be connected to."""


class FetchFailed(WebmentionError):
    """There was no answer, or none that can be used. `transient`: another try later may do better."""

    transient: bool

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class MentionRefused(WebmentionError, ValueError):
    """What was sent is no webmention for this site; the message may be shown to the sender.

    `status` is HTTP's: 400, or 429 with the seconds of `retry_after`.
    """

    status: int
    retry_after: int | None

    def __init__(self, message: str, *, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class UnknownMention(WebmentionError):
    """There is no received mention with this id."""


_E = TypeVar("_E", bound=BaseException)


def again(error: _E) -> _E:
    """A fresh exception that says the same, so that no two waiters share a traceback.

    The same object where no second one can be made: better shared than another error.
    """
    for make in (copy.copy, _rebuilt):
        try:
            twin = make(error)
        except Exception:  # noqa: BLE001 - its constructor wants more than `args` has
            continue
        # A constructor that words its message itself would word it twice.
        if type(twin) is type(error) and list(map(id, twin.args)) == list(map(id, error.args)):
            twin.__cause__, twin.__context__ = error.__cause__, error.__context__
            twin.__suppress_context__ = error.__suppress_context__
            return twin
    return error


def _rebuilt(error: _E) -> _E:
    """Without its constructor."""
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin
