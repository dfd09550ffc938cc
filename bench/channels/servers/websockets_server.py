"""The `websockets` library's asyncio server and its `broadcast()`."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bench.channels.servers.minimal import Hub, Room


def fanout(room: Room, message: bytes) -> None:
    broadcast([member.socket for member in room.members], message.decode())


hub = Hub(fanout)


class Member:
    __slots__ = ("rooms", "socket", "waiting")

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.rooms: tuple[Room, ...] = ()
        self.waiting: list[bytes] = []

    def reply(self, messages: list[bytes]) -> None:
        self.waiting = messages


async def endpoint(socket: ServerConnection) -> None:
    member = Member(socket)
    try:
        async for raw in socket:
            hub.handle(member, raw)
            waiting, member.waiting = member.waiting, []
            for message in waiting:
                await socket.send(message.decode())
    except ConnectionClosed:
        pass  # as every conversation here ends
    finally:
        hub.leave(member)


async def main() -> None:
    async with serve(endpoint, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=4096):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
