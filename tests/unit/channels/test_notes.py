"""What processes tell each other."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.channels import notes


def test_a_note_is_read_as_it_was_written() -> None:
    data = notes.write(notes.BROADCAST, "node", "said", msgspec.Raw(b'{"n":1}'))
    assert data == b'["b","node","said",{"n":1}]'
    note = notes.read(data)
    assert note is not None
    assert (note.kind, note.node) == ("b", "node")
    assert (bytes(note.first), bytes(note.second)) == (b'"said"', b'{"n":1}')


def test_bytes_go_as_base64() -> None:
    note = notes.read(notes.write(notes.BINARY, "node", "e", b"\0\xff"))
    assert note is not None
    assert msgspec.json.decode(note.second, type=bytes) == b"\0\xff"


def test_what_a_note_does_not_say_is_null_and_what_it_says_beyond_is_ignored() -> None:
    short, long = notes.read(b'["d","node"]'), notes.read(b'["d","node",1,2,3,4]')
    assert short is not None
    assert long is not None
    assert (bytes(short.first), bytes(short.second)) == (b"null", b"null")
    assert bytes(long.second) == b"2"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'["b"]', b'[1,"node"]', b'["b","node"', b"\xff"])
def test_what_is_no_note_of_ours_is_none(data: bytes) -> None:
    assert notes.read(data) is None


def test_two_processes_never_have_one_name() -> None:
    assert len({notes.new_node() for _ in range(1000)}) == 1000
