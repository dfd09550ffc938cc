from __future__ import annotations

import pytest

from holdfast.web.preconditions import ANY, etag, holds, read


@pytest.mark.parametrize(
    ("fields", "means"),
    [
        ([], None),
        (["*"], ANY),
        (['"a"'], ["a"]),
        (['"a", "b"'], ["a", "b"]),
        (['"a"', '"b" , "c"'], ["a", "b", "c"]),
        (['W/"a", "b"'], ['W/"a"', "b"]),
        (['"a",,"b",'], ["a", "b"]),
        (['""'], [""]),
    ],
)
def test_a_list_of_tags_is_read_as_the_rfc_writes_it(fields: list[str], means: object) -> None:
    assert read(fields) == means


@pytest.mark.parametrize(
    "fields", [["a"], ['"a'], ['"a" "b"'], [""], [","], ['*, "a"'], [",".join(['"a"'] * 33)]]
)
def test_what_is_no_list_of_tags_is_an_error(fields: list[str]) -> None:
    with pytest.raises(ValueError):
        read(fields)


def test_a_weak_tag_matches_only_where_a_read_asks() -> None:
    assert not holds(['W/"v"'], "v")
    assert holds(['W/"v"'], "v", weak=True)


def test_an_absent_value_matches_nothing_and_any_matches_every_live_one() -> None:
    assert not holds(ANY, None)
    assert holds(ANY, "v")
    assert not holds(["a"], "b")
    assert etag("v") == '"v"'
