"""Who hears what is announced, from when on, and until when."""

from __future__ import annotations

import asyncio

from holdfast.persist.api import Change
from holdfast.testing.persist.changes import WatchedCore, following, gathered, in_time, misconfigured, seen
from holdfast.testing.persist.subject import Subject, case, tidy

__all__ = ["WatchingCases"]

LOOKALIKES = ("u", "U:1", "u_1", "u%", "xu:1", " u:1")


class WatchingCases(WatchedCore):
    """Watchers of two `Persist` on one store."""

    # --- what is not heard ---

    @case
    async def test_only_the_prefix_and_the_namespace_are_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            inner, deeper = other.namespace("n"), other.namespace("n").namespace("n")
            strangers = [other.namespace(name) for name in ("u:", "p", "N", "n:p")]
            async with (
                one.watch("u:") as changes,
                one.namespace("n").watch("u:") as within,
                one.watch("u%") as pattern,
            ):
                for place in (inner, deeper, *strangers):
                    await place.set("u:1", 1)
                for key in LOOKALIKES:
                    await other.set(key, 1)
                await other.set("u:1", 1)
                await other.clear("u")
                assert await inner.clear() == 1
                assert sorted(map(str, await seen(other, changes))) == sorted(
                    map(str, [Change("set", "u:1"), Change("removed", "u:1")])
                )
                assert await seen(inner, within) == [Change("set", "u:1"), Change("removed", "u:1")]
                assert await seen(other, pattern, "u%!") == [Change("set", "u%"), Change("removed", "u%")]
            for place in (deeper, *strangers):
                assert await place.clear() == 1

    @case
    async def test_who_does_not_announce_is_not_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), self.persist(s) as silent:
            assert "watch=True" in misconfigured(silent)
            async with one.watch() as changes:
                await silent.set("k", 1)
                await silent.remove("k")
                await other.set("k", 2)
                assert await seen(other, changes) == [Change("set", "k")]

    # --- from when on, for whom, until when ---

    @case
    async def test_from_the_beginning_of_a_watch_all_is_heard(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            for number in range(8):
                async with one.watch(f"u:{number}") as changes:
                    await other.set(f"u:{number}", 1)
                    assert await following(changes) == Change("set", f"u:{number}")
            changes = await one.watch("u:").start()
            await other.set("u:x", 1)
            assert Change("set", "u:x") in await seen(other, changes)
            await changes.aclose()

    @tidy
    @case
    async def test_several_watch_at_once_and_each_for_itself(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch() as all_, other.watch("u:") as some:
            async with one.watch("u:") as brief:
                await other.set("u:1", 1)
                await one.set("v:1", 1)
                assert await following(brief) == Change("set", "u:1")
            await other.set("u:2", 1)
            assert await seen(other, all_) == [
                Change("set", "u:1"),
                Change("set", "v:1"),
                Change("set", "u:2"),
            ]
            assert [each async for each in brief] == []
            assert (await seen(one, some))[:2] == [Change("set", "u:1"), Change("set", "u:2")]

    @tidy
    @case
    async def test_closing_ends_the_iteration(self, s: Subject) -> None:
        async with self.watching(s) as (one, other):
            changes = await one.watch().start()
            waiting = await one.watch("never").start()
            ended = asyncio.ensure_future(gathered(waiting))
            await other.set("k", 1)
            assert await following(changes) == Change("set", "k")
            await one.close()
            assert await in_time(ended) == []
            assert await in_time(gathered(changes)) == []
            await one.open()
            async with one.watch() as again:
                await one.set("k", 2)
                assert await following(again) == Change("set", "k")

    @tidy
    @case
    async def test_a_cancelled_watcher_leaves_the_others_alone(self, s: Subject) -> None:
        async with self.watching(s) as (one, other), one.watch() as changes:
            doomed = [asyncio.ensure_future(gathered(one.watch())) for _ in range(3)]
            await other.set("k", 1)
            assert await following(changes) == Change("set", "k")
            for task in doomed:
                task.cancel()
            assert await asyncio.gather(*doomed, return_exceptions=True) != []
            await other.set("k", 2)
            assert await following(changes) == Change("set", "k")
