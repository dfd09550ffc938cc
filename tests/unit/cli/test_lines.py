"""The export format, on its own."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import lines

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(key=TEXT, value=JSON, expires_at=st.none() | st.integers(0, 2**48), indent=st.sampled_from([-1, 2]))
def test_a_row_is_one_line_and_reads_back_whatever_key_and_value_hold(key, value, expires_at, indent):
    stored = msgspec.json.format(msgspec.json.encode(value), indent=indent)
    line = lines.row(key, stored, expires_at)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert b"\r" not in line
    found = lines.read(line[:-1])
    assert isinstance(found, lines.Row)
    assert (found.key, found.expires_at) == (key, expires_at)
    assert msgspec.json.decode(bytes(found.value)) == value


def test_numbers_keep_their_digits():
    found = lines.read(lines.row("price", b"1.10", None))
    assert isinstance(found, lines.Row)
    assert bytes(found.value) == b"1.10"


@pytest.mark.parametrize("stored", [b"{", b"hello", b'"\xff"', b"", b"1e999"])
def test_what_is_stored_and_is_not_json_is_no_row(stored):
    with pytest.raises(lines.Broken, match="'k': what is stored is not JSON"):
        lines.row("k", stored, None)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"7", "not an object"),
        (b"[]", "not an object"),
        (b"{}", "no `key`"),
        (b'{"value":1}', "no `key`"),
        (b'{"key":"k"}', "missing required field `value`"),
        (b'{"key":1,"value":1}', r"Expected `str`, got `int` - at `\$.key`"),
        (b'{"key":"k","value":1,"expires_at":"soon"}', r"got `str` - at `\$.expires_at`"),
        (b'{"key":"k","value":"\xff"}', "not JSON"),
        (b'{"key":"k","value":1e999}', "out of range"),
        (b'{"key":"k","value":{"a":1,}}', "not JSON"),
    ],
)
def test_a_broken_line_says_what_is_wrong(line, why):
    with pytest.raises(lines.Broken, match=why):
        lines.read(line)


def test_the_first_and_the_last_line_are_known():
    assert lines.read(lines.head("app", 1)) == lines.Head(1)
    assert lines.read(lines.end(3)) == lines.End(3)


def test_a_newer_format_is_refused_by_number():
    with pytest.raises(lines.TooNew, match="export format 2; this version reads up to 1"):
        lines.read(b'{"holdfast":"export","format":2}')


@pytest.mark.parametrize("line", [b"", b"  ", b"\r", b"\t \r"])
def test_blank_lines_are_nothing(line):
    assert lines.read(line) is None


def test_fields_of_later_versions_are_ignored_and_a_missing_end_is_never():
    found = lines.read(b'{"key":"k","value":1,"colour":"red"}\r')
    assert isinstance(found, lines.Row)
    assert found.expires_at is None
