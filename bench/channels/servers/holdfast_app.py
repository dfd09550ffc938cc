"""Holdfast itself, through its public API; store and history come from the environment.

uvicorn bench.channels.servers.holdfast_app:app [--ws holdfast.channels.transports.uvicorn:WebSocketProtocol]
"""

from __future__ import annotations

import os

import msgspec

from holdfast.channels import Channel, Channels, Limits, event


class ChatMessage(msgspec.Struct):
    name: str
    message: str


class ChatRoom(Channel):
    topic = "chat_room:*"
    history = int(os.environ.get("BENCH_HISTORY", "0")) or None  # None: nothing is kept

    @event("new_message")
    async def new_message(self, message: ChatMessage) -> None:
        await self.broadcast("new_message", message)


# One publisher speaks for a crowd here; all other limits are the stock ones.
LIMITS = Limits(messages=1_000_000, bytes=1 << 30)

app = Channels(os.environ.get("BENCH_STORE", "memory://"), [ChatRoom], auto_migrate=True, limits=LIMITS)
