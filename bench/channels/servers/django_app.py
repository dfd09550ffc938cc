"""Django Channels: a consumer, and a group for each room, on the pub/sub layer of channels_redis.

The layer in memory, which its documentation keeps for tests, walks over every
channel at each message and did a tenth of this in the rooms. The last messages
are the app's, for Django Channels keeps none.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

LAYER = {
    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "CONFIG": {"hosts": [os.environ["BENCH_REDIS"]]},
}
settings.configure(
    CHANNEL_LAYERS={"default": LAYER}, SECRET_KEY="x", ALLOWED_HOSTS=["*"], INSTALLED_APPS=["channels"]
)
django.setup()

# Django must have its settings first.
from channels.generic.websocket import AsyncWebsocketConsumer  # type: ignore[import-untyped]  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # type: ignore[import-untyped]  # noqa: E402
from django.urls import path  # type: ignore[import-untyped]  # noqa: E402

from bench.channels.servers.minimal import HISTORY, decode, encode, recent, reply  # noqa: E402


class Chat(AsyncWebsocketConsumer):  # type: ignore[misc]  # Django Channels has no types
    groups_joined: tuple[str, ...] = ()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        join_ref, ref, topic, event, payload = decode(text_data or b"")
        group = topic.replace(":", ".")
        if event == "new_message":
            text = encode([None, None, topic, event, payload]).decode()
            if HISTORY:
                recent(topic).append(text)
            await self.channel_layer.group_send(group, {"type": "chat.message", "text": text})
            return
        await self.send(reply(join_ref, ref, topic).decode())
        if event == "phx_join":
            await self.channel_layer.group_add(group, self.channel_name)
            self.groups_joined += (group,)
            for text in recent(topic) if HISTORY else ():
                await self.send(text)

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(event["text"])

    async def disconnect(self, code: int) -> None:
        for group in self.groups_joined:
            await self.channel_layer.group_discard(group, self.channel_name)


Call = Callable[..., Awaitable[Any]]


async def lifespan(scope: MutableMapping[str, Any], receive: Call, send: Call) -> None:
    """Django has none; uvicorn asks."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


routes = URLRouter([path("socket/websocket", Chat.as_asgi())])
app = ProtocolTypeRouter({"websocket": routes, "lifespan": lifespan})
