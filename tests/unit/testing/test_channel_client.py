"""The client for users' own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from holdfast.channels import Channel, Channels, Refuse, Reply, User, event
from holdfast.testing import ChannelClient, JoinRefused
from holdfast.testing.channel_client import ClientReply

TOPIC = "room:a"


class Room(Channel):
    topic = "room:*"
    history = 5
    lefts: ClassVar[list[str]] = []

    async def join(self, params: dict[str, Any]) -> Any:
        if params.get("refuse"):
            raise Refuse({"reason": "not you"})
        return {"who": None if self.user is None else self.user.id, **params}

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None:
        await self.broadcast("said", payload)

    @event("bytes")
    async def bytes(self, payload: bytes) -> bytes:
        await self.push("pushed", payload)
        await self.broadcast("shown", payload, keep=False)
        return payload[::-1]

    @event("later")
    async def later(self, payload: dict[str, Any]) -> Reply:
        return Reply("later", payload)

    @event("crash")
    async def crash(self, payload: dict[str, Any]) -> None:
        raise LookupError

    @event("hang")
    async def hang(self, payload: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    async def left(self, reason: str) -> None:
        self.lefts.append(reason)


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    Room.lefts.clear()
    async with Channels("memory://", [Room]) as channels:
        yield channels


@pytest.fixture
async def client(channels: Channels) -> AsyncIterator[ChannelClient]:
    async with ChannelClient(channels, user=User("ada")) as client:
        yield client


async def test_what_is_pushed_is_answered_and_what_is_said_is_received(client: ChannelClient) -> None:
    room = await client.join(TOPIC, {"x": 1})
    assert room.reply.response == {"who": "ada", "x": 1, "position": "0~", "recovered": False}
    assert await room.push("later", {"n": 1}) == ClientReply("later", {"n": 1})
    assert await room.push("say") == ClientReply("ok", {})
    said = await room.receive("said")
    assert room.position == said["_holdfast"]["position"]


async def test_a_position_is_where_it_can_go_on(channels: Channels, client: ChannelClient) -> None:
    room = await client.join(TOPIC)
    for n in range(4):
        await room.push("say", {"n": n})
    assert [(await room.receive("said"))["n"] for _ in range(2)] == [0, 1]
    await room.leave()
    assert room.ended == "phx_close"
    again = await client.join(TOPIC, {"since": room.position})
    assert [each.payload["n"] for each in again.received] == [2, 3]


async def test_binary_comes_and_goes_as_bytes(client: ChannelClient) -> None:
    room = await client.join(TOPIC)
    assert (await room.push("bytes", b"\0\1")).response == b"\1\0"
    assert await room.receive("pushed") == b"\0\1"
    assert await room.receive("shown") == b"\0\1"


async def test_a_message_that_is_not_the_one_waited_for_is_passed_over(client: ChannelClient) -> None:
    room = await client.join(TOPIC)
    await room.push("say", {"n": 1})
    await room.push("bytes", b"")
    assert await room.receive("shown") == b""
    assert not room.received


async def test_a_refused_join_is_an_assertion_that_has_the_reply(client: ChannelClient) -> None:
    with pytest.raises(JoinRefused, match="not you") as caught:
        await client.join(TOPIC, {"refuse": True})
    assert caught.value.reply == ClientReply("error", {"reason": "not you"})
    assert isinstance(caught.value, AssertionError)
    await client.join(TOPIC)


async def test_what_does_not_come_is_an_assertion_that_says_what_was_waited_for(channels: Channels) -> None:
    async with ChannelClient(channels, timeout=0.01) as client:
        room = await client.join(TOPIC)
        with pytest.raises(AssertionError, match=r"said in 'room:a' did not come within 0\.01 s"):
            await room.receive("said")
        with pytest.raises(AssertionError, match="the reply to 'hang' did not come"):
            await room.push("hang")


async def test_a_topic_that_ends_is_not_waited_for(client: ChannelClient) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    room = await client.join(TOPIC)
    await room.push("say", {"n": 1})
    client.say(room.join_ref, None, TOPIC, "crash", {})
    assert (await room.receive("said"))["n"] == 1  # it had come before
    with pytest.raises(AssertionError, match="ended with 'phx_error'"):
        await room.receive("said")


async def test_a_connection_that_ends_is_not_waited_for(channels: Channels, client: ChannelClient) -> None:
    room = await client.join(TOPIC)
    waiting = asyncio.ensure_future(room.receive("said"))
    await asyncio.sleep(0)
    await channels.disconnect("ada")
    with pytest.raises(AssertionError, match="closed with 1001"):
        await waiting
    with pytest.raises(AssertionError, match="closed with 1001"):
        await room.push("say")
    assert client.closed == 1001


async def test_when_it_is_gone_every_channel_has_left(channels: Channels) -> None:
    client = ChannelClient(channels)
    await client.__aenter__()
    await client.join(TOPIC)
    await client.join("room:b")
    await client.disconnect()
    assert Room.lefts == ["closed", "closed"]
    await client.disconnect()
    assert channels.counts().connections == 0


async def test_at_the_end_of_the_process_it_leaves_as_any_client_does(channels: Channels) -> None:
    client = ChannelClient(channels)
    await client.__aenter__()
    await client.join(TOPIC)
    await channels.close()
    assert client.closed == 1012
    assert Room.lefts == ["shutdown"]


async def test_what_was_said_to_an_earlier_stay_is_not_received(
    channels: Channels, client: ChannelClient
) -> None:
    first = await client.join(TOPIC)
    second = await client.join(TOPIC)
    await channels.publish(TOPIC, "said", {"n": 1})
    assert (await second.receive("said"))["n"] == 1
    assert not first.received
    assert second.ended is None
