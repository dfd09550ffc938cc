"""What tools read of rooms: topics page by page, a history from its beginning, what is not migrated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.channels import AnyTopic, Channel, Channels, TopicRefused


class Short(Channel):
    topic = "short"
    history = 5
    max_messages = 5


class Live(Channel):
    topic = "live"


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Short, Live, AnyTopic]) as opened:
        yield opened


async def test_topics_come_page_by_page_each_once(channels: Channels) -> None:
    names = [f"room:{n:03}" for n in range(25)]
    for name in [*names, "other"]:
        await channels.publish(name, "said", {})
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await channels.topic_page("room:", cursor=cursor, limit=10)
        assert len(page) <= 10
        seen += [each.topic for each in page]
        if cursor is None:
            break
    assert seen == names
    assert [each.topic async for each in channels.topics()] == ["other", *names]


async def test_a_history_is_read_from_its_beginning_wherever_that_is_now(channels: Channels) -> None:
    for n in range(60):
        await channels.publish("short", "said", {"n": n})
    first = await channels.read("short", limit=2)
    assert first[0].payload["n"] > 30  # retention took what was before
    for n in range(60, 120):
        await channels.publish("short", "said", {"n": n})
    found, after = [], first[-1].position
    while page := await channels.read("short", after=after, limit=2):
        found += [each.payload["n"] for each in page]
        after = page[-1].position
    assert found == list(range(found[0], 120))
    assert found[0] > first[-1].payload["n"] + 1  # a gap is no error to who looks through it


async def test_a_position_of_another_history_has_nothing_after_it(channels: Channels) -> None:
    old = await channels.publish("room:a", "said", {})
    await channels.clear("room:a")
    await channels.publish("room:a", "said", {})
    assert await channels.read("room:a", after=old) == []
    assert await channels.read("nobody") == []
    with pytest.raises(ValueError, match="none of ours"):
        await channels.read("room:a", after="x")
    with pytest.raises(TopicRefused):
        await channels.read("live")


async def test_what_is_pending_can_be_asked_before_and_after_it_is_open(tmp_path: Path) -> None:
    channels = Channels(f"sqlite:///{tmp_path}/a.db", [AnyTopic], auto_migrate=False)
    lacking = await channels.pending()
    assert {each.capability for each in lacking} == {"notes", "channels"}
    assert await channels.migrate() == lacking
    async with channels:
        assert await channels.pending() == []
        assert await channels.migrate() == []
        await channels.publish("t", "said", {})  # it is open still
        assert await channels.describe()
    assert await channels.describe()
