"""The demonstration chat's rooms: topics `chat_room:<name>`, event `new_message`."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

import msgspec

from holdfast.channels import Channel, Message, Refuse, event

__all__ = ["ChatRoom"]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"\S")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000, pattern=r"\S")]
Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z_.:@/+=-]{1,128}\Z")]
OLDER: Final = 30
"""Messages that one scroll upwards brings."""
UNNAMED: Final = "somebody"


class ChatMessage(msgspec.Struct):
    """What a client says. With an `id` it may say it again when it does not know whether it was heard."""

    name: Name
    message: Text
    id: Id | None = None


class Edit(msgspec.Struct):
    id: str
    message: Text


class Pointed(msgspec.Struct):
    id: str


class Named(msgspec.Struct):
    name: Name


class Before(msgspec.Struct):
    position: str


class ChatRoom(Channel):
    """Anybody may read and write; who wrote a message may change it and take it back."""

    topic = "chat_room:*"
    history = 10
    presence = True

    async def join(self, params: dict[str, Any]) -> Any:
        name = params.get("name")
        self.state["name"] = name[:40] if isinstance(name, str) and name.strip() else UNNAMED
        self.state["key"] = f"guest-{secrets.token_hex(4)}" if self.user is None else self.user.id
        return {"author": None if self.user is None else self.user.id}

    async def joined(self) -> None:
        await self._be_here()

    @event("new_message")
    async def new_message(self, said: ChatMessage) -> Any:
        await self._named(said.name)
        payload = {"name": said.name, "message": said.message, **self._author()}
        return {"position": await self.broadcast("new_message", payload, id=said.id)}

    @event("edit")
    async def edit(self, said: Edit) -> None:
        message = await self._own(said.id)
        changed = {**message.payload, "message": said.message}
        if await self.channels.edit(self.topic, said.id, changed) is None:
            raise Refuse({"reason": "no such message"})

    @event("remove")
    async def remove(self, said: Pointed) -> None:
        await self._own(said.id)
        await self.channels.remove(self.topic, said.id)

    @event("rename")
    async def rename(self, said: Named) -> None:
        """Another name from here on; what was said under the old one stays."""
        await self._named(said.name)

    @event("typing")
    async def typing(self, said: Named) -> None:
        await self.broadcast_from("typing", {"name": said.name, **self._author()})

    @event("older")
    async def older(self, asked: Before) -> Any:
        """What was said before a position, for whoever scrolls up; `more`: there may be something before it."""
        try:
            found = await self.channels.history(self.topic, limit=OLDER, before=asked.position)
        except ValueError as exc:
            raise Refuse({"reason": "no such position"}) from exc
        return {"messages": [_shown(message) for message in found], "more": len(found) == OLDER}

    def _author(self) -> dict[str, str]:
        return {} if self.user is None else {"author": self.user.id}

    async def _named(self, name: str) -> None:
        if name != self.state["name"]:
            self.state["name"] = name
            await self._be_here()

    async def _be_here(self) -> None:
        try:
            await self.track({"name": self.state["name"]}, key=self.state["key"])
        except Refuse:
            pass  # the list of who is here is full; one may talk all the same

    async def _own(self, id: str) -> Message:
        try:
            message = await self.channels.message(self.topic, id)
        except ValueError:
            message = None
        if message is None:
            raise Refuse({"reason": "no such message"})
        if self.user is None or message.payload.get("author") != self.user.id:
            raise Refuse({"reason": "not yours"})
        return message


def _shown(message: Message) -> dict[str, Any]:
    """As it came when it was new."""
    marks = {"id": message.id, "position": message.position, "at": round(message.at * 1000)}
    return {**message.payload, "_holdfast": {**marks, "edited": True} if message.edited else marks}
