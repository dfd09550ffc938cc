"""What a room of the chat takes, keeps and refuses: clients without sockets, on memory and on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.channels import Channels, Limits, User
from holdfast.testing.channel_client import ChannelClient, JoinedTopic
from holdfast.web.chat.room import OLDER, ChatRoom

LOBBY = "chat_room:lobby"


@pytest.fixture
async def channels(store_url: str) -> AsyncIterator[Channels]:
    async with Channels(store_url, [ChatRoom]) as channels:
        yield channels


@pytest.fixture
async def ada(channels: Channels) -> AsyncIterator[ChannelClient]:
    async with ChannelClient(channels, user=User("ada-id")) as client:
        yield client


@pytest.fixture
async def grace(channels: Channels) -> AsyncIterator[ChannelClient]:
    async with ChannelClient(channels, user=User("grace-id")) as client:
        yield client


async def enter(client: ChannelClient, name: str) -> JoinedTopic:
    room = await client.join(LOBBY, {"name": name})
    await room.receive("presence_state")
    return room


async def say(room: JoinedTopic, message: str, **more: Any) -> dict[str, Any]:
    """Say it, and take it back from the room."""
    reply = await room.push("new_message", {"name": "Ada", "message": message, **more})
    assert reply.status == "ok", reply
    heard: dict[str, Any] = await room.receive("new_message")
    assert heard["_holdfast"]["position"] == reply.response["position"]
    return heard


async def test_what_one_says_everybody_hears_with_who_said_it(
    ada: ChannelClient, grace: ChannelClient
) -> None:
    here = await enter(ada, "Ada")
    there = await enter(grace, "Grace")
    assert here.reply.response["author"] == "ada-id"
    said = await say(here, "Hello")
    heard = await there.receive("new_message")
    assert heard == said
    assert {name: heard[name] for name in ("name", "message", "author")} == {
        "name": "Ada",
        "message": "Hello",
        "author": "ada-id",
    }


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"name": "Ada"}, "$.message"),
        ({"message": "Hello"}, "$.name"),
        ({"name": "Ada", "message": ""}, "$.message"),
        ({"name": "Ada", "message": " \n\t "}, "$.message"),
        ({"name": "  ", "message": "Hello"}, "$.name"),
        ({"name": "A" * 41, "message": "Hello"}, "$.name"),
        ({"name": "Ada", "message": "x" * 4001}, "$.message"),
        ({"name": "Ada", "message": 1}, "$.message"),
        ({"name": "Ada", "message": "Hello", "id": "a~b"}, "$.id"),
        ({"name": "Ada", "message": "Hello", "id": "a\n"}, "$.id"),
    ],
)
async def test_name_and_message_are_both_required_and_have_a_size(
    ada: ChannelClient, channels: Channels, payload: dict[str, Any], field: str
) -> None:
    room = await enter(ada, "Ada")
    reply = await room.push("new_message", payload)
    assert (reply.status, reply.response["reason"], reply.response["field"]) == ("error", "invalid", field)
    assert await channels.history(LOBBY) == []


async def test_what_is_said_again_with_its_id_is_kept_and_heard_once(
    ada: ChannelClient, channels: Channels
) -> None:
    room = await enter(ada, "Ada")
    first = await say(room, "Hello", id="of-its-own")
    assert first["_holdfast"]["id"] == "of-its-own"
    again = await room.push("new_message", {"name": "Ada", "message": "Hello", "id": "of-its-own"})
    assert again.response == {"position": first["_holdfast"]["position"]}
    await say(room, "after it")  # had the other come once more, it would be heard before this one
    assert [message.payload["message"] for message in await channels.history(LOBBY)] == ["Hello", "after it"]


async def test_whoever_joins_hears_the_ten_latest_one_by_one(
    ada: ChannelClient, grace: ChannelClient
) -> None:
    room = await enter(ada, "Ada")
    for number in range(12):
        await say(room, str(number))
    there = await grace.join(LOBBY, {"name": "Grace"})
    heard = [(await there.receive())["message"] for _ in range(10)]
    assert heard == [str(number) for number in range(2, 12)]
    assert set(await there.receive()) == {"ada-id"}  # presence_state, after the history


async def test_older_messages_come_by_pages_until_there_are_no_more(
    ada: ChannelClient, channels: Channels
) -> None:
    for number in range(OLDER + 15):
        await channels.publish(LOBBY, "new_message", {"name": "Ada", "message": str(number)})
    room = await ada.join(LOBBY, {"name": "Ada"})
    oldest = await room.receive("new_message")
    page = (await room.push("older", {"position": oldest["_holdfast"]["position"]})).response
    assert [each["message"] for each in page["messages"]] == [str(number) for number in range(5, 35)]
    assert page["more"] is True
    assert {"id", "position", "at"} == set(page["messages"][0]["_holdfast"])
    page = (await room.push("older", {"position": page["messages"][0]["_holdfast"]["position"]})).response
    assert [each["message"] for each in page["messages"]] == ["0", "1", "2", "3", "4"]
    assert page["more"] is False
    refused = await room.push("older", {"position": "yesterday"})
    assert (refused.status, refused.response) == ("error", {"reason": "no such position"})


async def test_a_message_is_changed_and_taken_back_by_its_author(
    ada: ChannelClient, grace: ChannelClient, channels: Channels
) -> None:
    room, there = await enter(ada, "Ada"), await enter(grace, "Grace")
    id = (await say(room, "Helo"))["_holdfast"]["id"]
    assert (await room.push("edit", {"id": id, "message": "Hello"})).status == "ok"
    edited = await there.receive("message_edited")
    assert (edited["message"], edited["name"], edited["_holdfast"]["edited"]) == ("Hello", "Ada", True)
    before = await say(room, "next")
    older = (await room.push("older", {"position": before["_holdfast"]["position"]})).response["messages"]
    assert [(each["message"], each["_holdfast"]["edited"]) for each in older] == [("Hello", True)]
    assert (await room.push("remove", {"id": id})).status == "ok"
    assert (await there.receive("message_removed"))["_holdfast"]["id"] == id
    assert [message.payload["message"] for message in await channels.history(LOBBY)] == ["next"]


@pytest.mark.parametrize("event", ["edit", "remove"])
async def test_nobody_else_changes_a_message(
    ada: ChannelClient, grace: ChannelClient, channels: Channels, event: str
) -> None:
    room, there = await enter(ada, "Ada"), await enter(grace, "Ada")  # the name is not what counts
    id = (await say(room, "Hello"))["_holdfast"]["id"]
    async with ChannelClient(channels) as nobody:
        stranger = await enter(nobody, "Ada")
        unsigned = await stranger.push("new_message", {"name": "Ada", "message": "unsigned"})
        for who, which, reason in (
            (there, id, "not yours"),
            (stranger, id, "not yours"),
            (stranger, unsigned.response["position"], "not yours"),  # it has no author, and neither has he
            (room, "no-such-id", "no such message"),
            (room, "9~9~9", "no such message"),
        ):
            reply = await who.push(event, {"id": which, "message": "mine"})
            assert (reply.status, reply.response) == ("error", {"reason": reason})
    said = await channels.history(LOBBY)
    assert [message.payload["message"] for message in said] == ["Hello", "unsigned"]


async def test_a_message_that_goes_while_it_is_changed_is_said_to_be_gone(
    ada: ChannelClient, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await enter(ada, "Ada")
    id = (await say(room, "Hello"))["_holdfast"]["id"]
    find = channels.message

    async def found_and_removed(topic: str, id: str) -> Any:
        message = await find(topic, id)
        await channels.remove(topic, id)
        return message

    monkeypatch.setattr(channels, "message", found_and_removed)
    reply = await room.push("edit", {"id": id, "message": "Hallo"})
    assert (reply.status, reply.response) == ("error", {"reason": "no such message"})


async def test_typing_is_told_to_the_others_and_kept_nowhere(
    ada: ChannelClient, grace: ChannelClient, channels: Channels
) -> None:
    room, there = await enter(ada, "Ada"), await enter(grace, "Grace")
    assert (await room.push("typing", {"name": "Ada"})).status == "ok"
    assert await there.receive("typing") == {"name": "Ada", "author": "ada-id"}
    assert "typing" not in [message.event for message in room.received]
    assert await channels.history(LOBBY) == []


async def names(room: JoinedTopic, wanted: list[str]) -> None:
    """Wait until it was told that these are the names that came."""
    came: list[str] = []
    while came != wanted:
        joins = (await room.receive("presence_diff"))["joins"]
        came += [meta["name"] for each in joins.values() for meta in each["metas"]]


async def test_who_is_here_is_known_by_the_name_one_says(ada: ChannelClient, channels: Channels) -> None:
    room = await ada.join(LOBBY, {"name": "  "})
    await names(room, ["somebody"])
    assert (await room.push("rename", {"name": "Ada"})).status == "ok"
    await names(room, ["Ada"])
    await room.push("new_message", {"name": "Countess", "message": "Hello"})
    await names(room, ["Countess"])
    metas = channels.presence.list(LOBBY)["ada-id"]["metas"]
    assert [meta["name"] for meta in metas] == ["Countess"]


async def test_two_who_are_nobody_are_two(channels: Channels) -> None:
    async with ChannelClient(channels) as one, ChannelClient(channels) as other:
        first = await enter(one, "Ada")
        await enter(other, "Ada")
        assert first.reply.response["author"] is None
        here = channels.presence.list(LOBBY)
        assert len(here) == 2
        assert all(key.startswith("guest-") for key in here)
        assert (await first.push("new_message", {"name": "Ada", "message": "Hello"})).status == "ok"
        assert "author" not in await first.receive("new_message")


async def test_where_the_list_of_people_is_full_one_may_talk_all_the_same(store_url: str) -> None:
    async with (
        Channels(store_url, [ChatRoom], limits=Limits(presences=1)) as channels,
        ChannelClient(channels, user=User("a")) as one,
        ChannelClient(channels, user=User("b")) as other,
    ):
        await enter(one, "Ada")
        room = await enter(other, "Grace")
        await say(room, "Hello")
        assert room.ended is None
        assert set(channels.presence.list(LOBBY)) == {"a"}
