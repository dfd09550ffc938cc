"""Notes in an SQLite file: written with whatever else a transaction does, read once, missed by nobody unawares."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.engines import notes as table
from holdfast.engines.sqlite import notes
from holdfast.engines.sqlite.wide import WIDTHS, Wide

NOW = 1_700_000_000_000
ALL = b'["a","b"]'


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    for migration in table.MIGRATIONS["sqlite"]:
        for statement in migration.statements:
            connection.execute(statement)
    yield connection
    connection.close()


def told(connection: sqlite3.Connection, *said: str, channel: str = "a", at: int = NOW) -> None:
    notes.note(connection, [(channel, each.encode(), at) for each in said])


def data(found: notes.Notes) -> list[bytes]:
    return [each.data for each in found.found]


def test_each_note_is_read_once_and_in_order(file: sqlite3.Connection) -> None:
    start = notes.latest(file)
    told(file, "1", "2")
    first = notes.read(file, start, ALL)
    told(file, "3", channel="b")
    second = notes.read(file, first.reached, ALL)
    third = notes.read(file, second.reached, ALL)
    assert (data(first), data(second), data(third)) == ([b"1", b"2"], [b"3"], [])
    assert second.found[0].channel == "b"
    assert first.complete
    assert second.complete
    assert third.complete


def test_notes_for_others_are_passed_over(file: sqlite3.Connection) -> None:
    told(file, "1", channel="else")
    told(file, "2")
    told(file, "3", channel="else")
    found = notes.read(file, 0, ALL)
    assert data(found) == [b"2"]
    assert found.reached == 3
    assert found.complete


def test_a_long_absence_is_caught_up_in_several_reads(
    file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "MAX_NOTES", 3)
    told(file, *"12345")
    first = notes.read(file, 0, ALL)
    second = notes.read(file, first.reached, ALL)
    assert (data(first), first.more) == ([b"1", b"2", b"3"], True)
    assert (data(second), second.more) == ([b"4", b"5"], False)


def test_what_is_swept_after_it_was_read_was_not_missed(file: sqlite3.Connection) -> None:
    told(file, "1", "2")
    reached = notes.read(file, 0, ALL).reached
    assert notes.sweep(file, NOW + 1) == 2
    assert notes.read(file, reached, ALL).complete
    told(file, "3")
    found = notes.read(file, reached, ALL)
    assert (data(found), found.complete) == ([b"3"], True)


@pytest.mark.parametrize("later", [(), ("3",)])
def test_what_is_swept_before_it_was_read_is_known_to_be_missed(
    file: sqlite3.Connection, later: tuple[str, ...]
) -> None:
    told(file, "1", "2")
    notes.sweep(file, NOW + 1)
    told(file, *later)
    found = notes.read(file, 0, ALL)
    assert not found.complete
    assert data(found) == [each.encode() for each in later]
    assert notes.read(file, found.reached, ALL) == notes.Notes(found.reached, (), True, False)


def test_a_rolled_back_note_leaves_no_hole(file: sqlite3.Connection) -> None:
    file.execute("BEGIN")
    told(file, "1")
    file.execute("ROLLBACK")
    told(file, "2")
    found = notes.read(file, 0, ALL)
    assert (data(found), found.complete) == ([b"2"], True)


def test_the_sweep_takes_what_is_old_a_bounded_number_at_a_time(
    file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "MAX_SWEPT", 3)
    told(file, *"12345")
    told(file, "6", at=NOW + 1)
    assert notes.sweep(file, NOW) == 0
    assert [notes.sweep(file, NOW + 1) for _ in range(3)] == [3, 2, 0]
    assert data(notes.read(file, 5, ALL)) == [b"6"]


@pytest.mark.parametrize("count", sorted({1, *WIDTHS, *(each + 1 for each in WIDTHS), 1200}))
def test_a_wide_statement_writes_each_row_once_whatever_their_number(
    file: sqlite3.Connection, count: int
) -> None:
    statements: list[str] = []
    file.set_trace_callback(statements.append)
    told(file, *map(str, range(count)))
    assert sum(each.startswith("INSERT") for each in statements) == -(-count // WIDTHS[-1])
    file.set_trace_callback(None)
    written = file.execute("SELECT data FROM holdfast_notes ORDER BY number").fetchall()
    assert [int(each) for (each,) in written] == list(range(count))


def test_a_wide_statement_without_rows_is_none(file: sqlite3.Connection) -> None:
    Wide("no statement", 1, "at all").execute(file, [])
