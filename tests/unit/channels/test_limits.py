"""How much one client, and one process, may ask for, and what happens beyond."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.channels import Channels, Limits
from holdfast.channels import joined as joined_module

from .gated import GatedDriver
from .gated_room import TOPIC, Room, driver, fresh, gate, reached
from .line import Line, turns

__all__ = ["driver", "fresh"]


@pytest.fixture
async def channels(driver: GatedDriver) -> AsyncIterator[Channels]:
    async with Channels(driver, [Room], limits=Limits(waiting=3)) as channels:
        yield channels
        Room.gates.clear()


async def test_a_mailbox_that_is_full_holds_the_connection_back_until_it_is_empty(channels: Channels) -> None:
    line, slow = Line(channels), gate("do 0")
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    for n in range(4):
        line.say("1", None, TOPIC, "do", {"n": n})
    assert not line.paused()
    line.say("1", None, TOPIC, "do", {"n": 4})
    assert line.paused()
    line.say("1", None, TOPIC, "do", {"n": 5})  # it was on the way
    slow.set()
    await turns()
    assert not line.paused()
    assert line.held_back == 0
    assert Room.notes[2:] == [f"do {n}" for n in range(6)]


async def test_who_is_full_and_has_said_too_much_is_held_back_until_both_are_over() -> None:
    limits = Limits(waiting=1, messages=3)
    async with Channels(GatedDriver(), [Room], limits=limits) as channels:
        line, slow = Line(channels), gate("do 0")
        line.say("1", "1", TOPIC, "phx_join")
        await line.silent()
        for n in range(4):
            line.say("1", None, TOPIC, "do", {"n": n})
        assert (line.paused(), line.held_back) == (True, 2)
        slow.set()
        await turns()
        assert (line.paused(), line.held_back) == (True, 1)
        channels.hub.pulse.beat()
        assert (line.paused(), line.held_back) == (False, 0)


@pytest.mark.parametrize("end", ["lost", "rejoin", "broken"])
async def test_a_full_mailbox_whose_stay_ends_holds_nothing_back(channels: Channels, end: str) -> None:
    line, slow = Line(channels), gate("do 0")
    line.say("1", "1", TOPIC, "phx_join")
    await line.silent()
    for n in range(6):
        line.say("1", None, TOPIC, "do", {"n": n})
    assert line.paused()
    if end == "lost":
        line.lost()
    elif end == "rejoin":
        line.say("7", "7", TOPIC, "phx_join")
    else:
        channels.hub._broken(channels.hub.rooms[channels.hub.prefix + TOPIC])
    assert line.held_back == 0
    assert line.paused() == (end == "lost")  # there is nothing to be read from it any more
    slow.set()
    await turns()
    assert line.held_back == 0


async def test_what_is_told_beyond_a_bound_is_passed_over(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined_module, "MOST_TOLD", 5)
    line, slow = Line(channels), gate("do 0")
    line.say("1", "1", TOPIC, "phx_join")
    line.say("1", None, TOPIC, "do", {"n": 0})
    await reached("do 0")
    for n in range(20):
        await channels.tell(TOPIC, n)
    slow.set()
    await turns()
    assert Room.notes[3:] == [f"info {n}" for n in range(5)]


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_more_than_nothing(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"limits: {name}"):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("limits", [Limits(messages=3), Limits(bytes=150)])
async def test_who_says_too_much_within_a_second_is_read_from_in_the_next(
    limits: Limits, binary: bool
) -> None:
    async with Channels("memory://", [Room], limits=limits) as channels:
        line = Line(channels)

        def say() -> None:
            if binary:
                line.receive_binary(bytes((0, 0, 0, 7, 9)) + b"phoenix" + b"heartbeat" + b"x" * 25)
            else:
                line.say(None, "1", "phoenix", "heartbeat", "x" * 7)

        for _ in range(3):
            say()
            assert not line.paused()
        say()
        assert line.paused()
        say()  # it was on the way
        assert len(line.frames) == 5  # each was answered
        channels.hub.pulse.beat()
        assert not line.paused()
        say()
        assert not line.paused()
        assert channels.counts().received == 6


async def test_who_is_silent_for_too_long_is_ended_and_who_speaks_is_not() -> None:
    async with Channels("memory://", [Room], limits=Limits(idle=20)) as channels:
        silent, speaks, binary, full = (Line(channels) for _ in range(4))
        slow = gate("do 0")
        full.say("1", "1", TOPIC, "phx_join")
        for n in range(70):
            full.say("1", None, TOPIC, "do", {"n": n})
        assert full.paused()
        for second in range(1, 46):
            channels.hub.pulse.beat()
            speaks.say(None, "1", "phoenix", "heartbeat")
            binary.receive_binary(bytes((0, 0, 0, 7, 9)) + b"phoenix" + b"heartbeat")
            if second == 20:
                assert silent.code is None
        assert silent.code == 1002
        assert (speaks.code, binary.code) == (None, None)
        assert full.code is None  # it may have spoken: nothing was read
        slow.set()
        await turns()
        for _ in range(10):
            channels.hub.pulse.beat()
        assert full.code is None
        for _ in range(20):
            channels.hub.pulse.beat()
        assert full.code == 1002
