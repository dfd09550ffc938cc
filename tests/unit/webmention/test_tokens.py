"""Tags and texts as the HTML standard's tokeniser tells them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.webmention.tokens import END, START, TEXT, attributes, tokens, unescape


def said(html: str) -> str:
    """In short: tags in brackets with their attributes, texts as they are."""
    shown = {TEXT: "{2}", START: "[{0}{1}]", END: "[/{0}]"}
    return "".join(shown[kind].format(name, attributes(raw) or "", raw) for kind, name, raw in tokens(html))


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ("a<B>c</B>d", "a[b]c[/b]d"),
        ("<a HREF=x>", "[a{'href': 'x'}]"),
        ("<a href = 'x>y' b>z", "[a{'href': 'x>y', 'b': ''}]z"),
        ('<a href="x>y"b=c>', "[a{'href': 'x>y', 'b': 'c'}]"),
        ("<a href=x href=y>", "[a{'href': 'x'}]"),
        ("<a href=>b", "[a{'href': ''}]b"),
        ("<a href=x/>", "[a{'href': 'x/'}]"),
        ("<a/href=x/b>", "[a{'href': 'x/b'}]"),
        ("<a =x=y>", "[a{'=x': 'y'}]"),
        ('<a b"c>d', "[a{'b\"c': ''}]d"),
        ("<a\n\thref\f=\r\nx>", "[a{'href': 'x'}]"),
        ("</a href=x>", "[/a]"),
        ("<my-element.x>", "[my-element.x]"),
        ("a < b <3 <", "a < b <3 <"),
        ("a</>b</ c>d<?e>f<!g>h", "abdfh"),
        ("a<!--b-->c<!---->d<!-->e<!--->f<!--g--!>h<!-- -- > -->i", "acdefhi"),
        ("a<!--<b>", "a"),
        ("a<b c='", "a"),
        ("a</b", "a"),
        ("a<![CDATA[<b>]]>c", "a]]>c"),
        ("<svg><![CDATA[<b>]]></svg><b>", "[svg][/svg][b]"),
        ("<script>a</b><!--</scripts></SCRIPT\n>b", "[script][/script]b"),
        ("<style><a></style><a>", "[style][/style][a]"),
        ("<title><a>&amp;</title><a>", "[title]<a>&amp;[/title][a]"),
        ("<textarea><a></textarea><a>", "[textarea]<a>[/textarea][a]"),
        ("<iframe><a></iframe><a>", "[iframe][/iframe][a]"),
        ("<script><a>", "[script]"),
        ("<plaintext><a></plaintext>", "[plaintext]<a>[/plaintext]"),
        ("<noscript><a></noscript>", "[noscript][a][/noscript]"),
        ("<svg><title/><style/><a></svg><title><a>", "[svg][title][style][a][/svg][title]<a>"),
        ("<svg/><title><a>", "[svg][title]<a>"),
        ("a<template>b<template><c></template><d>e</template>f", "a[template][/template]f"),
        ("</template>a", "[/template]a"),
        ("<template><script></template></script>a</template>b", "[template][/template]b"),
    ],
)
def test_markup_is_told_from_what_only_looks_like_it(html: str, told: str) -> None:
    assert said(html) == told


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("?a=1&copy=2&section=3&lt", "?a=1&copy=2&section=3<"),
        ("&amp;amp;&#38;&#x26;&#38", "&amp;&&&"),
        ("&copy;&copy &notit; &unknown;", "©© &notit; &unknown;"),
        ("&#0;&#xD800;&#x110000;&#" + "9" * 5000 + ";", "����"),
        ("&", "&"),
        ("&#;", "&#;"),
    ],
)
def test_a_reference_in_an_attribute_hurts_no_query_string(written: str, value: str) -> None:
    assert attributes(f'href="{written}"') == {"href": value}


def test_a_reference_in_a_text_of_any_length_is_replaced() -> None:
    assert unescape("&lt;b&gt; &copy2 &#" + "0" * 5000 + "65;&#" + "9" * 5000 + ";x") == "<b> ©2 A�x"


PIECES = st.sampled_from(["script", "template", "svg", "]]", "--", "&#", *"<>/!-='\" ab&?\0"])


@given(st.lists(PIECES).map("".join) | st.text())
def test_every_page_comes_to_an_end_and_names_are_names(html: str) -> None:
    for kind, name, raw in tokens(html):
        if kind == TEXT:
            assert raw
            unescape(raw)
        else:
            assert name[0].isascii()
            assert name[0].isalpha()
            assert not set(name) & set(" >/")
            assert all(attributes(raw)) or not raw


@given(st.dictionaries(st.text("abc-:@", min_size=1), st.text()))
def test_what_was_written_in_quotes_is_read_again(found: dict[str, str]) -> None:
    quoted = {name: value.replace("&", "&amp;").replace('"', "&quot;") for name, value in found.items()}
    [(_, _, raw), _] = tokens("<p " + " ".join(f'{name}="{value}"' for name, value in quoted.items()) + ">x")
    assert attributes(raw) == found
