"""The demonstration chat's rooms: topics `chat_room:<name>`, event `new_message`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast.channels import Channel, Message, Refuse, event

__all__ = ["ChatRoom"]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
OLDER = 30
"""Messages that one scroll upwards brings."""


class ChatMessage(msgspec.Struct):
    """What a client says."""

    name: Name
    message: Text


class Edit(msgspec.Struct):
    id: str
    message: Text


class Named(msgspec.Struct):
    id: str


class Typing(msgspec.Struct):
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
        self.state["name"] = name[:40] if isinstance(name, str) and name.strip() else "somebody"
        return {"author": None if self.user is None else self.user.id}

    async def joined(self) -> None:
        await self.track({"name": self.state["name"]}, key=None if self.user else f"guest-{id(self):x}")

    @event("new_message")
    async def new_message(self, said: ChatMessage) -> Any:
        payload = {"name": said.name, "message": said.message}
        if self.user is not None:
            payload["author"] = self.user.id
        if said.name != self.state["name"]:
            self.state["name"] = said.name
            await self.update({"name": said.name})
        return {"position": await self.broadcast("new_message", payload)}

    @event("edit")
    async def edit(self, said: Edit) -> None:
        message = await self._own(said.id)
        await self.channels.edit(self.topic, said.id, {**message.payload, "message": said.message})

    @event("remove")
    async def remove(self, said: Named) -> None:
        await self._own(said.id)
        await self.channels.remove(self.topic, said.id)

    @event("typing")
    async def typing(self, said: Typing) -> None:
        await self.broadcast_from("typing", {"name": said.name})

    @event("older")
    async def older(self, asked: Before) -> Any:
        """What was said before a position, for whoever scrolls up."""
        try:
            found = await self.channels.history(self.topic, limit=OLDER, before=asked.position)
        except ValueError as exc:
            raise Refuse({"reason": "no such position"}) from exc
        return {"messages": [_shown(message) for message in found]}

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
