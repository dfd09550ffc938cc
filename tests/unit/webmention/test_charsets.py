"""Bytes become text as the page says, and never by a codec that is no charset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.webmention.charsets import charset_of, decode


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("ü".encode(), None, "ü"),
        ("ü".encode("cp1252"), None, "ü"),
        ("ü".encode("cp1252"), "ISO-8859-1", "ü"),
        ("“ü”".encode("cp1252"), "latin1", "“ü”"),
        ("ж".encode("koi8-r"), "koi8-r", "ж"),
        ("猫".encode("shift_jis"), "Shift_JIS", "猫"),
        (b"\xef\xbb\xbfx", "latin1", "x"),
        ("ü".encode("utf-16"), "utf-8", "ü"),
        ("ü".encode("utf-16-le"), "utf-16", "ü"),
        (b'<meta charset="koi8-r">' + "ж".encode("koi8-r"), None, '<meta charset="koi8-r">ж'),
        (b"<meta charset=koi8-r>\xc3\xbc", "utf-8", "<meta charset=koi8-r>ü"),
        (b'<meta charset="utf-16">x', None, '<meta charset="utf-16">x'),
        (b"a\xff\xc3\xbc", "utf-8", "a�ü"),
    ],
)
def test_the_mark_then_the_header_then_the_page_says_how_it_is_read(
    body: bytes, charset: str | None, text: str
) -> None:
    assert decode(body, charset) == text


def test_a_character_that_a_limit_cut_in_two_makes_it_no_other_charset() -> None:
    assert decode("ü€".encode()[:-1]) == "ü�"


@pytest.mark.parametrize(
    "codec", ["utf-7", "punycode", "idna", "unicode_escape", "zip", "rot13", "undefined", "x\0"]
)
def test_codecs_that_are_no_charsets_are_not_used(codec: str) -> None:
    assert decode(b"+ADw-script+AD4- \\u003c", codec) == "+ADw-script+AD4- \\u003c"


@given(st.binary(), st.text() | st.sampled_from(["utf-16", "gbk", "big5", "euc-jp", "windows-1253"]))
def test_nothing_raises(body: bytes, charset: str) -> None:
    decode(body, charset).encode()


@pytest.mark.parametrize(
    ("said", "charset"),
    [
        ("text/html", None),
        ("text/html;charset=utf-8", "utf-8"),
        ('text/html; a=b; Charset="UTF-8"', "UTF-8"),
        ("text/html; charset=", None),
    ],
)
def test_a_content_type_names_its_charset(said: str, charset: str | None) -> None:
    assert charset_of(said) == charset
