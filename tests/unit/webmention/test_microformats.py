"""Which items a page has, and what belongs to which."""

import time

from holdfast.webmention.markup import parse
from holdfast.webmention.microformats import Item, Microformats, read


def items(html: str) -> Microformats:
    return read(parse(html))


def only(html: str) -> Item:
    page = items(html)
    assert len(page.items) == 1
    return page.items[0]


def test_an_item_has_its_types_and_its_properties_by_name() -> None:
    item = only('<div class="h-entry h-review x"><p class="p-name u-url dt-published e-content">a</p></div>')
    assert item.types == ("h-entry", "h-review")
    assert {name: [each.prefix for each in some] for name, some in item.properties.items()} == {
        "name": ["p"],
        "url": ["u"],
        "published": ["dt"],
        "content": ["e"],
    }


def test_a_property_belongs_to_the_innermost_item() -> None:
    page = items('<div class="h-entry"><div class="p-author h-card"><b class="p-name">A</b></div></div>')
    entry, card = page.items
    assert list(entry.properties) == ["author"]
    assert list(card.properties) == ["name"]
    assert entry.properties["author"][0].item is card
    assert card.role == "author"
    assert card.parent is entry


def test_an_item_that_is_no_property_is_a_child() -> None:
    feed, entry = items('<div class="h-feed"><div><div class="h-entry"></div></div></div>').items
    assert feed.children == [entry]
    assert entry.role == ""


def test_what_only_resembles_a_microformat_is_none() -> None:
    assert items('<p class="h- H-ENTRY h-Entry hentry2 h-1 h-é h-entry\u00a0x x-h-entry">a</p>').items == []
    item = only(
        '<div class="h-entry"><p class="p- p-Name p_name u-1 pp-name dt e_content -p-name">a</p></div>'
    )
    assert item.properties == {}


def test_vendors_may_have_names_of_their_own() -> None:
    item = only('<div class="h-x1-thing"><p class="p-x1-what-else">a</p></div>')
    assert list(item.properties) == ["x1-what-else"]


def test_properties_outside_of_items_are_nobodys() -> None:
    assert items('<p class="p-name">a</p>').items == []


def test_what_a_template_holds_is_not_there() -> None:
    assert items('<template><div class="h-entry"></div></template>').items == []


def test_classic_entries_and_cards_are_read_by_their_own_names() -> None:
    page = items(
        '<div class="post hentry"><h1 class="entry-title">T</h1><a rel="bookmark" href="/1">#</a>'
        '<span class="author vcard"><a class="url fn" href="/a">A</a></span>'
        '<abbr class="published" title="2026-01-01">then</abbr><div class="entry-content">words</div>'
        '<p class="p-name">not of this kind</p></div>'
    )
    entry, card = page.items
    assert (entry.types, card.types) == (("h-entry",), ("h-card",))
    assert sorted(entry.properties) == ["author", "content", "name", "published", "url"]
    assert len(entry.properties["name"]) == 1
    assert sorted(card.properties) == ["name", "url"]


def test_an_element_that_is_both_is_of_the_newer_kind() -> None:
    item = only('<div class="hentry h-entry"><h1 class="entry-title">a</h1><h2 class="p-name">b</h2></div>')
    assert not item.classic
    assert list(item.properties) == ["name"]
    assert len(item.properties["name"]) == 1


def test_links_know_the_item_and_the_block_that_they_stand_in() -> None:
    page = items(
        '<a href="/0"></a><div class="h-entry"><p>words <b><a href="/1"></a></b></p><img src="/2"></div>'
    )
    outside, inside, image = page.links
    assert [each.href for each in page.links] == ["/0", "/1", "/2"]
    assert outside.item is None
    assert inside.item is image.item is page.items[0]
    assert inside.block.tag == "p"


def test_rels_and_metas_are_those_that_name_an_author() -> None:
    page = items(
        '<meta name="author" content="A"><meta name="author" content="B"><link rel="ME x" href="/m">'
        '<a rel="author nofollow" href="/a"></a><a rel="nofollow" href="/n"></a><title>T</title>'
    )
    assert page.metas == {"author": "A"}
    assert {rel: len(some) for rel, some in page.rels.items()} == {"me": 1, "author": 1}
    assert page.title is not None


def test_a_class_list_without_end_says_no_more_than_its_beginning() -> None:
    names = " ".join(
        "p-" + "abcdefghij"[i % 10] + "abcdefghij"[i // 10 % 10] + "x" * (i // 100) for i in range(1_000)
    )
    item = only(f'<div class="h-entry"><p class="{names}">a</p></div>')
    assert len(item.properties) <= 64


def test_a_megabyte_of_anything_takes_no_second() -> None:
    pages = {
        "nested items": '<div class="h-entry">' * 50_000,
        "items that are properties": '<div class="p-author h-card">' * 36_000,
        "one class list": '<div class="' + "p-a " * 260_000 + '">',
        "many class lists": ('<i class="' + "p-a u-b " * 32 + '">') * 3_800,
        "one long class": '<div class="h-' + "a-" * 500_000 + '">',
        "one attribute": '<div class="h-entry" title="' + "x" * 1_000_000 + '">',
    }
    for what, html in pages.items():
        tree = parse(html)
        start = time.process_time()
        read(tree)
        assert time.process_time() - start < 1, what
