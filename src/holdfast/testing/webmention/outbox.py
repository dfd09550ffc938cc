"""The larger protocol: one row by source and target, due times, leases, lists."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from unittest import SkipTest

import msgspec

from holdfast.testing.webmention.storage import POST, StorageCases, mention, sha, stored_case
from holdfast.webmention.mentions import OutgoingMention, Status
from holdfast.webmention.storage import Claimed, Outbox

__all__ = ["OutboxCases"]

LEASE = 0.05
HOUR = 3600.0


def targets(mentions: Iterable[OutgoingMention]) -> list[str]:
    """The last segment of each one's target."""
    return [each.target_url.rpartition("/")[2] for each in mentions]


def claimed_targets(claimed: Iterable[Claimed]) -> list[str]:
    return targets(each.mention for each in claimed)


def to(name: str, source: str = POST, **rest: object) -> OutgoingMention:
    return mention(f"https://bob.example/{name}", source, **rest)


def settled(claimed: Claimed, **changed: object) -> OutgoingMention:
    """The mention as sent, unless `changed` says otherwise."""
    return msgspec.structs.replace(claimed.mention, **{"status": "sent", "next_attempt": None, **changed})


class OutboxCases(StorageCases[Outbox]):
    """`put`, `of`, `claim`, `settle`, `page`, `count` and `next_due`."""

    @stored_case
    async def test_an_outbox_is_a_storage_too(self, outbox: Outbox) -> None:
        assert isinstance(outbox, Outbox), "a method is missing"
        await outbox.save(to("a"))
        assert await outbox.exists(to("a"))
        await outbox.put([to("b")])
        assert await outbox.exists(to("b"))
        assert sorted(targets(await outbox.of(POST))) == ["a", "b"]

    @stored_case
    async def test_a_mention_is_kept_whole(self, outbox: Outbox) -> None:
        now = round(self.now())
        whole = to(
            "a",
            endpoint="https://bob.example/webmention",
            status="pending",
            present=False,
            attempts=3,
            answer=503,
            error="the endpoint answered 503 – \u201cbusy\u201d",
            location="https://bob.example/status/1",
            location_polls=2,
            location_says="queued",
            created_at=float(now - 10),
            updated_at=float(now - 5),
            next_attempt=float(now + 1000),
        )
        await outbox.put([whole, to("b")])
        found = {each.target_url: each for each in await outbox.of(POST)}
        assert found[whole.target_url] == whole
        assert found[to("b").target_url] == to("b")

    @stored_case
    async def test_a_mention_is_one_row_whatever_its_content(self, outbox: Outbox) -> None:
        await outbox.put([to("a", sha=sha("one"), attempts=2)])
        await outbox.put([to("a", sha=sha("two"))])
        (found,) = await outbox.of(POST)
        assert (found.sha, found.attempts) == (sha("two"), 0)
        assert await outbox.exists(to("a", sha=sha("one"))) is False

    @stored_case
    async def test_nothing_put_is_nothing_kept(self, outbox: Outbox) -> None:
        await outbox.put([])
        assert list(await outbox.of(POST)) == []
        assert list(await outbox.claim(lease=HOUR, limit=9)) == []
        assert list(await outbox.page()) == []
        assert list(await outbox.count(["pending", "sent"])) == [0, 0]
        assert await outbox.next_due() is None

    @stored_case
    async def test_all_of_one_source_are_told_and_none_of_another(self, outbox: Outbox) -> None:
        names = [f"d{at}" for at in range(150)]
        await outbox.put([to(name, sha=sha(name)) for name in names])
        await outbox.put([to("other", POST + "0"), to("upper", POST.replace("posts", "Posts"))])
        assert sorted(targets(await outbox.of(POST))) == sorted(names)
        assert targets(await outbox.of(POST + "0")) == ["other"]

    # --- what is due ---

    @stored_case
    async def test_only_what_is_due_is_claimed(self, outbox: Outbox) -> None:
        now = self.now()
        await outbox.put(
            [to("never"), to("later", next_attempt=now + HOUR), to("overdue", next_attempt=now - HOUR)]
        )
        assert claimed_targets(await outbox.claim(lease=HOUR, limit=9)) == ["overdue"]
        assert list(await outbox.claim(lease=HOUR, limit=9)) == []

    @stored_case
    async def test_the_longest_due_come_first_and_no_more_than_asked_for(self, outbox: Outbox) -> None:
        for name in ("d2", "d0", "d1"):
            await outbox.put([to(name, next_attempt=self.now())])
            await self.pass_time(0.003)
        got = [claimed_targets(await outbox.claim(lease=HOUR, limit=limit)) for limit in (1, 9)]
        assert got == [["d2"], ["d0", "d1"]]

    @stored_case
    async def test_a_claim_may_ask_for_one_source(self, outbox: Outbox) -> None:
        await outbox.put([to("a", next_attempt=self.now()), to("b", POST + "0", next_attempt=self.now())])
        got = await outbox.claim(lease=HOUR, limit=9, source_url=POST + "0")
        assert claimed_targets(got) == ["b"]
        assert claimed_targets(await outbox.claim(lease=HOUR, limit=9)) == ["a"]

    @stored_case
    async def test_what_is_claimed_is_handed_over_whole(self, outbox: Outbox) -> None:
        await outbox.put([to("a", next_attempt=self.now(), attempts=4, error="why")])
        (claimed,) = await outbox.claim(lease=HOUR)
        assert (claimed.mention.attempts, claimed.mention.error) == (4, "why")
        assert claimed.mention.sha == to("a").sha
        assert targets(await outbox.of(POST)) == ["a"], "what is claimed is not listed"

    @stored_case
    async def test_what_is_settled_is_kept_and_due_as_it_says(self, outbox: Outbox) -> None:
        await outbox.put([to(name, next_attempt=self.now()) for name in ("done", "again", "later")])
        claimed = {each.mention.target_url[-5:]: each for each in await outbox.claim(lease=LEASE, limit=9)}
        done, again, later = claimed["/done"], claimed["again"], claimed["later"]
        assert await outbox.settle(done, settled(done, answer=202)) is True
        assert await outbox.settle(again, settled(again, next_attempt=self.now())) is True
        assert await outbox.settle(later, settled(later, next_attempt=self.now() + HOUR)) is True
        await self.pass_time(LEASE)
        assert claimed_targets(await outbox.claim(lease=HOUR, limit=9)) == ["again"]
        kept = {each.target_url[-5:]: each for each in await outbox.of(POST)}
        assert (kept["/done"].status, kept["/done"].answer) == ("sent", 202)

    @stored_case
    async def test_a_mention_is_settled_once(self, outbox: Outbox) -> None:
        await outbox.put([to("a", next_attempt=self.now())])
        (claimed,) = await outbox.claim(lease=HOUR)
        assert await outbox.settle(claimed, settled(claimed, answer=202)) is True
        assert await outbox.settle(claimed, settled(claimed, answer=500)) is False
        (kept,) = await outbox.of(POST)
        assert kept.answer == 202

    @stored_case
    async def test_a_lease_ends_and_who_lost_it_settles_nothing(self, outbox: Outbox) -> None:
        await outbox.put([to("a", next_attempt=self.now())])
        (first,) = await outbox.claim(lease=LEASE)
        await self.pass_time(LEASE)
        (second,) = await outbox.claim(lease=HOUR)
        assert await outbox.settle(first, settled(first, status="failed")) is False
        assert (await outbox.of(POST))[0].status == "pending"
        assert await outbox.settle(second, settled(second)) is True

    @stored_case
    async def test_a_put_ends_the_lease(self, outbox: Outbox) -> None:
        await outbox.put([to("a", sha=sha("one"), next_attempt=self.now())])
        (claimed,) = await outbox.claim(lease=HOUR)
        await outbox.put([to("a", sha=sha("two"), next_attempt=self.now())])
        assert await outbox.settle(claimed, settled(claimed)) is False
        (kept,) = await outbox.of(POST)
        assert (kept.sha, kept.status) == (sha("two"), "pending")
        assert claimed_targets(await outbox.claim(lease=HOUR)) == ["a"]

    @stored_case
    async def test_the_next_that_is_due_is_told(self, outbox: Outbox) -> None:
        await outbox.put([to("never"), to("later", next_attempt=self.now() + HOUR)])
        due = await outbox.next_due()
        assert due is not None
        assert HOUR - 60 < due <= HOUR + 0.001
        await outbox.put([to("now", next_attempt=self.now())])
        assert await outbox.next_due() == 0
        await outbox.claim(lease=HOUR / 2)
        due = await outbox.next_due()
        assert due is not None
        assert HOUR / 2 - 60 < due <= HOUR / 2 + 0.001

    # --- several workers ---

    @stored_case
    async def test_many_workers_are_handed_each_mention_once(self, outbox: Outbox) -> None:
        names = [f"d{at}" for at in range(40)]
        await outbox.put([to(name, next_attempt=self.now()) for name in names])
        async with self.storage() as other:
            if not await other.of(POST):
                raise SkipTest("two of this kind share nothing")
            got: list[Claimed] = []

            async def work(worker: Outbox, limit: int) -> None:
                misses = 0
                while misses < 3:
                    claimed = await worker.claim(lease=HOUR, limit=limit)
                    got.extend(claimed)
                    misses = 0 if claimed else misses + 1
                    await asyncio.sleep(0)

            await asyncio.gather(*(work((outbox, other)[at % 2], at % 3 + 1) for at in range(6)))
            twice = [name for name, times in Counter(claimed_targets(got)).items() if times > 1]
            assert not twice, f"handed out twice: {twice}"
            assert sorted(claimed_targets(got)) == sorted(names)
            assert all([await other.settle(each, settled(each)) for each in got])

    # --- lists ---

    @stored_case
    async def test_pages_are_the_newest_first(self, outbox: Outbox) -> None:
        for at in range(7):
            await outbox.put([to(f"d{at}", status="sent" if at % 2 else "pending")])
        page = await outbox.page(limit=3)
        assert targets(each for _, each in page) == ["d6", "d5", "d4"]
        assert [number for number, _ in page] == sorted((number for number, _ in page), reverse=True)
        rest = await outbox.page(after=page[-1][0])
        assert targets(each for _, each in rest) == ["d3", "d2", "d1", "d0"]
        sent = await outbox.page(status="sent", limit=2)
        assert targets(each for _, each in sent) == ["d5", "d3"]
        assert targets(each for _, each in await outbox.page(status="sent", after=sent[-1][0])) == ["d1"]
        assert list(await outbox.page(status="failed")) == []

    @stored_case
    async def test_counts_follow_what_happens(self, outbox: Outbox) -> None:
        statuses: tuple[Status, ...] = ("sent", "pending", "failed", "not_found")
        await outbox.put([to(f"d{at}", next_attempt=self.now()) for at in range(3)])
        await outbox.put([to("lost", status="not_found")])
        assert list(await outbox.count(statuses)) == [0, 3, 0, 1]
        claimed = await outbox.claim(lease=HOUR, limit=2)
        assert list(await outbox.count(statuses)) == [0, 3, 0, 1], "a claim changes the counts"
        await outbox.settle(claimed[0], settled(claimed[0]))
        await outbox.settle(claimed[1], settled(claimed[1], status="failed"))
        assert list(await outbox.count(statuses)) == [1, 1, 1, 1]
        assert targets(each for _, each in await outbox.page(status="failed")) == claimed_targets(claimed[1:])
        await outbox.update(msgspec.structs.replace(claimed[1].mention, status="pending"))
        assert list(await outbox.count(statuses)) == [1, 2, 0, 1], "an update leaves the old status listed"
