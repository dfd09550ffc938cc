"""What is printed, and what must not be."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.keys import shown
from holdfast.cli.output import one_line, painted


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("cannot reach redis://:hunter2@host/0 now", "cannot reach redis://:***@host/0 now"),
        ("postgresql://ada:hunter2@host/db", "postgresql://ada:***@host/db"),
        ("postgresql://ada:hunter@2@host/db", "postgresql://ada:***@host/db"),
        ("'redis://u:hunter2@h' and 'redis://v:hunter2@h'", "'redis://u:***@h' and 'redis://v:***@h'"),
        ("redis://host:6379/0 mail@host", "redis://host:6379/0 mail@host"),
    ],
)
def test_a_message_shows_no_password_of_a_url(text, printed):
    assert one_line(text) == printed


def test_a_message_is_one_line_that_a_terminal_cannot_obey():
    assert one_line("a\nb\x1b[31m\u2028c\x9b") == "a b [31m c"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
)


@given(value=JSON)
def test_painting_changes_nothing_but_colour(value):
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    plain = painted(text, colour=False)
    assert msgspec.json.decode(plain) == value
    coloured = painted(text, colour=True)
    for code in (b"\x1b[34m", b"\x1b[32m", b"\x1b[36m", b"\x1b[0m"):
        coloured = coloured.replace(code, b"")
    assert coloured == plain


def test_parts_of_json_are_told_apart_by_colour():
    text = painted(b'{"a": "b", "c": -1.5e3, "d": null}', colour=True)
    assert text == (
        b'{\x1b[34m"a"\x1b[0m: \x1b[32m"b"\x1b[0m, \x1b[34m"c"\x1b[0m: \x1b[36m-1.5e3\x1b[0m,'
        b' \x1b[34m"d"\x1b[0m: \x1b[36mnull\x1b[0m}'
    )


def test_a_value_cannot_steer_the_terminal():
    assert painted('"a\x9b31mb\x7f"'.encode(), colour=False) == b'"a\\u009b31mb\\u007f"'


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("user:1", "user:1"),
        ("grüße 🌊", "grüße 🌊"),
        ("two\nlines", '"two\\nlines"'),
        ('"quoted"', '"\\"quoted\\""'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("a\u202eb", '"a\\u202eb"'),
    ],
)
def test_a_key_is_one_harmless_line(key, line):
    assert shown(key, null=False) == line
    assert shown(key, null=True) == key


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_printed_key_is_the_key_or_its_json(key):
    line = shown(key, null=False)
    assert "\n" not in line
    assert line == key if line[:1] != '"' else msgspec.json.decode(line) == key
