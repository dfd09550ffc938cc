"""What a client says may not fit where the application puts it: that is the client's error, and nobody's crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, Limits, Refuse, event
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinedTopic, JoinRefused

TOPIC = "room:a"
MARKED = {"_holdfast": {"id": "1"}}
LARGE = {"text": "x" * 100}


class Echo(Channel):
    """Takes the client at its word."""

    topic = "room:*"
    history = 10
    presence = True

    async def join(self, params: dict[str, Any]) -> Any:
        if "refuse" in params:
            raise Refuse(params["refuse"])
        if "say" in params:
            await self.broadcast("said", params["say"])
        return params.get("reply")

    async def info(self, message: Any) -> None:
        await self.broadcast("said", message)

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None:
        await self.broadcast("said", payload["what"], id=payload.get("id"))

    @event("show")
    async def show(self, payload: dict[str, Any]) -> None:
        await self.broadcast("shown", payload, keep=False)

    @event("push back")
    async def push_back(self, payload: dict[str, Any]) -> None:
        await self.push("back", payload)

    @event("reply")
    async def reply(self, payload: dict[str, Any]) -> Any:
        return payload

    @event("edit")
    async def edit(self, payload: dict[str, Any]) -> None:
        await self.channels.edit(self.topic, payload["id"], {})

    @event("older")
    async def older(self, payload: dict[str, Any]) -> None:
        await self.channels.history(self.topic, before=payload["position"])

    @event("name")
    async def name(self, payload: dict[str, Any]) -> None:
        await self.track({"n": payload.get("n", 0)}, key=payload.get("key"))

    @event("wrong")
    async def wrong(self, payload: dict[str, Any]) -> None:
        await self.broadcast("phx_reply", {})


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Echo], limits=Limits(message=64)) as channels:
        yield channels


@pytest.fixture
async def room(channels: Channels) -> AsyncIterator[JoinedTopic]:
    async with ChannelClient(channels) as client:
        room = await client.join(TOPIC)
        await room.receive("presence_state")
        yield room


@pytest.mark.parametrize(
    ("event", "payload", "message"),
    [
        ("say", {"what": MARKED}, "reserved"),
        ("show", MARKED, "reserved"),
        ("push back", MARKED, "reserved"),
        ("reply", MARKED, "reserved"),
        ("say", {"what": {}, "id": "7~abc"}, "an id is"),
        ("say", {"what": {}, "id": 7}, "an id is"),
        ("say", {"what": {}, "id": ""}, "an id is"),
        ("edit", {"id": "no id"}, "no id"),
        ("edit", {"id": ["no id"]}, "no id"),
        ("older", {"position": "7"}, "none of ours"),
        ("name", {"key": "__proto__"}, "a key is text"),
        ("name", {"key": ""}, "a key is text"),
        ("name", {"key": ["x"]}, "a key is text"),
        ("reply", [1, 2], "Expected `object`"),
    ],
)
async def test_what_does_not_fit_is_an_error_reply_and_the_channel_stays(
    channels: Channels, room: JoinedTopic, event: str, payload: Any, message: str
) -> None:
    reply = await room.push(event, payload)
    assert (reply.status, reply.response["reason"]) == ("error", "invalid")
    assert message in reply.response["message"]
    assert (await room.push("reply", {"still": "here"})).response == {"still": "here"}
    assert (channels.counts().crashed, list(room.received)) == (0, [])


async def test_what_is_too_large_to_keep_is_an_error_reply(channels: Channels, room: JoinedTopic) -> None:
    reply = await room.push("say", {"what": LARGE})
    assert (reply.status, reply.response) == ("error", {"reason": "too large"})
    assert room.ended is None
    assert (await room.push("show", LARGE)).status == "ok"  # what is not kept may be larger


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"reply": MARKED}, "invalid"),
        ({"refuse": MARKED}, "invalid"),
        ({"say": MARKED}, "invalid"),
        ({"say": LARGE}, "too large"),
    ],
)
async def test_a_join_says_so_too(channels: Channels, params: Any, reason: str) -> None:
    async with ChannelClient(channels) as client:
        with pytest.raises(JoinRefused) as refused:
            await client.join(TOPIC, params)
        assert refused.value.reply.response["reason"] == reason
        assert channels.counts().crashed == 0
        await client.join(TOPIC)


@pytest.mark.parametrize("message", [MARKED, LARGE])
async def test_what_was_told_and_cannot_be_passed_on_crashes_nobody(
    channels: Channels, room: JoinedTopic, message: Any
) -> None:
    await channels.tell(TOPIC, message)
    await channels.tell(TOPIC, {"n": 1})
    assert (await room.receive("said"))["n"] == 1
    assert channels.counts().crashed == 0


async def test_the_applications_own_mistakes_are_crashes(channels: Channels, room: JoinedTopic) -> None:
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    room._client.say(room.join_ref, "9", TOPIC, "wrong", {})
    await room._client.until(lambda: room.ended == "phx_error", "the crash")
    assert [type(each) for each in told] == [ValueError]


async def test_who_is_tracked_already_is_known_by_what_is_said_now(
    channels: Channels, room: JoinedTopic
) -> None:
    def people() -> dict[str, list[int]]:
        return {
            key: [meta["n"] for meta in each["metas"]] for key, each in channels.presence.list(TOPIC).items()
        }

    await room.push("name", {"key": "ada", "n": 1})
    await room.push("name", {"key": "ada", "n": 2})
    assert people() == {"ada": [2]}
    await room.push("name", {"n": 3})
    assert people() == {"ada": [3]}
    await room.push("name", {"key": "countess", "n": 4})
    assert people() == {"countess": [4]}
    assert (await room.push("name", {"key": "__proto__"})).status == "error"
    assert people() == {"countess": [4]}
    await room.leave()
    assert people() == {}
