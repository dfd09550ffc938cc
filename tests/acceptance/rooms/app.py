"""A small application with rooms, as users write them, for the proofs to be served, killed and talked to.

    HOLDFAST_STORE=sqlite:///rooms.db uvicorn tests.acceptance.rooms.app:app

`log:*` forgets nothing and replays nothing but what was missed; `room:*` has
the rest: history, presence, binary, errors, `tell`, `disconnect`.
"""

import os
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from holdfast.channels import Channel, Channels, Connect, Limits, Refuse, Reply, User, event
from holdfast.channels.transports.asgi import endpoint

Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_.:@/+=-]{1,128}\Z")]


class Said(msgspec.Struct):
    id: Id
    text: str


class Named(msgspec.Struct):
    name: str


class Log(Channel):
    """Says what it is told, by an id, so that a client which heard no answer can say it again."""

    topic = "log:*"
    history = 0
    max_messages = None

    @event("say")
    async def say(self, said: Said) -> Any:
        return {"position": await self.broadcast("said", {"id": said.id, "text": said.text}, id=said.id)}


class Room(Channel):
    topic = "room:*"
    history = 10
    presence = True

    async def join(self, params: dict[str, Any]) -> Any:
        if "refuse" in params:
            raise Refuse({"reason": params["refuse"]})
        if "crash" in params:
            raise RuntimeError("asked to crash")
        return {"hello": params.get("name"), "user": self.user and self.user.id}

    async def joined(self) -> None:
        if self.user is not None:
            await self.track({"status": "here"})

    @event("say")
    async def say(self, said: Said) -> Any:
        return {"position": await self.broadcast("said", {"id": said.id, "text": said.text}, id=said.id)}

    @event("shout")
    async def shout(self, payload: dict[str, Any]) -> None:
        await self.broadcast("shouted", payload, keep=False)

    @event("others")
    async def others(self, payload: dict[str, Any]) -> None:
        await self.broadcast_from("shouted", payload)

    @event("echo")
    async def echo(self, payload: dict[str, Any]) -> Any:
        return payload

    @event("status")
    async def status(self, named: Named) -> Any:
        return Reply(named.name, {"was": "asked for"})

    @event("no")
    async def no(self, payload: dict[str, Any]) -> None:
        raise Refuse({"reason": "no"})

    @event("crash")
    async def crash(self, payload: dict[str, Any]) -> None:
        raise RuntimeError("asked to crash")

    @event("bin")
    async def bin(self, data: bytes) -> bytes:
        await self.push("bin_push", bytes(reversed(data)))
        await self.broadcast("bin_cast", b"\xff" + data, keep=False)
        return data + data

    @event("update")
    async def update_meta(self, meta: dict[str, Any]) -> None:
        await self.update(meta)

    @event("present")
    async def who(self, payload: dict[str, Any]) -> Any:
        return self.present()

    @event("tell")
    async def tell(self, payload: dict[str, Any]) -> None:
        await self.channels.tell(self.topic, payload)

    @event("disconnect")
    async def end(self, named: Named) -> None:
        await self.channels.disconnect(named.name)

    async def info(self, message: Any) -> None:
        await self.push("told", message)


def authenticate(asked: Connect) -> User | None:
    """By npm's `authToken`, `token-of-NAME`, or by the parameter `user`; nobody where there is neither."""
    if asked.token is not None:
        if not asked.token.startswith("token-of-"):
            raise Refuse
        return User(asked.token.removeprefix("token-of-"))
    name = asked.params.get("user")
    return User(name) if isinstance(name, str) else None


channels = Channels(
    os.environ.get("HOLDFAST_STORE", "memory://"),
    [Log, Room],
    connect=authenticate,
    namespace=os.environ.get("HOLDFAST_NAMESPACE", "rooms"),
    limits=msgspec.json.decode(os.environ.get("ROOMS_LIMITS", "{}"), type=Limits),
    auto_migrate=True,
    lease=float(os.environ.get("ROOMS_LEASE", "15")),
)


@asynccontextmanager
async def lifespan(app: Starlette) -> Any:
    async with channels:
        yield


async def counts(request: Any) -> PlainTextResponse:
    return PlainTextResponse(msgspec.json.encode(channels.counts()), media_type="application/json")


socket = endpoint(channels, window=float(os.environ.get("ROOMS_WINDOW", "10")))
app = Starlette(routes=[Route("/counts", counts), Mount("/socket", socket)], lifespan=lifespan)
