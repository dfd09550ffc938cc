"""uvicorn + Starlette, fan-out the way a user writes it: for each member, await its send."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.channels.servers.minimal import Hub, Room


async def fanout(room: Room, message: bytes) -> None:
    event = {"type": "websocket.send", "text": message.decode()}
    for member in list(room.members):
        try:
            await member.send(event)
        except Exception:  # noqa: BLE001 - its connection is gone, under each `--ws` with another exception
            room.members.pop(member, None)


hub = Hub(fanout)


class Member:
    __slots__ = ("rooms", "send", "waiting")

    def __init__(self, websocket: WebSocket) -> None:
        # Past WebSocket.send, which checks the state at each message: that would cost Starlette a tenth.
        self.send = websocket._send
        self.rooms: tuple[Room, ...] = ()
        self.waiting: list[bytes] = []

    def reply(self, messages: list[bytes]) -> None:
        self.waiting = messages

    async def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for message in waiting:
            await self.send({"type": "websocket.send", "text": message.decode()})


async def endpoint(websocket: WebSocket) -> None:
    await websocket.accept()
    member = Member(websocket)
    try:
        while True:
            sending: Any = hub.handle(member, await websocket.receive_text())
            if sending is not None:
                await sending
            elif member.waiting:
                await member.flush()
    except WebSocketDisconnect:
        pass  # as every conversation here ends
    finally:
        hub.leave(member)


app = Starlette(routes=[WebSocketRoute("/socket/websocket", endpoint)])
