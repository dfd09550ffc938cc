"""What must lose nothing: leases, failures of the store, being cancelled, closed and killed."""

import asyncio
import time
from typing import Any

import pytest
from tests.unit.webmention.sending_lab import SOURCE, FakeWeb, Lab, answer, hook, lab, page, post, reached, to

from holdfast.errors import Closed, StoreUnavailable
from holdfast.webmention.attempts import Attempts
from holdfast.webmention.delivering import LEASE, Deliveries
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.pages import Page
from holdfast.webmention.stored import StoredOutbox
from holdfast.webmention.turns import Turns


class Gate:
    """An answer that waits until it is let through."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.open = asyncio.Event()
        self.waiting = 0

    async def __call__(self) -> Page:
        self.waiting += 1
        await self.open.wait()
        return self.page


class Failing:
    """An outbox whose calls fail as a test says: by method, what to raise next, None for nothing."""

    def __init__(self, outbox: StoredOutbox) -> None:
        self.outbox = outbox
        self.plan: dict[str, list[Exception | None]] = {}
        self.applied_all_the_same = False


def _passing_on(name: str) -> Any:
    async def call(self: Failing, *args: Any, **options: Any) -> Any:
        error = self.plan[name].pop(0) if self.plan.get(name) else None
        if error is None or self.applied_all_the_same:
            done = await getattr(self.outbox, name)(*args, **options)
        if error is not None:
            raise error
        return done

    return call


for _name in ("save", "update", "get", "exists", "put", "of", "claim", "settle", "page", "count", "next_due"):
    setattr(Failing, _name, _passing_on(_name))


def down(*, maybe: bool = False) -> StoreUnavailable:
    return StoreUnavailable("down", maybe_applied=maybe)


def failing(it: Lab) -> Failing:
    it.outbox = outbox = Failing(it.outbox)
    it.outbound = it.another()
    return outbox


# --- a store that fails ---


async def test_what_could_not_be_stored_is_not_told() -> None:
    async with lab() as it:
        failing(it).plan["put"] = [down()]
        with pytest.raises(StoreUnavailable):
            await it.outbound.send(SOURCE, post("bob"))
        assert it.web.asked == []
        await it.outbound.send(SOURCE, post("bob"))
        assert it.web.targets == ["bob"]


async def test_a_result_that_is_not_kept_at_once_is_kept_a_little_later() -> None:
    async with lab() as it:
        failing(it).plan["settle"] = [down(), down()]
        report = await it.outbound.send(SOURCE, post("bob"))
        assert [m.status for m in report.mentions] == ["sent"]
        assert it.web.targets == ["bob"], "one delivery"


async def test_a_result_that_was_kept_without_an_answer_is_kept_once() -> None:
    async with lab() as it:
        outbox = failing(it)
        outbox.plan["settle"], outbox.applied_all_the_same = [down(maybe=True)], True
        await it.outbound.send(SOURCE, post("bob"))
        row = await it.row("bob")
        assert (row.status, row.attempts) == ("sent", 1)
        assert it.web.targets == ["bob"]


async def test_a_store_that_stays_away_surfaces_and_the_mention_is_due_again_after_its_lease() -> None:
    async with lab() as it:
        outbox = failing(it)
        outbox.plan["settle"] = [down()] * 8
        with pytest.raises(StoreUnavailable):
            await it.outbound.send(SOURCE, post("bob", "carol"))
        assert await it.statuses() == {"bob": "pending", "carol": "pending"}
        assert outbox.plan["settle"] == [], "four tries each"
        assert await it.outbound.work() == 0
        it.clock.advance(LEASE)
        assert await it.outbound.work() == 2
        assert set((await it.statuses()).values()) == {"sent"}


async def test_a_claim_that_fails_surfaces_and_what_is_stored_goes_out_later() -> None:
    async with lab() as it:
        failing(it).plan["claim"] = [down()]
        with pytest.raises(StoreUnavailable):
            await it.outbound.send(SOURCE, post("bob"))
        assert await it.statuses() == {"bob": "pending"}
        assert await it.outbound.work() == 1
        assert it.web.targets == ["bob"]


async def test_a_claim_that_fails_in_the_middle_lets_what_is_under_way_end() -> None:
    async with lab(at_once=2, per_host=1) as it:
        outbox = failing(it)
        outbox.plan["claim"] = [None, down()]
        with pytest.raises(StoreUnavailable):
            await it.outbound.send(SOURCE, post("a", "b", "c", "d"))
        assert sorted((await it.statuses()).values()) == ["pending", "pending", "sent", "sent"]
        assert await it.outbound.work() == 2
        assert sorted(it.web.targets) == ["a", "b", "c", "d"]


async def test_an_outbox_that_hands_out_nothing_is_named_after_a_while() -> None:
    async with lab() as it:
        outbox = failing(it)

        async def nothing(**options: Any) -> list[Any]:
            return []

        outbox.outbox.claim = nothing  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match="neither hands out nor settles"):
            await it.outbound.send(SOURCE, post("bob"))


# --- two workers, leases ---


async def test_two_workers_never_hold_one_mention() -> None:
    async with lab() as it:
        names = [f"t{at}" for at in range(200)]
        for name in names:
            it.web.pages[to(name)] = [page(to(name), status=503), page(to(name), hook=hook(name))]
        await it.outbound.send(SOURCE, post(*names))
        it.clock.advance(60)
        workers = [it.outbound, it.another(), it.another()]
        done = await asyncio.gather(*(worker.work() for worker in workers))
        assert sum(done) == 200
        assert sorted(it.web.targets) == sorted(names)


async def test_send_waits_for_what_another_worker_has_in_hand() -> None:
    async with lab() as it:
        gate = Gate(page(to("bob"), hook=hook("bob")))
        it.web.pages[to("bob")] = gate
        there = it.another()
        it.outbound = it.another(sleep=asyncio.sleep)  # the lease lives
        put = it.outbox.put

        async def put_and_lose(entities: list[OutgoingMention]) -> None:
            await put(entities)
            asyncio.get_running_loop().call_soon(working.append, asyncio.ensure_future(there.work()))
            await reached(lambda: gate.waiting == 1)

        working: list[Any] = []
        it.outbox.put = put_and_lose
        sending = asyncio.create_task(it.outbound.send(SOURCE, post("bob")))
        await reached(lambda: gate.waiting == 1)
        asyncio.get_running_loop().call_later(0.01, gate.open.set)
        report = await sending
        assert [m.status for m in report.mentions] == ["sent"]
        assert it.web.targets == ["bob"]
        await working[0]


async def test_a_result_that_comes_after_the_lease_changes_nothing() -> None:
    async with lab() as it:
        gate = Gate(answer("bob", 400))
        it.web.hooks[hook("bob")] = [gate, answer("bob", 202)]
        slow = asyncio.create_task(it.outbound.send(SOURCE, post("bob")))
        await reached(lambda: gate.waiting == 1)
        it.clock.advance(LEASE)
        assert await it.another().work() == 1
        gate.open.set()
        report = await slow
        assert [m.status for m in report.mentions] == ["sent"]
        assert (await it.row("bob")).answer == 202


async def test_a_result_of_content_that_was_replaced_meanwhile_changes_nothing() -> None:
    async with lab() as it:
        gate = Gate(answer("bob", 400))
        it.web.hooks[hook("bob")] = [gate, answer("bob", 202)]
        first = asyncio.create_task(it.outbound.send(SOURCE, post("bob")))
        await reached(lambda: gate.waiting == 1)
        second = asyncio.create_task(it.outbound.send(SOURCE, post("bob") + "changed"))
        await reached(lambda: len(it.web.told) == 2)
        gate.open.set()
        await asyncio.gather(first, second)
        assert (await it.row("bob")).status == "sent"


async def test_nothing_begins_that_may_outlive_its_lease() -> None:
    """The endpoint's host is busy until the lease is nearly over: the mention is put back, and told by a new claim."""
    async with lab(
        at_once=8, per_host=1, deadline=-1.99, lease=5.05
    ) as it:  # 50 ms in hand, of which a fetch has 10
        shared = "https://shared.example/hook"
        for name in "ab":
            it.web.pages[to(name)] = page(to(name), hook=shared)
        kept: list[OutgoingMention] = []
        settle = it.outbox.settle

        async def watched(claimed: Any, entity: OutgoingMention) -> bool:
            kept.append(entity)
            return bool(await settle(claimed, entity))

        it.outbox.settle = watched
        outbound = it.outbound
        turn = outbound._small._attempts.turns.take("shared.example")
        sending = asyncio.create_task(outbound.send(SOURCE, post("a", "b")))
        await reached(lambda: len(it.web.asked) == 2)
        until = time.monotonic() + 0.06
        await reached(lambda: time.monotonic() > until, most=10_000_000)
        turn.leave()
        report = await sending
        assert [m.status for m in report.mentions] == ["sent", "sent"]
        assert [m.attempts for m in report.mentions] == [1, 1]
        assert sorted(m.attempts for m in kept) == [0, 0, 1, 1], "put back, then told"
        assert sorted(it.web.targets) == ["a", "b"]
        assert len(it.web.asked) == 2, "what was found on the way is not looked for again"


async def test_who_waited_for_an_endpoint_that_is_forgotten_by_then_looks_for_it_where_the_target_is() -> (
    None
):
    async with lab(per_host=1) as it:
        shared = "https://shared.example/hook"
        hosts: list[bool] = []

        async def look() -> Page:
            hosts.append("bob.example" in turns._hosts)
            return page(to("bob"), hook=shared, cache_control="max-age=60")

        it.web.pages[to("bob")] = look
        turns = it.outbound._small._attempts.turns
        await it.outbound.send("https://alice.example/first", post("bob"))
        turn = turns.take("shared.example")
        sending = asyncio.create_task(it.outbound.send(SOURCE, post("bob")))
        await reached(lambda: len(turns._hosts["shared.example"].line) == 1)
        it.clock.advance(60)
        turn.leave()
        await sending
        assert hosts == [True, True]


def test_a_lease_outlives_two_fetches() -> None:
    attempts = Attempts(FakeWeb(), Turns(), deadline=10.0)
    assert 2 * attempts.allowance < LEASE
    with pytest.raises(ValueError, match="outlive"):
        Deliveries(StoredOutbox(None, "n"), attempts, lease=20)  # type: ignore[arg-type]


# --- cancelled, closed, killed ---


async def test_a_send_that_is_cancelled_goes_on_by_itself_and_tells_nobody_twice() -> None:
    async with lab() as it:
        gate = Gate(answer("bob", 202))
        it.web.hooks[hook("bob")] = gate
        sending = asyncio.create_task(it.outbound.send(SOURCE, post("bob", "carol")))
        await reached(lambda: gate.waiting == 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        gate.open.set()
        await it.outbound.close()
        assert await it.statuses() == {"bob": "sent", "carol": "sent"}
        it.clock.advance(LEASE)
        assert await it.another().work() == 0
        assert sorted(it.web.targets) == ["bob", "carol"]


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_a_send_that_is_cancelled_at_any_point_loses_none(steps: int) -> None:
    async with lab(at_once=3) as it:
        names = [f"t{at}" for at in range(8)]
        sending = asyncio.create_task(it.outbound.send(SOURCE, post(*names)))
        for _ in range(steps):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        await it.outbound.close()
        there = it.another()
        await there.send(SOURCE, post(*names))
        assert set((await it.statuses()).values()) == {"sent"}
        assert sorted(it.web.targets) == sorted(names), "each once"


async def test_close_puts_back_what_was_not_told_and_waits_for_what_may_have_been() -> None:
    async with lab(at_once=2) as it:
        looking, telling = Gate(page(to("a"), hook=hook("a"))), Gate(answer("b", 202))
        it.web.pages[to("a")] = looking
        it.web.hooks[hook("b")] = telling
        sending = asyncio.create_task(it.outbound.send(SOURCE, post("a", "b", "c")))
        await reached(lambda: looking.waiting == 1 and telling.waiting == 1)
        sending.cancel()
        closing = asyncio.create_task(it.outbound.close())
        await reached(lambda: it.web.busy[""] == 1)
        assert not closing.done()
        telling.open.set()
        await closing
        assert await it.statuses() == {"a": "pending", "b": "sent", "c": "pending"}
        looking.open.set()
        assert await it.another().work() == 2, "at once: nobody waits for the lease of who is gone"
        assert sorted(it.web.targets) == ["a", "b", "c"]


async def test_close_during_a_send_ends_it_and_the_mention_waits_for_the_next_start() -> None:
    async with lab() as it:
        gate = Gate(page(to("a"), hook=hook("a")))
        it.web.pages[to("a")] = gate
        sending = asyncio.create_task(it.outbound.send(SOURCE, post("a")))
        await reached(lambda: gate.waiting == 1)
        await it.outbound.close()
        with pytest.raises(Closed):
            await sending
        gate.open.set()
        assert it.web.busy[""] == 0
        assert await it.another().work() == 1
        assert (await it.row("a")).status == "sent"


async def test_killed_at_any_point_none_is_lost_and_only_those_in_flight_are_repeated() -> None:
    """The process is gone with what it held: nothing of it runs on, its leases stay."""
    for fetches in range(16):
        async with lab(at_once=3) as it:
            names = [f"t{at}" for at in range(8)]
            web = Dying(fetches)
            it.web = web
            first = it.another()
            dying = asyncio.create_task(first.send(SOURCE, post(*names)))
            await reached(lambda: web.dead)  # noqa: B023 - it is awaited here
            assert first._deliveries is not None
            for task in [dying, *first._deliveries._jobs]:
                task.cancel()
            await asyncio.wait([dying])
            unrecorded = [name for name in web.targets if (await it.statuses())[name] != "sent"]
            it.web = FakeWeb()
            it.clock.advance(LEASE)
            await it.another().work()
            assert set((await it.statuses()).values()) == {"sent"}
            twice = set(web.targets) & set(it.web.targets)
            assert twice == set(unrecorded)
            assert len(twice) <= 3, "no more than were in flight"


class Dying(FakeWeb):
    """Answers so many fetches; then nothing ever happens again."""

    def __init__(self, fetches: int) -> None:
        super().__init__()
        self.left = fetches
        self.dead = False

    async def _answer(self, url: str, entry: Any, usual: Page) -> Page:
        self.left -= 1
        if self.left < 0:
            self.dead = True
            await asyncio.Event().wait()
        return await super()._answer(url, entry, usual)
