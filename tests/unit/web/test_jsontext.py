from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.web.jsontext import NotJSON, compact, kind, pretty

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_compacting_and_laying_out_never_change_what_is_meant(value: object) -> None:
    text = msgspec.json.encode(value)
    assert compact(pretty(text).encode()) == compact(text)
    assert msgspec.json.decode(pretty(text)) == msgspec.json.decode(text)


def test_numbers_keep_their_digits() -> None:
    text = b'{ "price" : 1.10, "big": 1234567890123456789012345678901234567890, "small": 1e-7 }'
    assert compact(text) == b'{"price":1.10,"big":1234567890123456789012345678901234567890,"small":1e-7}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"NaN", "line 1, column 1"),
        (b"Infinity", "line 1, column 1"),
        (b'{"a": 1e999}', "number out of range"),
        (b'{\n  "a": oops\n}', "line 2, column 8"),
        ('{"ä": oops}'.encode(), "line 1, column 7"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\\ud800"', "surrogate"),
        (b"[1, 2", "too early"),
        (b"1 2", "trailing characters"),
        (b"\xef\xbb\xbf1", "invalid character"),
        (b"[" * 5000 + b"]" * 5000, "too deeply"),
    ],
)
def test_what_is_not_json_is_refused_in_words_that_say_where(text: bytes, says: str) -> None:
    with pytest.raises(NotJSON, match=says):
        compact(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [("{}", "object"), ("[1]", "array"), ('"a"', "text"), ("-1", "number"), ("true", "boolean"),
     ("false", "boolean"), ("null", "null")],
)  # fmt: skip
def test_the_kind_of_a_value_is_named(text: str, what: str) -> None:
    assert kind(text.encode()) == what
