"""Holdfast itself, mounted in a Starlette app as its users do; store and history come from the environment.

uvicorn bench.channels.servers.holdfast_app:app [--ws holdfast.channels.transports.uvicorn:WebSocketProtocol]
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.routing import Mount

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

channels = Channels(os.environ.get("BENCH_STORE", "memory://"), [ChatRoom], auto_migrate=True, limits=LIMITS)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with channels:
        yield


app = Starlette(routes=[Mount("/socket", channels)], lifespan=lifespan)
