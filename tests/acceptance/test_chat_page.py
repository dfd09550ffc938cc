"""A room's page over a socket that a test holds in its hand: what seldom happens, and what takes time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.served import Served

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect  # noqa: E402
from tests.acceptance.scripted import WIRE, accept, hear  # noqa: E402
from tests.acceptance.watched import launched  # noqa: E402

pytestmark = pytest.mark.browser

LOBBY = "chat_room:lobby"
NOON = 1_800_000_000_000


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Served("memory://", tmp_path_factory.mktemp("served"), "--chat") as server:
        yield server.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, origin: str) -> Iterator[Page]:
    """Ada's room, live and empty; she is the author "me". Time stands still."""
    context = chromium.new_context(viewport={"width": 800, "height": 600}, timezone_id="UTC")
    page = context.new_page()
    page.add_init_script(WIRE)
    page.add_init_script('localStorage.setItem("holdfast.chat.name", "Ada")')
    page.clock.install(time=NOON / 1000)
    page.goto(origin + "/chat/lobby")
    page.clock.pause_at(NOON / 1000 + 8)  # before the connection counts as one that is not made
    enter(page, "1", "0~")
    yield page
    context.close()


def enter(page: Page, ref: str, position: str, *messages: Any, **more: Any) -> None:
    page.evaluate("wire().open()")
    accept(page, ref, position, topic=LOBBY, author="me", **more)
    for message in messages:
        hear(page, ref, None, LOBBY, "new_message", message)
    hear(page, ref, None, LOBBY, "presence_state", {})


def broadcast(page: Page, event: str, payload: Any) -> None:
    hear(page, None, None, LOBBY, event, payload)


def message(
    number: int, text: str = "", *, id: str = "", author: str = "other", at: int = NOON
) -> dict[str, Any]:
    position = f"{number}~e"
    return {
        "name": "Grace" if author == "other" else "Ada",
        "author": author,
        "message": text or f"number {number}",
        "_holdfast": {"id": id or position, "position": position, "at": at},
    }


def texts(page: Page) -> list[str]:
    return page.locator("#said li.message .text").all_text_contents()


def pushes(page: Page, event: str) -> list[Any]:
    """What was pushed over the latest connection: ref and payload."""
    return [(frame[1], frame[4]) for frame in page.evaluate("wire().sent") if frame[3] == event]


def lose(page: Page) -> None:
    page.evaluate("wire().end()")
    page.clock.run_for(100)


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def test_what_comes_twice_is_shown_once(page: Page) -> None:
    broadcast(page, "new_message", message(1, "once"))
    broadcast(page, "new_message", message(1, "once"))
    lose(page)
    enter(page, "2", "2~e", message(1, "once"), message(2, "twice"), recovered=True)
    broadcast(page, "new_message", message(2, "twice"))
    assert texts(page) == ["once", "twice"]


def test_what_waits_is_sent_in_order_and_nothing_overtakes_it(page: Page) -> None:
    lose(page)
    say(page, "first")
    say(page, "second")
    page.evaluate("wire().open()")
    accept(page, "2", "9~e", topic=LOBBY, author="me", recovered=True)
    say(page, "third")  # joined, but what was missed is still to come: one of these may be among it
    assert pushes(page, "new_message") == []
    first = page.evaluate(f'JSON.parse(sessionStorage.getItem("holdfast.chat.unsent:{LOBBY}"))[0]')
    hear(page, "2", None, LOBBY, "new_message", message(9, "first", id=first["id"], author="me"))
    hear(page, "2", None, LOBBY, "presence_state", {})
    sent = pushes(page, "new_message")
    assert [payload["message"] for _, payload in sent] == ["second", "third"]
    assert len({payload["id"] for _, payload in sent} | {first["id"]}) == 3
    assert texts(page) == ["first"]
    for number, (ref, payload) in enumerate(sent):
        hear(
            page, "2", ref, LOBBY, "phx_reply", {"status": "ok", "response": {"position": f"{10 + number}~e"}}
        )
        broadcast(
            page, "new_message", message(10 + number, payload["message"], id=payload["id"], author="me")
        )
    assert texts(page) == ["first", "second", "third"]
    expect(page.locator("#outbox li")).to_have_count(0)
    assert page.evaluate(f'sessionStorage.getItem("holdfast.chat.unsent:{LOBBY}")') == "[]"


def test_a_message_whose_answer_does_not_come_is_said_again_with_the_same_id(page: Page) -> None:
    say(page, "Hello")
    mark = page.locator("#outbox .mark")
    expect(mark).to_have_text("Sending…")
    page.clock.run_for(10_000)
    expect(mark).to_contain_text("Not sent. The server did not answer in time.")
    page.get_by_role("button", name="Try again").click()
    (_, first), (ref, again) = pushes(page, "new_message")
    assert first == again
    response = {"status": "error", "response": {"reason": "store unavailable"}}
    hear(page, "1", ref, LOBBY, "phx_reply", response)
    expect(mark).to_contain_text("The store does not answer just now.")
    broadcast(page, "new_message", message(1, "Hello", id=first["id"], author="me"))  # it was kept after all
    expect(page.locator("#outbox li")).to_have_count(0)
    assert texts(page) == ["Hello"]


def test_who_types_has_stopped_after_a_while(page: Page) -> None:
    line = page.locator("#typing")
    broadcast(page, "typing", {"name": "Grace", "author": "other"})
    expect(line).to_have_text("Grace is typing…")
    page.clock.run_for(4_000)
    broadcast(page, "typing", {"name": "Alan"})
    expect(line).to_have_text("Grace and Alan are typing…")
    broadcast(page, "typing", {"name": "Edsger"})
    expect(line).to_have_text("3 people are typing…")
    page.clock.run_for(1_500)
    expect(line).to_have_text("Alan and Edsger are typing…")
    page.clock.run_for(4_000)
    expect(line).to_be_empty()


def test_typing_is_said_every_two_seconds_and_no_more_often(page: Page) -> None:
    field = page.get_by_label("Message", exact=True)
    for _ in range(5):
        field.press("x")
        page.clock.run_for(500)
    assert len(pushes(page, "typing")) == 2
    assert pushes(page, "typing")[0][1] == {"name": "Ada"}


def test_the_state_is_said_and_what_was_caught_up(page: Page) -> None:
    state = page.locator("#state")
    expect(state).to_have_text("Live")
    lose(page)
    expect(state).to_have_text("Connection lost. Trying again…")
    enter(page, "2", "1~e", message(1), recovered=True)
    expect(state).to_have_text("Back again: 1 missed message caught up")
    page.clock.run_for(9_000)
    expect(state).to_have_text("Live")
    lose(page)
    enter(page, "3", "1~e", recovered=True)
    expect(state).to_have_text("Back again: nothing missed")
    hear(page, "3", "3", LOBBY, "phx_error", {})
    expect(state).to_have_text("Something went wrong in the room. Trying again…")
    lose(page)
    page.evaluate("wire().open()")
    refusal = {"status": "error", "response": {"reason": "store unavailable"}}
    hear(page, "4", "4", LOBBY, "phx_reply", refusal)
    expect(state).to_have_text("The store does not answer just now. Trying again…")


def test_a_history_that_is_lost_leaves_nothing_of_the_old_one(page: Page) -> None:
    broadcast(page, "new_message", message(1, "old"))
    lose(page)
    enter(page, "2", "2~f", message(2, "new"), reason="history_lost")
    assert texts(page) == ["new"]
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Live")
    lose(page)
    enter(page, "3", "2~f", recovered=True)
    expect(page.locator("#lost")).to_be_hidden()


def test_a_page_that_is_long_open_forgets_the_oldest_and_fetches_them_again(page: Page) -> None:
    for number in range(1, 602):
        broadcast(page, "new_message", message(number))
    assert len(texts(page)) == 300
    assert texts(page)[-1] == "number 601"
    page.locator("#log").evaluate("log => { log.scrollTop = 0 }")
    expect(page.locator("#edge")).to_have_text("Fetching older messages…")
    ((ref, asked),) = pushes(page, "older")
    assert asked == {"position": "302~e"}
    older = {"messages": [message(number) for number in range(290, 303)], "more": False}
    hear(page, "1", ref, LOBBY, "phx_reply", {"status": "ok", "response": older})
    expect(page.locator("#edge")).to_have_text("This is where the room begins.")
    assert texts(page)[:14] == [f"number {number}" for number in range(290, 304)]


def test_the_end_stays_in_sight_unless_one_has_scrolled_up(page: Page) -> None:
    log = page.locator("#log")
    for number in range(1, 31):
        broadcast(page, "new_message", message(number, f"number {number} " * 20))
    last = page.locator("#said li.message").last
    for width, height in ((360, 500), (1000, 700), (800, 400)):
        page.set_viewport_size({"width": width, "height": height})
        expect(last).to_be_in_viewport(ratio=0.9)
    log.evaluate("log => { log.scrollTop = 300 }")
    expect(last).not_to_be_in_viewport()
    page.set_viewport_size({"width": 360, "height": 500})
    broadcast(page, "new_message", message(31))
    expect(page.get_by_role("button", name="1 new message")).to_be_visible()
    assert log.evaluate("log => log.scrollTop") == 300


def test_days_are_divided_and_one_persons_messages_go_together(page: Page) -> None:
    day = 86_400_000
    lines = """() => [...document.querySelectorAll("#said ol > li")].map((line) => {
      if (line.matches(".divider")) return "--";
      return (line.matches(".follows") ? "+" : "") + line.querySelector(".text").textContent;
    })"""
    broadcast(page, "new_message", message(5, "a"))
    broadcast(page, "new_message", message(6, "b", at=NOON + 60_000))
    broadcast(page, "new_message", message(7, "c", author="me", at=NOON + 60_000))
    broadcast(page, "new_message", message(8, "d", author="me", at=NOON + 600_000))
    broadcast(page, "new_message", message(9, "e", author="me", at=NOON + day))
    broadcast(page, "new_message", message(10, "f", author="me", at=NOON + day))
    assert page.evaluate(lines) == ["--", "a", "+b", "c", "d", "--", "e", "+f"]
    broadcast(page, "message_removed", {"_holdfast": {"id": "9~e", "position": "11~e"}})
    assert page.evaluate(lines) == ["--", "a", "+b", "c", "d", "--", "f"]
    broadcast(page, "message_removed", {"_holdfast": {"id": "10~e", "position": "12~e"}})
    broadcast(page, "message_removed", {"_holdfast": {"id": "5~e", "position": "13~e"}})
    assert page.evaluate(lines) == ["--", "b", "c", "d"]


def test_a_removal_of_what_is_not_shown_and_an_edit_of_it_change_nothing(page: Page) -> None:
    broadcast(page, "new_message", message(1))
    broadcast(page, "message_removed", {"_holdfast": {"id": "0~e", "position": "2~e"}})
    broadcast(page, "message_edited", message(0, "changed"))
    broadcast(page, "an_event_of_tomorrow", {"_holdfast": {"id": "9~e", "position": "3~e"}})
    assert texts(page) == ["number 1"]


def test_an_edit_that_fails_says_so_and_keeps_what_was_written(page: Page) -> None:
    broadcast(page, "new_message", message(1, "mine", author="me"))
    page.get_by_label("Message", exact=True).press("ArrowUp")
    page.get_by_label("Your message").fill("rewritten")
    lose(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="no connection")).to_be_visible()
    expect(page.get_by_label("Your message")).to_have_value("rewritten")
    enter(page, "2", "1~e", recovered=True)
    page.get_by_role("button", name="Save").click()
    ((ref, asked),) = pushes(page, "edit")
    assert asked == {"id": "1~e", "message": "rewritten"}
    broadcast(page, "message_edited", message(1, "rewritten", author="me"))
    hear(page, "2", ref, LOBBY, "phx_reply", {"status": "ok", "response": {}})
    expect(page.get_by_label("Your message")).to_have_count(0)
    assert texts(page) == ["rewritten"]
