"""Live rooms that forget nothing: what is shown was saved, and who returns gets what was missed."""

from __future__ import annotations

from holdfast.channels.api import Channels, Message, TopicInfo
from holdfast.channels.channel import Channel, Connect, Refuse, Reply, User, event
from holdfast.channels.counts import ConnectionInfo, Counts, RoomInfo
from holdfast.channels.limits import Limits
from holdfast.errors import HistoryLost, MessageTooLarge, TopicRefused

__all__ = [
    "Channel",
    "Channels",
    "Connect",
    "ConnectionInfo",
    "Counts",
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
