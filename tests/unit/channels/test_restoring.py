"""Messages of an export, put back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from holdfast.channels import AnyTopic, Channels, Limits, Message, MessageTooLarge, TopicRefused
from holdfast.channels.driver import Edit
from holdfast.errors import StoreUnavailable

from .gated import GatedDriver

TOPIC = "room:a"


@pytest.fixture
async def old() -> AsyncIterator[Channels]:
    async with Channels("memory://", [AnyTopic]) as channels:
        yield channels


@pytest.fixture
async def new() -> AsyncIterator[Channels]:
    async with Channels("memory://", [AnyTopic]) as channels:
        yield channels


async def said(channels: Channels) -> list[Message]:
    """Some messages: with ids and without, one edited, one removed."""
    for n in range(6):
        await channels.publish(TOPIC, "said", {"n": n}, id=f"given:{n}" if n % 2 else None)
    all_of_it = await channels.history(TOPIC)
    await channels.edit(TOPIC, all_of_it[1].id, {"n": "edited"})
    await channels.edit(TOPIC, all_of_it[2].id, {"n": "edited too"})
    await channels.remove(TOPIC, all_of_it[4].id)
    return await channels.history(TOPIC)


async def test_ids_times_edits_and_order_are_kept_and_positions_are_new(old: Channels, new: Channels) -> None:
    messages = await said(old)
    assert await new.restore(TOPIC, messages) == [True] * 5
    found = await new.history(TOPIC)
    for before, after in zip(messages, found, strict=True):
        assert (after.event, after.payload, after.at, after.edited) == (
            before.event,
            before.payload,
            before.at,
            before.edited,
        )
        assert after.position != before.position
        assert after.id == (before.id if before.id.startswith("given:") else before.id.replace("~", "."))


async def test_doing_it_again_stores_nothing(old: Channels, new: Channels) -> None:
    messages = await said(old)
    await new.restore(TOPIC, messages)
    before = await new.history(TOPIC)
    assert await new.restore(TOPIC, messages) == [False] * 5
    assert await new.history(TOPIC) == before


async def test_into_the_log_they_came_from_nothing_is_stored_twice_and_nothing_comes_back(
    old: Channels,
) -> None:
    before = await said(old)
    await old.remove(TOPIC, before[0].id)
    assert await old.restore(TOPIC, before) == [False] * 5
    assert await old.history(TOPIC) == before[1:]


async def test_a_topic_that_was_cleared_gets_all_of_it_again(old: Channels) -> None:
    before = await said(old)
    await old.clear(TOPIC)
    assert await old.restore(TOPIC, before) == [True] * 5
    assert [each.payload for each in await old.history(TOPIC)] == [each.payload for each in before]


async def test_what_is_there_gets_the_payload_of_the_export_unless_it_shall_stay(
    old: Channels, new: Channels
) -> None:
    messages = await said(old)
    await new.publish(TOPIC, "said", {"n": "mine"}, id="given:1")
    assert (await new.restore(TOPIC, messages, replace=False)).count(False) == 1
    assert (await new.message(TOPIC, "given:1")).payload == {"n": "mine"}  # type: ignore[union-attr]
    assert (await new.restore(TOPIC, messages)).count(True) == 1
    assert (await new.message(TOPIC, "given:1")).payload == {"n": "edited"}  # type: ignore[union-attr]


async def test_what_was_erased_here_stays_so(old: Channels, new: Channels) -> None:
    messages = await said(old)
    await new.restore(TOPIC, messages)
    await new.remove(TOPIC, "given:1")
    assert await new.restore(TOPIC, messages) == [False] * 5
    assert await new.message(TOPIC, "given:1") is None


async def test_one_that_cannot_be_stored_says_why_and_the_others_are() -> None:
    good = Message("a", "", "said", {}, 1.0, False)
    bad = [
        replace(good, id="no id"),
        replace(good, event="phx_join"),
        replace(good, payload={"_holdfast": 1}),
        replace(good, payload={"long": "x" * 100}),
    ]
    async with Channels("memory://", [AnyTopic], limits=Limits(message=50)) as new:
        answers = await new.restore(TOPIC, [*bad, good])
        assert answers[-1] is True
        assert all(isinstance(each, ValueError) for each in answers[:-1])
        assert [type(each) is MessageTooLarge for each in answers[:-1]] == [False, False, False, True]
        with pytest.raises(TopicRefused):
            async with Channels("memory://") as nobody:
                await nobody.restore(TOPIC, [good])


async def test_without_an_id_it_is_a_message_of_its_own_each_time(new: Channels) -> None:
    message = Message("", "", "said", {"n": 1}, 1.5, False)
    assert await new.restore(TOPIC, [message, message]) == [True, True]
    assert [(each.payload, each.at) for each in await new.history(TOPIC)] == [({"n": 1}, 1.5)] * 2


async def test_one_whose_edit_was_lost_is_edited_the_next_time(old: Channels) -> None:
    messages = await said(old)
    driver = GatedDriver()
    async with Channels(driver, [AnyTopic]) as new:
        driver.fail = lambda op: isinstance(op, Edit)
        answers = await new.restore(TOPIC, messages)
        assert [type(each) for each in answers].count(StoreUnavailable) == 2
        driver.fail = lambda op: False
        assert (await new.restore(TOPIC, messages)).count(True) == 2
        assert [each.edited for each in await new.history(TOPIC)] == [each.edited for each in messages]
