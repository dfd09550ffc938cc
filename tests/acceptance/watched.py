"""A real Chromium, and pages in it that are watched: shared by the tests of everything that people see."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from tests.acceptance.served import TOKEN

expect.set_options(timeout=15_000)  # a busy machine is no fault of a page

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
    """A page of which nothing is overlooked: what the console says, what the policy refused, what sticks out.

    `tolerates` is a pattern of what the console may say, for tests that take the server away.
    """

    def __init__(self, page: Page, url: str, *, tolerates: str = "$^") -> None:
        self.page = page
        self.url = url
        self.tolerates = tolerates
        self.complaints: list[str] = []
        page.add_init_script(WATCH)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url.replace("ws", "http", 1)))

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium notes every answer from 400 on; those that a form is answered with are meant.
        expected = re.fullmatch(
            r"Failed to load resource: .* status of (400|401|404|409) \(.*\)", message.text
        )
        tolerated = re.search(self.tolerates, message.text)
        if message.type in ("error", "warning") and expected is None and tolerated is None:
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
        self.page.wait_for_load_state()  # a click may have led to another, which has no body yet
        wide = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{self.page.url} is {wide} px too wide"
        assert self.page.evaluate(CONTRAST) == []
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium, for as long as a module's tests; skips where there is none, but fails in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("no Chromium on the path", pytrace=False)
        pytest.skip("no Chromium on the path")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
