"""`examples/chat.py` as its first lines say to run it: over the wire, and in two windows of a real Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.apps import AppServer
from tests.acceptance.wire import ROOT
from websockets.exceptions import InvalidStatus

FIRST = (ROOT / "examples" / "chat.py").read_text().split('"""')[1]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppServer:
    monkeypatch.setenv("HOLDFAST_STORE", f"sqlite:///{tmp_path}/app.db")
    server = AppServer("uvicorn-holdfast", "examples.chat:app", tmp_path)
    assert "uvicorn examples.chat:app --ws holdfast.channels.transports.uvicorn:WebSocketProtocol" in FIRST
    return server


def test_the_example_is_a_whole_chat_in_less_than_sixty_lines() -> None:
    assert len((ROOT / "examples" / "chat.py").read_text().splitlines()) < 60


def test_who_has_no_name_is_refused_and_what_is_said_outlives_a_kill(server: AppServer) -> None:
    with server:
        with pytest.raises(InvalidStatus, match="403"), server.client():
            pass
        with server.client("vsn=2.0.0&name=Ada") as ada:
            ada.join("chat_room:lobby")
            ada.send("1", "2", "chat_room:lobby", "new_message", {"message": ""})
            assert ada.receive()[4]["response"]["field"] == "$.message"
            ada.send("1", "3", "chat_room:lobby", "new_message", {"message": "Hello"})
            said = ada.receive()[4]
        server.kill()
    with server, server.client("vsn=2.0.0&name=Bob") as bob:
        bob.join("chat_room:lobby")
        replayed = bob.receive()[4]
        assert (said["name"], said["message"]) == ("Ada", "Hello")
        assert replayed == said


@pytest.mark.browser
def test_two_windows_talk_and_miss_nothing_over_a_kill(server: AppServer) -> None:
    pytest.importorskip("playwright.sync_api")
    from playwright.sync_api import Browser, Page, expect
    from tests.acceptance.watched import launched

    def window(browser: Browser, name: str) -> Page:
        page = browser.new_page()
        page.on("dialog", lambda dialog: dialog.accept(name))
        page.goto(server.url)
        return page

    def say(page: Page, text: str) -> None:
        page.locator("#field").fill(text)
        page.wait_for_function("socket.readyState === 1 && ref > 0")
        page.keyboard.press("Enter")

    with launched() as browser:
        with server:
            ada, bob = window(browser, "Ada"), window(browser, "Bob")
            say(ada, "Hello <b>Bob</b>")
            expect(bob.locator("#log")).to_have_text("Ada: Hello <b>Bob</b>\n")
            say(bob, "Hello Ada")
            expect(ada.locator("#log")).to_have_text("Ada: Hello <b>Bob</b>\nBob: Hello Ada\n")
            server.kill()
        with server:
            say(ada, "Still here")  # both windows come back by themselves
            for page in (ada, bob):
                expect(page.locator("#log")).to_have_text(
                    "Ada: Hello <b>Bob</b>\nBob: Hello Ada\nAda: Still here\n", timeout=15000
                )
            ada.reload()
            expect(ada.locator("#log")).to_have_text(
                "Ada: Hello <b>Bob</b>\nBob: Hello Ada\nAda: Still here\n"
            )
