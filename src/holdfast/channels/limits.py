"""How much one client, and one process, may ask for."""

from __future__ import annotations

import msgspec

__all__ = ["Limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What `Channels(limits=Limits(...))` allows; the defaults suit a chat."""

    channels: int = 100
    """Topics that one connection may have joined at a time; one more is refused."""
    joins: int = 200
    """Joins a second and connection; one more is refused, and the client tries again later."""
    messages: int = 1_000
    """Messages a second and connection; beyond, nothing more is read from it until the second is over."""
    bytes: int = 4 << 20
    """The same, of bytes."""
    frame: int = 1 << 20
    """Bytes of one frame from a client; a larger one ends the connection with 1009."""
    message: int = 64 << 10
    """Bytes of a kept message's payload; a larger one is refused."""
    waiting: int = 64
    """Messages of one client in one topic that wait for their handler; beyond, nothing more is read from it."""
    unread: int = 1 << 20
    """Bytes that may wait for a client which does not read; beyond, the connection is ended, to be resumed."""
    topics: int = 50_000
    """Topics with members in one process; a join of one more is refused."""
    presences: int = 10_000
    """Presence entries in one topic; one more is refused: see `Channel.track`."""
    missed: int = 2_000
    """Messages that a returning client is brought up to date with; beyond, its history is lost."""
    idle: float = 60.0
    """Seconds without a word (npm's client sends a heartbeat every 30) after which a connection is ended."""
    connections: int = 100_000
    """Connections to one process; one more is refused with 503."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"limits: {name} = {getattr(self, name)!r}: more than nothing")
