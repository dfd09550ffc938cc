"""How long an answer may be remembered, and when to ask again."""

from __future__ import annotations

import pytest

from holdfast.webmention.client_caching import fresh_for, retry_after
from holdfast.webmention.pages import Page

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
AN_HOUR_AGO = "Tue, 14 Nov 2023 21:13:20 GMT"
IN_A_MINUTE = "Tue, 14 Nov 2023 22:14:20 GMT"
IN_A_YEAR = "Thu, 14 Nov 2024 22:13:20 GMT"


def page(*headers: tuple[str, str], status: int = 200, redirects: tuple[str, ...] = ()) -> Page:
    return Page(url="http://bob.example/", status=status, headers=headers, redirects=redirects)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 0),
        ([("cache-control", "max-age=60")], 60),
        ([("cache-control", 'public, Max-Age="60"')], 60),
        ([("cache-control", "public"), ("cache-control", "max-age=60")], 60),
        ([("cache-control", "max-age=60"), ("age", "20")], 40),
        ([("cache-control", "max-age=60"), ("age", "200")], 0),
        ([("cache-control", "max-age=60"), ("age", "nonsense")], 60),
        ([("cache-control", "max-age=31536000")], 3600),
        ([("cache-control", "max-age=" + "9" * 5000)], 0),
        ([("cache-control", "max-age=-5")], 0),
        ([("cache-control", "max-age")], 0),
        ([("cache-control", "no-store, max-age=60")], 0),
        ([("cache-control", "max-age=60"), ("cache-control", "no-store")], 0),
        ([("cache-control", "max-age=60, no-cache")], 0),
        ([("cache-control", "max-age=60"), ("vary", "*")], 0),
        ([("cache-control", "max-age=60"), ("vary", "Accept")], 60),
        ([("expires", IN_A_MINUTE)], 60),
        ([("expires", IN_A_MINUTE), ("date", AN_HOUR_AGO)], 3600),
        ([("expires", IN_A_MINUTE), ("cache-control", "max-age=5")], 5),
        ([("expires", IN_A_YEAR)], 3600),
        ([("expires", AN_HOUR_AGO)], 0),
        ([("expires", "0")], 0),
        ([("last-modified", AN_HOUR_AGO)], 360),
        ([("last-modified", AN_HOUR_AGO), ("expires", "0")], 0),
        ([("last-modified", IN_A_YEAR)], 0),
        ([("last-modified", "yesterday")], 0),
    ],
)
def test_an_answer_may_be_remembered_as_long_as_it_says_and_an_hour_at_most(
    headers: list[tuple[str, str]], seconds: float
) -> None:
    assert fresh_for(page(*headers), NOW) == seconds


def test_failures_are_remembered_by_the_same_rules_but_nothing_is_guessed_of_passing_ones() -> None:
    assert fresh_for(page(("cache-control", "max-age=60"), status=503), NOW) == 60
    assert fresh_for(page(("last-modified", AN_HOUR_AGO), status=404), NOW) == 360
    assert fresh_for(page(("last-modified", AN_HOUR_AGO), status=503), NOW) == 0


def test_what_came_by_way_of_redirects_is_not_remembered() -> None:
    assert fresh_for(page(("cache-control", "max-age=60"), redirects=("http://a.example/",)), NOW) == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("999999999", 86400),
        (IN_A_MINUTE, 60),
        (AN_HOUR_AGO, 0),
        (IN_A_YEAR, 86400),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_a_day_at_most(said: str, seconds: float | None) -> None:
    assert retry_after(page(("retry-after", said)), NOW) == seconds
    assert retry_after(page(), NOW) is None
