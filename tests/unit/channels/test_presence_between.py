"""Who is where, over processes whose words are lost, doubled and delayed."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from holdfast.channels import Channels, User, presence
from holdfast.testing import ChannelClient

from .bus import Bus, BusDriver
from .presence_lab import (
    FOLLOW_UP,
    TOPIC,
    Room,
    Shown,
    at_once,
    entries,
    known,
    member,
    processes,
    refs_of,
    says,
    sent,
    settled,
)

__all__ = ["at_once"]

pytestmark = pytest.mark.usefixtures("at_once")


async def test_a_lost_difference_is_noticed_at_the_next_and_asked_for() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], member(other) as guest, member(one, "ada"):
        shown = Shown(guest)
        await shown.becomes("ada")
        bus.lose = lambda key: ":n:" in key
        async with member(one, "bob"):
            await settled()
            assert known(other) == ["ada"]
            bus.lose = lambda key: False
            async with member(one, "cleo"):
                await shown.becomes("ada", "bob", "cleo")


async def test_a_lost_last_difference_is_noticed_at_the_next_beat() -> None:
    bus = Bus()
    async with (
        processes(bus, lease=3 * FOLLOW_UP) as [one, other],
        member(other) as guest,
        member(one, "ada"),
    ):
        shown = Shown(guest)
        await shown.becomes("ada")
        async with member(one, "bob"):
            await shown.becomes("ada", "bob")
            bus.lose = lambda key: ":n:" in key
        await settled()
        bus.lose = lambda key: False
        await shown.becomes("ada")


async def test_one_answer_is_waited_for_before_the_same_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "ASK_AGAIN", 1000.0)
    bus = Bus()
    async with processes(bus) as [one, other], member(one), member(other):
        await settled()
        bus.held = []
        for n in range(10):
            one.presence.track(TOPIC, f"p{n}", {})
            await settled()
        bus.release()
        await settled()
        said = [says(op)["kind"] for op in sent(other)]
        assert said == ["ask", "ask"]  # at the beginning, and once of this process
        assert known(other) == sorted(f"p{n}" for n in range(10))


async def test_what_comes_twice_is_shown_once() -> None:
    bus = Bus()
    bus.copies = 2
    async with processes(bus) as [one, other], member(other) as guest:
        shown = Shown(guest)
        async with member(one, "ada"):
            await shown.becomes("ada")
        await shown.becomes()
        await settled()
        shown.people()
        assert len(shown.diffs) == 2
        async with member(one, "bob"):
            await shown.becomes("bob")
            other.hub.hearing.lost()  # it asks, and hears what it knows
            await settled()
            shown.people()
            assert len(shown.diffs) == 3


async def test_a_state_that_comes_late_does_not_undo_what_came_after_it() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], member(one, "ada"), member(other):
        await settled()
        bus.held = []
        other.hub.hearing.lost()  # asks
        await settled()
        bus.release()
        late: list[Any] = []
        bus.held = late  # the answer
        await settled()
        assert late
        bus.held = None
        one.presence.track(TOPIC, "bob", {})
        await settled()
        assert known(other) == ["ada", "bob"]
        for hear in late:
            hear()
        assert known(other) == ["ada", "bob"]


async def test_who_comes_later_learns_of_all_who_are_there() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], member(one, "ada"), member(other, "bob"):
        third = bus.driver()
        async with Channels(third, [Room]) as late, member(late) as guest:
            await Shown(guest).becomes("ada", "bob")


async def test_a_large_state_goes_in_parts_and_is_taken_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "PART", 200)
    bus = Bus()
    everybody = sorted(f"person {n}" for n in range(30))
    async with processes(bus) as [one, other], member(one), member(other) as guest:
        await settled()
        bus.lose = lambda key: True
        for name in everybody:
            one.presence.track(TOPIC, name, {"x": "y" * 50})
        await settled()
        bus.lose = lambda key: False
        bus.held = []
        other.presence.lost()
        await settled()
        bus.release()
        parts: list[Any] = []
        bus.held = parts
        await settled()
        assert len(parts) > 10
        bus.held = None
        del parts[5]
        for part in parts:
            part()
        await settled()
        assert known(other) == []  # not those of whom it heard
        other.hub.hearing.lost()
        await Shown(guest).becomes(*everybody)


async def test_no_note_is_larger_than_a_send_may_be() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], member(one), member(other):
        refs = [one.presence.track(TOPIC, f"p{n}", {"x": "y" * 2_000}) for n in range(1_000)]
        await settled()
        other.presence.lost()
        await settled()
        assert len(known(other)) == 1_000
        for ref in refs:
            one.presence.untrack(TOPIC, ref)
        await settled()
        assert known(other) == []
        assert max(len(op.data) for op in sent(one)) < 1 << 18


async def test_a_process_that_closes_takes_its_people_along() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], member(other) as guest:
        shown = Shown(guest)
        async with ChannelClient(one, user=User("ada")) as ada:
            await ada.join(TOPIC)
            await shown.becomes("ada")
            await one.close()
            await shown.becomes()


async def test_a_process_that_is_not_heard_of_for_a_lease_is_dead_until_it_is_heard_again() -> None:
    bus = Bus()
    async with (
        processes(bus, lease=3 * FOLLOW_UP) as [one, other],
        member(other) as guest,
        member(one, "ada"),
    ):
        shown = Shown(guest)
        await shown.becomes("ada")
        bus.lose = lambda key: True
        await shown.becomes()
        bus.lose = lambda key: False
        await shown.becomes("ada")


async def test_who_dies_and_comes_back_at_once_is_not_seen_to_go() -> None:
    async with processes(Bus()) as [one, other], member(one, "ada"), member(other) as guest:
        shown = Shown(guest)
        await shown.becomes("ada")
        diffs = len(shown.diffs)
        other.presence._forget(one.hub.node)
        other.presence.lost()
        other.presence.hear(
            one.hub.node, msgspec.json.encode({"kind": "state", "number": 9, "joins": entries(one)})
        )
        await settled()
        assert sorted(shown.people()) == ["ada"]
        assert len(shown.diffs) == diffs


async def test_who_has_nobody_says_nothing_and_who_has_says_that_it_lives() -> None:
    bus = Bus()
    async with processes(bus, lease=3 * FOLLOW_UP) as [one, other], member(one, "ada"), member(other):
        beats = asyncio.Event()

        def listen(key: str) -> bool:
            if [says(op)["kind"] for op in sent(one)].count("beat") > 2:
                beats.set()
            return False

        bus.lose = listen
        await asyncio.wait_for(beats.wait(), 5)
        assert {says(op)["kind"] for op in sent(other)} == {"ask"}


async def test_who_is_asked_answers_and_only_who_asked_takes_it() -> None:
    bus = Bus()
    async with (
        processes(bus, 3) as [one, other, third],
        member(one, "ada"),
        member(other, "bob"),
        member(third),
    ):
        await settled()
        for each in (one, other):
            assert isinstance(each._driver, BusDriver)
            each._driver.batches.clear()
        third.presence._say(presence._Says("ask", to=one.hub.node))
        other.presence._nodes.clear()
        await settled()
        assert [says(op)["kind"] for op in sent(one)] == ["state"]
        assert sent(other) == []
        assert known(other) == ["bob"]


@pytest.mark.parametrize("data", [b'["p","x",7]', b'["p","x",{"kind":7}]', b'["d","x",7]', b"nothing"])
async def test_what_another_version_says_is_passed_over(data: bytes) -> None:
    async with processes(Bus()) as [one, _], member(one, "ada"):
        one.hub.hearing.sent("holdfast:n:", data)
        assert known(one) == ["ada"]


async def test_where_nobody_else_hears_nothing_is_put_aside_for_them() -> None:
    async with Channels("memory://", [Room]) as channels, ChannelClient(channels, user=User("a")) as client:
        for _ in range(20):
            await (await client.join(TOPIC)).leave()
            await settled()
        waiting = channels.presence._outgoing
        assert not waiting.joins
        assert not waiting.leaves


async def test_after_a_close_nothing_of_before_is_known_or_said() -> None:
    bus = Bus()
    async with processes(bus) as [one, other], member(other, "bob") as bob:
        async with member(one, "ada"):
            await Shown(bob).becomes("ada", "bob")
            await one.close()
        await one.open()
        assert known(one) == []
        async with member(one, "cleo"):
            await settled()
            assert known(one) == known(other) == ["bob", "cleo"]


@pytest.mark.parametrize("seed", range(15))
async def test_whatever_is_lost_doubled_and_delayed_all_agree_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    bus = Bus()
    async with processes(bus, 3) as all, AsyncExitStack() as stack:
        shown = [Shown(await stack.enter_async_context(member(each))) for each in all]
        await settled()
        own: list[list[str]] = [[] for _ in all]
        bus.lose = lambda key: chance.random() < 0.2
        for n in range(60):
            bus.copies = chance.choice([1, 1, 2])
            at = chance.randrange(3)
            what, refs = all[at].presence, own[at]
            action = chance.random()
            if action < 0.5 or not refs:
                refs.append(what.track(TOPIC, f"p{n % 7}", {"n": n}))
            elif action < 0.7:
                refs.append(what.update(TOPIC, refs.pop(chance.randrange(len(refs))), {"n": n}))
            else:
                what.untrack(TOPIC, refs.pop(chance.randrange(len(refs))))
            if chance.random() < 0.3:
                await settled()
            if chance.random() < 0.1 and bus.held is None:
                bus.held = []
            elif chance.random() < 0.3 and bus.held is not None:
                if chance.random() < 0.5:
                    chance.shuffle(bus.held)
                bus.release()
        bus.lose, bus.copies = (lambda key: False), 1
        bus.release()
        await settled()
        for each in all:
            each.presence.lost()
        await settled()
        await settled()
        everybody = refs_of(all[0].presence.list(TOPIC))
        assert everybody == sorted(ref for refs in own for ref in refs)
        for each, view in zip(all, shown, strict=True):
            assert refs_of(each.presence.list(TOPIC)) == everybody
            assert refs_of({key: {"metas": metas} for key, metas in view.people().items()}) == everybody
