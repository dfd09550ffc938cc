"""The receiving side: what is taken in, what is refused, who decides, what is read."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from tests.unit.webmention.receiving_lab import POST, SITE, SOURCE, Lab, all_of, entry, lab

from holdfast import events
from holdfast.errors import MentionRefused, StoreUnavailable
from holdfast.webmention import urls
from holdfast.webmention.driver import Put
from holdfast.webmention.inbound import Inbound, InboxLimits
from holdfast.webmention.mentions import MentionType
from holdfast.webmention.policy import NetworkPolicy

LIMITS = InboxLimits(queued=6, per_host=3, per_client=2, undecided=5, undecided_per_host=2)


async def refused(inbound: Inbound, source: str, target: str, *, client: str | None = None) -> MentionRefused:
    with pytest.raises(MentionRefused) as raised:
        await inbound.receive(source, target, client=client)
    return raised.value


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("", POST, "source is missing"),
        (SOURCE, " ", "target is missing"),
        ("", "", "source is missing"),
        ("bob.example/reply", POST, "source is not an absolute"),
        ("ftp://bob.example/", POST, "source is not an absolute"),
        ("https://bob@bob.example/", POST, "without a user name"),
        ("https:///x", POST, "source is not an absolute"),
        ("https://bob.example/" + "x" * 2048, POST, "longer"),
        (SOURCE, "javascript:alert(1)", "target is not an absolute"),
        (SOURCE, "https://alice:x@alice.example/post", "without a user name"),
        (POST, POST, "the same page"),
        (POST, POST + "#comments", "the same page"),
        ("HTTPS://Alice.Example:443/post", POST, "the same page"),
        (SOURCE, "https://carol.example/post", "target is not a page here"),
        (SOURCE, "https://alice.example.evil.example/", "target is not a page here"),
        ("http://127.0.0.1/", POST, "source is not fetched"),
        ("http://169.254.169.254/latest", POST, "source is not fetched"),
        ("http://0x7f.1/", POST, "source is not fetched"),
        ("http://[::ffff:10.0.0.1]/", POST, "source is not fetched"),
    ],
)
async def test_every_mistake_of_the_sender_has_its_words(source: str, target: str, says: str) -> None:
    async with lab(policy=NetworkPolicy()) as here:
        error = await refused(here.inbound, source, target)
        assert says in str(error)
        assert (error.status, error.retry_after) == (400, None)
        assert await here.inbound.next_due() is None


async def test_an_exception_of_the_policy_is_one_here_too() -> None:
    async with lab(policy=NetworkPolicy(allow=["127.0.0.1:8931"])) as here:
        await here.inbound.receive("http://127.0.0.1:8931/", POST)
        assert "not fetched" in str(await refused(here.inbound, "http://127.0.0.1:8932/", POST))


async def test_without_a_site_nothing_is_a_target_unless_somebody_says_so() -> None:
    async with lab(site=None) as here:
        assert "not a page here" in str(await refused(here.inbound, SOURCE, POST))
    async with lab(site=None, targets=lambda url: url == POST) as here:
        await here.inbound.receive(SOURCE, POST)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_callable_says_which_pages_of_the_site_are_targets(is_async: bool) -> None:
    asked: list[str] = []

    def plain(url: str) -> bool:
        asked.append(url)
        return url == POST

    async def awaited(url: str) -> bool:
        return plain(url)

    async with lab(targets=awaited if is_async else plain) as here:
        await here.inbound.receive(SOURCE, POST + "#part")
        await refused(here.inbound, SOURCE, SITE + "/about")
        await refused(here.inbound, SOURCE, "https://carol.example/")
    assert asked == [POST, SITE + "/about"]


async def test_one_source_and_one_target_are_one_entry() -> None:
    async with lab() as here:
        first = await here.inbound.receive(SOURCE, POST)
        again = await here.inbound.receive("HTTPS://BOB.example:443/reply", POST)
        other = await here.inbound.receive(SOURCE, SITE + "/other")
        assert first.id == again.id != other.id
        assert first.number == again.number > 0
        assert (await here.inbound.states())["queued"] == 2
        assert await here.inbound.work() == 2


async def test_what_was_queued_is_there_after_a_restart() -> None:
    async with lab() as here:
        here.web.html(SOURCE, entry())
        mention = await here.inbound.receive(SOURCE, POST)
        again = here.reopened()
        assert await again.next_due() == 0
        assert await again.work() == 1
        assert await here.state(mention) == "pending"


async def fill(here: Lab, count: int, host: str = "h{}.example", client: str | None = None) -> None:
    for number in range(count):
        await here.inbound.receive(f"https://{host.format(number)}/{number}", POST, client=client)


async def test_the_queue_is_bounded_in_all() -> None:
    async with lab(limits=LIMITS) as here:
        await fill(here, 6)
        error = await refused(here.inbound, SOURCE, POST)
        assert (error.status, error.retry_after) == (429, 60)
        await here.inbound.receive("https://h0.example/0", POST)  # it has its place already
        await here.inbound.work()
        await here.inbound.receive(SOURCE, POST)


async def test_the_queue_is_bounded_for_each_host() -> None:
    async with lab(limits=LIMITS) as here:
        await fill(here, 3, "one.example")
        assert "this source's host" in str(await refused(here.inbound, "https://one.example/x", POST))
        await here.inbound.receive("https://two.example/x", POST)


async def test_the_queue_is_bounded_for_each_client_address() -> None:
    async with lab(limits=LIMITS) as here:
        await fill(here, 2, client="2001:db8::1")
        error = await refused(here.inbound, SOURCE, POST, client="2001:db8::2")
        assert (error.status, "from this address" in str(error)) == (429, True)
        await here.inbound.receive(SOURCE, POST, client="2001:db8:0:1::2")


async def test_many_at_once_do_not_pass_the_bound_together() -> None:
    async with lab(limits=LIMITS) as here:
        count = here.driver.count

        async def slow(kind: str, tags: Any) -> list[int]:
            there = await count(kind, tags)
            await asyncio.sleep(0)
            return there

        here.driver.count = slow  # type: ignore[method-assign]
        done = await asyncio.gather(
            *(here.inbound.receive(f"https://h{number}.example/", POST) for number in range(30)),
            return_exceptions=True,
        )
        assert sum(1 for each in done if not isinstance(each, MentionRefused)) <= 6
        assert (await here.inbound.states())["queued"] <= 6
        assert not here.inbound._entering


async def test_what_waits_for_a_moderator_is_bounded_for_each_host_and_in_all() -> None:
    async with lab(limits=LIMITS) as here:
        for number in range(2):
            await here.verified(f"https://one.example/{number}")
        error = await refused(here.inbound, "https://one.example/2", POST)
        assert (error.status, error.retry_after, "moderator" in str(error)) == (429, 3600, True)
        for number in range(3):
            await here.verified(f"https://h{number}.example/")
        assert "moderator" in str(await refused(here.inbound, SOURCE, POST))
        await here.inbound.receive("https://one.example/0", POST)  # an update of what is there


async def test_a_mention_that_fails_again_and_again_keeps_its_place_in_the_queue() -> None:
    async with lab(limits=LIMITS) as here:
        here.web.html("https://one.example/0", "", status=503)
        await here.inbound.receive("https://one.example/0", POST)
        await here.inbound.work()
        assert (await here.driver.count("t:m:i", ["q"])) == [1]


async def test_a_store_that_fails_is_no_success() -> None:
    async with lab() as here:

        async def away(changes: Any) -> bool:
            raise StoreUnavailable("write: away", maybe_applied=True)

        here.driver.write = away  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await here.inbound.receive(SOURCE, POST)
        assert not here.inbound._entering


# --- telling ---


@pytest.mark.parametrize("is_async", [False, True])
async def test_every_new_mention_is_told_of(is_async: bool) -> None:
    told: list[tuple[str, str]] = []

    async def awaited(mention: Any) -> None:
        told.append((mention.state, mention.source_url))

    def plain(mention: Any) -> None:
        told.append((mention.state, mention.source_url))

    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    try:
        async with lab(on_mention=awaited if is_async else plain) as here:
            mention = await here.verified()
            await here.inbound.receive("https://nobody.example/", POST)
            await here.inbound.work()
            await here.inbound.accept(mention.id)
            await here.verified()  # unchanged
            here.web.html(SOURCE, "", status=410)
            await here.inbound.receive(SOURCE, POST)
            await here.inbound.work()
    finally:
        stop()
    assert told == [("pending", SOURCE), ("accepted", SOURCE), ("gone", SOURCE)]
    assert [each.state for each in heard if isinstance(each, events.MentionReceived)] == [
        state for state, _ in told
    ]
    assert heard[0] == events.MentionReceived(SOURCE, POST, "pending", "reply")


async def test_a_callback_that_fails_is_reported_and_stops_nothing() -> None:
    def broken(mention: Any) -> None:
        raise RuntimeError("no")

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with lab(on_mention=broken) as here:
        assert (await here.verified()).state == "pending"
        assert await here.inbound.work() == 0
    assert [str(each["exception"]) for each in reported] == ["no"]


# --- reading ---


async def test_lists_are_of_a_target_a_state_and_a_type() -> None:
    async with lab(accept="all") as here:
        types: list[tuple[str, MentionType]] = [
            ("u-in-reply-to", "reply"),
            ("u-like-of", "like"),
            ("", "mention"),
        ]
        for relation, _ in types:
            await here.verified(f"https://bob.example/{relation}", POST + "#part", relation=relation)
        await here.verified("https://bob.example/other", SITE + "/other")
        received = here.inbound.received
        assert len(await all_of(received())) == 4
        assert [each.mention.type for each in await all_of(received(POST)) if each.mention] == [
            "mention",
            "like",
            "reply",
        ]
        assert [each.mention.type for each in await all_of(received(POST, newest=False)) if each.mention] == [
            "reply",
            "like",
            "mention",
        ]
        assert len(await all_of(received(POST, type="like"))) == 1
        assert len(await all_of(received(type="reply"))) == 2
        assert len(await all_of(received(domain="ALICE.example"))) == 4
        assert await all_of(received(domain="carol.example")) == []
        assert await all_of(received(POST, state="pending")) == []
        assert await all_of(received("no url")) == []
        first = (await all_of(received(newest=False)))[0]
        assert len(await all_of(received(newest=False, after=first.number))) == 3
        assert await all_of(received(after=first.number)) == []


async def test_counts_are_of_what_is_accepted() -> None:
    async with lab() as here:
        one = await here.verified(SOURCE, relation="u-like-of")
        await here.verified("https://carol.example/", relation="u-like-of")
        await here.inbound.accept(one.id)
        assert {name: number for name, number in (await here.inbound.counts(POST)).items() if number} == {
            "like": 1
        }
        assert sum((await here.inbound.counts()).values()) == 1
        assert sum((await here.inbound.counts(SITE + "/other")).values()) == 0
        assert sum((await here.inbound.counts("no url")).values()) == 0


async def test_what_is_in_no_state_is_read_with_none() -> None:
    async with lab() as here:
        await here.verified()
        await here.inbound.receive("https://carol.example/", POST)
        assert {each.state for each in await all_of(here.inbound.received(state=None))} == {
            "queued",
            "pending",
        }
        assert {each.state for each in await all_of(here.inbound.received(POST, state=None))} == {
            "queued",
            "pending",
        }
        assert await all_of(here.inbound.received(SITE + "/2", state=None)) == []


async def test_a_private_mention_is_in_no_list_but_has_its_page() -> None:
    async with lab(accept="all") as here:
        mention = await here.verified()
        document = (await here.driver.get("t:m:i", [mention.id]))[0]
        assert document is not None
        data = document.data.replace(b'"log"', b'"private":true,"log"')
        await here.driver.write([Put("t:m:i", mention.id, data, document.tags)])
        assert await all_of(here.inbound.received()) == []
        assert await here.inbound.get(mention.id) is not None


async def test_a_photo_is_had_by_the_digest_of_its_url() -> None:
    async with lab() as here:
        assert await here.inbound.photo(urls.digest("https://bob.example/me.png")) is None


def test_its_arguments_are_those_that_others_call_it_with() -> None:
    names = list(inspect.signature(Inbound).parameters)
    assert names[:9] == [
        "driver", "web", "site", "namespace", "accept", "targets", "limits", "on_mention", "now",
    ]  # fmt: skip
