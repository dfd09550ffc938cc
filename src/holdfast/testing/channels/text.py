"""Topics, ids, events and payloads are text, all of it: nothing is folded, trimmed or taken for a pattern."""

from __future__ import annotations

import msgspec

from holdfast.channels.driver import Append, Clear, Edit, Find
from holdfast.testing.channels.running import SuiteCore, case
from holdfast.testing.channels.subject import Subject, body, text
from holdfast.testing.persist.text import KEYS, VALUES

__all__ = ["TextCases"]

LARGEST = 64 << 10
"""What `api` lets through as one kept message, in bytes."""


class TextCases(SuiteCore):
    """Any topic that the API lets through, and any JSON object."""

    @case
    async def test_topics_that_look_alike_are_different_topics(self, s: Subject) -> None:
        said = await s.batch(*(Append(key, "said", body(at)) for at, key in enumerate(KEYS)))
        for key, each in zip(KEYS, said, strict=True):
            assert each.offset == 1, f"{key!r} is taken for another"
        assert len({each.epoch for each in said}) == len(KEYS)
        for at, key in enumerate(KEYS):
            (entry,) = (await s.log(key)).entries
            assert entry.payload == body(at).decode(), f"{key!r} reads another's message"
        for at, key in enumerate(KEYS[:20]):
            assert await s.do(Clear(key)) is True
            assert (await s.log(KEYS[at + 1])).last == 1, f"{KEYS[at + 1]!r} was cleared as {key!r}"

    @case
    async def test_topics_come_back_from_a_listing_as_they_went_in(self, s: Subject) -> None:
        await s.batch(*(Append(key, "said", b"{}") for key in KEYS))
        assert sorted(topic.key for topic in await s.topics(limit=7)) == sorted(KEYS)

    @case
    async def test_a_prefix_of_topics_is_plain_text(self, s: Subject) -> None:
        await s.batch(*(Append(key, "said", b"{}") for key in KEYS))
        for prefix in KEYS:
            wanted = {key for key in KEYS if key.startswith(prefix)}
            assert {topic.key for topic in await s.topics(prefix)} == wanted, f"prefix {prefix!r}"

    @case
    async def test_ids_that_look_alike_are_different_ids(self, s: Subject) -> None:
        said = await s.batch(*(Append("room", "said", body(at), id=id) for at, id in enumerate(KEYS)))
        for at, (id, each) in enumerate(zip(KEYS, said, strict=True), 1):
            assert (each.offset, each.repeated) == (at, False), f"{id!r} is taken for another"
        again = await s.batch(*(Append("room", "said", b"{}", id=id) for id in KEYS))
        assert [(each.offset, each.repeated) for each in again] == [(at + 1, True) for at in range(len(KEYS))]
        for at, found in enumerate(await s.batch(*(Find("room", id=id) for id in KEYS))):
            assert (found.entry.id, text(found.entry.payload)) == (KEYS[at], body(at).decode())
        changed = await s.do(Edit("room", body("new"), id="ß"))
        assert changed.entry.id == "ß"
        assert [entry.id for entry in (await s.log("room")).entries] == list(KEYS)

    @case
    async def test_events_come_back_as_they_were(self, s: Subject) -> None:
        await s.batch(*(Append("room", event, b"{}") for event in KEYS))
        assert [entry.event for entry in (await s.log("room")).entries] == list(KEYS)

    @case
    async def test_payloads_come_back_as_the_text_that_they_were(self, s: Subject) -> None:
        texts = [msgspec.json.encode({"value": value}) for value in VALUES]
        texts += [
            b'{"a":1,"a":2}',  # a JSON type would keep one of them
            b'{ "z" : 1.0 , "a":1e2 }',
            b'{"escaped":"\\u00e9\\/"}',
        ]
        await s.batch(*(Append("room", "said", each) for each in texts))
        for entry, sent in zip((await s.log("room")).entries, texts, strict=True):
            assert entry.payload == sent.decode(), f"{sent[:60]!r} came back as {entry.payload!r:.60}"

    @case
    async def test_the_largest_messages_are_kept_whole(self, s: Subject) -> None:
        plain = b'{"m":"' + b"x" * (LARGEST - 8) + b'"}'
        wide = ('{"m":"' + "🦑" * ((LARGEST - 8) // 4) + '"}').encode()
        assert len(plain) == len(wide) == LARGEST
        await s.batch(*(Append("room", "said", each) for each in (plain, wide) * 8))
        await s.do(Edit("room", wide, offset=1, epoch=(await s.log("room", 1)).epoch))
        entries = (await s.log("room")).entries
        assert [entry.payload for entry in entries] == [
            each.decode() for each in (wide, wide, *(plain, wide) * 7)
        ]

    @case
    async def test_names_may_be_as_long_as_the_tables_allow(self, s: Subject) -> None:
        topics = ["t" * 512, "t" * 511 + "T", "é" * 256, "🦑" * 128, "t" * 511]
        longest = ["i" * 255, "i" * 254 + "I", "é" * 127, "i" * 254]
        await s.batch(*(Append(topic, id, body(id[0]), id=id) for topic in topics for id in longest))
        for topic in topics:
            entries = (await s.log(topic)).entries
            assert [(entry.id, entry.event) for entry in entries] == [(id, id) for id in longest]
        assert {topic.key for topic in await s.topics()} == set(topics)
