"""The tree of a page: as browsers build it where tags are balanced, and bounded where they are not."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode
from tests.unit.webmention.nested_pages import FLAT, NESTED

from holdfast.webmention.markup import MAX_DEPTH, Element, parse


def tree(html: str) -> str:
    return parse(html).root.inner_html()


@pytest.mark.parametrize(
    ("html", "built"),
    [
        ("<p>a<p>b<div>c</p>d", "<p>a</p><p>b</p><div>cd</div>"),
        ("<p><b>a<div>b", "<p><b>a</b></p><div>b</div>"),
        ("<p><button><p>a</button>b", "<p><button><p>a</p></button>b</p>"),
        ("<ul><li>a<li>b<ul><li>c</ul>d</ul>e", "<ul><li>a</li><li>b<ul><li>c</li></ul>d</li></ul>e"),
        ("<dl><dt>a<dd>b<dt>c</dl>", "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>"),
        (
            "<table><tr><td>a<td>b<tr><td>c</table>d",
            "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>d",
        ),
        (
            "<table><thead><tr><th>a<tbody><tr><td>b",
            "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>",
        ),
        ("<div><table><td></div>x</table>y</div>z", "<div><table><td>x</td></table>y</div>z"),
        ("<td><table><td>a</td></table>b", "<td><table><td>a</td></table>b</td>"),
        (
            "<select><option>a<option>b<optgroup><option>c</select>d",
            "<select><option>a</option><option>b</option><optgroup><option>c</option></optgroup></select>d",
        ),
        ("<a href=1>x<a href=2>y", '<a href="1">x</a><a href="2">y</a>'),
        ("<a href=1><div>x<a href=2>y", '<a href="1"><div>x<a href="2">y</a></div></a>'),
        ("<b><div>x</b>y</div>z", "<b><div>xy</div>z</b>"),
        ("<i><b>x</i>y", "<i><b>x</b></i>y"),
        ("x</div></p>y</br>z", "xy<br>z"),
        ("<head><title>t</title><body><p>x", "<head><title>t</title></head><body><p>x</p></body>"),
        ("<img src=x>y<br/>z", '<img src="x">y<br>z'),
        ("<script>a<b</script>c<style>d</style>", "<script></script>c<style></style>"),
        ("<svg><style>a</style></svg>", "<svg><style></style></svg>"),
        ("a<!-- b -->&lt;c&gt;", "a&lt;c&gt;"),
        ("<p title='&quot;<'>&amp;lt;", '<p title="&quot;&lt;">&amp;lt;</p>'),
    ],
)
def test_tags_that_people_leave_out_are_put_in(html: str, built: str) -> None:
    assert tree(html) == built
    assert tree(built) == built


def test_elements_and_texts_come_in_document_order() -> None:
    page = parse("<div id=1>a<p id=2 class='x  y'>b<b id=3>c</b>d</p>e</div><p id=4>f")
    assert [each.get("id") for each in page.elements()] == ["1", "2", "3", "4"]
    assert [each.get("id") for each in page.elements("p", "b")] == ["2", "3", "4"]
    assert page.text() == "abcdef"
    second = next(page.elements("p"))
    assert second.classes == ["x", "y"]
    assert second.text() == "bcd"
    assert second.inner_html() == 'b<b id="3">c</b>d'
    assert second.get("title", "none") == "none"


def test_the_first_base_is_the_base() -> None:
    assert parse("<base target=x><base href=/a><base href=/b>").base == "/a"
    assert parse("<p>").base is None


def test_html_is_written_again_without_the_tags_that_are_not_wanted() -> None:
    root = parse("<p>a<table><tr><td><b>c</b></table><img>").root
    assert root.inner_html(only={"p", "b"}) == "<p>a</p><b>c</b>"


def test_bytes_are_read_in_the_page_s_charset() -> None:
    assert parse("<p>ü".encode("koi8-r", "replace") + b"\xc1", charset="koi8-r").text() == "?а"


def test_what_is_no_text_is_replaced() -> None:
    assert parse("a\0b\ud800<p title='\udfff'>").root.inner_html() == 'a�b�<p title="�"></p>'


def depth(root: Element) -> int:
    deepest, waiting = 0, [(root, 0)]
    while waiting:
        element, level = waiting.pop()
        deepest = max(deepest, level)
        waiting += [(each, level + 1) for each in element.children if isinstance(each, Element)]
    return deepest


def test_what_is_too_deep_hangs_side_by_side_and_its_ends_end_nothing_else() -> None:
    page = parse("<div>" * 5 + "<b>x" + "</div>" * 2 + "<i>y" + "</div>" * 3 + "z", max_depth=3)
    assert depth(page.root) == 4
    assert page.root.inner_html() == (
        "<div><div><div><div></div><div></div><b></b>x<i></i>y</div></div></div>z"
    )


def test_after_so_many_elements_the_page_ends_and_says_so() -> None:
    page = parse("<b>x</b>" * 10, max_elements=3)
    assert page.cut
    assert page.root.inner_html() == "<b>x</b>" * 3
    assert not parse("<b>x</b>" * 10, max_elements=10).cut


def seconds(html: str) -> float:
    began = time.process_time()
    page = parse(html)
    assert depth(page.root) <= MAX_DEPTH + 1
    page.root.inner_html()
    return time.process_time() - began


@pytest.fixture(scope="module")
def flat() -> float:
    return min(seconds(FLAT) for _ in range(3))


@pytest.mark.parametrize("kind", NESTED)
def test_a_megabyte_of_nested_elements_costs_what_a_flat_one_does(kind: str, flat: float) -> None:
    limit = 4 * flat + 0.05
    assert any(seconds(NESTED[kind]) < limit for _ in range(3))  # others use the machine too


BALANCED = st.recursive(
    st.text("xyz &<é", min_size=1).map(lambda text: text.replace("&", "&amp;").replace("<", "&lt;"))
    | st.sampled_from(["<br>", "<img src=x>", "<!-- <p> -->", "<script>if (a<b) {}</script>"]),
    lambda inner: st.builds(
        lambda tag, held: f"<{tag}>{''.join(held)}</{tag}>",
        st.sampled_from(
            ["div class=h-entry", "span", "section id='a'", "em", "article", "ul", "cite", "h-x"]
        ),
        st.lists(inner, max_size=4),
    ).map(
        lambda html: html.replace("</div class=h-entry>", "</div>").replace("</section id='a'>", "</section>")
    ),
    max_leaves=20,
)


@given(st.lists(BALANCED).map("".join))
def test_a_balanced_page_is_the_tree_that_browsers_build(html: str) -> None:
    theirs = LexborHTMLParser(f"<body><main>{html}</main>").css_first("main")
    [ours] = parse(f"<main>{html}</main>").elements("main")
    assert theirs is not None
    assert list(outline(ours)) == list(lexbor_outline(theirs))


def outline(element: Element) -> Iterator[object]:
    text = ""
    for child in element.children:
        if isinstance(child, str):
            text += child
            continue
        if text:
            yield text
        text = ""
        yield child.tag, child.attributes, list(outline(child))
    if text:
        yield text


def lexbor_outline(node: LexborNode) -> Iterator[object]:
    text = ""
    for child in node.iter(include_text=True):
        if child.tag == "-text":
            text += child.text_content or "" if node.tag != "script" else ""
        elif child.tag != "-comment":
            if text:
                yield text
            text = ""
            found = {name: value or "" for name, value in child.attributes.items()}
            yield child.tag, found, list(lexbor_outline(child))
    if text:
        yield text
