"""What `send`, `delete`, `retry` and `work` do, seen from outside."""

import asyncio
import hashlib

import pytest
from tests.unit.webmention.sending_lab import (
    SOURCE,
    START,
    answer,
    hook,
    lab,
    offline,
    page,
    post,
    reached,
    to,
)

from holdfast import events
from holdfast.errors import UnknownMention
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.pages import Page

DAY = 86_400


async def test_the_report_says_what_became_of_each() -> None:
    async with lab() as it:
        it.web.pages[to("none")] = page(to("none"))
        it.web.refuse("no", 400)
        it.web.refuse("busy", 503)
        report = await it.outbound.send(SOURCE, post("bob", "none", "no", "busy"))
        assert [(m.target_url, m.status) for m in report.mentions] == [
            (to("bob"), "sent"),
            (to("none"), "not_found"),
            (to("no"), "failed"),
            (to("busy"), "pending"),
        ]
        assert (report.skipped, report.unchanged) == ((), False)


async def test_the_sha_is_of_the_html_passed_in() -> None:
    async with lab() as it:
        html = post("bob") + "café"
        await it.outbound.send(SOURCE, html)
        assert (await it.row("bob")).sha == hashlib.sha512(html.encode()).hexdigest()


async def test_every_target_is_stored_pending_before_anything_is_fetched() -> None:
    async with lab() as it:
        seen: list[dict[str, str]] = []

        async def look() -> Page:
            seen.append(await it.statuses())
            return page(to("a"), hook=hook("a"))

        it.web.pages[to("a")] = look
        puts: list[int] = []
        put = it.outbox.put

        async def counting(entities: list[object]) -> None:
            puts.append(len(entities))
            await put(entities)

        it.outbox.put = counting
        await it.outbound.send(SOURCE, post("a", "b", "c"))
        assert seen == [dict.fromkeys("abc", "pending")]
        assert puts == [3], "in one step"


async def test_unchanged_content_is_sent_once() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("bob", "carol"))
        report = await it.outbound.send(SOURCE, post("bob", "carol"))
        assert (report.unchanged, report.skipped) == (True, (to("bob"), to("carol")))
        assert len(it.web.told) == 2
        assert len(it.web.asked) == 2


async def test_unchanged_content_leaves_what_is_pending_on_its_schedule() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = offline()
        await it.outbound.send(SOURCE, post("bob"))
        await it.outbound.send(SOURCE, post("bob"))
        assert len(it.web.asked) == 1
        assert (await it.row("bob")).next_attempt == START + 60


async def test_a_target_without_an_endpoint_is_looked_at_again_after_a_day() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = page(to("bob"))
        await it.outbound.send(SOURCE, post("bob"))
        it.clock.advance(DAY - 60)
        await it.outbound.send(SOURCE, post("bob"))
        assert len(it.web.asked) == 1
        del it.web.pages[to("bob")]
        it.clock.advance(120)
        report = await it.outbound.send(SOURCE, post("bob"))
        assert [m.status for m in report.mentions] == ["sent"]


async def test_update_1_a_kept_target_is_told_again_beside_the_new_one() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("a"))
        await it.outbound.send(SOURCE, post("a", "b"))
        assert it.web.targets == ["a", "a", "b"]
        assert it.web.asked.count(to("a")) == 2, "endpoints may be single-use"


async def test_update_2_a_removed_target_is_told_beside_the_kept_one() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("a", "b"))
        report = await it.outbound.send(SOURCE, post("a"))
        assert sorted(it.web.targets) == ["a", "a", "b", "b"]
        assert {m.target_url: m.present for m in report.mentions} == {to("a"): True, to("b"): False}


async def test_a_removal_is_told_once_and_a_link_that_comes_back_again() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("a", "b"))
        await it.outbound.send(SOURCE, post("a"))
        await it.outbound.send(SOURCE, post("a") + "!")
        assert it.web.targets.count("b") == 2
        await it.outbound.send(SOURCE, post("a", "b"))
        assert it.web.targets.count("b") == 3


async def test_a_deletion_tells_all_and_once() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("a", "b"))
        report = await it.outbound.delete(SOURCE)
        assert sorted(it.web.targets) == ["a", "a", "b", "b"]
        assert [(m.status, m.present) for m in report.mentions] == [("sent", False)] * 2
        again = await it.outbound.delete(SOURCE)
        assert (again.mentions, again.skipped) == ((), (to("a"), to("b")))
        assert len(it.web.told) == 4


async def test_a_deletion_of_what_was_never_sent_tells_nobody() -> None:
    async with lab() as it:
        assert (await it.outbound.delete(SOURCE)).mentions == ()


async def test_a_target_that_comes_back_to_life_is_told_within_two_days() -> None:
    async with lab() as it:
        it.web.pages[to("bob")] = [*[offline()] * 7, page(to("bob"), hook=hook("bob"))]
        await it.outbound.send(SOURCE, post("bob"))
        attempts = 1
        while (due := await it.outbound.next_due()) is not None:
            it.clock.advance(due)
            attempts += await it.outbound.work()
        assert attempts == 8
        assert (await it.row("bob")).status == "sent"
        assert it.now() - START < 2.2 * DAY


async def test_what_never_answers_is_given_up_and_can_be_retried_by_hand() -> None:
    async with lab() as it:
        it.web.refuse("bob", 500)
        await it.outbound.send(SOURCE, post("bob"))
        while (due := await it.outbound.next_due()) is not None:
            it.clock.advance(due)
            await it.outbound.work()
        row = await it.row("bob")
        assert (row.status, row.attempts, len(it.web.told)) == ("failed", 8, 8)
        assert row.error
        assert "given up" in row.error
        await it.outbound.send(SOURCE, post("bob"))
        assert len(it.web.told) == 8, "the same content tries nothing that was given up"
        it.web.refuse("bob", 202)
        report = await it.outbound.retry(SOURCE)
        assert [(m.status, m.attempts) for m in report.mentions] == [("sent", 1)]


async def test_a_retry_may_name_one_target_whatever_its_status() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("a", "b"))
        report = await it.outbound.retry(SOURCE, to("a"))
        assert [m.target_url for m in report.mentions] == [to("a")]
        assert it.web.targets == ["a", "b", "a"]


async def test_a_retry_of_what_nobody_knows_is_a_mistake() -> None:
    async with lab() as it:
        with pytest.raises(UnknownMention):
            await it.outbound.retry(SOURCE)
        await it.outbound.send(SOURCE, post("a"))
        with pytest.raises(UnknownMention):
            await it.outbound.retry(SOURCE, to("b"))


async def test_links_to_oneself_are_told_where_they_are_asked_for() -> None:
    async with lab(site="https://alice.example") as it:
        html = post("bob") + '<a href="/other">me</a><a href="#top">here</a>'
        await it.outbound.send(SOURCE, html)
        assert it.web.targets == ["bob"]
        await it.outbound.send(SOURCE, html, own=True)
        assert it.web.targets == ["bob", "alice"], "and who was told before is not told again"


async def test_a_post_may_be_markdown_or_text() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, f"[b]({to('bob')})", kind="markdown")
        await it.outbound.send(SOURCE + "2", f"see {to('carol')}", kind="text")
        assert it.web.targets == ["bob", "carol"]


@pytest.mark.parametrize("source", ["", "post", "ftp://alice.example/", "https://me@alice.example/"])
async def test_a_source_is_an_http_url(source: str) -> None:
    async with lab() as it:
        with pytest.raises(ValueError, match="source"):
            await it.outbound.send(source, post("bob"))


async def test_a_source_is_known_however_it_is_spelled() -> None:
    async with lab() as it:
        await it.outbound.send("HTTPS://Alice.Example:443/post", post("bob"))
        assert (await it.outbound.send(SOURCE, post("bob"))).unchanged


async def test_a_preview_says_whom_a_send_would_tell_and_does_nothing() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post("a", "b"))
        preview = await it.outbound.preview(SOURCE, post("b", "c"))
        assert {m.target_url: m.present for m in preview.mentions} == {
            to("b"): True,
            to("c"): True,
            to("a"): False,
        }
        assert (await it.outbound.preview(SOURCE, post("a", "b"))).unchanged
        assert len(it.web.told) == 2
        assert await it.statuses() == {"a": "sent", "b": "sent"}


async def test_a_post_without_links_tells_nobody() -> None:
    async with lab() as it:
        report = await it.outbound.send(SOURCE, "<p>alone</p>")
        assert (report.mentions, report.skipped, report.unchanged) == ((), (), False)


# --- many ---


async def test_many_go_out_at_once_and_few_to_one_host() -> None:
    async with lab(at_once=10, per_host=4) as it:
        others = [f"o{at}" for at in range(30)]
        crowd = "".join(f'<a href="https://crowd.example/{at}">x</a>' for at in range(30))
        await it.outbound.send(SOURCE, crowd + post(*others))
        assert len(it.web.told) == 60
        assert it.web.most["crowd.example"] == 4
        assert it.web.most[""] == 10


async def test_an_endpoint_that_many_targets_share_is_told_by_few_at_once() -> None:
    async with lab(at_once=20, per_host=4) as it:
        names = [f"t{at}" for at in range(30)]
        for name in names:
            it.web.pages[to(name)] = page(to(name), hook="https://shared.example/hook")
        report = await it.outbound.send(SOURCE, post(*names))
        assert len(report.of("sent")) == 30
        assert it.web.most["shared.example"] == 4
        assert it.web.most[""] > 4


async def test_a_host_that_never_answers_keeps_nobody_else_waiting() -> None:
    async with lab(at_once=8, per_host=2) as it:
        gate = asyncio.Event()

        async def hanging() -> Page:
            await gate.wait()
            return page("https://hang.example/", hook="https://hang.example/hook")

        for at in range(40):
            it.web.pages[f"https://hang.example/{at}"] = hanging
        crowd = "".join(f'<a href="https://hang.example/{at}">x</a>' for at in range(40))
        others = [f"o{at}" for at in range(20)]
        sending = asyncio.create_task(it.outbound.send(SOURCE, crowd + post(*others)))
        await reached(lambda: len(it.web.told) == 20)
        assert it.web.busy["hang.example"] == 2
        gate.set()
        report = await sending
        assert len(report.of("sent")) == 60


async def test_thousands_of_targets_all_arrive() -> None:
    async with lab() as it:
        names = [f"t{at}" for at in range(2100)]
        report = await it.outbound.send(SOURCE, post(*names))
        assert len(report.of("sent")) == 2100
        assert len(set(it.web.targets)) == 2100
        assert it.web.most[""] <= 256


async def test_two_sends_of_one_post_at_the_same_time_tell_everybody_once() -> None:
    async with lab() as it:
        read = it.outbox.of

        async def slowly(source: str) -> list[OutgoingMention]:
            rows: list[OutgoingMention] = await read(source)
            await asyncio.sleep(0)  # as a store that is asked over a wire
            return rows

        it.outbox.of = slowly
        one, two = await asyncio.gather(*(it.outbound.send(SOURCE, post("a", "b")) for _ in range(2)))
        assert sorted(it.web.targets) == ["a", "b"]
        assert {m.status for m in (*one.mentions, *two.mentions)} == {"sent"}


async def test_work_may_be_limited() -> None:
    async with lab() as it:
        it.web.pages.update({to(name): [offline(), page(to(name), hook=hook(name))] for name in "abcde"})
        await it.outbound.send(SOURCE, post(*"abcde"))
        it.clock.advance(60)
        assert await it.outbound.work(0) == 0
        assert await it.outbound.work(2) == 2
        assert len(it.web.told) == 2
        assert await it.outbound.work() == 3


async def test_every_attempt_is_told_as_an_event() -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    try:
        async with lab() as it:
            it.web.hooks[hook("b")] = [answer("b", 503), answer("b", 202)]
            await it.outbound.send(SOURCE, post("a", "b"))
            it.clock.advance(60)
            await it.outbound.work()
    finally:
        stop()
    assert [each for each in heard if isinstance(each, events.MentionSent)] == [
        events.MentionSent(SOURCE, to("a"), "sent"),
        events.MentionSent(SOURCE, to("b"), "pending"),
        events.MentionSent(SOURCE, to("b"), "sent"),
    ]


# --- lists ---


async def test_what_went_out_is_listed_newest_first_and_counted() -> None:
    async with lab() as it:
        it.web.refuse("b", 400)
        await it.outbound.send(SOURCE, post("a", "b"))
        await it.outbound.send(SOURCE + "2", post("c"))
        assert [m.target_url for m in [m async for m in it.outbound.outgoing()]] == [
            to("c"),
            to("b"),
            to("a"),
        ]
        assert [m.target_url async for m in it.outbound.outgoing(status="failed")] == [to("b")]
        assert [m.target_url async for m in it.outbound.outgoing(SOURCE)] == [to("a"), to("b")]
        assert [m.target_url async for m in it.outbound.outgoing(SOURCE, status="sent")] == [to("a")]
        assert await it.outbound.statuses() == {"pending": 0, "sent": 2, "not_found": 0, "failed": 1}


async def test_a_list_of_many_pages_is_whole() -> None:
    async with lab() as it:
        await it.outbound.send(SOURCE, post(*(f"t{at}" for at in range(450))))
        assert len([m async for m in it.outbound.outgoing()]) == 450
