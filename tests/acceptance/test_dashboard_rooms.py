"""Rooms and connections in the dashboard, in a real Chromium: at a desk's and at a phone's width, light and dark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.served import Served

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, expect  # noqa: E402
from tests.acceptance.watched import Watched, launched  # noqa: E402

pytestmark = pytest.mark.browser

LOOKS = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(f"sqlite:///{tmp_path}/store.db", tmp_path, "--chat") as server:
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


@pytest.fixture
def guest(chromium: Browser, served: Served) -> Iterator[Watched]:
    """Somebody in the chat, at another computer."""
    yield from opened(chromium, served, viewport={"width": 1280, "height": 800})


def test_a_message_lives_its_whole_life_in_the_dashboard(seen: Watched) -> None:
    page = seen.page
    seen.sign_in()
    seen.look()
    page.get_by_role("link", name="Rooms", exact=True).click()
    expect(page.get_by_role("heading", name="Nothing was said yet")).to_be_visible()
    seen.look()
    page.get_by_role("link", name="New message").first.click()
    page.get_by_label("Topic").fill(
        "room:a very long name of a room that goes on and on, beyond the width of a phone"
    )
    page.get_by_label("Event").fill("said")
    page.get_by_label("Payload").fill('{"n": ')
    expect(page.locator("#check")).to_contain_text("Not JSON yet")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
    seen.look()
    page.get_by_label("Payload").fill(
        json.dumps({"n": 1, "text": "<b>" + "long " * 60, "list": [True, None]})
    )
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_have_text("Sent.")
    expect(page.locator(".log pre")).to_contain_text('"n": 1')
    seen.look()

    page.get_by_role("link", name="Edit message").click()
    seen.look()
    page.get_by_label("Payload").fill('{"n": 2}')
    page.keyboard.press("Control+s")
    expect(page.get_by_role("status")).to_have_text("Changed.")
    expect(page.get_by_text("edited", exact=True)).to_be_visible()
    seen.look()
    page.get_by_role("link", name="Rooms", exact=True).first.click()
    seen.look()
    page.get_by_role("link", name="room:a very long").click()

    page.get_by_role("link", name="Remove message").click()
    expect(page.get_by_role("link", name="Keep it")).to_be_focused()
    seen.look()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("status")).to_contain_text("Removed.")
    page.get_by_role("link", name="Forget history").click()
    expect(page.get_by_role("link", name="Keep it")).to_be_focused()
    seen.look()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_role("status")).to_have_text("The history is forgotten.")
    seen.look()


def test_who_is_in_the_chat_is_seen_read_and_sent_away_and_comes_back(seen: Watched, guest: Watched) -> None:
    guest.go("/chat/lobby")
    guest.page.get_by_label("What shall the others call you?").fill("Ada")
    guest.page.keyboard.press("Enter")
    guest.page.get_by_label("Message", exact=True).fill("hello from the chat")
    guest.page.keyboard.press("Enter")
    expect(guest.page.get_by_text("hello from the chat")).to_be_visible()

    page = seen.page
    seen.sign_in()
    figures = page.locator("#live")
    expect(figures.locator("[data-live=connections]")).to_have_text("1")
    expect(figures.locator("[data-live=said]")).not_to_have_text("–")  # the script looked again
    seen.look()
    seen.go("/rooms")
    seen.look()
    page.get_by_role("link", name="chat_room:lobby").click()
    expect(page.locator(".log pre")).to_contain_text("hello from the chat")
    seen.look()
    page.get_by_role("link", name="New message").click()
    page.get_by_label("Payload").fill('{"name": "Operator", "message": "we close at ten"}')
    page.get_by_role("button", name="Send").click()
    expect(guest.page.get_by_text("we close at ten")).to_be_visible()

    page.get_by_role("link", name="Connections").click()
    close = page.get_by_role("button", name="Close connection")
    expect(close).to_have_count(1)
    before = close.get_attribute("aria-label")
    seen.look()
    close.click()
    expect(page.get_by_role("status")).to_contain_text("Closed.")
    for _ in range(50):
        seen.go("/connections")
        if close.count() and close.get_attribute("aria-label") != before:
            break
    assert close.get_attribute("aria-label") != before
    expect(guest.page.get_by_text("we close at ten")).to_have_count(1)


def test_everything_works_without_a_script(chromium: Browser, served: Served) -> None:
    for seen in opened(chromium, served, java_script_enabled=False, viewport={"width": 360, "height": 800}):
        page = seen.page
        seen.sign_in()
        seen.go("/room/new?topic=room:a")
        page.get_by_label("Event").fill("said")
        page.get_by_label("Payload").fill('{"n": 1}')
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("status")).to_have_text("Sent.")
        page.get_by_role("link", name="Remove message").click()
        page.get_by_role("button", name="Remove it").click()
        expect(page.get_by_role("status")).to_contain_text("Removed.")
        page.get_by_role("link", name="Connections").click()
        expect(page.get_by_role("heading", name="Nobody is connected")).to_be_visible()


def test_rooms_are_reached_and_written_to_by_keyboard(desk: Watched) -> None:
    desk.sign_in()
    desk.go("/rooms")
    page = desk.page
    page.keyboard.press("n")
    expect(page.get_by_label("Topic")).to_be_focused()
    page.keyboard.type("room:a")
    page.keyboard.press("Tab")
    page.keyboard.type("said")
    page.keyboard.press("Tab")
    page.keyboard.type('{"n": 1}')
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_have_text("Sent.")
    desk.go("/rooms")
    page.keyboard.press("/")
    page.keyboard.type("room:")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="room:a")).to_be_visible()
    desk.look()
