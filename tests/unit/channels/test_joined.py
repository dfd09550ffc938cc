"""One client in one topic: how it comes, is served one thing at a time, and goes, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.channels import Channels, Limits
from holdfast.channels.driver import Append, Read
from holdfast.channels.joined import Joined
from holdfast.channels.room import RING
from holdfast.channels.welcome import welcome
from holdfast.errors import StoreUnavailable

from .gated import GatedDriver
from .gated_room import TOPIC, Room, driver, fresh, gate, nothing_left, reached
from .line import Line, error, turns

__all__ = ["driver", "fresh"]


@pytest.fixture
async def channels(driver: GatedDriver) -> AsyncIterator[Channels]:
    async with Channels(driver, [Room], limits=Limits(waiting=3)) as channels:
        yield channels
        Room.gates.clear()


# --- the callbacks ---


async def test_callbacks_come_in_order_and_one_after_the_other(channels: Channels) -> None:
    await channels.publish(TOPIC, "said", {"n": 1})
    line = Line(channels)
    held = gate("joined")
    line.say("1", "1", TOPIC, "phx_join")
    line.say("1", "2", TOPIC, "do", {"n": 1})
    line.say("1", "3", TOPIC, "phx_leave")
    await reached("joined")
    [reply, history, presence] = line.frames
    assert reply[3] == "phx_reply"
    assert (history[3], presence[3]) == ("said", "presence_state")
    assert Room.notes == ["join", "joined"]
    held.set()
    await turns()
    assert Room.notes == ["join", "joined", "do 1", "left leave"]
    nothing_left(channels)


async def test_one_thing_at_a_time_in_one_topic_and_several_topics_beside_each_other(
    channels: Channels,
) -> None:
    line = Line(channels)
    for n, topic in enumerate((TOPIC, "room:b")):
        line.say(f"{n}", f"{n}", topic, "phx_join")
    await line.silent()
    slow = gate("do slow")
    line.say("0", "2", TOPIC, "do", {"n": "slow"})
    line.say("0", "3", TOPIC, "do", {"n": 2})
    line.say("1", "4", "room:b", "do", {"n": 3})
    line.say(None, "5", "phoenix", "heartbeat")
    assert [frame[1] for frame in await line.silent()] == ["5", "4"]
    slow.set()
    assert [frame[1] for frame in await line.silent()] == ["2", "3"]


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        (lambda line, channels: line.say("1", "9", TOPIC, "phx_leave"), "leave"),
        (lambda line, channels: line.lost("closed"), "closed"),
        (lambda line, channels: line.lost("slow"), "slow"),
        (lambda line, channels: line.say("9", "9", TOPIC, "phx_join"), "rejoined"),
        (lambda line, channels: line.say("1", "9", TOPIC, "do", [1]), None),
        (
            lambda line, channels: channels.hub._broken(channels.hub.rooms[channels.hub.prefix + TOPIC]),
            "lost",
        ),
    ],
)
async def test_left_is_called_once_with_the_reason(
    channels: Channels, ends: Callable[[Line, Channels], None], reason: str | None
) -> None:
    line = Line(channels)
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    ends(line, channels)
    await line.silent()
    line.lost()
    await turns()
    lefts = [note for note in Room.notes if note.startswith("left")]
    assert lefts[0] == f"left {reason or 'closed'}"
    assert len(lefts) == (2 if reason == "rejoined" else 1)
    nothing_left(channels)


async def test_a_shutdown_calls_left_and_waits_for_it(channels: Channels) -> None:
    line = Line(channels)
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    slow = gate("left shutdown")
    closing = asyncio.create_task(channels.close())
    await reached("left shutdown")
    assert not closing.done()
    slow.set()
    await closing
    assert line.code == 1012


async def test_a_shutdown_waits_so_long_and_no_longer(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.channels.hub.GOODBYE", 0.01)
    line = Line(channels)
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    gate("do 1")
    line.say("1", "2", TOPIC, "do", {"n": 1})
    await reached("do 1")
    await channels.close()
    assert Room.notes[-1] == "do 1 cancelled"
    assert not channels.hub.working


# --- the connection is lost at every place where a join waits ---


async def lost_while_in(place: str, line: Line) -> None:
    line.lost()
    gate(place).set()
    await turns()


async def test_lost_while_the_application_is_asked(channels: Channels) -> None:
    line, _ = Line(channels), gate("join")
    line.say("1", "1", TOPIC, "phx_join")
    await reached("join")
    await lost_while_in("join", line)
    assert Room.notes == ["join", "left closed"]
    assert line.frames == []
    nothing_left(channels)


@pytest.mark.parametrize("lost", [True, False])
async def test_lost_while_the_room_is_loaded(channels: Channels, driver: GatedDriver, lost: bool) -> None:
    line = Line(channels)
    driver.gate = lambda op: isinstance(op, Read)
    line.say("1", "1", TOPIC, "phx_join")
    await driver.waiting.wait()
    if lost:
        line.lost()
    driver.open_gate()
    await turns()
    assert Room.notes == (["join", "left closed"] if lost else ["join", "joined"])
    line.lost()
    await turns()
    nothing_left(channels)


async def test_lost_while_the_past_is_read(channels: Channels, driver: GatedDriver) -> None:
    positions = [await channels.publish(TOPIC, "said", {"n": n}) for n in range(3 * RING)]
    line, other = Line(channels), Line(channels)
    other.say("1", "1", TOPIC, "phx_join")
    await other.silent()
    driver.gate = lambda op: isinstance(op, Read)
    line.say("1", "1", TOPIC, "phx_join", {"since": positions[0]})
    await driver.waiting.wait()
    line.lost()
    driver.open_gate()
    await channels.publish(TOPIC, "said", {})
    await turns()
    assert line.frames == []
    assert Room.notes == ["join", "joined", "join", "left closed"]
    other.lost()
    await turns()
    nothing_left(channels)


@pytest.mark.parametrize("lost", [True, False])
async def test_the_past_cannot_be_read(channels: Channels, driver: GatedDriver, lost: bool) -> None:
    positions = [await channels.publish(TOPIC, "said", {"n": n}) for n in range(3 * RING)]
    line, other = Line(channels), Line(channels)
    other.say("1", "1", TOPIC, "phx_join")
    await other.silent()
    driver.gate = driver.fail = lambda op: isinstance(op, Read)
    line.say("1", "1", TOPIC, "phx_join", {"since": positions[0]})
    if lost:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        line.lost()
    frames = await line.silent()
    assert frames == ([] if lost else [error("1", "1", TOPIC, "store unavailable")])
    assert Room.notes == ["join", "joined", "join", "left closed" if lost else "left refused"]
    other.lost()
    await turns()
    nothing_left(channels)


async def test_who_cannot_even_read_its_welcome_has_left_and_not_joined(channels: Channels) -> None:
    class Slow(Line):
        __slots__ = ()

        def send_all(self, frames: list[Any]) -> None:
            asyncio.get_running_loop().call_soon(self.lost, "slow")
            self.lost("slow")

    line = Slow(channels)
    line.say("1", "1", TOPIC, "phx_join")
    await turns()
    assert Room.notes == ["join", "left slow"]
    nothing_left(channels)


async def test_nothing_begins_on_a_connection_that_has_ended(channels: Channels) -> None:
    line = Line(channels)
    line.close(1001)
    line.say("1", "1", TOPIC, "phx_join")
    await turns()
    assert Room.notes == []
    assert line.topics == {}


async def test_lost_while_joined_is_at_work(channels: Channels) -> None:
    line, _ = Line(channels), gate("joined")
    line.say("1", "1", TOPIC, "phx_join")
    await reached("joined")
    await lost_while_in("joined", line)
    assert Room.notes == ["join", "joined", "left closed"]
    nothing_left(channels)


async def test_a_room_that_breaks_while_the_past_is_read_has_the_client_try_again(
    channels: Channels, driver: GatedDriver
) -> None:
    positions = [await channels.publish(TOPIC, "said", {"n": n}) for n in range(3 * RING)]
    line, other = Line(channels), Line(channels)
    other.say("1", "1", TOPIC, "phx_join")
    await other.silent()
    driver.gate = lambda op: isinstance(op, Read)
    line.say("1", "1", TOPIC, "phx_join", {"since": positions[0]})
    await driver.waiting.wait()
    channels.hub._broken(channels.hub.rooms[channels.hub.prefix + TOPIC])
    driver.open_gate()
    assert await line.next() == error("1", "1", TOPIC, "try again")
    assert other.frames == [["1", "1", TOPIC, "phx_error", {"reason": "channel_crash"}]]
    await turns()
    nothing_left(channels)
    [*_, said] = await line.ask("2", "2", TOPIC, "phx_join", {"since": positions[0]})
    assert said["response"]["recovered"] is True


# --- leaves and joins that cross ---


async def test_a_leave_undoes_a_join_that_is_under_way(channels: Channels) -> None:
    line, asked = Line(channels), gate("join")
    line.say("1", "1", TOPIC, "phx_join")
    line.say("1", "2", TOPIC, "phx_leave")
    await reached("join")
    asked.set()
    assert [frame[3] for frame in await line.silent()] == [
        "phx_reply",
        "presence_state",
        "phx_reply",
        "phx_close",
    ]
    assert Room.notes == ["join", "joined", "left leave"]
    nothing_left(channels)


async def test_a_join_waits_for_the_end_of_the_stay_before(channels: Channels) -> None:
    line, slow = Line(channels), gate("do 1")
    line.say("1", "1", TOPIC, "phx_join")
    line.say("1", "2", TOPIC, "do", {"n": 1})
    line.say("1", "3", TOPIC, "do", {"n": 2})
    await reached("do 1")
    line.say("4", "4", TOPIC, "phx_join")
    await line.silent()
    assert Room.notes == ["join", "joined", "do 1"]
    slow.set()
    frames = await line.silent()
    assert Room.notes == ["join", "joined", "do 1", "left rejoined", "join", "joined"]
    assert frames[-1] == ["1", "1", TOPIC, "phx_close", {}]
    assert len(channels.presence.list(TOPIC)["somebody"]["metas"]) == 1


async def test_a_stay_that_does_not_end_is_cancelled(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Joined.over, "__defaults__", (0.01,))
    line, _ = Line(channels), gate("do 1")
    line.say("1", "1", TOPIC, "phx_join")
    line.say("1", "2", TOPIC, "do", {"n": 1})
    await reached("do 1")
    line.frames.clear()
    line.say("4", "4", TOPIC, "phx_join")
    [join_ref, ref, *_] = await line.next()
    assert (join_ref, ref) == ("4", "4")
    assert Room.notes == ["join", "joined", "do 1", "do 1 cancelled", "join", "joined"]
    line.lost()
    await turns()
    nothing_left(channels)


async def test_of_three_joins_at_once_the_last_one_counts(channels: Channels) -> None:
    line, asked = Line(channels), gate("join")
    line.say("1", "1", TOPIC, "phx_join")
    await reached("join")
    line.say("2", "2", TOPIC, "phx_join")
    line.say("3", "3", TOPIC, "phx_join")
    asked.set()
    frames = await line.silent()
    assert [frame[:2] for frame in frames if frame[3] == "phx_reply"] == [["3", "3"]]
    assert {frame[0] for frame in frames if frame[3] == "phx_close"} == {"1", "2"}
    assert list(line.topics) == [TOPIC]
    assert line.topics[TOPIC].join_ref == "3"
    assert len(channels.hub.rooms[channels.hub.prefix + TOPIC]) == 1
    assert Room.notes.count("join") == 2  # the second one's place was taken before the application was asked


async def test_what_is_said_behind_the_end_of_a_stay_is_not_handled(channels: Channels) -> None:
    line, slow = Line(channels), gate("do 1")
    line.say("1", "1", TOPIC, "phx_join")
    for n in (1, 2):
        line.say("1", None, TOPIC, "do", {"n": n})
    await reached("do 1")
    line.lost()
    slow.set()
    await turns()
    assert Room.notes == ["join", "joined", "do 1", "left closed"]


# --- what fails ---


async def test_callbacks_that_raise_are_told_to_the_loop_and_the_client_joins_anew(
    channels: Channels,
) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    line = Line(channels)
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    await channels.tell(TOPIC, "crash")
    assert await line.next() == ["1", "1", TOPIC, "phx_error", {"reason": "channel_crash"}]
    line.say("2", "2", TOPIC, "phx_join")
    line.say("2", "3", TOPIC, "do", {"crash": True})
    await line.silent()
    line.lost()
    await turns()
    assert told == [
        "Room: callback failed in topic 'room:a'",
        "Room: left failed in topic 'room:a'",
    ]
    assert channels.counts().crashed == 2
    nothing_left(channels)


async def test_a_store_that_fails_is_an_error_reply_and_no_crash(
    channels: Channels, driver: GatedDriver
) -> None:
    line = Line(channels)
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    driver.fail = lambda op: isinstance(op, Append)
    assert await line.ask("1", "2", TOPIC, "say", {}) == error("1", "2", TOPIC, "store unavailable")
    driver.fail = lambda op: False
    line.say("1", "3", TOPIC, "say", {})
    assert [frame[3] for frame in await line.silent()] == ["said", "phx_reply"]


async def test_a_topic_too_many_in_one_process_is_overloaded(driver: GatedDriver) -> None:
    async with Channels(driver, [Room], limits=Limits(topics=1)) as channels:
        line = Line(channels)
        line.say("1", "1", TOPIC, "phx_join")
        await line.silent()
        assert await line.ask("2", "2", "room:b", "phx_join") == error("2", "2", "room:b", "overloaded")
        assert "left" not in Room.notes
        assert channels.presence.list("room:b") == {}


async def test_a_room_that_is_given_up_before_it_is_entered_is_not_entered(channels: Channels) -> None:
    line = Line(channels)
    stay = Joined(line, channels.hub.routes.get(TOPIC), TOPIC, "1")
    room = await channels.hub.enter(stay)
    channels.hub.drop(room)
    with pytest.raises(StoreUnavailable, match="anew"):
        await welcome(channels.hub, stay, room, "1", b"{}", None)
    assert (len(room), room.entering) == (0, 0)
