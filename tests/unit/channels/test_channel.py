"""What a channel of an application can do, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.channels import AnyTopic, Channel, Channels, Refuse, User
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinRefused

from .gated_room import TOPIC, Room, fresh
from .line import Line

__all__ = ["fresh"]


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Room]) as channels:
        yield channels


async def test_nothing_is_pushed_before_the_reply_to_the_join() -> None:
    class Hasty(Room):
        topic = "hasty"

        async def join(self, params: dict[str, Any]) -> None:
            with pytest.raises(RuntimeError, match="in `joined`"):
                await self.push("welcome", {})

        async def joined(self) -> None:
            await self.push("welcome", {})

    async with Channels("memory://", [Hasty]) as channels:
        line = Line(channels)
        line.say("1", "1", "hasty", "phx_join")
        assert [frame[3] for frame in await line.silent()] == ["phx_reply", "presence_state", "welcome"]


async def test_who_is_gone_can_be_sent_nothing(channels: Channels) -> None:
    line = Line(channels, "ada")
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    stay = line.topics[TOPIC]
    stay.end("leave")
    stay.push("m", {})
    stay.track("ada", {})
    assert await line.silent() == []
    assert channels.presence.list(TOPIC) == {}
    with pytest.raises(ValueError, match="phx_"):
        stay.push("phx_close", {})


async def test_a_channel_knows_whose_it_is_and_has_a_state_of_its_own(channels: Channels) -> None:
    one, two = Line(channels, "ada"), Line(channels)
    for line in (one, two):
        line.say("1", "1", TOPIC, "phx_join")
        await line.silent()
    first, second = one.topics[TOPIC]._channel, two.topics[TOPIC]._channel
    assert isinstance(first, Room)
    assert isinstance(second, Room)
    assert (first.user, second.user) == (User("ada"), None)
    assert first.topic == TOPIC
    assert first.channels is channels
    first.state["n"] = 1
    assert (first.state, second.state) == ({"n": 1}, {})


async def test_topics_that_tools_look_at_are_joined_by_nobody() -> None:
    async with Channels("memory://", [AnyTopic]) as channels, ChannelClient(channels) as client:
        await channels.publish("anything", "m", {"n": 1})
        with pytest.raises(JoinRefused, match="unmatched topic"):
            await client.join("anything")
        assert [message.payload for message in await channels.history("anything")] == [{"n": 1}]


async def test_what_is_not_overridden_does_nothing() -> None:
    class Bare(Channel):
        topic = "bare"

    async with Channels("memory://", [Bare]) as channels, ChannelClient(channels) as client:
        room = await client.join("bare")
        assert room.reply.response == {}
        await channels.tell("bare", 1)
        assert (await room.push("anything")).response["reason"] == "unmatched event"
        await room.leave()
        assert not room.received


def test_a_refusal_says_why_without_what_it_holds() -> None:
    assert Refuse().payload == {"reason": "refused"}
    assert str(Refuse({"reason": "secret", "token": "hunter2"})) == "refused: reason, token"
