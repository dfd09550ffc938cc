"""Live rooms that forget nothing: what is shown was saved, and who returns gets what was missed."""

from __future__ import annotations

from holdfast.channels.api import Channels
from holdfast.channels.channel import AnyTopic, Channel, Connect, Refuse, Reply, User, event
from holdfast.channels.counts import ConnectionInfo, Counts, RoomInfo
from holdfast.channels.limits import Limits
from holdfast.channels.messages import Message, TopicInfo
from holdfast.channels.tail import Heard
from holdfast.errors import HistoryLost, MessageTooLarge, TopicRefused

__all__ = [
    "AnyTopic",
    "Channel",
    "Channels",
    "Connect",
    "ConnectionInfo",
    "Counts",
    "Heard",
    "HistoryLost",
    "Limits",
    "Message",
    "MessageTooLarge",
    "Refuse",
    "Reply",
    "RoomInfo",
    "TopicInfo",
    "TopicRefused",
    "User",
    "event",
]
