"""Outbox and moderation in the dashboard, without a script: forms as a browser sends them, on memory and on SQLite."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape

import pytest
from tests.unit.webmention.site_lab import Lab, Reply, Request, Site

from holdfast.settings import Settings
from holdfast.web.dashboard import moderation, outbox
from holdfast.web.mentions import Mentions
from holdfast.webmention import Webmention

from .browser import Browser, Forms
from .conftest import TOKEN, app_of, serving

SITE = "https://alice.example"
POST = f"{SITE}/post"


@pytest.fixture
async def bob() -> AsyncIterator[Site]:
    async with Lab() as lab:
        yield await lab.site()


@asynccontextmanager
async def browsing(store: str, bob: Site, *, dry: bool = False) -> AsyncIterator[Browser]:
    settings = Settings(store=store, token=TOKEN, site=SITE, webmention_accept="none", dry_outbox=dry)
    async with serving(settings, allow=[bob.where]) as client:
        browser = Browser(client)
        await browser.sign_in()
        yield browser


@pytest.fixture
async def browser(store_url: str, bob: Site) -> AsyncIterator[Browser]:
    async with browsing(store_url, bob) as browser:
        yield browser


@pytest.fixture
def mentions(browser: Browser) -> Webmention:
    return of(browser)


def of(browser: Browser) -> Webmention:
    found = app_of(browser.client).state.mentions
    assert isinstance(found, Mentions)
    return found.webmention


def reply(name: str = "Ada", text: str = "I agree.", kind: str = "in-reply-to", more: str = "") -> str:
    return (
        f'<div class="h-entry"><a class="p-author h-card" href="/ada">{name}</a>{more}'
        f'<p class="e-content">{text}</p><a class="u-{kind}" href="{POST}">it</a></div>'
    )


def let_go(browser: Browser) -> None:
    """Closing shall not wait for what hangs."""
    app_of(browser.client).state.mentions.end_by(asyncio.get_running_loop().time() + 0.2)


async def arrive(mentions: Webmention, bob: Site, *pages: str) -> list[str]:
    """These pages are told of and verified; the ids of the mentions."""
    ids = []
    for at, page in enumerate(pages):
        source = bob.page(f"/{at}", page)
        ids.append((await mentions.receive(source, POST)).id)
        await mentions.work()
    return ids


async def press(browser: Browser, action: str, at: int = 0, **fields: str) -> None:
    """Press the button of the form to `action` whose hidden fields are these; of several, one by its place."""
    forms = [
        each for where, each in Forms(browser.page.text).forms
        if where == action and fields.items() <= each.items()
    ]  # fmt: skip
    browser.page = await browser.client.post(action, data=forms[at])


# --- moderation ---


async def test_what_waits_is_shown_with_author_text_and_reason(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    await browser.go("/mentions")
    assert "Nothing waits for you" in browser.text
    await arrive(mentions, bob, reply(), reply("Grace", "", "like-of"))
    await browser.go("/mentions")
    assert re.search(
        r"Grace liked alice.example/post .* Ada replied to alice.example/post I agree\.", browser.text
    )
    assert "Waiting for you 2" in browser.text
    assert "The source links to the target" in browser.text
    assert f'href="{bob.url("/0")}" rel="noreferrer noopener nofollow"' in browser.page.text


async def test_accepting_and_declining_move_a_mention_and_go_on_with_the_next(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    first, second, third = await arrive(mentions, bob, *(reply(name) for name in ("Ada", "Grace", "Barbara")))
    await browser.go("/mentions")
    await press(browser, "/mentions/decide", id=third, do="accept")
    assert "Accepted. It is shown from now on." in browser.text
    assert browser.page.url.fragment == f"m-{second}"  # the newest stands above
    await press(browser, "/mentions/decide", id=first, do="decline")
    assert "Declined." in browser.text
    assert browser.page.url.fragment == f"m-{second}"
    assert await mentions.states() | {"accepted": 1, "declined": 1, "pending": 1} == await mentions.states()
    await browser.go("/mentions?state=declined")
    await press(browser, "/mentions/decide", id=first, do="accept")
    assert (await mentions.states())["accepted"] == 2
    assert browser.page.url.params["state"] == "declined"


async def test_whoever_decided_may_look_at_it_again_and_take_it_back(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    (id,) = await arrive(mentions, bob, reply())
    await browser.go("/mentions")
    await press(browser, "/mentions/decide", id=id, do="decline")
    assert f'href="/mention?id={id}">Look at it again' in browser.page.text
    await browser.go(f"/mention?id={id}")
    assert "declined by a moderator" in browser.text
    await press(browser, "/mentions/decide", do="accept")
    assert browser.page.url.path == "/mention"
    assert (await mentions.states())["accepted"] == 1


async def test_a_mention_that_is_gone_or_was_not_verified_cannot_be_accepted(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    (id,) = await arrive(mentions, bob, "no link")
    await browser.go("/mentions?state=invalid")
    assert not [each for where, each in Forms(browser.page.text).forms if where == "/mentions/decide"]
    await browser.go("/mentions/rules")
    csrf = browser.form("/mentions/rules")["csrf"]
    for given, says in ((id, "It was not verified"), ("a" * 40, "no such mention any more")):
        fields = {"csrf": csrf, "id": given, "do": "accept", "state": "invalid"}
        browser.page = await browser.client.post("/mentions/decide", data=fields)
        assert says in browser.text
    for fields in ({"id": id, "do": "remove"}, {"id": "x", "do": "accept"}):
        answer = await browser.client.post("/mentions/decide", data={"csrf": csrf, **fields})
        assert answer.status_code == 400


async def test_lists_are_paged_and_a_place_that_was_made_up_is_the_first_page(
    browser: Browser, mentions: Webmention, bob: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation, "PAGE", 2)
    await arrive(mentions, bob, *(reply(f"Person {at}") for at in range(5)))
    seen: list[str] = []
    await browser.go("/mentions")
    while True:
        seen += re.findall(r"Person \d(?= replied)", browser.text)
        found = re.search(r'href="([^"]+)">Next page', browser.page.text)
        if found is None:
            break
        await browser.go(unescape(found[1]))
    assert seen == [f"Person {at}" for at in (4, 3, 2, 1, 0)]
    assert "First page" in browser.text
    await browser.go("/mentions?state=nonsense&after=x&was=%3Cb%3E&done=mention-accepted")
    assert "Person 4" in browser.text
    assert "Look at it again" not in browser.text


async def test_what_others_wrote_is_shown_and_never_obeyed(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    evil = "&lt;script&gt;alert(1)&lt;/script&gt;\u202e"
    (id,) = await arrive(
        mentions,
        bob,
        reply(evil, evil, more=f'<p class="p-name">{evil}</p><a class="u-url" href="javascript:x">'),
    )
    for path in ("/mentions", f"/mention?id={id}", f"/mentions/block?id={id}"):
        page = (await browser.go(path)).text
        assert browser.page.status_code == 200
        assert "<script>alert" not in page
        assert "javascript:" not in page


async def test_a_long_text_is_cut_in_the_list_and_whole_on_its_page(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    (id,) = await arrive(mentions, bob, reply(text="word " * 130 + "the end"))
    await browser.go("/mentions")
    assert "the end" not in browser.text
    assert f'href="/mention?id={id}">all of it' in browser.page.text
    await browser.go(f"/mention?id={id}")
    assert "the end" in browser.text


async def test_a_photo_comes_from_here(browser: Browser, mentions: Webmention, bob: Site) -> None:
    photo = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
    bob.answer("/ada.png", Reply(photo, kind="image/png"))
    await arrive(mentions, bob, reply('<img class="u-photo" src="/ada.png" alt="">Ada'))
    await browser.go("/mentions")
    where = re.search(r'<img class="face" src="(/api/photo/[^"]+)"', browser.page.text)
    assert where is not None
    assert (await browser.client.get(where[1])).content == photo


async def test_blocking_asks_first_and_declines_what_is_there(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    (id, _) = await arrive(mentions, bob, reply(), reply("Grace"))
    await browser.go(f"/mentions/block?id={id}")
    assert browser.form("/mentions/rules")["pattern"] == bob.where
    await browser.send("/mentions/rules")
    assert "Blocked. What was there from it is declined." in browser.text
    assert (await mentions.states())["declined"] == 2
    assert [(rule.kind, rule.pattern) for rule in await mentions.rules()] == [("block", bob.where)]


async def test_rules_are_added_listed_and_forgotten(browser: Browser, mentions: Webmention) -> None:
    await browser.go("/mentions/rules")
    assert "No rules yet" in browser.text
    await browser.send("/mentions/rules", kind="accept", pattern=" friend.example ")
    assert re.search(r"Accepted friend\.example", browser.text)
    await browser.send("/mentions/rules", kind="block", pattern="two words")
    assert browser.page.status_code == 400
    assert browser.form("/mentions/rules")["pattern"] == "two words"
    assert (await browser.send("/mentions/rules", kind="burn", pattern="x")).status_code == 400
    await browser.go("/mentions/rules")
    await browser.send("/mentions/rules/remove")
    assert "The rule is forgotten." in browser.text
    assert await mentions.rules() == ()


@pytest.mark.parametrize(
    "path", ["/mention?id=x", f"/mention?id={'a' * 40}", "/mentions/block", "/outbox/mention"]
)
async def test_what_is_not_there_is_a_page_that_says_so(browser: Browser, path: str) -> None:
    assert (await browser.go(path)).status_code == 404
    assert "There is nothing here" in browser.text


# --- the outbox ---


async def send(mentions: Webmention, *targets: str, source: str = POST) -> None:
    await mentions.send(source, " ".join(f'<a href="{each}">x</a>' for each in targets))


async def test_the_outbox_says_what_was_sent_what_waits_and_why(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    await browser.go("/outbox")
    assert "Nothing was sent yet" in browser.text
    bob.page("/take", "thanks", status=202)
    bob.page("/busy", "", status=503)
    sent = bob.page("/sent", '<a rel="webmention" href="/take">')
    none = bob.page("/none", "nothing")
    later = bob.page("/later", '<a rel="webmention" href="/busy">')
    await send(mentions, sent, none, later)
    await browser.go("/outbox")
    assert "Waiting 1 Sent 1 No endpoint 1 Given up 0" in browser.text
    assert "The endpoint answered 503" in browser.text
    assert re.search(r"1 attempt, tried again in \d+", browser.text)
    assert "No endpoint: The page has no <link> and no <a>" in browser.text
    await browser.go("/outbox?status=sent")
    assert f"{bob.where}/sent" in browser.text
    assert f"{bob.where}/none" not in browser.text
    await browser.go("/outbox?status=failed")
    assert "Nothing was given up" in browser.text
    await browser.go(f"/outbox?source={POST}")
    assert browser.page.text.count("<li>") == 3
    for other in ("nothing", f"{SITE}/other"):
        await browser.go(f"/outbox?source={other}")
        assert "Nothing was sent from there" in browser.text


async def test_the_outbox_is_paged(
    browser: Browser, mentions: Webmention, bob: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAGE", 2)
    await send(mentions, *(bob.page(f"/p{at}", "nothing") for at in range(5)))
    seen: list[str] = []
    await browser.go("/outbox?status=not_found&after=x")
    while True:
        seen += re.findall(r"/p(\d) No endpoint", browser.text)
        found = re.search(r'href="([^"]+)">Next page', browser.page.text)
        if found is None:
            break
        assert "status=not_found" in found[1]
        await browser.go(unescape(found[1]))
    assert sorted(seen) == ["0", "1", "2", "3", "4"]


async def test_a_discovery_is_explained_step_by_step_and_nobody_is_told(
    browser: Browser, mentions: Webmention, bob: Site
) -> None:
    target = bob.page("/page", "nothing")
    await send(mentions, target)
    await browser.go(f"/outbox/mention?source={POST}&target={target}")
    assert "none was found" in browser.text
    await browser.send("/outbox/look")
    assert "Link header: there is none." in browser.text
    assert "this page takes no mentions" in browser.text
    bob.page("/page", '<link rel="webmention" href="/take">')
    await browser.send("/outbox/look")
    assert f"It takes mentions at {bob.where}/take" in browser.text
    assert bob.mentions == []


async def test_what_the_guard_refuses_is_explained_too(browser: Browser, mentions: Webmention) -> None:
    await send(mentions, "http://169.254.169.254/secret")
    await browser.go(f"/outbox/mention?source={POST}&target=http://169.254.169.254/secret")
    await browser.send("/outbox/look")
    assert "a metadata service" in browser.text
    assert "could not be looked at" in browser.text


async def test_a_mention_is_tried_again_by_hand(browser: Browser, mentions: Webmention, bob: Site) -> None:
    target = bob.page("/page", "nothing")
    await send(mentions, target)
    bob.page("/page", '<link rel="webmention" href="/take">')
    bob.page("/take", "thanks")
    await browser.go("/outbox")
    await browser.send("/outbox/retry")
    assert "Tried again." in browser.text
    assert bob.mentions == [("/take", POST, target)]
    assert [each.status async for each in mentions.outgoing(POST)] == ["sent"]
    fields = browser.form("/outbox/retry") | {"target": f"{SITE}/never"}
    browser.page = await browser.client.post("/outbox/retry", data=fields)
    assert "no such mention any more" in browser.text


async def test_whoever_retries_a_hanging_page_is_not_kept_waiting(
    browser: Browser, mentions: Webmention, bob: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = bob.page("/page", "nothing")
    await send(mentions, target)
    monkeypatch.setattr(outbox, "PATIENCE", 0.05)

    async def hang(request: Request) -> None:
        await request.writer.wait_closed()

    bob.answer("/page", hang)
    await browser.go("/outbox")
    await browser.send("/outbox/retry")
    assert "Being tried again" in browser.text
    let_go(browser)


@asynccontextmanager
async def own(store: str, bob: Site, site: Site, *, dry: bool = False) -> AsyncIterator[Browser]:
    """The dashboard of a site that runs beside us."""
    settings = Settings(store=store, token=TOKEN, site=site.url(""), dry_outbox=dry)
    async with serving(settings, allow=[bob.where, site.where]) as client:
        browser = Browser(client)
        await browser.sign_in()
        yield browser


@pytest.mark.parametrize("dry", [False, True])
async def test_a_page_of_the_site_is_fetched_and_sent_and_sent_again_when_it_changed_or_is_gone(
    store_url: str, bob: Site, dry: bool
) -> None:
    target = bob.page("/page", '<link rel="webmention" href="/take">')
    bob.page("/take", "thanks")
    async with Lab() as lab:
        site = await lab.site()
        post = site.page("/post", f'<div class="h-entry"><a href="{target}">bob</a></div>')
        told = 0 if dry else 1
        async with own(store_url, bob, site, dry=dry) as browser:
            await browser.go(f"/outbox?source={post}")
            await browser.send("/outbox/send")
            assert "Done: what became of each is below." in browser.text
            assert ("Rehearsed" if dry else "Sent") in browser.text.partition("Given up")[2]
            assert bob.mentions == [("/take", post, target)] * told
            if not dry:
                await browser.send("/outbox/send")
                assert "Nothing in it has changed" in browser.text
            site.page("/post", "gone", status=410)
            await browser.send("/outbox/send")
            assert "which links to it no more" in browser.text
            assert len(bob.mentions) == 2 * told


async def test_whoever_sends_to_a_hanging_endpoint_is_not_kept_waiting(
    store_url: str, bob: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(request: Request) -> None:
        await request.writer.wait_closed()

    monkeypatch.setattr(outbox, "PATIENCE", 0.05)
    target = bob.page("/page", '<link rel="webmention" href="/take">')
    bob.answer("/take", hang)
    async with Lab() as lab:
        site = await lab.site()
        post = site.page("/post", f'<a href="{target}">bob</a>')
        async with own(store_url, bob, site) as browser:
            await browser.go(f"/outbox?source={post}")
            await browser.send("/outbox/send")
            assert "They are being told" in browser.text
            let_go(browser)


async def test_a_page_that_cannot_be_sent_says_why_and_is_still_in_the_field(
    store_url: str, bob: Site
) -> None:
    async with Lab() as lab:
        site = await lab.site()
        image = site.page("/image", "x", kind="image/png")
        lonely = site.page("/lonely", "<p>no links")
        async with own(store_url, bob, site) as browser:
            for source, says in (
                (bob.url("/page"), "Only pages of"),
                (image, "answered 200 with image/png, and no page"),
                (site.url("/missing"), "answered 404"),
                ("http://[", "nvalid"),
            ):
                await browser.go(f"/outbox?source={source}")
                await browser.send("/outbox/send")
                assert browser.page.status_code == 400
                assert says in browser.text
                assert browser.form("/outbox/send")["source"] == source
            await browser.go(f"/outbox?source={lonely}")
            await browser.send("/outbox/send")
            assert "It links to nobody else." in browser.text


async def test_a_rehearsal_shows_what_would_have_been_sent_and_tells_nobody(
    store_url: str, bob: Site
) -> None:
    target = bob.page("/page", '<link rel="webmention" href="/take">')
    async with browsing(store_url, bob, dry=True) as browser:
        await send(of(browser), target)
        await browser.go("/outbox")
        assert "This is a rehearsal." in browser.text
        assert f"It would have been sent to {bob.where}/take" in browser.text
        await browser.go(f"/outbox/mention?source={POST}&target={target}")
        assert "It would have been sent; this was a rehearsal." in browser.text
        assert bob.mentions == []


async def test_the_outbox_in_earnest_says_nothing_of_rehearsals(browser: Browser) -> None:
    await browser.go("/outbox")
    assert "rehearsal" not in browser.text
