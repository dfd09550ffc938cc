"""What stands in an element, within a bound."""

from holdfast.webmention.excerpts import html_of, text_of
from holdfast.webmention.markup import parse


def said(html: str, max_chars: int = 2_000) -> str:
    return text_of(parse(html).root, max_chars=max_chars)


def markup(html: str, max_chars: int = 2_000, max_markup: int = 16_000) -> str:
    return html_of(parse(html).root, max_chars=max_chars, max_markup=max_markup)


def test_white_space_is_one_space_and_a_block_is_a_line() -> None:
    assert (
        said("<p>One\n   <b>two</b>,\tthree</p>\n\n<p>four<br>five</p>six")
        == "One two, three\nfour\nfive\nsix"
    )


def test_no_space_appears_where_none_stands() -> None:
    assert said("a<b>b</b>c <i> d</i>") == "abc d"


def test_an_image_is_what_it_says_in_words() -> None:
    assert said('A <img src="x" alt="cat"> sat') == "A cat sat"


def test_what_nobody_reads_is_no_text() -> None:
    assert said("a<script>b</script><style>c</style><select><option>d</select>e") == "ae"


def test_what_is_no_text_is_dropped() -> None:
    assert "\0" not in said("a\0b&#0;&#xD800;&#x202e;c")


def test_a_long_text_ends_in_an_ellipsis_at_the_bound() -> None:
    text = said("word " * 10_000, max_chars=100)
    assert len(text) <= 100
    assert text.endswith("…")
    assert said("x" * 500, max_chars=100) == "x" * 99 + "…"
    for n in range(90, 110):
        text = said("<p>ab</p>" * 1_000, max_chars=n)
        assert len(text) <= n
        assert text.endswith("…")


def test_what_was_asked_for_is_read_whatever_it_is() -> None:
    (title,) = parse("<title> a  page </title>").elements("title")
    assert text_of(title) == "a page"


def test_a_text_of_just_the_length_is_whole() -> None:
    assert said("x" * 100, max_chars=100) == "x" * 100


def test_tags_that_are_let_through_are_written_and_balanced() -> None:
    assert markup("<p class=x>a<b>c</p><h2>d</h2><font>e</font><br>&lt;f&gt;<script>g</script>") == (
        "<p>a<b>c</b></p><div>d</div>e<br>&lt;f&gt;"
    )


def test_attributes_are_quoted() -> None:
    assert markup("""<a href='x"><script>' onclick=y>z</a>""") == '<a href="x&quot;&gt;&lt;script&gt;">z</a>'


def test_html_ends_after_so_many_characters_of_text_with_all_closed() -> None:
    assert markup("<p><b>abcdef</b></p><p>never</p>", max_chars=4) == "<p><b>abcd…</b></p>"


def test_html_of_just_the_length_is_whole() -> None:
    assert markup("<p>ab</p><p>cd</p>", max_chars=4) == "<p>ab</p><p>cd</p>"
    assert markup("<p>ab</p><p>cd</p>", max_markup=18) == "<p>ab</p><p>cd</p>"


def test_html_ends_after_so_much_markup_with_all_closed() -> None:
    said = markup("<p><b><i>a</i></b></p>" * 1_000, max_markup=100)
    assert len(said) <= 101
    assert said.count("<p>") == said.count("</p>")
    assert said.count("<i>") == said.count("</i>")
    assert "…" in said
