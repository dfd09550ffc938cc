"""Who needs a moderator, what one decides, and what a rule decides instead."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.webmention.receiving_lab import POST, SITE, SOURCE, entry, lab, page

from holdfast.errors import MentionRefused, UnknownMention
from holdfast.webmention.inbound import Inbound


async def refused(inbound: Inbound, source: str) -> MentionRefused:
    with pytest.raises(MentionRefused) as raised:
        await inbound.receive(source, POST)
    return raised.value


@pytest.mark.parametrize(
    ("accept", "first", "second"),
    [("known", "pending", "accepted"), ("all", "accepted", "accepted"), ("none", "pending", "pending")],
)
async def test_who_needs_a_moderator(accept: str, first: str, second: str) -> None:
    async with lab(accept=accept) as here:
        one = await here.verified(SOURCE)
        assert one.state == first
        await here.inbound.accept(one.id)
        assert (await here.verified("https://bob.example/second")).state == second
        assert (await here.verified("https://carol.example/")).state == first


def test_an_unknown_word_for_accept_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="all, known or none"):
        Inbound(None, None, site=None, namespace="t", accept="some")  # type: ignore[arg-type]


async def test_one_author_on_a_bridge_does_not_speak_for_the_others() -> None:
    async with lab() as here:

        def card(who: str) -> str:
            return (
                f'<article class="h-entry"><a class="p-author h-card" href="https://silo.example/{who}">{who}</a>'
                f'<a class="u-in-reply-to" href="{POST}">it</a></article>'
            )

        states = []
        for number, who in enumerate(("ada", "ada", "mallory")):
            source = f"https://bridge.example/{number}"
            here.web.html(source, card(who))
            mention = await here.inbound.receive(source, POST)
            await here.inbound.work()
            states.append(await here.state(mention))
            if number == 0:
                await here.inbound.accept(mention.id)
        assert states == ["pending", "accepted", "pending"]


async def test_declining_takes_trust_away() -> None:
    async with lab() as here:
        one = await here.verified(SOURCE)
        await here.inbound.accept(one.id)
        await here.inbound.decline(one.id)
        assert (await here.verified("https://bob.example/second")).state == "pending"
        assert (await here.verified(SOURCE)).state == "declined"


async def test_what_was_not_verified_cannot_be_accepted() -> None:
    async with lab() as here:
        mention = await here.inbound.receive(SOURCE, POST)
        with pytest.raises(MentionRefused, match="it is queued"):
            await here.inbound.accept(mention.id)
        await here.inbound.work()
        with pytest.raises(MentionRefused, match="it is invalid"):
            await here.inbound.accept(mention.id)
        for decide in (here.inbound.accept, here.inbound.decline):
            with pytest.raises(UnknownMention):
                await decide("nothing")


async def test_what_is_accepted_after_it_was_declined_is_looked_at_again() -> None:
    async with lab() as here:
        mention = await here.verified()
        await here.inbound.decline(mention.id)
        assert await here.inbound.next_due() is None
        here.web.html(SOURCE, entry(text="By now I think otherwise"))
        await here.inbound.receive(SOURCE, POST)
        assert await here.inbound.next_due() is None
        await here.inbound.accept(mention.id)
        await here.inbound.work()
        found = await here.inbound.get(mention.id)
        assert found is not None
        assert found.mention is not None
        assert (found.state, found.mention.text) == ("accepted", "By now I think otherwise")


# --- rules ---


async def test_a_block_is_of_what_comes_and_of_what_is_there() -> None:
    async with lab() as here:
        shown = await here.verified("https://a.spam.example/1")
        await here.inbound.accept(shown.id)
        waits = await here.verified("https://spam.example/2", SITE + "/2")
        other = await here.verified("https://bob.example/")
        queued = await here.inbound.receive("https://spam.example/3", POST)
        rule = await here.inbound.block("Spam.Example")
        assert [rule.pattern for rule in await here.inbound.rules()] == [rule.pattern] == ["spam.example"]
        assert [await here.state(each) for each in (shown, waits, queued, other)] == [
            "declined",
            "declined",
            "declined",
            "pending",
        ]
        assert "are not accepted" in str(await refused(here.inbound, "https://spam.example/4"))
        log = (await here.inbound.get(shown.id)).log  # type: ignore[union-attr]
        assert log[-1].says == "blocked by a rule: spam.example"
        asked = len(here.web.asked)
        await here.inbound.work()
        assert len(here.web.asked) == asked
        assert await here.inbound.unblock("spam.example")
        await here.inbound.receive("https://spam.example/4", POST)


async def test_a_block_holds_for_where_a_source_leads_and_for_its_author() -> None:
    async with lab(accept="all") as here:
        await here.inbound.block("spam.example")
        short = "https://short.example/x"
        here.web.pages[short] = msgspec.structs.replace(
            page(short, entry().encode()), url="https://spam.example/long", redirects=(short,)
        )
        mention = await here.inbound.receive(short, POST)
        await here.inbound.work()
        assert await here.state(mention) == "declined"
        author = '<a class="p-author h-card" href="https://spam.example/">S</a>'
        card = f'<article class="h-entry">{author}<a href="{POST}">it</a>'
        here.web.html("https://bridge.example/", card)
        mention = await here.inbound.receive("https://bridge.example/", POST)
        await here.inbound.work()
        assert await here.state(mention) == "declined"


async def test_a_rule_accepts_what_waits_and_what_comes_whatever_is_said_of_others() -> None:
    async with lab(accept="none") as here:
        waits = await here.verified("https://friend.example/1")
        await here.inbound.allow("friend.example")
        assert await here.state(waits) == "accepted"
        assert (await here.verified("https://friend.example/2")).state == "accepted"
        assert (await here.verified("https://bob.example/")).state == "pending"


async def test_what_is_blocked_is_blocked_whatever_accepts_it() -> None:
    async with lab(accept="all") as here:
        await here.inbound.allow("friend.example")
        await here.inbound.block("friend.example/spam/*")
        await refused(here.inbound, "https://friend.example/spam/1")
        assert (await here.verified("https://friend.example/ham")).state == "accepted"


async def test_a_rule_that_accepts_leaves_what_another_blocks() -> None:
    async with lab() as here:
        waits = await here.verified("https://friend.example/spam/1")
        await here.inbound.block("friend.example/spam/*")
        await here.inbound.accept(waits.id)  # a person may
        assert await here.state(waits) == "accepted"
        other = await here.verified("https://friend.example/ham")
        await here.inbound.allow("friend.example")
        assert await here.state(other) == "accepted"
        assert [rule.kind for rule in await here.inbound.rules()] == ["block", "accept"]
        with pytest.raises(ValueError, match="pattern"):
            await here.inbound.block("not a pattern")
