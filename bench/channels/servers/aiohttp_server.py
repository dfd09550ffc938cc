"""aiohttp: for each member, await `send_str`."""

from __future__ import annotations

import sys
from typing import Any

import uvloop
from aiohttp import WSMsgType, web

from bench.channels.servers.minimal import Hub, Room


async def fanout(room: Room, message: bytes) -> None:
    text = message.decode()
    for member in list(room.members):
        try:
            await member.socket.send_str(text)
        except ConnectionError:
            room.members.pop(member, None)


hub = Hub(fanout)


class Member:
    __slots__ = ("rooms", "socket", "waiting")

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.rooms: tuple[Room, ...] = ()
        self.waiting: list[bytes] = []

    def reply(self, messages: list[bytes]) -> None:
        self.waiting = messages

    async def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for message in waiting:
            await self.socket.send_str(message.decode())


async def endpoint(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    member = Member(socket)
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            sending: Any = hub.handle(member, message.data)
            if sending is not None:
                await sending
            elif member.waiting:
                await member.flush()
    except ConnectionError:
        pass  # as every conversation here ends
    finally:
        hub.leave(member)
    return socket


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/socket/websocket", endpoint)
    loop = uvloop.new_event_loop()
    port = int(sys.argv[1])
    web.run_app(
        app, host="127.0.0.1", port=port, backlog=4096, access_log=None, print=lambda *_: None, loop=loop
    )
