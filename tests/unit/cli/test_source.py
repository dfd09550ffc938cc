"""Lines of files and pipes."""

from __future__ import annotations

import asyncio
import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import source


async def _parts(*parts):
    for part in parts:
        yield part


async def _collected(parts, longest=1000):
    return [each async for group in source.numbered(parts, longest=longest) for each in group]


def _split(text, cuts):
    places = sorted(cut % (len(text) + 1) for cut in cuts)
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@given(
    rows=st.lists(st.binary(max_size=12).map(lambda row: row.replace(b"\n", b"")), max_size=8),
    cuts=st.lists(st.integers(0, 99), max_size=6),
)
def test_lines_are_the_same_however_the_text_is_cut(rows, cuts):
    text = b"".join(row + b"\n" for row in rows)
    parts = [part for part in _split(text, cuts) if part]
    assert asyncio.run(_collected(_parts(*parts))) == list(enumerate(rows, 1))


async def test_a_last_line_needs_no_end():
    assert await _collected(_parts(b"a\nb")) == [(1, b"a"), (2, b"b")]


@given(cuts=st.lists(st.integers(0, 99), max_size=6))
def test_a_line_over_the_limit_is_read_over_and_the_next_is_whole(cuts):
    parts = [part for part in _split(b"a\n" + b"x" * 50 + b"\nb\n" + b"y" * 50, cuts) if part]
    found = asyncio.run(_collected(_parts(*parts), longest=10))
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert [found[0][1], found[2][1]] == [b"a", b"b"]
    assert isinstance(found[1][1], source.TooLong)
    assert isinstance(found[3][1], source.TooLong)


async def test_several_gzip_members_are_one_text():
    packed = gzip.compress(b"a\n") + gzip.compress(b"b\n")
    halves = packed[:7], packed[7:]
    assert b"".join([part async for part in source.unzipped(_parts(*halves))]) == b"a\nb\n"


async def test_a_small_gzip_that_holds_much_comes_in_small_parts():
    packed = gzip.compress(b"\0" * (8 << 20))
    sizes = [len(part) async for part in source.unzipped(_parts(packed))]
    assert sum(sizes) == 8 << 20
    assert max(sizes) <= source.CHUNK


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(lambda packed: packed[:-9], "ends too early"), (lambda packed: b"no gzip" + packed, "damaged")],
)
async def test_damaged_gzip_says_so_after_what_could_be_read(spoil, why):
    packed = spoil(gzip.compress(os.urandom(100)))
    with pytest.raises(source.Unreadable, match=why):
        async for _ in source.unzipped(_parts(packed)):
            pass


async def test_a_pipe_is_waited_for_without_stopping_the_loop():
    reader, writer = os.pipe()
    try:
        parts = source.blocks(reader)
        waiting = asyncio.ensure_future(anext(parts))
        turns = 0
        while turns < 100:  # the loop goes round while nothing is there to read
            turns += 1
            await asyncio.sleep(0)
        assert not waiting.done()
        os.write(writer, b"here")
        assert await waiting == b"here"
    finally:
        os.close(writer)
        os.close(reader)


async def test_a_pipe_that_closes_ends_the_text():
    reader, writer = os.pipe()
    os.write(writer, b"a\n")
    os.close(writer)
    try:
        assert [part async for part in source.blocks(reader)] == [b"a\n"]
    finally:
        os.close(reader)


async def test_a_file_is_read_to_its_end(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"x" * (source.CHUNK + 1))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert [len(part) async for part in source.blocks(descriptor)] == [source.CHUNK, 1]
    finally:
        os.close(descriptor)
