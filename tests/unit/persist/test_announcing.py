"""Which writes are announced, and how that is written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidConversion
from holdfast.persist.announcing import announced, announcement, is_value, tell
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetRenew,
    Increment,
    Remove,
    Replace,
    Set,
    Touch,
)
from holdfast.persist.keys import Namespace

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[str, bool]] = []

    def changed(self, key: str, removed: bool) -> None:
        self.heard.append((key, removed))

    def lost(self) -> None:
        raise AssertionError("nothing was lost")


def read(data: bytes) -> list[tuple[str, bool]]:
    ear = Ear()
    tell(ear, data)
    return ear.heard


@given(names, names, names)
def test_only_values_are_announced_whatever_namespace_and_key_are_called(
    outer: str, inner: str, key: str
) -> None:
    space = Namespace(inner, Namespace(outer).path)
    assert is_value(space.prefix("p") + key)
    for family in "olfsw":
        assert not is_value(space.prefix(family) + key)
        assert not is_value(space.prefix(family) + ":p:" + key)


@pytest.mark.parametrize(
    ("op", "did", "did_not"),
    [
        (Set("a:p:k", b"1", KEEP), None, ...),
        (Create("a:p:k", b"1", None), True, False),
        (Replace("a:p:k", b"1", "v", None), "w", None),
        (Increment("a:p:k", 1, None), 0, InvalidConversion("no")),
        (Remove("a:p:k"), True, False),
        (Remove("a:p:k", "v"), True, False),
        (Touch("a:p:k", 1), ..., True),
        (GetRenew("a:p:k", 1), ..., b"1"),
        (Get("a:p:k"), ..., b"1"),
        (Clear("a:p:k", None, 1), ..., Cleared(1, None)),
    ],
)
def test_what_did_something_is_announced_and_what_did_not_is_not(
    op: Set, did: object, did_not: object
) -> None:
    if did is not ...:
        assert announced(op, did) == ("r" if isinstance(op, Remove) else "s")
        assert announced(op, OSError()) is None
    if did_not is not ...:
        assert announced(op, did_not) is None


def test_a_batch_is_told_in_its_order_and_repetitions_once() -> None:
    one, two, lock = Set("a:p:1", b"", None), Set("a:p:2", b"", None), Set("a:l:1", b"", None)
    batch = (one, two, one, Remove("a:p:1"), Clear("a:", None, 9), one, lock, one)
    outcomes = (None, None, None, True, Cleared(2, None), None, None, None)
    assert read(announcement(batch, outcomes, {4: ["a:p:2", "a:l:2", "a:p:1"]})) == [
        ("a:p:1", False),
        ("a:p:2", False),
        ("a:p:1", True),
        ("a:p:2", True),
        ("a:p:1", False),
    ]
    assert announcement((lock, Create("a:p:1", b"", None)), (None, False)) == b""


@given(st.lists(names))
def test_keys_come_out_as_they_went_in(keys: list[str]) -> None:
    batch = [Set(f"a:p:{key}", b"", None) for key in dict.fromkeys(keys)]
    assert read(announcement(batch, [None] * len(batch))) == [(op.key, False) for op in batch]


@given(st.binary())
def test_what_others_say_is_no_error(data: bytes) -> None:
    read(data)
    assert read(b"") == []
    assert read(b"x\0\0hello") == []
