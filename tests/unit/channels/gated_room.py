"""A room whose callbacks wait where a test has put a gate."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from holdfast.channels import Channel, Channels, event

from .gated import GatedDriver

TOPIC = "room:a"


class Room(Channel):
    """Notes what happens; waits where a test has put a gate."""

    topic = "room:*"
    history = 2
    presence = True
    notes: ClassVar[list[Any]] = []
    gates: ClassVar[dict[str, asyncio.Event]] = {}
    waiting: ClassVar[set[str]] = set()

    async def pass_by(self, place: str) -> None:
        self.notes.append(place)
        gate = self.gates.get(place)
        if gate is not None:
            self.waiting.add(place)
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self.notes.append(f"{place} cancelled")
                raise
            finally:
                self.waiting.discard(place)

    async def join(self, params: dict[str, Any]) -> None:
        await self.track({}, key="somebody")
        await self.pass_by("join")

    async def joined(self) -> None:
        await self.pass_by("joined")

    async def info(self, message: Any) -> None:
        await self.pass_by(f"info {message}")
        if message == "crash":
            raise LookupError("info")

    async def left(self, reason: str) -> None:
        await self.pass_by(f"left {reason}")
        if reason == "closed" and self.state.get("crash"):
            raise LookupError("left")

    @event("do")
    async def do(self, payload: dict[str, Any]) -> None:
        self.state.update(payload)
        await self.pass_by(f"do {payload.get('n')}")

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None:
        await self.broadcast("said", payload)


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Each test begins with no gates and no notes."""
    Room.notes.clear()
    Room.gates.clear()
    Room.waiting.clear()


@pytest.fixture
def driver() -> GatedDriver:
    return GatedDriver()


def gate(place: str) -> asyncio.Event:
    return Room.gates.setdefault(place, asyncio.Event())


async def reached(place: str) -> None:
    async with asyncio.timeout(5):
        while place not in Room.waiting:  # noqa: ASYNC110 - what it waits for is the loop's next turn
            await asyncio.sleep(0)


def nothing_left(channels: Channels) -> None:
    hub = channels.hub
    assert not hub.working
    assert channels.presence.list(TOPIC) == {}
    for room in hub.rooms.values():
        assert (len(room), room.entering, room.held) == (0, 0, {})
