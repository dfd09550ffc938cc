from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.web.dashboard.forms import escaped, unescaped
from holdfast.web.dashboard.words import (
    count_words,
    highlighted,
    key_markup,
    link_markup,
    size_words,
    spark,
    ttl_words,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "never"),
        (0.2, "under 1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (90_000, "1 d 1 h"),
        (400 * 86_400, "400 d"),
    ],
)
def test_what_is_left_is_said_in_two_units(seconds: float | None, words: str) -> None:
    assert ttl_words(seconds) == words


def test_sizes_and_counts_are_short() -> None:
    assert [size_words(n) for n in (1, 900, 2048, 3 << 20)] == ["1 byte", "900 bytes", "2.0 KiB", "3.0 MiB"]
    assert [count_words(n) for n in (0, 0.25, 9.96, 12.3, 12345)] == ["0", "0.2", "10.0", "12", "12,345"]


def test_what_cannot_be_seen_in_a_key_is_shown() -> None:
    assert str(key_markup(" a\nb\u202ec ")) == (
        '<span class="odd">␣</span>a<span class="odd">\\n</span>b'
        '<span class="odd">\\u202e</span>c<span class="odd">␣</span>'
    )
    assert str(key_markup("a b/ü:<b>")) == "a b/ü:&lt;b&gt;"
    assert str(key_markup("  ")).count("odd") == 2


def test_laid_out_json_is_marked_and_escaped() -> None:
    marked = str(highlighted('{"<k>": ["a\\"b", -1.5e3, true, null]}'))
    assert '<span class="jk">&#34;&lt;k&gt;&#34;</span>:' in marked
    assert '<span class="js">&#34;a\\&#34;b&#34;</span>' in marked
    assert '<span class="jn">-1.5e3</span>' in marked
    assert '<span class="jw">null</span>' in marked


@given(st.text())
def test_no_text_brings_markup_of_its_own(text: str) -> None:
    for shown in (highlighted(text), key_markup(text)):
        bare = str(shown)
        for kind in ("jk", "js", "jn", "jw", "odd"):
            bare = bare.replace(f'<span class="{kind}">', "")
        assert "<" not in bare.replace("</span>", "")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_comes_back_from_a_form_as_it_went(key: str) -> None:
    assert unescaped(escaped(key)) == key
    assert escaped(key).isascii()


def test_a_minute_is_a_line_from_the_left_edge_to_the_right() -> None:
    assert spark([0, 10], width=600, height=64) == "M0.0,62.0 L600.0,4.0"
    assert spark([]) == "M"


def test_only_http_addresses_are_links_and_nothing_in_them_is_markup() -> None:
    for url in ("javascript:alert(1)", "data:text/html,x", "", "//bob.example", "file:///etc/passwd"):
        assert "<a" not in link_markup(url)
    link = link_markup('https://bob.example/"><script>', "<b>\u202e")
    assert "<script>" not in link
    assert "<b>" not in link
    assert "\\u202e" in link
    assert "noreferrer" in link
