"""Where an export goes."""

from __future__ import annotations

import gzip
import os
import stat

import pytest

from holdfast.cli.output import Output
from holdfast.cli.sink import Sink

OUT = Output(as_json=False)


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "export.jsonl"
    with Sink(OUT, path) as sink:
        sink.write(b"row\n")
        assert not path.exists()
    assert path.read_bytes() == b"row\n"
    assert os.listdir(tmp_path) == ["export.jsonl"]


def test_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "export.jsonl"
    with Sink(OUT, path) as sink:
        sink.write(b"secret\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError), Sink(OUT, path) as sink:
        sink.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["export.jsonl"]


def test_a_name_with_gz_is_compressed_and_the_same_rows_make_the_same_file(tmp_path):
    paths = [tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"]
    for path in paths:
        with Sink(OUT, path) as sink:
            sink.write(b"row\n")
    assert gzip.decompress(paths[0].read_bytes()) == b"row\n"
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_device_is_written_to_and_not_replaced():
    from pathlib import Path

    with Sink(OUT, Path(os.devnull)) as sink:
        sink.write(b"row\n")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
