"""Litestar's ChannelsPlugin on its memory backend, the way its documentation does it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect

from bench.channels.servers.minimal import HISTORY, decode, encode, reply

plugin = ChannelsPlugin(backend=MemoryChannelsBackend(history=HISTORY), arbitrary_channels_allowed=True)


@websocket("/socket/websocket")
async def endpoint(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    async with AsyncExitStack() as stack:
        try:
            while True:
                join_ref, ref, topic, event, payload = decode(await socket.receive_text())
                if event == "new_message":
                    plugin.publish(encode([None, None, topic, event, payload]).decode(), topic)
                    continue
                await socket.send_text(reply(join_ref, ref, topic).decode())
                if event == "phx_join":
                    subscriber = await stack.enter_async_context(
                        plugin.start_subscription(topic, history=HISTORY or None)
                    )
                    await stack.enter_async_context(subscriber.run_in_background(socket.send_text))
        except WebSocketDisconnect:
            pass  # as every conversation here ends


async def remember() -> None:
    """Stay in the room whose history is asked for: the memory backend forgets a channel that everyone has left."""
    if HISTORY:
        await plugin.subscribe("chat_room:0")


app = Litestar([endpoint], plugins=[plugin], logging_config=None, on_startup=[remember])
