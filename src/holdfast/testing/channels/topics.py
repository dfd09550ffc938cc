"""Walks over the topics: complete, in pages, within one prefix, while others write."""

from __future__ import annotations

from collections import Counter

from holdfast.channels.driver import Append, Clear, Edit, Erase, Topic, Topics, Trim
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import HOUR, Subject, body

__all__ = ["TopicCases"]


class TopicCases(SuiteCore):
    """`Topics`."""

    @case
    async def test_without_logs_there_are_no_topics(self, s: Subject) -> None:
        assert await s.topics() == []
        assert await s.topics("room") == []

    @case
    async def test_a_topic_is_listed_with_what_it_holds(self, s: Subject) -> None:
        said = await s.fill("room", 20)
        await s.do(Append("room", "said", body(0), id="x", at=s.wall() - HOUR))
        (topic,) = await s.topics()
        assert topic == Topic("room", said[0].epoch, 21, topic.kept, s.wall() - HOUR) or s.clock is None
        assert (topic.key, topic.epoch, topic.last) == ("room", said[0].epoch, 21)
        assert 18 <= topic.kept <= 24, f"{topic.kept} kept of 21"
        await s.do(Edit("room", body(1), id="x"))
        await s.do(Erase("room", id="x"))
        now = await s.say("room")
        (topic,) = await s.topics("ro")
        assert (topic.last, topic.at) == (24, now.at)
        await s.do(Trim("room", 5, None))
        (topic,) = await s.topics()
        assert 4 <= topic.kept <= 6, f"{topic.kept} kept of 5"

    @case
    async def test_a_log_that_was_trimmed_empty_is_a_topic_still(self, s: Subject) -> None:
        said = (await s.fill("room", 3))[-1]
        await s.do(Trim("room", 0, None))
        (topic,) = await s.topics()
        assert topic == Topic("room", said.epoch, 3, 0, said.at)

    @case
    async def test_a_listing_has_each_topic_once_whatever_the_page(self, s: Subject) -> None:
        names = {f"room:{number}" for number in range(60)} | {"a", "ab", "abc", "b"}
        await s.all(Append(name, "said", b"{}") for name in names)
        for limit in (1, 2, 7, 63, 64, 65, 1000):
            listed = [topic.key for topic in await s.topics("", limit)]
            assert sorted(listed) == sorted(names), f"pages of {limit}: {Counter(listed).most_common(2)}"
        assert {topic.key for topic in await s.topics("room:", 7)} == {
            name for name in names if name.startswith("room:")
        }

    @case
    async def test_a_listing_keeps_to_its_prefix_and_namespace(self, s: Subject) -> None:
        names = ["user", "user:", "user:1", "user:2", "user;", "user9", "users:1", "User:1", "use", "zuser:1"]
        await s.batch(*(Append(name, "said", b"{}") for name in names))
        spaces = [s.space + "x", s.space + "/user", s.space.upper(), "x" + s.space]
        neighbours = [f"{space}:c:user:3" for space in spaces]
        await s.driver.apply([Append(neighbour, "said", b"{}") for neighbour in neighbours])
        assert {topic.key for topic in await s.topics("user:", 2)} == {"user:", "user:1", "user:2"}
        wanted = {name for name in names if name.startswith("user")}
        assert {topic.key for topic in await s.topics("user", 2)} == wanted
        assert {topic.key for topic in await s.topics("", 2)} == set(names)
        assert await s.driver.apply([Clear(neighbour) for neighbour in neighbours]) == [True] * 4

    @case
    async def test_what_is_there_throughout_is_listed_while_others_come_and_go(self, s: Subject) -> None:
        lasting = {f"last{number:03}" for number in range(100)}
        passing = [f"last{number:03}x" for number in range(0, 100, 2)]
        await s.all(Append(name, "said", b"{}") for name in [*lasting, *passing])
        found: list[str] = []
        cursor: str | None = None
        for pages in range(1000):
            page = await s.do(Topics("", cursor, 10))
            found += (s.short(topic.key) for topic in page.topics)
            cursor = page.cursor
            if cursor is None:
                break
            # What is gone and what is new lies on both sides of the cursor, and on it.
            gone = [*passing[:2], *(key for key in found[-1:] if key not in lasting)]
            passing = passing[2:]
            await s.batch(
                *(Clear(key) for key in gone),
                *(Append(f"{place}{pages:03}", "said", b"{}") for place in ("a", "last07", "zz")),
                *(Append(key, "said", b"{}") for key in sorted(lasting)[pages % 100 :][:5]),
            )
        else:
            raise AssertionError("a walk over the topics does not end")
        listed = Counter(key for key in found if key in lasting)
        missing = len(lasting - listed.keys())
        assert not missing, f"{missing} topics that were there throughout are missing"
        assert max(listed.values()) == 1, f"{listed.most_common(3)} are listed more than once"
