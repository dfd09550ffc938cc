"""Whom a post links to: each once, in order, and nothing malformed ends the search."""

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import MissingExtra
from holdfast.webmention.links import Kind, find_links, text_urls
from holdfast.webmention.urls import clean

BASE = "https://alice.example/posts/1"


def links(content: str, kind: Kind = "html", **options: object) -> list[str]:
    return find_links(content, base=BASE, kind=kind, **options)  # type: ignore[arg-type]


def test_links_are_absolute_unique_and_in_their_order() -> None:
    html = (
        '<a href="https://bob.example/b">x</a> <a href="//carol.example">y</a> <a href="HTTPS://BOB.example:443/b">z</a>'
        ' <a href="http://bob.example/b">other scheme</a> <a rel=nofollow href=https://dave.example/#d>d</a>'
    )
    assert links(html) == [
        "https://bob.example/b",
        "https://carol.example/",
        "http://bob.example/b",
        "https://dave.example/#d",
    ]


def test_one_s_own_site_is_left_out_unless_asked_for() -> None:
    html = '<a href="/posts/2">a</a><a href="3">b</a><a href="http://alice.example/4">c</a>'
    html += "<a href=//www.alice.example>d</a>"
    assert links(html) == ["https://www.alice.example/"]
    assert links(html, own=True)[:3] == [
        "https://alice.example/posts/2",
        "https://alice.example/posts/3",
        "http://alice.example/4",
    ]
    assert links(html, site="https://www.alice.example") == links(html, own=True)[:3]
    assert links(html, site="https://alice.example/posts/") == [
        "http://alice.example/4",
        "https://www.alice.example/",
    ]


def test_a_post_does_not_link_to_itself_however_it_says_so() -> None:
    html = f'<a href="">a</a><a href="#b">b</a><a href="{BASE}">c</a><a href="1">d</a><a href="?e">e</a>'
    assert links(html, own=True) == [BASE + "?e"]


@pytest.mark.parametrize(
    "wrong",
    [
        "javascript:alert(1)",
        "mailto:bob@bob.example",
        "tel:1",
        "data:,x",
        "http://[",
        "https://me:x@bob.example/",
        "//",
    ],
)
def test_one_wrong_href_ends_nothing(wrong: str) -> None:
    html = (
        f'<a href="https://bob.example/">a</a><a href="{wrong}">b</a><a href="https://carol.example/">c</a>'
    )
    assert links(html) == ["https://bob.example/", "https://carol.example/"]


def test_what_speaks_of_a_page_is_a_link_and_what_shows_a_picture_is_none() -> None:
    html = (
        "<map><area href=https://area.example></map><blockquote cite=https://quote.example>x</blockquote>"
        "<q cite=https://q.example>y</q><link class='x u-in-reply-to' href=https://reply.example>"
        "<data class=u-like-of value=https://like.example>"
        "<link rel=stylesheet href=https://style.example><data value=https://data.example>"
        "<img src=https://img.example><iframe src=https://frame.example></iframe><a>no href</a>"
        "<!-- <a href=https://comment.example>x</a> --><code>&lt;a href=https://code.example&gt;</code>"
    )
    assert links(html) == [f"https://{each}.example/" for each in ("area", "quote", "q", "reply", "like")]


def test_links_are_seen_from_the_first_base_of_the_page() -> None:
    html = "<base target=x><base href=//bob.example/b/><base href=//carol.example/><a href=c>x</a>"
    assert links(html) == ["https://bob.example/b/c"]


MARKDOWN = """\
---
canonical: https://front.example/
---
A post with an [inline link](https://inline.example/a "title"), a [reference][r], a [short], an
<https://auto.example/>, a bare https://bare.example/x., some <a href="https://html.example/?a&amp;b">HTML</a>
and ![a picture](https://picture.example/p.png). Escaped \\[no](https://escaped.example/)
`[code](https://code.example/)` and [https://text.example](https://shown.example/).

    <a href="https://indented.example/">

```html
<a href="https://fenced.example/">
```

> - [deep](relative) [wrong](http://[) [mail](mailto:x@y.example)

<div><a href=https://block.example/>block</a></div>

| a |
|---|
| [cell](https://cell.example/) |

[r]: https://reference.example/r
[short]: <https://short.example/s>
[unused]: https://unused.example/
"""


def test_markdown_has_the_links_of_the_post_that_it_becomes_and_its_bare_urls() -> None:
    assert links(MARKDOWN, "markdown") == [
        "https://inline.example/a",
        "https://reference.example/r",
        "https://short.example/s",
        "https://auto.example/",
        "https://bare.example/x",
        "https://html.example/?a&b",
        "https://escaped.example/",
        "https://shown.example/",
        "https://block.example/",
        "https://cell.example/",
    ]


def test_a_rule_at_the_top_of_markdown_is_no_front_matter_unless_it_is_closed() -> None:
    assert links("---\n[a](https://bob.example)", "markdown") == ["https://bob.example/"]


def test_without_the_library_markdown_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    with pytest.raises(MissingExtra, match=r"holdfast\[webmention\]"):
        links("x", "markdown")


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see https://bob.example/a.", ["https://bob.example/a"]),
        (
            "(https://bob.example/a) https://bob.example/a_(b)",
            ["https://bob.example/a", "https://bob.example/a_(b)"],
        ),
        ("((https://bob.example/a_(b))).", ["https://bob.example/a_(b)"]),
        ("“https://bob.example/a”", ["https://bob.example/a”"]),
        ('"https://bob.example/a",<http://c.example>', ["https://bob.example/a", "http://c.example"]),
        ("xhttps://bob.example git+https://bob.example HTTPS://bob.example!?", ["HTTPS://bob.example"]),
        ("https:// http:/x ftp://bob.example bob.example", []),
    ],
)
def test_a_url_in_a_text_is_without_the_punctuation_around_it(text: str, urls: list[str]) -> None:
    assert [clean(url) for url, _ in text_urls(text)] == [clean(url) for url in urls]
    assert [url for url, _ in text_urls(text)] == urls


def test_text_links_are_cleaned_like_others() -> None:
    assert links("HTTPS://Bob.example, https://alice.example/x https://me@c.example", "text") == [
        "https://bob.example/"
    ]


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="kind"):
        links("x", "rst")  # type: ignore[arg-type]


SNIPPETS = st.sampled_from(
    [
        "<a href=",
        "<base href=",
        '"',
        ">",
        "https://",
        "//",
        "bob.example",
        "[",
        "](",
        ")",
        "`",
        "\n",
        "javascript:",
        "\ud800",
        "<!--",
    ]
)


@given(st.lists(SNIPPETS).map("".join) | st.text(), st.sampled_from(["html", "text"]))
def test_whatever_the_content_what_comes_out_is_clean(content: str, kind: Kind) -> None:
    found = find_links(content, base=BASE, kind=kind, own=True)
    assert found == [clean(url) for url in dict.fromkeys(found)]


@pytest.mark.parametrize(
    "text",
    [
        "https://a.b/" + "." * 500_000,
        "https://a.b/" + ")" * 500_000,
        "https://" * 100_000,
        "http://(" * 60_000,
    ],
)
def test_punctuation_without_end_costs_no_more_than_its_length(text: str) -> None:
    began = time.process_time()
    list(text_urls(text))
    assert time.process_time() - began < 2
