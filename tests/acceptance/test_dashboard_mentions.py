"""Moderation and outbox in the dashboard, in a real Chromium: at a desk's and at a phone's width, light and dark."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.acceptance.neighbour import Neighbour
from tests.acceptance.served import Served

from holdfast.errors import FetchFailed
from holdfast.webmention import Page, Webmention

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, expect  # noqa: E402
from tests.acceptance.watched import Watched, launched  # noqa: E402

pytestmark = pytest.mark.browser

LOOKS = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
SITE = "https://alice.example"
POST = f"{SITE}/2026/a-post-with-quite-a-long-name-that-goes-on-and-on-beyond-the-width-of-a-phone"
PHOTO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def bob() -> Iterator[Neighbour]:
    with Neighbour() as neighbour:
        neighbour.page("/ada.png", PHOTO, "image/png")
        yield neighbour


@contextmanager
def serving(folder: Path, bob: Neighbour, *options: str) -> Iterator[Served]:
    mentions = ("--site", SITE, "--accept", "none", "--webmention-allow", bob.where)
    with Served(f"sqlite:///{folder}/store.db", folder, "--chat", *mentions, *options) as server:
        yield server


@pytest.fixture
def served(tmp_path: Path, bob: Neighbour) -> Iterator[Served]:
    with serving(tmp_path, bob) as server:
        yield server


def opened(chromium: Browser, served: Served, **settings: object) -> Iterator[Watched]:
    context = chromium.new_context(**settings)  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    yield Watched(context.new_page(), served.url)
    context.close()


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def seen(request: pytest.FixtureRequest, chromium: Browser, served: Served) -> Iterator[Watched]:
    width, scheme = request.param
    yield from opened(chromium, served, viewport={"width": width, "height": 800}, color_scheme=scheme)


@pytest.fixture
def desk(chromium: Browser, served: Served) -> Iterator[Watched]:
    yield from opened(chromium, served, viewport={"width": 1280, "height": 800})


def reply(name: str, text: str) -> str:
    return (
        f'<div class="h-entry"><div class="p-author h-card"><img class="u-photo" src="/ada.png" alt="">'
        f'<a class="u-url p-name" href="/{name}">{name}</a></div><p class="e-content">{text}</p>'
        f'<a class="u-in-reply-to" href="{POST}">about</a></div>'
    )


def tell(served: Served, source: str, expected: str) -> None:
    """Send a mention as anybody does, and wait for what becomes of it."""
    with httpx.Client(timeout=30) as client:
        answer = client.post(f"{served.url}/webmention", data={"source": source, "target": POST})
        assert answer.status_code == 201
        end = time.monotonic() + 30
        while time.monotonic() < end:
            state = client.get(answer.headers["location"]).json()["state"]
            if state == expected:
                return
    raise AssertionError(f"{source} is {state}, and not {expected}")


class Away:
    """A web that is out of reach for now."""

    async def get(self, url: str, **how: object) -> Page:
        raise FetchFailed("no network just now")

    async def post(self, url: str, fields: object, **how: object) -> Page:
        raise FetchFailed("no network just now")


def send(served: Served, *targets: str) -> None:
    """Put a post's mentions into the store's outbox, where they wait."""

    async def sending() -> None:
        store = f"sqlite:///{served.folder}/store.db"
        async with Webmention(store, site=SITE, web=Away(), background=False) as mentions:
            await mentions.send(POST, " ".join(f'<a href="{each}">x</a>' for each in targets))

    with ThreadPoolExecutor(1) as thread:  # Playwright has the loop of this one
        thread.submit(asyncio.run, sending()).result()


def test_a_mention_arrives_is_accepted_is_shown_and_goes_when_its_link_does(
    seen: Watched, served: Served, bob: Neighbour
) -> None:
    page = seen.page
    seen.sign_in()
    seen.look()
    page.get_by_role("link", name="Mentions", exact=True).click()
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    seen.look()
    source = bob.page("/ada/1", reply("Ada", "I agree. " + "longwordwithoutanyspace" * 12 + " more" * 200))
    tell(served, source, "pending")
    page.reload()
    card = page.locator("[data-mention]")
    expect(card).to_contain_text("Ada")
    expect(card).to_contain_text("I agree.")
    face = card.locator("img.face")
    assert face.evaluate("image => image.complete && image.naturalWidth") == 1
    card.locator("summary").click()
    expect(card.get_by_text("queued to be verified")).to_be_visible()
    seen.look()

    page.get_by_role("button", name="Accept the mention by Ada").click()
    expect(page.get_by_role("status")).to_contain_text("Accepted.")
    seen.look()
    page.get_by_role("link", name="Look at it again").click()
    expect(page.get_by_text("accepted by a moderator")).to_be_visible()
    seen.look()
    count = f"{served.url}/api/count"
    assert httpx.get(count, params={"target": POST}).json()["count"] == 1
    bob.page("/ada/1", "it was here")
    tell(served, source, "gone")
    assert httpx.get(count, params={"target": POST}).json()["count"] == 0
    seen.go("/mentions?state=gone")
    expect(page.locator("[data-mention]")).to_contain_text("Ada")
    seen.look()


def test_a_domain_is_blocked_from_a_mention_and_the_rule_is_forgotten_again(
    seen: Watched, served: Served, bob: Neighbour
) -> None:
    page = seen.page
    tell(served, bob.page("/spam", reply("Mallory", "Buy this")), "pending")
    seen.sign_in()
    seen.go("/mentions")
    page.get_by_role("link", name="Block").click()
    expect(page.get_by_label("A domain with all below it")).to_be_focused()
    seen.look()
    page.get_by_role("button", name="Block it").click()
    expect(page.get_by_role("status")).to_contain_text("Blocked.")
    seen.look()
    page.get_by_role("link", name="Mentions").first.click()
    page.get_by_role("link", name="Declined 1").click()
    expect(page.locator("[data-mention]")).to_contain_text("Mallory")
    seen.look()
    page.get_by_role("link", name="Rules").click()
    page.get_by_label("A domain with all below it").fill("two words")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_be_visible()
    seen.look()
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_role("heading", name="No rules yet")).to_be_visible()
    seen.look()


def test_moderation_is_done_by_keyboard_alone(desk: Watched, served: Served, bob: Neighbour) -> None:
    for at, name in enumerate(("Ada", "Barbara", "Grace", "Mallory")):
        tell(served, bob.page(f"/{at}", reply(name, f"Says {name}")), "pending")
    desk.sign_in()
    desk.go("/mentions")
    page = desk.page
    cards = page.locator("[data-mention]")
    page.keyboard.press("j")
    expect(cards.nth(0)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(cards.nth(0)).to_be_focused()
    expect(cards.nth(0)).to_contain_text("Mallory")
    page.keyboard.press("d")
    expect(page.get_by_role("status")).to_contain_text("Declined.")
    expect(cards).to_have_count(3)
    expect(cards.nth(0)).to_be_focused()  # and on with the next
    page.keyboard.press("j")
    expect(cards.nth(1)).to_contain_text("Barbara")
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("Accepted.")
    expect(cards).to_have_count(2)
    expect(cards.nth(1)).to_be_focused()
    expect(cards.nth(1)).to_contain_text("Ada")
    desk.look()
    page.keyboard.press("b")
    expect(page.get_by_role("heading", name="Block where this came from?")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Blocked.")
    desk.look()


def test_a_letter_typed_into_a_field_decides_nothing(desk: Watched, served: Served, bob: Neighbour) -> None:
    tell(served, bob.page("/1", reply("Ada", "Hello")), "pending")
    desk.sign_in()
    desk.go("/mentions")
    desk.page.locator("[data-mention]").focus()
    desk.page.keyboard.press("Control+d")
    desk.page.keyboard.press("Alt+a")
    desk.go("/mentions/rules")
    desk.page.keyboard.press("n")
    desk.page.keyboard.type("bad.example")
    expect(desk.page.get_by_label("A domain with all below it")).to_have_value("bad.example")
    desk.go("/mentions")
    expect(desk.page.locator("[data-mention]")).to_have_count(1)
    desk.look()


def test_the_outbox_explains_what_waits_and_a_retry_by_hand_sends_it(
    seen: Watched, served: Served, bob: Neighbour
) -> None:
    page = seen.page
    target = bob.page("/a-page-with-a-long-name-" + "x" * 60, '<a rel="webmention" href="/take">')
    send(served, target, bob.page("/silent", "nothing"))
    seen.sign_in()
    page.get_by_role("link", name="Outbox", exact=True).click()
    expect(page.get_by_text("no network just now").first).to_be_visible()
    seen.look()
    page.get_by_role("link", name=f"All about the mention of {target}").click()
    seen.look()
    page.get_by_role("button", name="Look for it").click()
    expect(page.get_by_role("status")).to_contain_text("It takes mentions at")
    seen.look()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("status")).to_have_text("Tried again.")
    expect(page.locator(".level")).to_have_text("Sent")
    assert bob.told == [{"source": POST, "target": target}]
    seen.look()
    seen.go("/outbox?status=sent")
    expect(page.locator(".sending > li")).to_have_count(1)
    seen.look()


def test_a_rehearsal_shows_what_would_have_been_sent_and_nothing_leaves(
    chromium: Browser, tmp_path: Path, bob: Neighbour
) -> None:
    target = bob.page("/page", '<a rel="webmention" href="/take">')
    with serving(tmp_path, bob, "--dry-outbox") as served:
        assert "a rehearsal: nobody is told" in served.said
        send(served, target)
        for seen in opened(chromium, served, viewport={"width": 360, "height": 800}):
            seen.sign_in()
            seen.go("/outbox")
            expect(seen.page.get_by_text("This is a rehearsal.")).to_be_visible()
            seen.look()
            seen.page.get_by_role("button", name="Try again").click()
            expect(seen.page.locator(".level")).to_have_text("Rehearsed")
            expect(seen.page.get_by_text("It would have been sent")).to_be_visible()
            seen.look()
            seen.go("/outbox")
            expect(seen.page.get_by_text(f"It would have been sent to {bob.where}/take")).to_be_visible()
            seen.look()
    assert bob.told == []


def test_everything_works_without_a_script(chromium: Browser, served: Served, bob: Neighbour) -> None:
    tell(served, bob.page("/1", reply("Ada", "Hello")), "pending")
    for seen in opened(chromium, served, java_script_enabled=False, viewport={"width": 360, "height": 800}):
        page = seen.page
        seen.sign_in()
        seen.go("/mentions")
        page.get_by_role("button", name="Decline the mention by Ada").click()
        expect(page.get_by_role("status")).to_contain_text("Declined.")
        page.get_by_role("link", name="Look at it again").click()
        page.get_by_role("button", name="Accept the mention by Ada").click()
        expect(page.get_by_role("status")).to_contain_text("Accepted.")
