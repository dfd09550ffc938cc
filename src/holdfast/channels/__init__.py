"""Live rooms that forget nothing: what is shown was saved, and who returns gets what was missed."""

from __future__ import annotations

from holdfast.channels.api import Channels, Message, TopicInfo
from holdfast.channels.channel import Channel, Connect, Refuse, Reply, User, event
from holdfast.channels.limits import Limits
from holdfast.errors import HistoryLost, MessageTooLarge, TopicRefused

__all__ = [
    "Channel",
    "Channels",
    "Connect",
    "HistoryLost",
    "Limits",
    "Message",
    "MessageTooLarge",
    "Refuse",
    "Reply",
    "TopicInfo",
    "TopicRefused",
    "User",
    "event",
]
