"""The dashboard in a real Chromium, against a real server: at a desk's and at a phone's width, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.acceptance.served import TOKEN, Served

from holdfast.testing.servers import RedisServer, ServerMissing

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, expect  # noqa: E402
from tests.acceptance.watched import Watched, launched  # noqa: E402

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(f"sqlite:///{tmp_path}/store.db", tmp_path) as server:
        yield server


LOOKS = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def seen(request: pytest.FixtureRequest, chromium: Browser, served: Served) -> Iterator[Watched]:
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(15_000)
    yield Watched(context.new_page(), served.url)
    context.close()


@pytest.fixture
def desk(chromium: Browser, served: Served) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    yield Watched(context.new_page(), served.url)
    context.close()


def test_a_value_lives_its_whole_life_in_the_dashboard(seen: Watched, served: Served) -> None:
    page = seen.page
    seen.go("/")
    seen.look()
    page.get_by_label("Admin token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    seen.look()
    seen.sign_in()
    seen.look()

    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    seen.look()
    page.get_by_role("link", name="New value").first.click()
    page.get_by_label("Key", exact=True).fill("user:1/ü")
    page.get_by_label("Value").fill('{"name": "Ada"')
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
    seen.look()
    page.get_by_label("Value").fill('{"name": "Ada", "born": 1815, "tags": [true, null]}')
    page.get_by_label("How long").fill("2")
    page.get_by_label("Unit").select_option("hours")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_have_text("Created.")
    expect(page.locator("dd[data-ttl]")).to_contain_text("1 h 59 min")
    expect(page.locator("pre.value")).to_contain_text('"born": 1815')
    seen.look()

    page.get_by_role("link", name="Edit").click()
    seen.look()
    with served.client() as client:
        client.put(f"/persist/{quote('user:1/ü')}", json={"name": "Ada King"})
    page.get_by_label("Value").fill('{"name": "Countess"}')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "Somebody else changed this value while you were editing."
    )
    expect(page.locator("pre.value")).to_contain_text("Ada King")
    expect(page.get_by_label("Yours, not saved")).to_have_value('{"name": "Countess"}')
    seen.look()
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.get_by_role("status")).to_have_text("Saved.")
    with served.client() as client:
        assert client.get(f"/persist/{quote('user:1/ü')}").json() == {"name": "Countess"}

    page.get_by_role("link", name="Remove").click()
    expect(page.get_by_role("link", name="Keep it")).to_be_focused()
    seen.look()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("status")).to_have_text("Removed.")
    seen.look()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")


def test_a_full_store_is_listed_narrowed_and_paged(seen: Watched, served: Served) -> None:
    with served.client() as client:
        for n in range(60):
            client.put(
                f"/persist/session:{n:02}?expires={60 + n}", json={"user": n, "roles": ["reader"] * 20}
            )
        client.put("/persist/" + "a/very/long/key/" * 20, json="x" * 5000)
        client.put("/persist/%20odd%0A%E2%80%AEkey", content=b"null")
    page = seen.page
    seen.sign_in()
    seen.go("/keys")
    expect(page.locator("tbody tr")).to_have_count(50)
    seen.look()
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(12)
    seen.look()
    page.get_by_label("Keys that start with").fill("session:5")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(10)
    page.get_by_label("Keys that start with").fill("none")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading")).to_contain_text(["No key starts with none"])
    seen.look()
    seen.go("/keys?prefix=%20odd")
    page.locator("tbody a").click()
    expect(page.locator("h1")).to_have_text("␣odd\\n\\u202ekey")
    seen.look()
    seen.go("/value?key=" + quote("a/very/long/key/" * 20, safe=""))
    seen.look()
    seen.go("/value?key=nobody")
    expect(page.get_by_role("heading", name="Nothing is stored under this key")).to_be_visible()
    seen.look()
    seen.go("/nowhere")
    seen.look()


def test_everything_is_done_by_keyboard(desk: Watched, served: Served) -> None:
    page = desk.page
    desk.sign_in()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    desk.go("/keys")
    page.keyboard.press("/")
    expect(page.get_by_label("Keys that start with")).to_be_focused()
    page.keyboard.type("n/")  # letters in a field are letters
    expect(page.get_by_label("Keys that start with")).to_have_value("n/")
    desk.go("/keys")
    page.keyboard.press("n")
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type("by-keyboard")
    page.keyboard.press("Tab")
    page.keyboard.type("[1]")
    page.keyboard.press("Control+s")
    expect(page.get_by_role("status")).to_have_text("Created.")
    page.keyboard.press("e")
    expect(page.get_by_label("Value")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("[2]")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_have_text("Saved.")
    with served.client() as client:
        assert client.get("/persist/by-keyboard").json() == [2]
    desk.look()


def test_it_works_without_javascript(chromium: Browser, served: Served) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 800}, java_script_enabled=False)
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.goto(served.url + "/")
    page.get_by_label("Admin token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The store answers")).to_be_visible()
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("link", name="New value").first.click()
    page.get_by_label("Key", exact=True).fill("plain")
    page.get_by_label("Value").fill("1")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Value").fill("2")
    page.get_by_label("After").check()
    page.get_by_label("How long").fill("5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Saved.")
    with served.client() as client:
        got = client.get("/persist/plain")
        assert got.json() == 2
        assert 0 < float(got.headers["expires-in"]) <= 300
    page.get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("status")).to_have_text("Removed.")
    context.close()


def test_the_figures_move_by_themselves(desk: Watched, served: Served) -> None:
    page = desk.page
    desk.sign_in()
    before = page.locator(".spark .line").get_attribute("d")
    with served.client() as client:
        for n in range(200):
            client.put("/persist/busy", json=n)
    expect(page.locator(".spark .line")).not_to_have_attribute("d", before or "")
    expect(page.locator("[data-live=writes]")).not_to_have_text("0")
    desk.look()


def test_a_life_runs_out_before_ones_eyes(desk: Watched, served: Served) -> None:
    with served.client() as client:
        client.put("/persist/brief?expires=3", json=1)
    desk.sign_in()
    desk.go("/value?key=brief")
    expect(desk.page.locator("dd[data-ttl]")).to_have_text("expired")
    expect(desk.page.get_by_text("This value has expired since you opened the page.")).to_be_visible()
    desk.look()


def test_leaving_unsaved_work_asks_first_and_saving_does_not(desk: Watched) -> None:
    page = desk.page
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    desk.sign_in()
    desk.go("/new?key=k")
    page.get_by_label("Value").fill("[1, 2")
    expect(page.locator("#check")).to_contain_text("Not JSON yet")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_label("Value")).to_have_value("[1, 2")
    assert asked == ["beforeunload"]
    page.get_by_label("Value").fill("[1, 2]")
    expect(page.locator("#check")).to_be_empty()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_have_text("Created.")
    assert asked == ["beforeunload"]


def test_a_session_that_ended_is_said_so_where_figures_are_watched(desk: Watched, chromium: Browser) -> None:
    desk.sign_in()
    desk.page.context.clear_cookies()
    expect(desk.page.locator("#state")).to_contain_text("Your session has ended. Sign in")
    desk.page.locator("#state a").click()
    expect(desk.page.get_by_label("Admin token")).to_be_focused()


def test_a_store_that_goes_and_comes_back_is_shown_without_a_reload(
    chromium: Browser, tmp_path: Path
) -> None:
    try:
        redis = RedisServer().start()
    except ServerMissing as exc:
        pytest.skip(str(exc))
    context = chromium.new_context(color_scheme="dark")
    with redis, Served(redis.url, tmp_path) as served:
        desk = Watched(context.new_page(), served.url)
        desk.sign_in()
        redis.pause()
        expect(desk.page.locator("#state")).to_have_text("The store does not answer", timeout=30_000)
        redis.resume()
        expect(desk.page.locator("#state")).to_have_text("The store answers", timeout=30_000)
    context.close()
