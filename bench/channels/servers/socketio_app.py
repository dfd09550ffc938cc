"""python-socketio in its own wire format, with its rooms; the last messages are the app's, for it keeps none."""

from __future__ import annotations

from typing import Any

import socketio  # type: ignore[import-untyped]

from bench.channels.servers.minimal import HISTORY, recent

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")


@server.event  # type: ignore[untyped-decorator]  # python-socketio has no types
async def phx_join(sid: str, data: dict[str, Any]) -> None:
    await server.enter_room(sid, data["topic"])
    await server.emit("phx_reply", {"status": "ok"}, to=sid)
    for payload in recent(data["topic"]) if HISTORY else ():
        await server.emit("new_message", payload, to=sid)


@server.event  # type: ignore[untyped-decorator]
async def new_message(sid: str, data: dict[str, Any]) -> None:
    if HISTORY:
        recent(data["topic"]).append(data["payload"])
    await server.emit("new_message", data["payload"], room=data["topic"])


app = socketio.ASGIApp(server)
