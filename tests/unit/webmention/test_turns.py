import asyncio
import random

import pytest

from holdfast.webmention.turns import Turn, Turns


def granted(turns: list[Turn]) -> list[int]:
    return [at for at, turn in enumerate(turns) if turn.granted]


def test_a_place_is_had_at_once_while_there_is_room() -> None:
    turns = Turns(at_once=3, per_host=2)
    taken = [turns.take(host) for host in "aaab"]
    assert granted(taken) == [0, 1, 3]
    assert turns.free == 0


def test_a_busy_host_keeps_nobody_else_waiting() -> None:
    turns = Turns(at_once=8, per_host=2)
    crowd = [turns.take("busy") for _ in range(1000)]
    assert granted(crowd) == [0, 1]
    assert turns.free == 6
    assert turns.take("other").granted


def test_who_waits_for_a_host_is_served_in_order() -> None:
    turns = Turns(at_once=8, per_host=1)
    line = [turns.take("a") for _ in range(4)]
    for at in range(4):
        assert granted(line)[-1] == at
        line[at].leave()
    assert turns.free == 8


def test_hosts_take_turns_where_the_places_in_all_are_short() -> None:
    turns = Turns(at_once=1, per_host=1)
    first = turns.take("z")
    line = [(host, turns.take(host)) for host in "aaabbb"]
    served: list[str] = []
    first.leave()
    while line:
        at, (host, turn) = next((at, each) for at, each in enumerate(line) if each[1].granted)
        served.append(host)
        del line[at]
        turn.leave()
    assert served == ["a", "b", "a", "b", "a", "b"]


def test_a_host_with_room_for_more_goes_behind_the_others_all_the_same() -> None:
    turns = Turns(at_once=2, per_host=2)
    first = [turns.take("z") for _ in range(2)]
    line = [turns.take(host) for host in "aaabbb"]
    for turn in first:
        turn.leave()
    assert granted(line) == [0, 3]


def test_leaving_twice_is_leaving_once() -> None:
    turns = Turns(at_once=2, per_host=2)
    turn = turns.take("a")
    turn.leave()
    turn.leave()
    assert turns.free == 2


def test_who_leaves_the_line_is_passed_over() -> None:
    turns = Turns(at_once=4, per_host=1)
    first, second, third = (turns.take("a") for _ in range(3))
    second.leave()
    first.leave()
    assert third.granted
    assert not second.granted
    third.leave()
    assert turns.free == 4


async def test_coming_is_being_woken_when_the_place_is_free() -> None:
    turns = Turns(at_once=1, per_host=1)
    first, second = turns.take("a"), turns.take("b")
    waiting = asyncio.create_task(second.come())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.leave()
    await waiting
    assert second.granted


def test_no_places_are_none() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Turns(at_once=0)


@pytest.mark.parametrize("seed", range(30))
def test_places_are_never_lost_nor_given_twice(seed: int) -> None:
    dice = random.Random(seed)
    turns = Turns(at_once=5, per_host=2)
    taken: list[Turn] = []
    for _ in range(400):
        if taken and dice.random() < 0.5:
            taken.pop(dice.randrange(len(taken))).leave()
        else:
            taken.append(turns.take(dice.choice("abcdef")))
        inside = [turn.host for turn in taken if turn.granted]
        assert len(inside) + turns.free == 5
        assert all(inside.count(host) <= 2 for host in inside)
        waiting = {turn.host for turn in taken if not turn.granted}
        assert not turns.free or all(inside.count(host) == 2 for host in waiting), (
            "a place is free, somebody may go"
        )
    for turn in taken:
        turn.leave()
    assert turns.free == 5
    assert not turns._hosts
    assert not turns._ready
