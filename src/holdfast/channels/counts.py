"""What a process has counted of its channels, for metrics and dashboards."""

from __future__ import annotations

import msgspec

__all__ = ["ConnectionInfo", "Counts", "RoomInfo"]


class Counts(msgspec.Struct, kw_only=True):
    """Since it was opened, in this process."""

    connections: int = 0  # now
    rooms: int = 0  # now; topics with members here, or with some a moment ago
    unread: int = 0  # bytes that wait for clients, now
    joins: int = 0  # that made somebody a member
    received: int = 0  # messages from clients, heartbeats included
    sent: int = 0  # messages to clients, each as often as there are members
    kept: int = 0
    dropped: int = 0  # clients that read too slowly and were disconnected
    crashed: int = 0  # callbacks and handlers that raised


class RoomInfo(msgspec.Struct, frozen=True):
    """A topic with members in this process."""

    topic: str
    members: int
    position: str | None  # of the latest that was shown; None: nothing is kept
    sent: int  # messages since its first member came


class ConnectionInfo(msgspec.Struct, frozen=True):
    """A connection to this process."""

    number: int  # names it, to `Channels.close_connection`
    user: str | None
    transport: str  # "websocket" or "longpoll"
    topics: tuple[str, ...]
    unread: int  # bytes that wait for it
    seconds: float  # since it was made
