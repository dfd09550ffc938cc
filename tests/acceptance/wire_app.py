"""The app that `test_channels_wire` runs under every server."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from holdfast.channels import Channel, Channels, Connect, Limits, Refuse, Reply, User, event

Scope = MutableMapping[str, Any]
FRAME = 64 << 10


class Room(Channel):
    topic = "room:*"
    history = 3

    async def join(self, params: dict[str, Any]) -> Any:
        if params.get("refuse"):
            raise Refuse({"reason": "not you"})
        if params.get("crash"):
            raise RuntimeError("as asked")
        return {"params": params}

    @event("say")
    async def say(self, message: dict[str, Any]) -> Any:
        await self.broadcast("said", message)
        return {"n": message.get("n")}

    @event("whisper")
    async def whisper(self, message: dict[str, Any]) -> None:
        await self.broadcast("whispered", message, keep=False)

    @event("echo")
    async def echo(self, message: dict[str, Any]) -> Any:
        return message

    @event("status")
    async def status(self, message: dict[str, Any]) -> Any:
        return Reply("odd", message)

    @event("nothing")
    async def nothing(self, message: dict[str, Any]) -> None:
        pass

    @event("push")
    async def pushes(self, message: dict[str, Any]) -> None:
        await self.push("pushed", message)

    @event("crash")
    async def crash(self, message: dict[str, Any]) -> None:
        raise RuntimeError("as asked")

    @event("bin")
    async def bin(self, data: bytes) -> Any:
        await self.push("bin_push", b"\x00\x01")
        await self.broadcast("bin_broadcast", b"\xff\xfe", keep=False)
        return data + b"\x03\x04"

    @event("who")
    async def who(self, message: dict[str, Any]) -> Any:
        user = self.user
        return None if user is None else {"id": user.id, "token": user.data}

    @event("disconnect")
    async def disconnect(self, message: dict[str, Any]) -> None:
        await channels.disconnect(message["id"])

    @event("dropped")
    async def dropped(self, message: dict[str, Any]) -> Any:
        return {"dropped": channels.counts().dropped, "connections": channels.counts().connections}


def connect(asked: Connect) -> User | None:
    params = asked.params
    if "refuse" in params:
        raise Refuse
    if "crash" in params:
        raise RuntimeError("as asked")
    if "user" not in params:
        return None
    expires = float(params["expires"]) if "expires" in params else None
    return User(params["user"]["id"], expires=expires, data=asked.token)


channels = Channels(
    os.environ.get("WIRE_STORE", "memory://"),
    [Room],
    connect=connect,
    hosts=["127.0.0.1"],
    limits=Limits(frame=FRAME, channels=5, unread=256 << 10),
)


async def app(
    scope: Scope,
    receive: Callable[[], Awaitable[Scope]],
    send: Callable[[Scope], Awaitable[None]],
) -> None:
    if scope["type"] != "lifespan":
        await channels(scope, receive, send)
        return
    await receive()
    await channels.open()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await channels.close()
    await send({"type": "lifespan.shutdown.complete"})
