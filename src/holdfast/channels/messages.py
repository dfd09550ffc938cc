"""What applications see of a log: messages and topics, and what their ids and positions mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.channels.driver import Entry
from holdfast.channels.payloads import Invalid
from holdfast.channels.recovery import Position, is_given

__all__ = ["Message", "TopicInfo", "message_of", "named", "position_of"]


class Message(msgspec.Struct, frozen=True):
    """A kept message as it is now."""

    id: str  # its publisher's, or its position
    position: str  # opaque
    event: str
    payload: dict[str, Any]
    at: float  # seconds since 1970 when it was kept
    edited: bool


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic with a history."""

    topic: str
    messages: int  # kept, roughly
    at: float  # seconds since 1970 of its latest message
    members: int  # in this process


def message_of(epoch: str, entry: Entry) -> Message:
    """An entry of the log of this epoch, as applications see it."""
    position = f"{entry.offset}~{epoch}"
    payload = msgspec.json.decode(entry.payload or b"{}")
    return Message(
        entry.id or position, position, entry.event, payload, entry.at / 1000, entry.changed is not None
    )


def position_of(text: str) -> Position:
    """The position that the text says; `Invalid`, a `ValueError`, where it says none."""
    position = Position.parse(text)
    if position is None:
        raise Invalid(None, f"position {str(text)[:60]!r}: it is none of ours")
    return position


def named(id: str) -> Mapping[str, Any]:
    """An id as operations name a message: by what its publisher gave, or by where it stands."""
    position = Position.parse(id)
    if position is not None:
        return {"offset": position.offset, "epoch": position.epoch}
    if not isinstance(id, str) or not is_given(id):
        raise Invalid(None, f"message {str(id)[:60]!r}: it is no id")
    return {"id": id}
