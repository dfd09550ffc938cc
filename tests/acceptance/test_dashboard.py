"""The dashboard in a real Chromium, against a real server: at a desk's and at a phone's width, light and dark."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.acceptance.served import TOKEN, Served

from holdfast.testing.servers import RedisServer, ServerMissing

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
# The contrast of every visible text with what is painted behind it, where that is under what WCAG AA asks.
CONTRAST = """
() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim();
    const element = walk.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest(".away, .skip, script")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${text.slice(0, 30)}`);
  }
  return poor;
}
"""


class Watched:
    """A page of which nothing is overlooked: what the console says, what the policy refused, what sticks out."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.add_init_script(WATCH)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium notes every answer from 400 on; those that a form is answered with are meant.
        expected = re.fullmatch(
            r"Failed to load resource: .* status of (400|401|404|409) \(.*\)", message.text
        )
        if message.type in ("error", "warning") and expected is None:
            self.complaints.append(message.text)

    def _failed(self, request: Request) -> None:
        # Whoever leaves a page gives up what it was still fetching: its icon, its poll.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def _asked(self, url: str) -> None:
        if not url.startswith(self.url):
            self.complaints.append(f"asked {url}")

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def sign_in(self) -> None:
        self.go("/")
        self.page.get_by_label("Admin token").fill(TOKEN)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_text("The store answers")).to_be_visible()

    def look(self) -> None:
        """What must hold of every page, whatever is on it."""
        wide = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{self.page.url} is {wide} px too wide"
        assert self.page.evaluate(CONTRAST) == []
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("no Chromium on the path", pytrace=False)
        pytest.skip("no Chromium on the path")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


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
