"""Who is where, as members are told."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import events
from holdfast.channels import Limits, User
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import JoinRefused

from .bus import Bus
from .presence_lab import (
    TOPIC,
    Shown,
    at_once,
    known,
    member,
    processes,
    settled,
)

__all__ = ["at_once"]

pytestmark = pytest.mark.usefixtures("at_once")


async def test_a_joiner_gets_the_state_after_the_reply_and_differences_from_then_on() -> None:
    async with processes(Bus()) as [one, other], member(one, "ada"), member(other, "bob"):
        await settled()
        async with member(other) as guest:
            [first] = [message.event for message in guest.received]
            assert first == "presence_state"
            shown = Shown(guest)
            assert sorted(shown.people()) == ["ada", "bob"]
            [meta] = shown.people()["ada"]
            assert meta["at"] == "door"
            assert meta["phx_ref"]
            async with member(one, "cleo"):
                await shown.becomes("ada", "bob", "cleo")
            await shown.becomes("ada", "bob")
            assert known(one) == known(other) == ["ada", "bob"]


async def test_a_change_is_one_difference_in_which_the_new_follows_the_old() -> None:
    async with processes(Bus()) as [one, other], member(one, "ada") as ada, member(other) as guest:
        shown = Shown(guest)
        await shown.becomes("ada")
        [before] = shown.people()["ada"]
        await ada.push("update", {"at": "window"})
        await guest._client.until(lambda: shown.people()["ada"][0].get("at") == "window", "the change")
        diff = shown.diffs[-1]
        [left], [came] = diff["leaves"]["ada"]["metas"], diff["joins"]["ada"]["metas"]
        assert left["phx_ref"] == came["phx_ref_prev"] == before["phx_ref"] != came["phx_ref"]


async def test_two_connections_of_one_person_are_two_entries_of_one_key() -> None:
    async with processes(Bus()) as [one, other], member(one, "ada"), member(other) as guest:
        shown = Shown(guest)
        async with member(other, "ada"):
            await guest._client.until(lambda: len(shown.people().get("ada", [])) == 2, "both")
        await guest._client.until(lambda: len(shown.people()["ada"]) == 1, "one of them")


async def test_who_came_and_went_between_two_differences_is_not_told_to_members() -> None:
    async with processes(Bus()) as [one, other], member(one) as here, member(other) as there:
        await settled()
        ref = one.presence.track(TOPIC, "ada", {})
        one.presence.untrack(TOPIC, ref)
        await settled()
        for shown in (Shown(here), Shown(there)):
            assert shown.people() == {}
            assert shown.diffs == []


async def test_a_key_is_text_and_nothing_that_javascript_has_itself() -> None:
    async with processes(Bus(), 1) as [one], member(one) as guest:
        for key in ("__proto__", "constructor", "toString"):
            reply = await guest.push("track", {"key": key})
            assert "a key is text" in reply.response["error"]
        assert "needs a key" in (await guest.push("track", {})).response["error"]
        assert (await guest.push("track", {"key": "ada"})).response == {}
        assert known(one) == ["ada"]


async def test_a_topic_has_so_many_entries_over_all_processes() -> None:
    async with (
        processes(Bus(), limits=Limits(presences=2)) as [one, other],
        member(one, "ada"),
        member(other, "bob"),
        member(other) as guest,
        ChannelClient(other) as client,
    ):
        await Shown(guest).becomes("ada", "bob")
        refused = await guest.push("track", {"key": "cleo"})
        assert (refused.status, refused.response) == ("error", {"reason": "too many present"})
        assert guest.ended is None
        elsewhere = await client.join("room:b")  # which has its own
        assert (await elsewhere.push("track", {"key": "cleo"})).response == {}


async def test_a_class_without_presence_tells_nothing_and_takes_nobody() -> None:
    async with processes(Bus(), 1) as [one], ChannelClient(one, user=User("ada")) as client:
        room = await client.join("plain")
        assert "presence = True" in (await room.push("track", {})).response["error"]
        assert not room.received


async def test_a_change_that_cannot_be_sent_changes_nothing() -> None:
    async with processes(Bus(), 1) as [one]:
        async with member(one, "ada") as ada:
            before = one.presence.list(TOPIC)
            assert (await ada.push("broken")).response == before
            assert ada.ended is None
        assert one.presence.list(TOPIC) == {}


async def test_untracking_twice_is_once_and_tracking_again_is_another_entry() -> None:
    async with processes(Bus(), 1) as [one], member(one, "ada") as ada:
        [first] = one.presence.list(TOPIC)["ada"]["metas"]
        await ada.push("untrack")
        assert (await ada.push("untrack")).status == "ok"
        assert known(one) == []
        await ada.push("track", {"meta": {"at": "sea"}})
        [second] = one.presence.list(TOPIC)["ada"]["metas"]
        assert second["at"] == "sea"
        assert second["phx_ref"] != first["phx_ref"]


async def test_who_is_refused_is_not_present() -> None:
    async with processes(Bus(), 1) as [one], ChannelClient(one, user=User("ada")) as client:
        with pytest.raises(JoinRefused):
            await client.join("hesitant")
        assert known(one, "hesitant") == []


async def test_who_is_too_many_is_in_the_topic_and_not_tracked() -> None:
    told: list[Any] = []
    stop = events.subscribe(told.append)
    try:
        async with (
            processes(Bus(), 1, limits=Limits(presences=1)) as [one],
            member(one, "ada"),
            member(one, "bob") as bob,
        ):
            assert known(one) == ["ada"]
            assert (await bob.push("untrack")).status == "ok"
            assert bob.ended is None
            assert one.counts().crashed == 0
            assert events.MessageRefused("callback", "Refuse") in told
    finally:
        stop()
