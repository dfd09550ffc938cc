"""What the server does with what a client says: every row of the protocol's table of states."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.channels import Channel, Channels, Limits, Refuse, Reply, event
from holdfast.channels.socket import BAD_DATA

from .line import Line, error, ok

TOPIC = "room:a"
CRASHED = {"reason": "channel_crash"}


class Room(Channel):
    topic = "room:*"

    async def join(self, params: dict[str, Any]) -> Any:
        if params.get("refuse"):
            raise Refuse({"reason": "unauthorized"})
        if params.get("crash"):
            raise LookupError("join")
        return params.get("own")

    @event("echo")
    async def echo(self, payload: Any) -> Any:
        return payload

    @event("status")
    async def status(self, payload: dict[str, Any]) -> Reply:
        return Reply(payload["status"], payload.get("payload"))

    @event("shout")
    async def shout(self, payload: dict[str, Any]) -> dict[str, Any]:
        await self.push("first", {})
        await self.broadcast("shout", payload)
        return {"n": 1}

    @event("no")
    async def no(self, payload: Any) -> None:
        raise Refuse({"reason": "not now"})

    @event("bad no")
    async def bad_no(self, payload: Any) -> None:
        raise Refuse({"reason": object()})

    @event("bad reply")
    async def bad_reply(self, payload: Any) -> list[int]:
        return [1]

    @event("crash")
    async def crash(self, payload: Any) -> None:
        raise LookupError("handler")

    @event("cancelled")
    async def cancelled(self, payload: Any) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Room], limits=Limits(channels=3, joins=10)) as channels:
        yield channels


@pytest.fixture
async def line(channels: Channels) -> AsyncIterator[Line]:
    line = Line(channels)
    yield line
    line.lost()


@pytest.fixture
async def joined(line: Line) -> Line:
    assert await line.ask("6", "6", TOPIC, "phx_join") == ok("6", "6", TOPIC)
    return line


@pytest.fixture
async def told() -> list[dict[str, Any]]:
    """What the loop's handler was told."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context))
    return found


@pytest.mark.parametrize("ref", ["20", None])
async def test_a_heartbeat_is_answered_at_once(line: Line, ref: str | None) -> None:
    line.say(None, ref, "phoenix", "heartbeat")
    assert line.frames == [ok(None, ref, "phoenix")]


# --- phx_join ---


@pytest.mark.parametrize("topic", ["hall", "", "phoenix", "room", "room:\0"])
async def test_a_join_of_a_topic_that_nobody_serves_is_refused(line: Line, topic: str) -> None:
    assert await line.ask("1", "1", topic, "phx_join") == error(None, "1", topic, "unmatched topic")
    assert line.topics == {}


async def test_a_join_is_answered_with_what_the_application_says(line: Line) -> None:
    assert await line.ask("1", "1", TOPIC, "phx_join", {"own": {"n": 1}}) == ok("1", "1", TOPIC, {"n": 1})


async def test_a_join_without_a_join_ref_has_its_refs(line: Line) -> None:
    assert await line.ask(None, "7", TOPIC, "phx_join") == ok("7", "7", TOPIC)
    assert await line.ask("7", "8", TOPIC, "echo", {}) == ok("7", "8", TOPIC)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"refuse": True}, "unauthorized"),
        ({"crash": True}, "join crashed"),
        ({"own": [1]}, "join crashed"),
        ([1], "join params are a JSON object"),
        (7, "join params are a JSON object"),
    ],
)
async def test_a_join_that_is_refused_leaves_nothing_behind(
    channels: Channels, line: Line, told: list[Any], params: Any, reason: str
) -> None:
    assert await line.ask("1", "1", TOPIC, "phx_join", params) == error("1", "1", TOPIC, reason)
    assert await line.ask("1", "2", TOPIC, "echo", {}) == error(None, "2", TOPIC, "unmatched topic")
    assert line.topics == {}
    assert not channels.hub.working
    assert len(told) == channels.counts().crashed == (reason == "join crashed")
    assert await line.ask("3", "3", TOPIC, "phx_join") == ok("3", "3", TOPIC)


async def test_one_topic_too_many_is_refused_and_one_may_be_joined_again(line: Line) -> None:
    for n in range(3):
        await line.ask(f"{n}", f"{n}", f"room:{n}", "phx_join")
    refused = error(None, "9", "room:9", "too many channels joined")
    assert await line.ask("9", "9", "room:9", "phx_join") == refused
    assert await line.ask("10", "10", "room:1", "phx_join") == ok("10", "10", "room:1")
    assert await line.next() == ["1", "1", "room:1", "phx_close", {}]
    await line.ask("0", "11", "room:0", "phx_leave")
    await line.next()
    assert await line.ask("12", "12", "room:9", "phx_join") == ok("12", "12", "room:9")


async def test_one_join_too_many_within_a_second_is_refused(channels: Channels, line: Line) -> None:
    for n in range(10):
        await line.ask(f"{n}", f"{n}", TOPIC, "phx_join", {"refuse": True})
    assert await line.ask("a", "a", TOPIC, "phx_join") == error(None, "a", TOPIC, "too many joins")
    channels.hub.pulse.beat()
    assert await line.ask("b", "b", TOPIC, "phx_join") == ok("b", "b", TOPIC)


async def test_a_second_join_ends_the_first_behind_its_own_reply(joined: Line) -> None:
    joined.say("9", "9", TOPIC, "phx_join")
    assert await joined.next() == ok("9", "9", TOPIC)
    assert await joined.next() == ["6", "6", TOPIC, "phx_close", {}]
    assert await joined.ask("9", "10", TOPIC, "echo", {}) == ok("9", "10", TOPIC)


async def test_a_second_join_that_is_refused_ends_the_first_too(joined: Line) -> None:
    joined.say("9", "9", TOPIC, "phx_join", {"refuse": True})
    assert await joined.next() == error("9", "9", TOPIC, "unauthorized")
    assert await joined.next() == ["6", "6", TOPIC, "phx_close", {}]
    assert joined.topics == {}


# --- phx_leave ---


@pytest.mark.parametrize("join_ref", ["6", None])
async def test_a_leave_is_answered_and_then_closed(
    channels: Channels, joined: Line, join_ref: str | None
) -> None:
    assert await joined.ask(join_ref, "8", TOPIC, "phx_leave") == ok("6", "8", TOPIC)
    assert await joined.next() == ["6", "6", TOPIC, "phx_close", {}]
    assert joined.topics == {}
    await channels.publish(TOPIC, "m", {})
    assert await joined.silent() == []


async def test_a_leave_of_an_earlier_stay_is_ignored(joined: Line) -> None:
    joined.say("5", "8", TOPIC, "phx_leave")
    assert await joined.silent() == []
    assert TOPIC in joined.topics


@pytest.mark.parametrize("join_ref", ["4", None])
@pytest.mark.parametrize("topic", [TOPIC, "nowhere"])
async def test_a_leave_of_what_was_not_joined_is_fine(line: Line, topic: str, join_ref: str | None) -> None:
    assert await line.ask(join_ref, "8", topic, "phx_leave") == ok(join_ref, "8", topic)
    assert await line.silent() == []


# --- everything else ---


@pytest.mark.parametrize("join_ref", ["6", None])
async def test_a_push_is_handled_and_answered(joined: Line, join_ref: str | None) -> None:
    assert await joined.ask(join_ref, "8", TOPIC, "echo", {"n": 1}) == ok("6", "8", TOPIC, {"n": 1})


async def test_a_push_of_an_earlier_stay_is_ignored(joined: Line) -> None:
    joined.say("5", "8", TOPIC, "echo", {"n": 1})
    assert await joined.silent() == []


async def test_a_push_without_a_ref_is_handled_and_not_answered(joined: Line) -> None:
    joined.say("6", None, TOPIC, "shout", {"n": 1})
    assert await joined.silent() == [["6", None, TOPIC, "first", {}], [None, None, TOPIC, "shout", {"n": 1}]]


async def test_a_push_to_what_was_not_joined_is_an_error(line: Line) -> None:
    assert await line.ask("1", "8", TOPIC, "echo") == error(None, "8", TOPIC, "unmatched topic")


async def test_a_push_that_nobody_handles_is_an_error(joined: Line) -> None:
    [_, ref, _, _, said] = await joined.ask("6", "8", TOPIC, "phx_close")
    assert (ref, said["status"]) == ("8", "error")
    assert said["response"] == {"reason": "unmatched event", "event": "phx_close"}


async def test_a_handlers_broadcast_comes_before_its_reply(joined: Line) -> None:
    assert await joined.ask("6", "8", TOPIC, "shout", {"n": 1}) == ["6", None, TOPIC, "first", {}]
    assert await joined.next() == [None, None, TOPIC, "shout", {"n": 1}]
    assert await joined.next() == ok("6", "8", TOPIC, {"n": 1})


@pytest.mark.parametrize(("status", "payload"), [("ok", None), ("later", {"n": 1}), ("error", {})])
async def test_a_reply_may_have_a_status_of_its_own(joined: Line, status: str, payload: Any) -> None:
    [*_, said] = await joined.ask("6", "8", TOPIC, "status", {"status": status, "payload": payload})
    assert said == {"status": status, "response": payload or {}}


async def test_a_handler_may_refuse(joined: Line) -> None:
    assert await joined.ask("6", "8", TOPIC, "no") == error("6", "8", TOPIC, "not now")
    assert await joined.ask("6", "9", TOPIC, "echo", {}) == ok("6", "9", TOPIC)


async def test_binary_is_pushed_and_answered_as_binary(joined: Line) -> None:
    joined.receive_binary(bytes.fromhex("00 01 01 06 04 36 38 726f6f6d3a61 6563686f 0908"))
    assert await joined.next() == bytes.fromhex("01 01 01 06 02 36 38 726f6f6d3a61 6f6b 0908")


@pytest.mark.parametrize("event", ["crash", "cancelled", "bad no", "bad reply"])
async def test_a_handler_that_raises_ends_its_channel_and_not_the_connection(
    channels: Channels, joined: Line, told: list[Any], event: str
) -> None:
    await joined.ask("7", "7", "room:b", "phx_join")
    joined.say("6", "8", TOPIC, event)
    joined.say("6", "9", TOPIC, "echo", {})
    assert await joined.silent() == [["6", "6", TOPIC, "phx_error", CRASHED]]
    assert len(told) == channels.counts().crashed == 1
    assert joined.code is None
    assert await joined.ask("7", "10", "room:b", "echo", {}) == ok("7", "10", "room:b")
    assert await joined.ask("11", "11", TOPIC, "phx_join") == ok("11", "11", TOPIC)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'["1","1","t","e"]', b"[" * 5_000, '["1","1","\ud800","e",{}]']
)
async def test_what_is_no_frame_ends_the_connection(joined: Line, data: Any) -> None:
    joined.receive(data)
    assert joined.code == BAD_DATA


@pytest.mark.parametrize("data", [b"", b"\1\0\0\1\1te", b"\0\0\0\1\2te"])
async def test_what_is_no_binary_frame_ends_the_connection(joined: Line, data: bytes) -> None:
    joined.receive_binary(data)
    assert joined.code == BAD_DATA
