"""The least of Phoenix Channels V2 that a fair comparison needs, shared by the minimal servers.

`[join_ref, ref, topic, event, payload]`: `phx_join` and `new_message`, whose payload
is broadcast to the room's members, encoded once. Nothing is checked, nothing is kept but the
last messages of a room, encoded, where `BENCH_HISTORY` says how many.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

__all__ = ["HISTORY", "Hub", "Member", "Room", "decode", "encode", "frame", "recent", "reply"]

HISTORY = int(os.environ.get("BENCH_HISTORY", "0"))

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


class Member(Protocol):
    """A connection, as the server has it."""

    rooms: tuple[Room, ...]

    def reply(self, messages: list[bytes]) -> None: ...


class Room:
    """Its members in the order of joining, and its last messages."""

    __slots__ = ("history", "members", "prefix")

    def __init__(self, topic: str) -> None:
        self.prefix = b"[null,null," + encode(topic) + b","
        self.members: dict[Any, None] = {}
        self.history: deque[bytes] = deque(maxlen=HISTORY)


class Hub:
    """The rooms. `fanout(room, message)` sends to every member; what it answers is awaited where it is awaitable."""

    def __init__(self, fanout: Callable[[Room, bytes], Awaitable[None] | None]) -> None:
        self.rooms: dict[str, Room] = {}
        self.fanout = fanout

    def handle(self, member: Member, raw: bytes | str | memoryview) -> Awaitable[None] | None:
        """One message from a member; the caller awaits what it gets."""
        join_ref, ref, topic, event, payload = decode(raw)
        if event == "phx_join":
            room = self.rooms.get(topic) or self.rooms.setdefault(topic, Room(topic))
            room.members[member] = None
            member.rooms += (room,)
            member.reply([reply(join_ref, ref, topic), *room.history])
        elif event == "new_message":
            room = self.rooms[topic]
            message = room.prefix + b'"new_message",' + encode(payload) + b"]"
            if HISTORY:
                room.history.append(message)
            return self.fanout(room, message)
        else:
            member.reply([reply(join_ref, ref, topic)])
        return None

    def leave(self, member: Member) -> None:
        for room in member.rooms:
            room.members.pop(member, None)


def reply(join_ref: str | None, ref: str | None, topic: str) -> bytes:
    return encode([join_ref, ref, topic, "phx_reply", {"status": "ok", "response": {}}])


def frame(message: bytes) -> bytes:
    """One unmasked text frame."""
    size = len(message)
    if size < 126:
        return bytes((0x81, size)) + message
    return b"\x81\x7e" + size.to_bytes(2, "big") + message  # none here is longer than 64 KiB


_recent: dict[str, deque[str]] = {}


def recent(topic: str) -> deque[str]:
    """The last messages of a topic, for servers that have rooms of their own and no history."""
    return _recent.get(topic) or _recent.setdefault(topic, deque(maxlen=HISTORY))
