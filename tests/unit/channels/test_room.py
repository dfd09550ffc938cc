"""What a turn of the loop brought to a room, and in which order each member gets it."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from holdfast.channels import Channel
from holdfast.channels.counts import Counts
from holdfast.channels.driver import Entry
from holdfast.channels.joined import Joined
from holdfast.channels.protocol import Frame
from holdfast.channels.recovery import Step
from holdfast.channels.room import RING, Room
from holdfast.channels.routing import Route


class Kept(Channel):
    topic = "room:*"
    history = 3


class Member:
    """A socket that remembers each write; the frames of a test are one byte of text."""

    raw: ClassVar[bool]

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    @property
    def heard(self) -> str:
        return b"".join(self.writes).decode().replace("\x81\x01", "")

    def send(self, frame: Frame) -> None:
        self.send_all([frame])

    def send_all(self, frames: list[Frame]) -> None:
        raise NotImplementedError

    def send_past(self, frames: list[Frame]) -> None:
        self.send_all(frames)


class Raw(Member):
    raw = True

    def write(self, data: bytes) -> None:
        self.writes.append(data.replace(b"\x81\x01", b""))

    def send_all(self, frames: list[Frame]) -> None:
        self.write(b"".join([frame.wire for frame in frames]))


class Plain(Member):
    raw = False

    def send_all(self, frames: list[Frame]) -> None:
        self.writes.append(b"".join([frame.body for frame in frames]))


def text(letters: str) -> Frame:
    return Frame(letters.encode())


def stay(socket: Member) -> Joined:
    return cast("Joined", SimpleNamespace(socket=socket))


@pytest.fixture
async def room() -> Room:
    return Room("room:a", "h:c:room:a", Route.of(Kept), asyncio.get_running_loop(), Counts())


async def turn() -> None:
    """What a turn brought goes out in the next but one."""
    for _ in range(4):
        await asyncio.sleep(0)


def joined(room: Room, *kinds: type[Member]) -> list[Any]:
    members = [kind() for kind in kinds]
    for each in members:
        room.add(stay(each))
    return members


async def test_what_one_turn_brought_is_one_write_for_each_member(room: Room) -> None:
    one, two, plain = joined(room, Raw, Raw, Plain)
    for letter in "abc":
        room.show(text(letter))
    assert one.writes == []
    await turn()
    assert one.writes == two.writes == plain.writes == [b"abc"]
    assert one.writes[0] == two.writes[0]
    assert (room.sent, room._counts.sent) == (3, 9)
    room.show(text("d"))
    await turn()
    assert one.writes == [b"abc", b"d"]


@pytest.mark.parametrize("kind", [Raw, Plain])
async def test_a_push_has_its_place_and_a_reply_comes_behind_the_turn(room: Room, kind: type[Member]) -> None:
    member, other = joined(room, kind, Raw)
    room.show(text("a"))
    room.tell(member, text("P"))
    room.reply(member, text("R"))
    room.show(text("b"))
    await turn()
    assert member.writes == [b"aPbR"]
    assert other.writes == [b"ab"]


@pytest.mark.parametrize("kind", [Raw, Plain])
async def test_what_is_said_after_a_reply_comes_after_it(room: Room, kind: type[Member]) -> None:
    [member] = joined(room, kind)
    room.show(text("a"))
    room.reply(member, text("R"))
    room.tell(member, text("C"))  # as a phx_close
    room.show(text("b"))
    await turn()
    assert member.heard == "aRCb"


async def test_where_nothing_waits_replies_and_pushes_go_at_once(room: Room) -> None:
    [member] = joined(room, Raw)
    room.reply(member, text("R"))
    room.tell(member, text("P"))
    assert member.writes == [b"R", b"P"]


@pytest.mark.parametrize("kind", [Raw, Plain])
async def test_who_is_spared_gets_the_rest_in_order(room: Room, kind: type[Member]) -> None:
    member, other = joined(room, kind, Plain)
    room.show(text("a"))
    room.show(text("b"), but=member)
    room.tell(member, text("P"))
    room.show(text("c"), but=member)
    room.show(text("d"))
    await turn()
    assert member.heard == "aPd"
    assert other.heard == "abcd"


async def test_who_is_spared_and_no_member_changes_nothing(room: Room) -> None:
    [member] = joined(room, Raw)
    room.show(text("a"), but=cast("Any", Raw()))
    await turn()
    room.show(text("b"))
    await turn()
    assert member.heard == "ab"


async def test_who_joins_gets_what_comes_from_then_on(room: Room) -> None:
    [first] = joined(room, Raw)
    room.show(text("a"))
    [second] = joined(room, Raw)
    room.show(text("b"))
    await turn()
    assert (first.heard, second.heard) == ("ab", "b")


async def test_who_leaves_gets_what_was_shown_until_then(room: Room) -> None:
    leaver, other = Raw(), Plain()
    stays = [stay(leaver), stay(other)]
    for each in stays:
        room.add(each)
    room.show(text("a"))
    room.reply(cast("Any", leaver), text("R"))
    room.drop(stays[0])
    room.show(text("b"))
    await turn()
    assert leaver.heard == "aR"
    assert other.heard == "ab"
    assert len(room) == 1


async def test_the_end_of_an_earlier_stay_is_not_the_end_of_a_later_one(room: Room) -> None:
    member = Raw()
    first, second = stay(member), stay(member)
    room.add(first)
    room.drop(first)
    room.add(second)
    room.drop(first)
    room.show(text("a"))
    await turn()
    assert member.heard == "a"
    assert list(room.members()) == [second]


@pytest.mark.parametrize("kind", [Raw, Plain])
async def test_whose_history_is_being_read_gets_it_first_and_then_all_that_came(
    room: Room, kind: type[Member]
) -> None:
    [other] = joined(room, Raw)
    member = kind()
    room.add(stay(member), hold=True)
    room.show(text("a"))
    room.tell(cast("Any", member), text("P"))
    await turn()
    room.tell(cast("Any", member), text("Q"))
    room.show(text("b"))
    room.reply(cast("Any", member), text("R"))
    room.show(text("c"), but=cast("Any", member))
    await turn()
    room.show(text("d"))
    assert member.writes == []
    room.release(cast("Any", member), [text("1"), text("2")])
    room.show(text("e"))
    await turn()
    assert member.heard == "12aPQbRde"
    assert other.heard == "abcde"


async def test_who_leaves_while_held_gets_nothing(room: Room) -> None:
    member = Raw()
    held = stay(member)
    room.add(held, hold=True)
    room.show(text("a"))
    room.drop(held)
    room.release(cast("Any", member), [])
    await turn()
    assert member.writes == []
    assert not room.held


@pytest.mark.parametrize("seed", range(30))
async def test_any_mixture_comes_in_the_order_in_which_it_was_said(room: Room, seed: int) -> None:
    """Against a room that hands out everything at once, but for replies, which wait for the end of a turn."""
    chance = random.Random(seed)
    members: list[Any] = [chance.choice([Raw, Plain])() for _ in range(4)]
    expected: dict[Any, list[str]] = {each: [] for each in members}
    late: dict[Any, list[str]] = {each: [] for each in members}
    stays: dict[Any, Joined] = {}
    waiting = False

    def over(member: Any) -> None:
        expected[member] += late[member]
        late[member].clear()

    def flushed() -> None:
        for each in stays:
            over(each)

    for n in range(300):
        letter, member = chr(0x21 + n % 90), chance.choice(members)
        action = chance.randrange(12)
        if action < 4:
            spared = member if action == 0 and member in stays else None
            room.show(text(letter), but=spared)
            for each in stays:
                if each is not spared:
                    expected[each].append(letter)
            waiting = True
        elif action < 6 and member in stays:
            room.tell(member, text(letter))
            over(member)
            expected[member].append(letter)
        elif action < 9 and member in stays:
            room.reply(member, text(letter))
            (late if waiting else expected)[member].append(letter)
        elif action == 9:
            flushed()
            waiting = False
            if member in stays:
                room.drop(stays.pop(member))
            else:
                stays[member] = stay(member)
                room.add(stays[member])
        elif action == 10:
            await turn()
            flushed()
            waiting = False
    await turn()
    flushed()
    for each in members:
        assert each.heard == "".join(expected[each])


# --- the log ---


def said(offset: int, payload: bytes | None = b"{}", changed: int | None = None) -> Entry:
    return Entry(offset, None, "m", payload, 0, changed)


def kept(room: Room) -> list[int]:
    return [message.offset for message in room.ring]


async def test_the_latest_are_at_hand_and_those_above_the_floor_are_all(room: Room) -> None:
    room.restart("e")
    for offset in range(1, RING + 6):
        room.advance(Step(offset, said(offset), False))
        assert room.whole == (offset <= RING)
    assert kept(room) == list(range(6, RING + 6))
    assert (room.floor, room.last) == (5, RING + 5)


async def test_a_longer_history_keeps_more_at_hand() -> None:
    class Long(Kept):
        history = 100

    room = Room("room:a", "k", Route.of(Long), asyncio.get_running_loop(), Counts())
    room.restart("e")
    for offset in range(1, 302):
        room.advance(Step(offset, said(offset), False))
    assert len(room.ring) == 200


async def test_an_edit_changes_what_is_at_hand_and_an_erasure_takes_it(room: Room) -> None:
    [member] = joined(room, Plain)
    room.restart("e")
    for offset in (1, 2, 3):
        room.advance(Step(offset, said(offset), False))
    await turn()
    member.writes.clear()
    room.advance(Step(4, said(2, b'{"new":1}', 4), True))
    room.advance(Step(5, said(1, None, 5), True))
    assert kept(room) == [2, 3]
    assert b'"new":1' in room.ring[0].tail
    assert (room.changed, room.last, room.floor) == (5, 5, 0)
    await turn()
    [told] = member.writes
    assert (
        b'"message_edited",{"_holdfast":{"id":"2~e","position":"4~e","at":0,"edited":true},"new":1}' in told
    )
    assert b'"message_removed",{"_holdfast":{"id":"1~e","position":"5~e"}}' in told


async def test_what_was_erased_before_it_was_shown_is_not_shown(room: Room) -> None:
    [member] = joined(room, Plain)
    room.restart("e")
    room.advance(Step(1, said(1, None, 2), False))
    await turn()
    assert (member.writes, kept(room), room.last) == ([], [], 1)


async def test_what_was_shown_already_is_kept_and_not_shown(room: Room) -> None:
    [member] = joined(room, Plain)
    room.restart("e")
    room.advance(Step(1, said(1), False), shown=True)
    await turn()
    assert (member.writes, kept(room), room.last) == ([], [1], 1)


async def test_what_retention_took_away_is_not_at_hand(room: Room) -> None:
    room.restart("e")
    for offset in (1, 2, 3, 4):
        room.advance(Step(offset, said(offset), False))
    room.cut(2)
    assert (kept(room), room.floor) == ([3, 4], 2)
    room.cut(1)
    assert (kept(room), room.floor) == ([3, 4], 2)
    room.cut(9)  # of a log that has gone on
    assert (kept(room), room.floor) == ([], 4)
