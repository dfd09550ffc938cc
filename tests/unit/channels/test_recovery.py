"""Positions, and what happened after one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.channels.driver import Entry
from holdfast.channels.recovery import Position, Step, is_given, recoverable, steps


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0~", Position(0, "")),
        ("7~abcDEF09", Position(7, "abcDEF09")),
        ("999999999999999999~e", Position(10**18 - 1, "e")),
    ],
)
def test_a_position_is_read_as_it_was_written(text: str, position: Position) -> None:
    assert Position.parse(text) == position
    assert str(position) == text


@pytest.mark.parametrize(
    "text",
    [None, 7, "", "~", "7", "07~e", "-1~e", "1~e-", "1~" + "e" * 17, "1" * 19 + "~e", " 1~e", "1~e\n", "١~e"],
)
def test_what_is_no_position_is_none(text: object) -> None:
    assert Position.parse(text) is None


@pytest.mark.parametrize("id", ["a", "order-7", "A_z.9:@/+=-", "x" * 128])
def test_a_publishers_id_is_never_taken_for_a_position(id: str) -> None:
    assert is_given(id)
    assert Position.parse(id) is None


@pytest.mark.parametrize("id", ["", "7~e", "x" * 129, "a b", "é", "a\n", "a\0"])
def test_what_is_no_id_is_none(id: str) -> None:
    assert not is_given(id)


@pytest.mark.parametrize(
    ("since", "epoch", "last", "trimmed", "all_there"),
    [
        (Position(5, "e"), "e", 9, 0, True),
        (Position(9, "e"), "e", 9, 0, True),
        (Position(5, "e"), "e", 9, 5, True),  # 6 and above are there
        (Position(4, "e"), "e", 9, 5, False),
        (Position(10, "e"), "e", 9, 0, False),  # the store has forgotten it
        (Position(5, "e"), "f", 9, 0, False),
        (Position(5, "e"), None, 0, 0, False),
        (Position(0, ""), None, 0, 0, True),
        (Position(0, ""), "e", 9, 0, True),
        (Position(0, ""), "e", 9, 1, False),
        (Position(3, ""), "e", 9, 0, False),
        (Position(3, ""), None, 0, 0, False),
        (Position(-1, ""), "e", 9, 0, False),
    ],
)
def test_history_is_lost_exactly_where_something_is_missing(
    since: Position, epoch: str | None, last: int, trimmed: int, all_there: bool
) -> None:
    assert recoverable(since, epoch, last, trimmed) is all_there


def said(offset: int, changed: int | None = None, *, erased: bool = False) -> Entry:
    return Entry(offset, None, "m", None if erased else b"{}", 0, changed)


def told(*entries: Entry, after: int) -> list[tuple[int, bool]]:
    return [(step.offset, step.change) for step in steps(entries, after)]


def test_what_is_new_stands_where_it_was_said_as_it_is_now() -> None:
    assert told(said(5, changed=9), said(6), after=4) == [(5, False), (6, False)]


def test_what_was_there_before_stands_where_it_was_changed() -> None:
    assert told(said(5), said(2, changed=6), said(7), after=4) == [(5, False), (6, True), (7, False)]


def test_what_came_and_was_erased_since_is_not_told_and_what_was_there_is() -> None:
    assert told(said(5, changed=6, erased=True), after=4) == []
    assert told(said(5, changed=6, erased=True), after=5) == [(6, True)]


def test_what_may_have_been_shown_before_it_was_stored_is_told_to_be_gone() -> None:
    assert told(Entry(5, "given", "m", None, 0, 7), said(6), after=4) == [(6, False), (7, True)]
    assert told(Entry(5, "given", "m", None, 0, 7), after=7) == []


def test_what_two_pages_hold_is_told_once_as_the_later_one_has_it() -> None:
    later = said(5, changed=8)
    assert steps([said(5), said(6), later], 4)[0] == Step(5, later, False)
    assert told(said(5), said(6), said(5, changed=8, erased=True), after=4) == [(6, False)]


def test_what_was_known_already_is_not_told() -> None:
    assert told(said(3), said(4, changed=5), after=5) == []


@given(
    st.lists(st.tuples(st.integers(1, 30), st.none() | st.integers(31, 60), st.booleans())),
    st.integers(0, 60),
)
def test_steps_are_in_order_above_the_position_and_one_for_each_message(
    entries: list[tuple[int, int | None, bool]], after: int
) -> None:
    found = steps([said(at, changed, erased=erased) for at, changed, erased in entries], after)
    assert [step.offset for step in found] == sorted(step.offset for step in found)
    assert all(step.offset > after for step in found)
    assert len({step.entry.offset for step in found}) == len(found)
    assert all(step.change or step.entry.payload is not None for step in found)
    assert all(step.offset in (step.entry.offset, step.entry.changed) for step in found)
