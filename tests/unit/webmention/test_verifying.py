"""One look at a source: every way in which it can end."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.webmention.receiving_lab import PNG, POST, SOURCE, Lab, all_of, entry, lab, page

from holdfast.errors import AddressRefused, FetchFailed, StoreUnavailable
from holdfast.webmention import urls, verifying
from holdfast.webmention.inbox import InboxLimits
from holdfast.webmention.mentions import Author

LINK = f'<a href="{POST}">it</a>'


async def looked(here: Lab) -> tuple[str, str]:
    mention = await here.inbound.receive(SOURCE, POST)
    await here.inbound.work()
    found = await here.inbound.get(mention.id)
    assert found is not None
    return found.state, found.log[-1].says


@pytest.mark.parametrize(
    ("body", "kind", "state"),
    [
        (LINK.encode(), "text/html", "pending"),
        (LINK.encode(), "application/xhtml+xml; charset=utf-8", "pending"),
        (f"<!-- {LINK} -->".encode(), "text/html", "invalid"),
        (f'{{"like-of": "{POST}"}}'.encode(), "application/json", "pending"),
        (f'{{"like-of": "{POST}/2"}}'.encode(), "application/json", "invalid"),
        (f"see {POST} there".encode(), "text/plain", "pending"),
        (f"see {POST}2 there".encode(), "text/plain", "invalid"),
        (LINK.encode("utf-16"), "text/html; charset=utf-16", "pending"),
        (LINK.encode(), "text/html; charset=punycode", "pending"),
        (LINK.encode(), "image/png", "invalid"),
        (b"", "text/html", "invalid"),
    ],
)
async def test_a_source_is_looked_into_by_its_media_type(body: bytes, kind: str, state: str) -> None:
    async with lab() as here:
        here.web.pages[SOURCE] = page(SOURCE, body, content_type=kind)
        assert (await looked(here))[0] == state


async def test_what_it_says_is_kept() -> None:
    async with lab() as here:
        found = await here.verified(author='<img class="u-photo" src="/me.png">')
        assert found.mention is not None
        assert (found.mention.type, found.mention.text) == ("reply", "Well said")
        assert found.mention.author == Author("Bob", "https://bob.example/", "https://bob.example/me.png")
        assert found.verified_at == here.clock.at
        assert "links to the target (a href)" in found.log[-1].says
        assert "a moderator decides: pending" in found.log[-1].says


@pytest.mark.parametrize(
    ("answer", "state", "says"),
    [
        (page(SOURCE, b"", 410), "invalid", "gone (410)"),
        (page(SOURCE, b"<p>nothing"), "invalid", "does not link"),
        (page(SOURCE, LINK.encode(), 404), "invalid", "answered 404"),
        (page(SOURCE, LINK.encode(), 500), "queued", "answered 500; tried again in"),
        (page(SOURCE, b"", 429, retry_after="1200"), "queued", "tried again in 20 min"),
        (FetchFailed("no answer"), "queued", "no answer; tried again in"),
        (FetchFailed("no certificate", transient=False), "invalid", "no certificate"),
        (AddressRefused("connect to 'x': it is a loopback address"), "invalid", "loopback"),
        (RuntimeError("a fault of ours"), "queued", "could not be read here; tried again in"),
    ],
)
async def test_every_end_has_its_state_and_its_reason(answer: Any, state: str, says: str) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with lab() as here:
        here.web.pages[SOURCE] = answer
        found = await looked(here)
        assert found[0] == state
        assert says in found[1]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (page(SOURCE, b"", 410), "gone"),
        (page(SOURCE, b"<p>nothing"), "gone"),
        (page(SOURCE, b"", 404), "accepted"),
        (page(SOURCE, b"", 503), "accepted"),
        (FetchFailed("no answer"), "accepted"),
        (FetchFailed("no certificate", transient=False), "accepted"),
        (AddressRefused("no"), "accepted"),
        (None, "accepted"),
    ],
)
async def test_only_410_or_a_page_without_the_link_takes_a_mention_away(
    answer: Any, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "DEADLINE", 0.01)
    async with lab(accept="all") as here:
        await here.verified()
        here.web.pages[SOURCE] = answer
        await here.inbound.receive(SOURCE, POST)
        for _ in range(10):
            await here.inbound.work()
            here.pass_(hours=13)
        found = await all_of(here.inbound.received(POST, state=None))
        assert [each.state for each in found] == [state]


async def test_a_link_beyond_what_is_read_is_neither_there_nor_gone() -> None:
    async with lab(accept="all") as here:
        mention = await here.verified()
        here.web.pages[SOURCE] = msgspec.structs.replace(page(SOURCE, b"<p>long"), cut=True)
        assert (await looked(here))[0] == "accepted"
        assert await here.state(mention) == "accepted"
    async with lab() as here:
        here.web.pages[SOURCE] = msgspec.structs.replace(page(SOURCE, b"<p>long"), cut=True)
        assert (await looked(here))[0] == "invalid"


async def test_a_source_that_leads_to_the_target_itself_is_no_mention() -> None:
    async with lab() as here:
        here.web.pages[SOURCE] = msgspec.structs.replace(
            page(SOURCE, LINK.encode()), url=POST, redirects=(SOURCE,)
        )
        assert await looked(here) == ("invalid", "the source leads to the target itself")


async def test_relative_links_are_seen_from_where_the_source_led() -> None:
    async with lab(site="https://bob.example") as here:
        here.web.pages[SOURCE] = msgspec.structs.replace(
            page(SOURCE, b'<a href="../post">it</a>'),
            url="https://bob.example/deep/reply",
            redirects=(SOURCE,),
        )
        mention = await here.inbound.receive(SOURCE, "https://bob.example/post")
        await here.inbound.work()
        assert await here.state(mention) == "pending"


async def test_an_update_replaces_what_is_shown() -> None:
    async with lab(accept="all") as here:
        await here.verified()
        here.web.html(SOURCE, entry(relation="u-like-of", text="Changed"))
        await here.inbound.receive(SOURCE, POST)
        await here.inbound.work()
        found = await all_of(here.inbound.received(POST))
        assert [each.mention.type for each in found if each.mention] == ["like"]
        assert (await here.inbound.counts(POST))["reply"] == 0


async def test_it_is_looked_at_again_from_time_to_time() -> None:
    async with lab(accept="all") as here:
        mention = await here.verified()
        for days in (1.1, 7.7, 32.0, 96.0, 96.0):
            asked = len(here.web.asked)
            assert await here.inbound.work() == 0
            here.pass_(days=days)
            assert await here.inbound.work() == 1
            assert here.web.asked[asked:] == [SOURCE]
        here.web.html(SOURCE, "", status=410)
        here.pass_(days=96)
        await here.inbound.work()
        assert await here.state(mention) == "gone"


async def test_what_never_linked_is_forgotten_after_a_week() -> None:
    async with lab() as here:
        mention = await here.inbound.receive(SOURCE, POST)
        await here.inbound.work()
        here.pass_(days=6)
        await here.inbound.work()
        assert await here.state(mention) == "invalid"
        here.pass_(days=2)
        await here.inbound.work()
        assert await here.state(mention) == "forgotten"
        assert here.web.asked == [SOURCE]


async def test_strangers_cannot_fill_the_store_with_what_is_not_shown() -> None:
    async with lab(limits=InboxLimits(left_over=2)) as here:
        await here.inbound.block("spam.example")
        for number in range(5):
            nothing, spam = f"https://h{number}.example/no", f"https://h{number}.example/spam"
            here.web.html(nothing, "no link")
            here.web.pages[spam] = page("https://spam.example/", entry().encode())  # where it leads
            for source in (nothing, spam):
                await here.inbound.receive(source, POST)
            await here.inbound.work()
        for number in range(5):
            source = f"https://p{number}.example/"
            mention = await here.verified(source)
            here.web.html(source, "no link any more")
            await here.inbound.receive(source, POST)
            await here.inbound.work()
        states = await here.inbound.states()
        assert (states["invalid"], states["declined"], states["gone"]) == (2, 2, 2)
        assert sum(states.values()) == 6
        assert await here.state(mention) == "forgotten"
        assert here.told[-1].state == "gone"


async def test_what_was_accepted_once_is_not_forgotten_for_others() -> None:
    async with lab(limits=InboxLimits(left_over=0)) as here:
        mention = await here.verified()
        await here.inbound.accept(mention.id)
        here.web.html(SOURCE, "no link any more")
        await here.inbound.receive(SOURCE, POST)
        await here.inbound.work()
        assert await here.state(mention) == "gone"


async def test_a_decision_while_somebody_looks_is_not_undone() -> None:
    async with lab() as here:
        mention = await here.verified()

        async def declined_meanwhile() -> Any:
            await here.inbound.decline(mention.id)
            return page(SOURCE, entry(text="New", author=PHOTO).encode())

        here.web.pages[SOURCE] = declined_meanwhile
        assert (await looked(here))[0] == "declined"
        assert await here.inbound.next_due() is None
        assert here.web.asked[-1] == SOURCE  # and nobody's photo


async def test_told_of_while_somebody_looks_it_is_looked_at_once_more() -> None:
    async with lab() as here:

        async def changed_meanwhile() -> Any:
            here.web.html(SOURCE, entry(text="Second"))
            await here.inbound.receive(SOURCE, POST)
            return page(SOURCE, entry(text="First").encode())

        here.web.pages[SOURCE] = changed_meanwhile
        mention = await here.inbound.receive(SOURCE, POST)
        await here.inbound.work()
        found = await here.inbound.get(mention.id)
        assert found is not None
        assert found.mention is not None
        assert (found.mention.text, here.web.asked) == ("Second", [SOURCE, SOURCE])
        assert await here.driver.count("t:m:i", ["q"]) == [0]


async def test_a_large_page_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    beside: list[int] = []
    to_thread = asyncio.to_thread

    async def counted(*arguments: Any) -> Any:
        beside.append(1)
        return await to_thread(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    async with lab() as here:
        here.web.html(SOURCE, entry() + " " * verifying.LARGE)
        assert (await looked(here))[0] == "pending"
        here.web.html(SOURCE, entry())
        assert (await looked(here))[0] == "pending"
    assert beside == [1]


async def test_a_megabyte_of_nested_elements_is_read_in_time() -> None:
    async with lab() as here:
        here.web.html(SOURCE, "<div>" * 200_000 + LINK)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await looked(here)
        assert loop.time() - started < 10


async def test_a_store_that_fails_is_raised_and_nothing_is_lost() -> None:
    async with lab() as here:
        here.web.html(SOURCE, entry())
        mention = await here.inbound.receive(SOURCE, POST)
        write = here.driver.write

        async def away(changes: Any) -> bool:
            raise StoreUnavailable("write: away")

        here.driver.write = away  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await here.inbound.work()
        here.driver.write = write  # type: ignore[method-assign]
        assert await here.state(mention) == "queued"
        here.pass_(minutes=3)
        assert await here.inbound.work() == 1
        assert await here.state(mention) == "pending"


async def test_a_callback_that_never_returns_takes_nobody_elses_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "TELLING", 0.01)
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    async with lab(on_mention=never) as here:
        async with asyncio.timeout(5):
            assert (await here.verified()).state == "pending"
    assert [type(each) for each in heard] == [TimeoutError]


async def test_copies_of_a_known_page_under_other_addresses_wait_for_a_moderator() -> None:
    async with lab() as here:
        permalink = f'<a class="u-url" href="{SOURCE}">#</a>'
        first = await here.verified()
        await here.inbound.accept(first.id)
        body = entry().replace("</article>", permalink + "</article>")
        here.web.html(SOURCE, body)
        for copy in (f"{SOURCE}?1", f"{SOURCE}?2"):
            here.web.html(copy, body)
            mention = await here.inbound.receive(copy, POST)
            await here.inbound.work()
            found = await here.inbound.get(mention.id)
            assert found is not None
            assert found.state == "pending"
            assert "by its permalink already" in found.log[-1].says
        another = await here.verified("https://bob.example/another")
        assert another.state == "accepted"


# --- photos ---

PHOTO = '<img class="u-photo" src="/me.png">'


async def photo_of(here: Lab) -> tuple[str, bytes] | None:
    return await here.inbound.photo(urls.digest("https://bob.example/me.png"))


async def test_a_photo_of_who_was_verified_is_kept() -> None:
    async with lab() as here:
        here.web.pages["https://bob.example/me.png"] = page("x", PNG)
        await here.verified(author=PHOTO)
        assert await photo_of(here) == ("image/png", PNG)


@pytest.mark.parametrize(
    "answer",
    [
        page("x", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        page("x", PNG, 404),
        FetchFailed("no"),
        RuntimeError("x"),
    ],
)
async def test_what_is_no_photo_is_none_and_stops_nothing(answer: Any) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with lab() as here:
        here.web.pages["https://bob.example/me.png"] = answer
        assert (await here.verified(author=PHOTO)).state == "pending"
        assert await photo_of(here) is None


async def test_nobodys_photo_is_fetched_who_is_not_verified_or_is_declined() -> None:
    async with lab() as here:
        mention = await here.verified(author=PHOTO)
        await here.inbound.decline(mention.id)
        await here.inbound.accept(mention.id)
        await here.inbound.decline(mention.id)
        asked = len(here.web.asked)
        await here.verified(author=PHOTO)
        here.web.html("https://carol.example/", "no link" + PHOTO)
        await here.inbound.receive("https://carol.example/", POST)
        await here.inbound.work()
        assert here.web.asked[asked:] == ["https://carol.example/"]


async def test_a_photo_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "DEADLINE", 0.05)
    async with lab() as here:
        here.web.pages["https://bob.example/me.png"] = None
        assert (await here.verified(author=PHOTO)).state == "pending"
        assert await photo_of(here) is None
