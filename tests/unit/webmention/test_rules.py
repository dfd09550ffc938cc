"""Patterns of who is accepted and who is not, and where they are kept."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.unit.webmention.receiving_lab import Clock

from holdfast.webmention.driver import Document
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.mentions import Rule
from holdfast.webmention.rules import FRESH, Rulebook, Rules, matches, normal


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("spam.example", "https://spam.example/"),
        ("spam.example", "https://deep.in.spam.example/x?y"),
        ("spam.example", "https://spam.example:8443/x"),
        ("spam.example", "https://spam.example./x"),
        ("*.Spam.Example.", "https://a.spam.example/"),
        ("127.0.0.1:8931", "http://127.0.0.1:8931/x"),
        ("[::1]", "http://[::1]:80/"),
        ("https://host.example/~mallory/*", "https://host.example/~mallory/a"),
        ("host.example/~mallory/*", "http://host.example/%7emallory/A"),
        ("host.example/*/spam/*/x", "https://host.example/a/spam/b/c/x"),
        ("*casino*", "https://host.example/best-CASINO-2026"),
    ],
)
def test_a_pattern_is_of_these(pattern: str, url: str) -> None:
    assert matches(normal(pattern), url)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("spam.example", "https://notspam.example/"),
        ("spam.example", "https://spam.example.org/"),
        ("spam.example", "https://good.example/spam.example"),
        ("127.0.0.1:8931", "http://127.0.0.1:8932/x"),
        ("0.0.1", "http://127.0.0.1/"),
        ("https://host.example/~mallory/*", "http://host.example/~mallory/a"),
        ("host.example/a*a", "https://host.example/a"),
        ("host.example/*b*b*c", "https://host.example/abc"),
    ],
)
def test_a_pattern_is_not_of_these(pattern: str, url: str) -> None:
    assert not matches(normal(pattern) if pattern != "0.0.1" else pattern, url)


@pytest.mark.parametrize("pattern", ["", "   ", "x" * 600, "a b", "ftp://host.example/*", "javascript://x"])
def test_what_is_no_pattern_is_a_value_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        normal(pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    started = time.process_time()
    assert not matches("*a" * 200 + "b*c", "https://host.example/" + "a" * 2000)
    assert time.process_time() - started < 0.5


def test_what_blocks_and_what_accepts_are_two_things() -> None:
    rules = Rules([Rule("block", "spam.example"), Rule("accept", "friend.example")])
    assert rules.blocked(None, "https://friend.example/", "https://spam.example/") == "spam.example"
    assert rules.blocked("https://friend.example/") is None
    assert rules.accepted("https://friend.example/") == "friend.example"
    assert rules.accepted("https://spam.example/") is None


async def test_a_pattern_has_one_rule_and_the_latest_counts() -> None:
    driver, clock = MemoryDriver(), Clock()
    await driver.open()
    book = Rulebook(driver, "t:m:r", now=clock)
    await book.add("block", "Bob.Example")
    await book.add("accept", "bob.example")
    rules = await book.rules()
    assert [(rule.kind, rule.pattern) for rule in rules.all] == [("accept", "bob.example")]
    assert await book.remove("*.bob.example") is True
    assert await book.remove("bob.example") is False
    assert (await book.rules()).all == ()


async def test_what_was_read_before_a_rule_was_made_here_is_not_fresh() -> None:
    driver, clock = MemoryDriver(), Clock()
    await driver.open()
    book, page = Rulebook(driver, "t:m:r", now=clock), driver.page

    async def slow(*given: Any, **named: Any) -> list[Document]:
        found = await page(*given, **named)
        driver.page = page  # type: ignore[method-assign]
        await book.add("block", "spam.example")  # while somebody reads
        return found

    driver.page = slow  # type: ignore[method-assign]
    await book.rules()
    assert (await book.rules()).blocked("https://spam.example/") == "spam.example"


async def test_what_another_process_changed_is_seen_in_seconds() -> None:
    driver, clock = MemoryDriver(), Clock()
    await driver.open()
    here, there = Rulebook(driver, "t:m:r", now=clock), Rulebook(driver, "t:m:r", now=clock)
    assert (await here.rules()).all == ()
    await there.add("block", "spam.example")
    assert (await here.rules()).blocked("https://spam.example/") is None
    clock.at += FRESH
    assert (await here.rules()).blocked("https://spam.example/") == "spam.example"
