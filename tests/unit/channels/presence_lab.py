"""People in the topics of several processes, and what npm's `Presence` would show of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from holdfast.channels import Channel, Channels, Refuse, User, event, notes, presence
from holdfast.channels.driver import Send
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinedTopic

from .bus import Bus, BusDriver

TOPIC = "room:a"
FOLLOW_UP = 0.02
"""A lease's third, where a test waits for one."""


class Room(Channel):
    topic = "room:*"
    presence = True

    async def joined(self) -> None:
        if self.user is not None:
            await self.track({"at": "door"})

    @event("update")
    async def on_update(self, payload: dict[str, Any]) -> None:
        await self.update(payload)

    @event("broken")
    async def on_broken(self, payload: dict[str, Any]) -> dict[str, Any]:
        with pytest.raises(TypeError):
            await self.update({"x": object()})
        return self.present()

    @event("untrack")
    async def on_untrack(self, payload: dict[str, Any]) -> None:
        await self.untrack()

    @event("track")
    async def on_track(self, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            await self.track(payload.get("meta"), key=payload.get("key"))
        except ValueError as exc:
            return {"error": str(exc)}
        return {}


class Plain(Room):
    topic = "plain"
    presence = False

    async def joined(self) -> None:
        pass


class Hesitant(Room):
    topic = "hesitant"

    async def join(self, params: dict[str, Any]) -> Any:
        await self.track({})
        raise Refuse


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences and questions wait for nothing."""
    monkeypatch.setattr(presence, "GATHER", 0.0)
    monkeypatch.setattr(presence, "ASK_AGAIN", 0.0)


@asynccontextmanager
async def processes(bus: Bus, count: int = 2, **options: Any) -> AsyncIterator[list[Channels]]:
    async with AsyncExitStack() as stack:
        drivers = [bus.first, *(bus.driver() for _ in range(count - 1))]
        yield [
            await stack.enter_async_context(Channels(driver, [Room, Plain, Hesitant], **options))
            for driver in drivers
        ]


@asynccontextmanager
async def member(channels: Channels, user: str | None = None) -> AsyncIterator[JoinedTopic]:
    async with ChannelClient(channels, user=None if user is None else User(user)) as client:
        yield await client.join(TOPIC)


class Shown:
    """What npm's `Presence` makes of the events."""

    def __init__(self, room: JoinedTopic) -> None:
        self.room = room
        self.state: dict[str, list[dict[str, Any]]] | None = None
        self.early: list[dict[str, Any]] = []
        self.diffs: list[dict[str, Any]] = []

    def people(self) -> dict[str, list[dict[str, Any]]]:
        while self.room.received:
            message = self.room.received.popleft()
            if message.event == "presence_state":
                self.state = {key: each["metas"] for key, each in message.payload.items()}
                for diff in self.early:
                    self._apply(diff)
            elif message.event == "presence_diff":
                self.diffs.append(message.payload)
                if self.state is None:
                    self.early.append(message.payload)
                else:
                    self._apply(message.payload)
        return self.state or {}

    def _apply(self, diff: dict[str, Any]) -> None:
        assert self.state is not None
        for key, each in diff["joins"].items():
            refs = {meta["phx_ref"] for meta in each["metas"]}
            kept = [meta for meta in self.state.get(key, []) if meta["phx_ref"] not in refs]
            self.state[key] = kept + each["metas"]
        for key, each in diff["leaves"].items():
            refs = {meta["phx_ref"] for meta in each["metas"]}
            metas = [meta for meta in self.state.pop(key, []) if meta["phx_ref"] not in refs]
            if metas:
                self.state[key] = metas

    async def becomes(self, *keys: str) -> None:
        await self.room._client.until(lambda: sorted(self.people()) == sorted(keys), f"presence of {keys}")


async def settled(*all: Channels) -> None:
    """Whatever is under way has arrived: everybody here speaks and hears within so many turns."""
    for _ in range(40):
        await asyncio.sleep(0)


def known(channels: Channels, topic: str = TOPIC) -> list[str]:
    return sorted(channels.presence.list(topic))


def entries(channels: Channels) -> list[Any]:
    return [
        (topic, ref, key, meta)
        for topic, own in channels.presence._own.items()
        for ref, (key, meta) in own.items()
    ]


def refs_of(listed: dict[str, Any]) -> list[str]:
    return sorted(meta["phx_ref"] for each in listed.values() for meta in each["metas"])


def sent(channels: Channels) -> list[Send]:
    driver = channels._driver
    assert isinstance(driver, BusDriver)
    return [op for batch in driver.batches for op in batch if isinstance(op, Send)]


def says(op: Send) -> dict[str, Any]:
    note = notes.read(op.data)
    assert note is not None
    says: dict[str, Any] = msgspec.json.decode(note.first)
    return says
