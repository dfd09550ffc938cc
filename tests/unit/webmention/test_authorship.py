"""Who wrote an item, as far as its own page says."""

import pytest

from holdfast.webmention.authorship import author_of, line, link, representative
from holdfast.webmention.markup import parse
from holdfast.webmention.mentions import Author
from holdfast.webmention.microformats import read

HOME = "https://alice.example/"
PAGE = "https://alice.example/posts/1"
CARD = '<a class="{} h-card" href="/"><img src="/me.png" alt="">Alice</a>'
ALICE = Author(name="Alice", url=HOME, photo="https://alice.example/me.png")


def author(html: str, source: str = PAGE) -> Author:
    """Of the first entry, or of the page where there is none."""
    page = read(parse(html))
    return author_of(next(page.of("h-entry"), None), page, source, source)


def test_the_entrys_own_author_comes_first() -> None:
    html = f'<div class="h-entry">{CARD.format("p-author")}</div><a rel="author" href="https://bob.example/"></a>'
    assert author(html) == ALICE


def test_an_entry_without_author_has_that_of_its_feed() -> None:
    assert author(f'<div class="h-feed">{CARD.format("p-author")}<div class="h-entry">a</div></div>') == ALICE


def test_an_entry_in_anything_but_a_feed_has_its_own_author_or_none() -> None:
    html = f'<div class="h-event">{CARD.format("p-author")}<div class="h-entry">a</div></div><link rel=author href=/>'
    assert author(html) == Author()


def test_an_author_may_be_no_more_than_a_name() -> None:
    assert author('<div class="h-entry"><b class="p-author"> Alice\n Example </b></div>') == Author(
        name="Alice Example"
    )


def test_an_author_may_be_no_more_than_an_address() -> None:
    html = '<div class="h-entry"><a class="u-author" href="/"></a></div>'
    assert author(html) == Author(url=HOME)
    assert author(
        html.replace('<a class="u-author" href="/"></a>', f'<p class="p-author">{HOME}</p>')
    ) == Author(url=HOME)


def test_a_named_link_is_a_name_and_an_address() -> None:
    assert author('<div class="h-entry"><a class="p-author" href="/">Alice</a></div>') == Author(
        name="Alice", url=HOME
    )


@pytest.mark.parametrize(
    "around",
    [
        '<div class="h-entry"><a class="u-author" href="/"></a></div>',
        '<div class="h-entry"><a class="p-author h-card" href="/">Alice</a></div>',
        '<div class="h-entry">a</div><a rel="author" href="/">me</a>',
        '<link rel="author" href="/#me"><div class="h-entry">a</div>',
        '<link rel="author" href="/">',
    ],
)
def test_what_is_missing_is_taken_from_the_pages_card_with_the_same_address(around: str) -> None:
    assert author(f"{around}<footer>{CARD.format('')}</footer>") == ALICE


def test_a_card_with_another_address_says_nothing() -> None:
    assert author(f'<link rel="author" href="https://bob.example/">{CARD.format("")}') == Author(
        url="https://bob.example/"
    )


def test_the_card_whose_address_is_the_page_stands_for_it() -> None:
    assert author(f'<div class="h-entry">a</div>{CARD.format("")}', HOME) == ALICE
    assert author(f'<div class="h-entry">a</div>{CARD.format("")}', PAGE) == Author()


def test_the_card_whose_address_is_mine_stands_for_the_page() -> None:
    html = f'<link rel="me" href="/"><div class="h-entry">a</div>{CARD.format("")}'
    assert author(html + '<a class="h-card" href="https://bob.example/">Bob</a>') == ALICE


def test_the_card_whose_uid_is_the_page_stands_for_it_among_several() -> None:
    cards = '<p class="h-card"><a class="u-url" href="/">A</a></p>'
    cards += '<p class="h-card"><a class="u-url u-uid p-name" href="/">B</a></p>'
    card = representative(read(parse(cards)), HOME, HOME)
    assert card is not None
    assert "uid" in card.properties
    assert representative(read(parse(cards.replace("u-uid", ""))), HOME, HOME) is None


def test_a_page_that_says_nothing_has_no_author() -> None:
    assert author("<p>words</p>") == Author()


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:image/png;base64,xx", "https://a:b@alice.example/", "x" * 3_000]
)
def test_addresses_and_photos_that_are_no_plain_http_are_left_out(url: str) -> None:
    html = f'<div class="h-entry"><p class="p-author h-card"><a class="u-url p-name" href="{url}">A</a>'
    assert author(html + f'<img class="u-photo" src="{url}"></p></div>') == Author(name="A")


def test_a_name_is_one_line_of_a_bounded_length_without_marks_that_reorder() -> None:
    assert line("a\n\u202eb\0  c", 10) == "a b c"
    assert line("x" * 500, 10) == "x" * 9 + "…"
    assert line(" \n ", 10) is None
    said = author(f'<div class="h-entry"><b class="p-author">{"x" * 5_000}</b></div>').name
    assert said is not None
    assert len(said) == 200


def test_a_link_is_resolved_and_clean() -> None:
    assert link(PAGE, "../a") == "https://alice.example/a"
    assert link(PAGE, None) is None
    assert link(PAGE, "http://[") is None
