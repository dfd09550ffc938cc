"""Decompression within a bound: of bytes kept, of bytes read, of work."""

from __future__ import annotations

import gzip
import random
import time
import tracemalloc
import zlib

import pytest

from holdfast.errors import FetchFailed
from holdfast.webmention.fetch_bodies import Body

TEXT = b"".join(b"%d bottles of beer on the wall, " % n for n in range(2000))


def naked(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(data) + squeeze.flush()


def read(raw: bytes, coding: str, *, max_bytes: int = 1 << 20, step: int = 1000) -> tuple[bytes, bool]:
    body = Body("GET", coding, max_bytes)
    for at in range(0, len(raw), step):
        if body.full:
            break
        body.feed(raw[at : at + step])
    return body.finish(), body.cut


@pytest.mark.parametrize("step", [1, 2, 7, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("coding", "raw"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("X-GZip", gzip.compress(TEXT)),
        ("identity, gzip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:99]) + gzip.compress(b"") + gzip.compress(TEXT[99:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 100),
        ("gzip", gzip.compress(TEXT) + b"\0"),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", naked(TEXT)),
    ],
)
def test_what_was_compressed_comes_back_in_whichever_pieces_it_arrives(
    coding: str, raw: bytes, step: int
) -> None:
    assert read(raw, coding, step=step) == (TEXT, False)


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_body_of_just_the_bound_is_whole_and_one_byte_more_is_cut(coding: str) -> None:
    def raw(data: bytes) -> bytes:
        return gzip.compress(data) if coding else data

    assert read(raw(b"x" * 5000), coding, max_bytes=5000) == (b"x" * 5000, False)
    assert read(raw(b"x" * 5001), coding, max_bytes=5000) == (b"x" * 5000, True)


def test_an_empty_body_needs_no_compression() -> None:
    assert read(b"", "gzip") == (b"", False)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "compress", "none"])
def test_an_encoding_that_nobody_asked_for_is_refused_for_good(coding: str) -> None:
    with pytest.raises(FetchFailed, match="encoding") as failed:
        Body("GET", coding, 1000)
    assert not failed.value.transient


def test_what_is_not_compressed_as_it_says_is_a_failure() -> None:
    for raw in (b"plain text", b"\x1f\x8b\x08 and nonsense that goes on"):
        with pytest.raises(FetchFailed, match="not compressed"):
            read(raw, "gzip")


def test_a_compressed_body_that_ends_early_is_a_failure_as_a_link_may_be_missing() -> None:
    raw = gzip.compress(random.Random(1).randbytes(5000))
    for end in (1, 5, 4000, len(raw) - 1):
        with pytest.raises(FetchFailed, match="middle"):
            read(raw[:end], "gzip")
    with pytest.raises(FetchFailed, match="middle"):
        read(gzip.compress(TEXT) + gzip.compress(TEXT)[:500], "gzip")


def test_a_broken_second_member_is_no_padding() -> None:
    second = bytearray(gzip.compress(random.Random(1).randbytes(5000)))
    second[-6] ^= 0xFF
    with pytest.raises(FetchFailed, match="not compressed"):
        read(gzip.compress(TEXT) + bytes(second), "gzip", step=3000)


def test_a_bomb_is_inflated_no_further_than_the_bound() -> None:
    squeeze = zlib.compressobj(wbits=31)
    bomb = (
        b"".join(squeeze.compress(b"\0" * (1 << 20)) for _ in range(200)) + squeeze.flush()
    )  # 200 MiB in 200 KB
    tracemalloc.start()
    try:
        data, cut = read(bomb, "gzip", step=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(data), cut) == (1 << 20, True)
    assert peak < 10 << 20


@pytest.mark.parametrize("piece", [gzip.compress(b""), gzip.compress(b"x")])
def test_members_without_end_are_cut(piece: bytes) -> None:
    started = time.process_time()
    data, cut = read(piece * 100_000, "gzip", step=1 << 16)
    assert cut
    assert len(data) <= 100
    assert time.process_time() - started < 0.5


def test_blocks_that_hold_nothing_are_read_no_longer_than_an_honest_body() -> None:
    body = Body("GET", "deflate", 1 << 20)
    block = b"\x00\x00\x00\xff\xff" * 13107  # empty stored blocks
    fed = 0
    while not body.full:
        body.feed(block)
        fed += len(block)
    assert body.cut
    assert fed < 2 << 20
