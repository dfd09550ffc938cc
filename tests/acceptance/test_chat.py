"""The chat in a real Chromium, against a real server: two windows that talk, at a desk and on a phone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from tests.acceptance.served import Served

from holdfast.channels import AnyTopic, Channels

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect  # noqa: E402
from tests.acceptance.watched import Watched, launched  # noqa: E402

pytestmark = pytest.mark.browser

LOBBY = "chat_room:lobby"
GONE = r"WebSocket connection to 'ws://\S+' failed|ERR_CONNECTION_REFUSED"
"""What Chromium says of a server that is away."""
TALK = """
(who) => {
  const form = document.getElementById("say");
  let said = 0;
  let timer = 0;
  const say = () => {
    document.getElementById("message").value = `${who} ${said++}`;
    form.requestSubmit();
    // Slower while nobody listens, so that a slow start of the server is no test of how much a page can hold.
    timer = setTimeout(say, document.getElementById("room").dataset.state === "live" ? 30 : 150);
  };
  window.stopTalking = () => { clearTimeout(timer); return said; };
  say();
}
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def served(store: str, tmp_path: Path) -> Iterator[Served]:
    with Served(store, tmp_path, "--chat") as server:
        yield server


class Person(Watched):
    """A window, and who sits before it."""

    def __init__(self, page: Page, url: str, name: str, **more: Any) -> None:
        super().__init__(page, url, **more)
        self.name = name
        self.messages = page.get_by_role("log").locator("li.message")
        self.texts = self.messages.locator(".text")
        self.field = page.get_by_label("Message", exact=True)
        self.state = page.locator("#state")

    def enter(self, room: str = "lobby") -> Person:
        self.go(f"/chat/{quote(room, safe='')}")
        self.page.get_by_label("What shall the others call you?").fill(self.name)
        self.page.keyboard.press("Enter")
        expect(self.state).to_have_text("Live")
        return self

    def say(self, text: str) -> None:
        self.field.fill(text)
        self.field.press("Enter")

    def message(self, text: str) -> Locator:
        return self.messages.filter(has_text=text)


class Windows:
    """Opens windows of browsers that know nothing of each other, and closes them all."""

    def __init__(self, chromium: Browser) -> None:
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []

    def open(self, url: str, name: str, width: int = 1280, scheme: Any = "light", **more: Any) -> Person:
        context = self._chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        return Person(context.new_page(), url, name, **more)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def windows(chromium: Browser) -> Iterator[Windows]:
    opened = Windows(chromium)
    yield opened
    opened.close()


def beside(store: str, work: Callable[[Channels], Awaitable[Any]]) -> Any:
    """Do something with the store's rooms from another process's place: a loop in a thread of its own."""

    async def run() -> Any:
        async with Channels(store, [AnyTopic]) as channels:
            return await work(channels)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def filled(store: str, count: int, topic: str = LOBBY) -> None:
    async def fill(channels: Channels) -> None:
        for number in range(count):
            await channels.publish(topic, "new_message", {"name": "Ada", "message": f"number {number}"})

    beside(store, fill)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")],
    ids=["1280-light", "1280-dark", "360-light", "360-dark"],
)
def test_two_windows_talk(windows: Windows, served: Served, width: int, scheme: str) -> None:
    ada = windows.open(served.url, "Ada", width, scheme)
    ada.go("/chat")
    ada.look()
    ada.page.get_by_label("Name of a room").fill("  lobby ")
    ada.page.keyboard.press("Enter")
    expect(ada.state).to_have_text("Live")
    ada.look()
    ada.page.get_by_label("What shall the others call you?").fill("Ada")
    ada.page.get_by_role("button", name="Take this name").click()
    grace = windows.open(served.url, "Grace").enter()
    for window, other in ((ada, "Grace"), (grace, "Ada")):
        expect(window.page.locator("#here")).to_have_text("2 here")
        expect(window.page.locator("#people li")).to_have_text([f"{window.name} you", other])

    grace.field.press_sequentially("He")
    expect(ada.page.locator("#typing")).to_have_text("Grace is typing…")
    expect(grace.page.locator("#typing")).to_be_empty()
    ada.look()
    grace.field.press_sequentially("llo, see https://example.com/a_(b)?c=1, or `code`")
    grace.field.press("Enter")
    expect(ada.texts).to_have_text(["Hello, see https://example.com/a_(b)?c=1, or code"])
    expect(ada.page.locator("#typing")).to_be_empty()
    ada.say("First line\n```python\nasync def main() -> None: ...\n```\nlast")
    expect(grace.texts.nth(1)).to_contain_text("async def main() -> None: ...")
    ada.say("x" * 300)
    expect(grace.texts.nth(2)).to_have_text("x" * 300)
    ada.look()
    grace.look()

    own = ada.message("First line")
    own.hover()
    own.get_by_role("button", name="Edit").click()
    ada.look()
    ada.page.get_by_label("Your message").fill("Rewritten")
    ada.page.get_by_role("button", name="Save").click()
    for window in (ada, grace):
        expect(window.message("Rewritten").locator(".mark")).to_have_text("edited")
        expect(window.messages).to_have_count(3)
    expect(ada.field).to_be_focused()
    expect(grace.message("Rewritten").get_by_role("button")).to_have_count(0)
    own = ada.message("xxx")
    own.hover()
    own.get_by_role("button", name="Remove").click()
    expect(own.get_by_role("button", name="Keep")).to_be_focused()
    ada.look()
    own.get_by_role("button", name="Remove for good").click()
    for window in (ada, grace):
        expect(window.messages).to_have_count(2)

    ada.page.get_by_role("button", name="Another name").click()
    ada.look()
    ada.page.get_by_label("What shall the others call you?").fill("Countess")
    ada.page.keyboard.press("Enter")
    expect(grace.page.locator("#people li")).to_have_text(["Grace you", "Countess"])
    grace.page.close()
    expect(ada.page.locator("#here")).to_have_text("1 here")
    ada.look()
    ada.go("/chat")
    expect(ada.page.get_by_role("listitem")).to_contain_text(["lobby"])
    ada.look()


def test_whoever_reloads_sees_the_history_and_is_still_its_author(windows: Windows, served: Served) -> None:
    ada = windows.open(served.url, "Ada").enter()
    for number in range(12):
        ada.say(f"number {number}")
    expect(ada.messages).to_have_count(12)
    frames: list[str] = []
    ada.page.on("websocket", lambda socket: socket.on("framereceived", lambda text: frames.append(str(text))))
    ada.page.reload()
    expect(ada.messages).to_have_count(12)  # ten by the join, two by scrolling up
    expect(ada.texts).to_have_text([f"number {number}" for number in range(12)])
    state = next(at for at, text in enumerate(frames) if '"presence_state"' in text)
    replayed = [text for text in frames[:state] if '"new_message"' in text]
    assert len(replayed) == 10
    assert "number 2" in replayed[0]
    assert "number 11" in replayed[-1]
    expect(ada.page.locator("#as")).to_have_text("Ada")
    expect(ada.message("number 11").get_by_role("button", name="Edit")).to_have_count(1)
    ada.look()


def test_two_windows_of_one_browser_are_one_person(windows: Windows, served: Served) -> None:
    ada = windows.open(served.url, "Ada").enter()
    ada.say("Hello")
    also = Person(ada.page.context.new_page(), served.url, "Ada")
    also.go("/chat/lobby")
    expect(also.state).to_have_text("Live")
    expect(also.page.locator("#people li")).to_have_text(["Ada you"])
    also.field.press_sequentially("typing")
    also.field.press("Enter")
    expect(ada.message("typing")).to_have_count(1)
    expect(ada.page.locator("#typing")).to_be_empty()
    also.message("Hello").hover()
    also.message("Hello").get_by_role("button", name="Remove").click()
    also.page.get_by_role("button", name="Remove for good").click()
    expect(ada.texts).to_have_text(["typing"])


def test_scrolling_up_brings_the_whole_history_and_nothing_jumps(
    windows: Windows, served: Served, store: str
) -> None:
    filled(store, 120)
    ada = windows.open(served.url, "Ada", 360).enter()
    log = ada.page.locator("#log")
    expect(ada.texts.last).to_have_text("number 119")
    expect(ada.messages.last).to_be_in_viewport()
    before = 0
    while (count := ada.messages.count()) < 120:
        assert count > before, "nothing more came"
        before = count
        first = ada.texts.first.inner_text()
        # Up to where the next page is fetched; what is in sight then must stay where it is.
        seen = log.evaluate(
            """(log, text) => {
              const message = [...log.querySelectorAll(".message")].find((each) => each.textContent.endsWith(text));
              log.scrollTop = 150;
              return message.getBoundingClientRect().top;
            }""",
            first,
        )
        expect(ada.messages).not_to_have_count(count)
        now = log.evaluate(
            """(log, text) => [...log.querySelectorAll(".message")]
                 .find((each) => each.textContent.endsWith(text)).getBoundingClientRect().top""",
            first,
        )
        assert abs(now - seen) < 40, (
            f"{first} jumped from {seen} to {now}"
        )  # at most a day's line came above it
    expect(ada.texts).to_have_text([f"number {number}" for number in range(120)])
    log.evaluate("log => { log.scrollTop = 0 }")
    expect(ada.page.get_by_role("button", name="This is where the room begins.")).to_be_visible()
    ada.look()


def test_what_comes_while_one_reads_above_is_marked_and_counted(
    windows: Windows, served: Served, store: str
) -> None:
    filled(store, 60)
    ada = windows.open(served.url, "Ada", scheme="dark").enter()
    grace = windows.open(served.url, "Grace").enter()
    log = ada.page.locator("#log")
    log.evaluate("log => { log.scrollTop = log.scrollHeight - log.clientHeight - 300 }")
    top = log.evaluate("log => log.scrollTop")
    grace.say("one")
    expect(ada.page.get_by_role("button", name="1 new message")).to_be_visible()
    grace.say("two")
    button = ada.page.get_by_role("button", name="2 new messages")
    expect(button).to_be_visible()
    expect(ada.page).to_have_title("(2) lobby · Holdfast")
    assert log.evaluate("log => log.scrollTop") == top
    ada.look()
    button.click()
    expect(button).to_be_hidden()
    expect(ada.page).to_have_title("lobby · Holdfast")
    expect(ada.message("two")).to_be_in_viewport()
    expect(ada.page.locator("li.divider.unread + li")).to_contain_text("one")
    ada.look()
    ada.say("seen")
    expect(ada.page.locator("li.divider.unread")).to_have_count(0)
    expect(ada.message("seen")).to_be_in_viewport()


HOSTILE = [
    "<script>window.pwned = 1</script>",
    '<img src=x onerror="window.pwned = 1">',
    "javascript:window.pwned=1//https://",
    '`<b onmouseover="pwned=1">` and ```<svg onload=pwned=1>```',
    'https://example.com/"onmouseover="pwned=1',
    "https://good.example@evil.example/",
    "{{ 7 * 7 }} &lt;b&gt; \u202egnirts",
    "https://example.com/<b>x</b>",
]


def test_markup_and_scripts_are_shown_as_what_was_written(windows: Windows, served: Served) -> None:
    room = '<img src=x onerror="pwned=1">'
    ada = windows.open(served.url, "<b>Ada</b><script>").enter(room)
    grace = windows.open(served.url, "Grace").enter(room)
    for text in HOSTILE:
        ada.say(text)
    expect(grace.messages).to_have_count(len(HOSTILE))
    shown = [text.replace("`", "") for text in HOSTILE]
    for window in (ada, grace):
        assert window.texts.all_text_contents() == shown
        assert window.page.evaluate("window.pwned") is None
        assert window.page.locator("#room :is(script, img, svg, b, [onerror], [onmouseover])").count() == 0
        window.look()
    grace.page.reload()
    expect(grace.messages).to_have_count(len(HOSTILE))
    assert grace.texts.all_text_contents() == shown
    links = grace.texts.locator("a").evaluate_all(
        "links => links.map((link) => [link.href, link.rel, link.target])"
    )
    rel = "noopener noreferrer nofollow ugc"
    assert links == [["https://example.com/", rel, "_blank"], ["https://example.com/", rel, "_blank"]]
    expect(grace.page.locator("h1")).to_have_text(room)
    expect(grace.messages.first.locator(".name")).to_have_text("<b>Ada</b><script>")
    grace.go("/chat")
    expect(grace.page.get_by_role("link", name=room)).to_be_visible()
    grace.look()


def test_everything_is_done_by_keyboard(windows: Windows, served: Served) -> None:
    ada = windows.open(served.url, "Ada")
    page = ada.page
    ada.go("/chat")
    page.get_by_role("link", name="Open the lobby").press("/")
    expect(page.get_by_label("Name of a room")).to_be_focused()
    page.keyboard.type("lobby")
    page.keyboard.press("Enter")
    expect(page.get_by_label("What shall the others call you?")).to_be_focused()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(ada.field).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(ada.texts).to_have_text(["one\ntwo"], use_inner_text=True)
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.press("Escape")
    expect(ada.field).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+a")
    page.keyboard.type("three")
    page.keyboard.press("Enter")
    expect(ada.texts).to_have_text(["three"])
    page.keyboard.type("four")
    page.keyboard.press("Enter")
    expect(ada.messages).to_have_count(2)
    page.keyboard.press("Shift+Tab")  # back from the field, the latest message's tools come first
    expect(ada.message("four").get_by_role("button", name="Remove")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(ada.message("four").get_by_role("button", name="Remove")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(ada.texts).to_have_text(["three"])
    expect(ada.field).to_be_focused()
    ada.look()


def test_a_room_is_named_for_those_who_do_not_see_it(windows: Windows, served: Served) -> None:
    ada = windows.open(served.url, "Ada").enter()
    log = ada.page.get_by_role("log", name="Messages")
    expect(log).to_have_attribute("aria-live", "polite")
    expect(log).to_have_attribute("aria-relevant", "additions")
    expect(ada.page.get_by_role("status")).to_have_text("Live")
    ada.say("first")
    ada.say("second")
    expect(ada.messages).to_have_count(2)
    # The head of a message that follows upon another is not seen, but it is read.
    assert "Ada" in ada.messages.last.aria_snapshot()
    expect(ada.messages.last.get_by_role("button", name="Edit: second")).to_have_count(1)
    ada.page.reload()
    expect(ada.messages).to_have_count(2)
    expect(log).to_have_attribute("aria-live", "off")  # what was said before is not read aloud
    expect(log).to_have_attribute("aria-live", "polite")


def test_without_javascript_the_rooms_are_listed_and_a_room_says_what_it_needs(
    chromium: Browser, served: Served
) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url + "/chat")
    page.get_by_label("Name of a room").fill("lobby")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.locator("noscript p")).to_be_visible()
    expect(page.locator("noscript p")).to_contain_text("that takes JavaScript")
    expect(page.get_by_role("log")).to_be_hidden()
    context.close()


def test_what_the_server_does_not_take_can_be_tried_again_or_discarded(
    windows: Windows, served: Served
) -> None:
    ada = windows.open(served.url, "Ada", 360, "dark").enter()
    ada.field.evaluate("field => field.removeAttribute('maxlength')")
    ada.say("x" * 4001)
    alert = ada.page.locator("#outbox").get_by_role("alert")
    expect(alert).to_have_text("Not sent. The server did not take it.")
    ada.look()
    ada.page.get_by_role("button", name="Try again").click()
    expect(alert).to_have_text("Not sent. The server did not take it.")
    ada.say("short enough")
    expect(ada.texts).to_have_text(["short enough"])
    ada.page.get_by_role("button", name="Discard").click()
    expect(ada.page.locator("#outbox li")).to_have_count(0)


def test_what_was_not_sent_yet_outlives_a_reload_and_is_kept_once(windows: Windows, served: Served) -> None:
    ada = windows.open(served.url, "Ada").enter()
    ada.say("sent")
    expect(ada.texts).to_have_text(["sent"])
    ada.page.evaluate(
        f"""sessionStorage.setItem("holdfast.chat.unsent:{LOBBY}", JSON.stringify([
              {{ id: "of-its-own", name: "Ada", message: "waited" }}]))"""
    )
    ada.page.reload()
    expect(ada.texts).to_have_text(["sent", "waited"])
    expect(ada.page.locator("#outbox li")).to_have_count(0)
    ada.page.reload()
    expect(ada.texts).to_have_text(["sent", "waited"])


@pytest.mark.parametrize("end", ["kill -9", "SIGTERM"])
def test_a_server_that_ends_and_starts_again_loses_nothing_and_repeats_nothing(
    windows: Windows, store: str, tmp_path: Path, end: str
) -> None:
    with Served(store, tmp_path, "--chat") as first:
        pair = [windows.open(first.url, name, tolerates=GONE).enter() for name in ("Ada", "Grace")]
        for window in pair:
            window.page.evaluate(TALK, window.name)
        expect(pair[0].message("Ada 20")).to_have_count(1)
        if end == "kill -9":
            first.kill()
        else:
            first.stop()
    for window in pair:
        expect(window.state).to_contain_text("Connection lost")
        expect(window.page.locator("#outbox li").nth(4)).to_contain_text("Waits for the connection")
        window.look()
    with Served(store, tmp_path, "--chat", "--port", str(urlsplit(first.url).port)):
        for window in pair:
            expect(window.state).to_contain_text("Back again", timeout=30_000)
        said = {window.name: window.page.evaluate("stopTalking()") for window in pair}
        assert all(count > 25 for count in said.values()), "they went on talking while it was away"
        for window in pair:
            expect(window.page.locator("#outbox li")).to_have_count(0)
            expect(window.messages).to_have_count(sum(said.values()))
        heard = [window.texts.all_text_contents() for window in pair]
        assert heard[0] == heard[1], "one order for all"
        for name, count in said.items():
            own = [text for text in heard[0] if text.startswith(name)]
            assert own == [f"{name} {number}" for number in range(count)], "each once, as they were said"
        for window in pair:
            expect(window.page.locator("#here")).to_have_text("2 here")
            expect(window.state).to_have_text("Live", timeout=15_000)
            window.look()
        kept = beside(store, lambda channels: channels.history(LOBBY, limit=1000))
        assert [message.payload["message"] for message in kept] == heard[0]


def test_who_was_away_is_told_what_was_missed_or_that_it_is_lost(
    windows: Windows, store: str, tmp_path: Path
) -> None:
    with Served(store, tmp_path, "--chat") as first:
        ada = windows.open(first.url, "Ada", 360, tolerates=GONE).enter()
        ada.say("Hello")
        expect(ada.messages).to_have_count(1)
        first.kill()
    filled(store, 3)
    options = ("--chat", "--port", str(urlsplit(first.url).port))
    with Served(store, tmp_path, *options) as second:
        expect(ada.state).to_have_text("Back again: 3 missed messages caught up", timeout=30_000)
        expect(ada.texts).to_have_text(["Hello", "number 0", "number 1", "number 2"])
        ada.look()
        second.kill()
    beside(store, lambda channels: channels.clear(LOBBY))
    filled(store, 2)
    with Served(store, tmp_path, *options):
        expect(ada.page.get_by_text("is no longer kept. Below is what is there now.")).to_be_visible(
            timeout=30_000
        )
        expect(ada.texts).to_have_text(["number 0", "number 1"])
        expect(ada.state).to_have_text("Live")
        ada.look()
