"""What Holdfast tells whoever listens: one small record per fact.

Logging, metrics and tracing subscribe; the library itself logs nothing::

    from holdfast import events

    stop = events.subscribe(lambda event: print(event))
    ...
    stop()

A listener is called on the thread and loop where the fact happened, must not
block, and must not raise: what it raises is logged and stops nothing else.
With nobody subscribed an event is never built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

__all__ = [
    "BatchApplied",
    "ChannelCrashed",
    "Connected",
    "Disconnected",
    "Event",
    "Listener",
    "MentionReceived",
    "MentionSent",
    "MessageRefused",
    "OperationApplied",
    "ReaderDropped",
    "Swept",
    "WorkFailed",
    "listeners",
    "publish",
    "subscribe",
]


class BatchApplied(msgspec.Struct, frozen=True):
    """One round trip to a store ended."""

    store: str  # the driver's name: "redis", "sqlite", ...
    operations: Mapping[str, int]  # how many of each kind: {"get": 31, "set": 2}
    seconds: float  # from hand-over to answer
    error: str | None  # class name of what the whole round trip failed with
    capability: str = "persist"  # whose operations they are: "persist" or "channels"


class OperationApplied(msgspec.Struct, frozen=True):
    """One operation was answered at once, without a round trip."""

    store: str
    operation: str
    capability: str = "persist"


class Connected(msgspec.Struct, frozen=True):
    """An engine has a connection: its first, or again after a loss."""

    store: str
    attempts: int  # 1 where the first attempt succeeded


class Disconnected(msgspec.Struct, frozen=True):
    """An engine lost its connection and is trying to get it back."""

    store: str
    reason: str


class Swept(msgspec.Struct, frozen=True):
    """A chunk of expired values was deleted."""

    store: str
    removed: int


class ChannelCrashed(msgspec.Struct, frozen=True):
    """A callback or handler of a channel raised; its client was told to join anew."""

    topic: str
    where: str  # the event that was handled, or the callback's name
    error: str  # class name of what was raised


class MessageRefused(msgspec.Struct, frozen=True):
    """What a client asked for was not done: the store failed, or a limit was reached where nobody can be told."""

    where: str  # "connect", "join", "handle", "callback", ...
    error: str


class ReaderDropped(msgspec.Struct, frozen=True):
    """A client read too slowly and was disconnected; it resumes by its position."""

    unread: int  # bytes that waited for it


class MentionReceived(msgspec.Struct, frozen=True):
    """A mention that came in was verified, or is another than it was: changed, accepted, declined or gone."""

    source_url: str
    target_url: str
    state: str  # "pending", "accepted", "declined" or "gone"
    type: str  # "mention", "reply", "like", ...


class MentionSent(msgspec.Struct, frozen=True):
    """An attempt to tell a target of a source ended, and what became of it is stored."""

    source_url: str
    target_url: str
    status: str  # "sent", "not_found", "failed", or "pending": it is tried again


class WorkFailed(msgspec.Struct, frozen=True):
    """What goes on in the background failed for now, and is tried again in a while."""

    where: str  # "outbox" or "inbox"
    error: str  # class name of what was raised


Event: TypeAlias = (
    BatchApplied
    | OperationApplied
    | Connected
    | Disconnected
    | Swept
    | ChannelCrashed
    | MessageRefused
    | ReaderDropped
    | MentionReceived
    | MentionSent
    | WorkFailed
)
Listener: TypeAlias = Callable[[Event], None]

listeners: Final[list[Listener]] = []
"""Who would hear: look here before building an event on a hot path, and change it only by `subscribe`."""


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call `listener` with every event of this process; the answer ends that."""
    listeners.append(listener)

    def unsubscribe() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return unsubscribe


def publish(event: Event) -> None:
    """Hand the event to every listener."""
    for listener in tuple(listeners):
        try:
            listener(event)
        except Exception:
            logging.getLogger("holdfast.events").exception("listener failed on %s", type(event).__name__)
