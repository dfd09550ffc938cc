"""What the properties of an item say."""

import time

import pytest

from holdfast.webmention.markup import parse
from holdfast.webmention.microformats import Item, read
from holdfast.webmention.properties import name_of, plain, says, time_of, urls_of


def item(html: str) -> Item:
    return read(parse(html)).items[0]


def entry(html: str) -> Item:
    return item(f'<div class="h-entry">{html}</div>')


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<p class="p-x"> one\n <b>two</b> </p>', "one two"),
        ('<abbr class="p-x" title="long">short</abbr>', "long"),
        ('<data class="p-x" value="yes">on my way</data>', "yes"),
        ('<input class="p-x" value="yes">', "yes"),
        ('<img class="p-x" alt="a cat" src="/c.png">', "a cat"),
        ('<p class="p-x"><b class="value">1</b> and <b class="value">2</b></p>', "12"),
        ('<p class="p-x">it <b class="value-title" title="is"> </b> so</p>', "is"),
        ('<p class="p-x"><i class="p-y"><b class="value">1</b></i> whole</p>', "1 whole"),
        ('<p class="p-x"></p><p class="p-x">the second</p>', "the second"),
        ('<div class="p-x h-card"><b class="p-name">its name</b> and more</div>', "its name"),
        ('<p class="p-z">another</p>', ""),
    ],
)
def test_plain_text_is_read_as_the_tag_demands(html: str, said: str) -> None:
    assert says(entry(html), "x") == said


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a class="u-x" href="/1">2</a>', ["/1"]),
        ('<area class="u-x" href="/1"><link class="u-x" href="/2">', ["/1", "/2"]),
        ('<img class="u-x" src="/1" alt="2"><video class="u-x" src="/3"></video>', ["/1", "/3"]),
        ('<object class="u-x" data="/1"></object>', ["/1"]),
        ('<span class="u-x"> https://a.example/ </span>', ["https://a.example/"]),
        ('<data class="u-x" value="/1">2</data>', ["/1"]),
        ('<p class="u-x"><b class="value">/1</b> 2</p>', ["/1"]),
        ('<div class="u-x h-cite"><a class="u-url" href="/1">2</a> 3</div>', ["/1"]),
        ('<div class="u-x h-cite"><a href="/1">2</a></div>', ["/1"]),
        ('<a class="u-x h-cite" href="/1">2</a>', ["/1"]),
        ('<a class="u-x" href="">its own page</a>', [""]),
        ('<a class="u-x">no link</a>', ["no link"]),
        ("<p>none</p>", []),
    ],
)
def test_urls_are_read_as_the_tag_demands(html: str, said: list[str]) -> None:
    assert urls_of(entry(html), "x") == said


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<time class="dt-x" datetime="2026-01-02T03:04:05+01:00">then</time>', "2026-01-02T03:04:05+01:00"),
        ('<time class="dt-x">2026-01-02</time>', "2026-01-02"),
        ('<abbr class="dt-x" title="2026-01-02">then</abbr>', "2026-01-02"),
        ('<data class="dt-x" value="2026-01-02 03:04">then</data>', "2026-01-02 03:04"),
        (
            '<p class="dt-x"><b class="value">2026-01-02</b> at <b class="value">03:04</b></p>',
            "2026-01-02T03:04",
        ),
        (
            '<p class="dt-x"><i class="value">03:04:05</i> <i class="value">+01:00</i>'
            ' <i class="value">2026-01-02</i></p>',
            "2026-01-02T03:04:05+01:00",
        ),
        ('<p class="dt-x"><time class="value" datetime="2026-01-02">2nd</time></p>', "2026-01-02"),
        ('<p class="dt-x">yesterday</p>', ""),
        ('<p class="dt-x">yesterday</p><time class="dt-x">2026-01-02</time>', "2026-01-02"),
    ],
)
def test_times_are_read_as_the_tag_demands(html: str, said: str) -> None:
    assert time_of(entry(html), "x") == said


@pytest.mark.parametrize(
    ("html", "name"),
    [
        ('<a class="h-card" href="/">Alice</a>', "Alice"),
        ('<img class="h-card" src="/a.png" alt="Alice">', "Alice"),
        ('<a class="h-card" href="/"><img src="/a.png" alt="Alice"></a>', "Alice"),
        ('<div class="h-card"><a href="/"><img src="/a.png" alt="Alice"></a></div>', "Alice"),
        ('<abbr class="h-card" title="Alice">A</abbr>', "Alice"),
        ('<div class="h-card"><a href="/">Al<b>ice</b></a> of Example</div>', "Alice of Example"),
        ('<div class="h-card">A<b class="p-name">Bob</b></div>', "Bob"),
        ('<div class="h-card">A<b class="p-org">Bob</b></div>', ""),
        ('<div class="h-card">A<b class="h-geo">Bob</b></div>', ""),
        ('<div class="vcard">A<b class="fn">Bob</b></div>', "Bob"),
        ('<div class="vcard">A</div>', ""),
    ],
)
def test_a_name_is_what_is_said_or_implied(html: str, name: str) -> None:
    assert name_of(item(html)) == name


@pytest.mark.parametrize(
    ("html", "url", "photo"),
    [
        ('<a class="h-card" href="/u">Alice</a>', ["/u"], []),
        ('<a class="h-card" href="/u"><img src="/p"></a>', ["/u"], ["/p"]),
        ('<div class="h-card"><a href="/u"><img src="/p"></a></div>', ["/u"], ["/p"]),
        ('<div class="h-card"><a href="/u">A</a><img src="/p"> words</div>', ["/u"], ["/p"]),
        ('<div class="h-card"><a href="/u">A</a><a href="/v">B</a></div>', [], []),
        ('<img class="h-card" src="/p" alt="A">', [], ["/p"]),
        ('<div class="h-card"><a class="u-url" href="/u">A</a><img src="/p"></div>', ["/u"], []),
        ('<div class="h-card"><a class="h-card" href="/u">A</a></div>', [], []),
        ('<div class="vcard"><a href="/u">A</a></div>', [], []),
    ],
)
def test_url_and_photo_are_what_is_said_or_implied(html: str, url: list[str], photo: list[str]) -> None:
    card = item(html)
    assert (urls_of(card, "url"), urls_of(card, "photo")) == (url, photo)


def test_an_item_in_an_item_in_an_item_is_not_followed_for_ever() -> None:
    nested = item('<div class="h-entry">' + '<div class="u-url p-name h-card">' * 40 + "x")
    assert urls_of(nested, "url") == ["x"]
    assert len(name_of(nested)) <= 300


def test_what_a_property_says_is_bounded() -> None:
    card = entry('<p class="p-x">' + "word " * 100_000)
    assert len(plain(card.properties["x"][0], max_chars=100)) <= 100
    assert len(says(entry('<data class="p-x" value="' + "y" * 100_000 + '">'), "x", max_chars=100)) == 100


def test_a_property_around_a_megabyte_is_read_within_a_bound() -> None:
    html = '<div class="u-x">' * 150 + "<i></i>" * 100_000
    around = entry(html)
    start = time.process_time()
    assert len(urls_of(around, "x")) <= 20
    assert time.process_time() - start < 0.2
