"""One attempt, whatever a target or an endpoint does."""

import asyncio
from typing import Any

import pytest
from tests.unit.webmention.sending_lab import SOURCE, START, Lab, answer, hook, lab, offline, page, post, to

from holdfast.errors import AddressRefused, Closed, FetchFailed
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.pages import Page

MAX_AGE = "max-age=86400"


async def told(lab: Lab, name: str = "bob") -> OutgoingMention:
    """What became of the mention of this target, after one `send`."""
    await lab.outbound.send(SOURCE, post(name))
    return await lab.row(name)


async def test_a_target_with_an_endpoint_is_told() -> None:
    async with lab() as it:
        row = await told(it)
        assert it.web.told == [(hook("bob"), SOURCE, to("bob"))]
        assert (row.status, row.endpoint, row.answer, row.attempts) == ("sent", hook("bob"), 202, 1)


async def test_a_target_without_an_endpoint_is_not_found_and_says_why() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"))
        row = await told(it)
        assert (row.status, row.answer, row.next_attempt) == ("not_found", None, None)
        assert row.error
        assert row.error.startswith("no endpoint: ")


async def test_a_target_that_is_not_there_has_no_endpoint() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), status=404)
        assert (await told(it)).status == "not_found"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_acceptance(status: int) -> None:
    async with lab() as it:
        it.web.refuse("bob", status)
        assert (await told(it)).status == "sent"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
async def test_what_may_be_better_later_is_tried_again(status: int) -> None:
    async with lab() as it:
        it.web.refuse("bob", status)
        row = await told(it)
        assert (row.status, row.answer, row.next_attempt) == ("pending", status, START + 60)
        assert str(status) in (row.error or "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 410, 422, 302])
async def test_any_other_answer_is_final(status: int) -> None:
    async with lab() as it:
        it.web.refuse("bob", status)
        row = await told(it)
        assert (row.status, row.answer, row.next_attempt) == ("failed", status, None)


@pytest.mark.parametrize("status", [503, 429])
async def test_a_target_that_says_later_is_looked_at_later_and_not_written_off(status: int) -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), status=status, retry_after="300")
        row = await told(it)
        assert (row.status, row.next_attempt) == ("pending", START + 300)


async def test_an_endpoint_that_names_a_time_is_not_asked_before_it() -> None:
    async with lab() as it:
        it.web.refuse("bob", 503, retry_after="900")
        assert (await told(it)).next_attempt == START + 900
        it.clock.advance(899)
        assert await it.outbound.work() == 0
        it.clock.advance(2)
        assert await it.outbound.work() == 1


@pytest.mark.parametrize("where", ["pages", "hooks"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (offline(), "pending"),
        (FetchFailed("POST: not HTTP", transient=False), "failed"),
        (AddressRefused("connect to 'bob': it is a loopback address"), "failed"),
        (TimeoutError(), "pending"),
    ],
)
async def test_what_the_network_does_is_kept_as_the_reason(where: str, error: Exception, status: str) -> None:
    async with lab() as it:
        getattr(it.web, where)[to("bob") if where == "pages" else hook("bob")] = error
        row = await told(it)
        assert row.status == status
        assert row.error
        assert "endpoint" in row.error


async def test_a_web_that_raises_what_nobody_foresaw_ends_one_attempt_and_is_told_to_the_loop() -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    async with lab() as it:
        it.web.pages[to("bob")] = ZeroDivisionError("a defect")
        await it.outbound.send(SOURCE, post("bob", "carol"))
        assert await it.statuses() == {"bob": "pending", "carol": "sent"}
        assert (await it.row("bob")).error == "looking for its endpoint: ZeroDivisionError"
        assert [type(each["exception"]) for each in heard] == [ZeroDivisionError]


async def test_a_web_that_is_closed_is_no_fault_of_the_target() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = Closed("GET: the Fetcher is not open")
        with pytest.raises(Closed):
            await it.outbound.send(SOURCE, post("bob"))
        assert (await it.row("bob")).attempts == 0


async def test_a_web_that_never_answers_is_ended_from_here() -> None:
    async def never() -> Page:
        await asyncio.Event().wait()
        raise AssertionError

    async with lab(deadline=-1.99) as it:  # 10 ms, with what is added to every deadline
        it.web.pages[to("bob")] = never
        row = await told(it)
        assert (row.status, row.error) == ("pending", "looking for its endpoint: no answer in time")


# --- what is remembered ---


async def test_a_discovery_serves_other_sources_for_as_long_as_the_page_allows() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), hook=hook("bob"), cache_control="max-age=60")
        for at in range(3):
            await it.outbound.send(f"https://alice.example/{at}", post("bob"))
        assert it.web.asked == [to("bob")]
        it.clock.advance(61)
        await it.outbound.send("https://alice.example/later", post("bob"))
        assert len(it.web.asked) == 2
        assert len(it.web.told) == 4


async def test_a_page_that_allows_nothing_is_asked_for_again() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), hook=hook("bob"), cache_control="no-store")
        for at in range(3):
            await it.outbound.send(f"https://alice.example/{at}", post("bob"))
        assert len(it.web.asked) == 3


async def test_a_target_that_failed_is_not_asked_for_at_once_by_another_source() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = offline()
        for at in range(3):
            await it.outbound.send(f"https://alice.example/{at}", post("bob"))
        assert len(it.web.asked) == 1


async def test_nothing_is_remembered_across_an_update() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), hook=hook("bob"), cache_control=MAX_AGE)
        await it.outbound.send(SOURCE, post("bob"))
        moved = "https://bob.example/moved"
        it.web.pages[to("bob")] = page(to("bob"), hook=moved, cache_control=MAX_AGE)
        await it.outbound.send(SOURCE, post("bob") + "changed")
        assert [endpoint for endpoint, _, _ in it.web.told] == [hook("bob"), moved]


async def test_nothing_that_another_process_remembers_is_used_across_an_update() -> None:
    """The update is stored here and told there, where the page was seen before it."""
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), hook=hook("bob"), cache_control=MAX_AGE)
        there = it.another()
        await it.outbound.send(SOURCE, post("bob"))
        await there.send("https://alice.example/other", post("bob"))
        it.web.pages[to("bob")] = page(to("bob"), hook="https://bob.example/moved", cache_control=MAX_AGE)
        it.web.hooks["https://bob.example/moved"] = [answer("bob", 503), answer("bob", 202)]
        await it.outbound.send(SOURCE, post("bob") + "changed")
        it.clock.advance(60)
        assert await there.work() == 1
        assert it.web.told[-1][0] == "https://bob.example/moved"


async def test_an_update_is_discovered_afresh_also_after_it_was_not_found() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"), cache_control=MAX_AGE)
        assert (await told(it)).status == "not_found"
        del it.web.pages[to("bob")]
        await it.outbound.send(SOURCE, post("bob") + "changed")
        assert (await it.row("bob")).status == "sent"


# --- status URLs ---


async def test_the_status_url_of_a_201_is_asked_for_five_times_in_a_day() -> None:
    async with lab() as it:
        status = "https://bob.example/status/1"
        it.web.refuse("bob", 201, location="/status/1")
        it.web.pages[status] = Page(
            url=status, status=200, headers=(("content-type", "text/plain"),), body=b"queued"
        )
        row = await told(it)
        assert (row.status, row.location) == ("sent", status)
        for _ in range(48):
            it.clock.advance(1800)
            await it.outbound.work()
        assert it.web.asked.count(status) == 5
        row = await it.row("bob")
        assert (row.status, row.location_polls, row.location_says) == ("sent", 5, "200: queued")
        assert row.next_attempt is None
        assert len(it.web.told) == 1


async def test_a_status_url_that_may_not_be_fetched_is_left_alone() -> None:
    async with lab() as it:
        it.web.refuse("bob", 201, location="http://127.0.0.1/status")
        it.web.pages["http://127.0.0.1/status"] = AddressRefused(
            "connect to '127.0.0.1': it is a loopback address"
        )
        await told(it)
        it.clock.advance(60)
        assert await it.outbound.work() == 1
        row = await it.row("bob")
        assert (row.status, row.next_attempt) == ("sent", None)
        assert "loopback" in (row.location_says or "")


async def test_a_status_url_that_fails_for_now_is_asked_again() -> None:
    async with lab() as it:
        it.web.refuse("bob", 201, location="/status/1")
        it.web.pages["https://bob.example/status/1"] = offline()
        await told(it)
        it.clock.advance(60)
        await it.outbound.work()
        row = await it.row("bob")
        assert (row.status, row.location_polls) == ("sent", 1)
        assert row.next_attempt


@pytest.mark.parametrize(
    "location", ["javascript:alert(1)", "https://me@bob.example/s", "ftp://bob.example/"]
)
async def test_a_location_that_is_no_web_address_is_not_kept(location: str) -> None:
    async with lab() as it:
        it.web.refuse("bob", 201, location=location)
        row = await told(it)
        assert (row.status, row.location, row.next_attempt) == ("sent", None, None)


async def test_a_location_of_another_answer_is_no_status_url() -> None:
    async with lab() as it:
        it.web.refuse("bob", 202, location="/status/1")
        assert (await told(it)).location is None
