"""Where an export goes: standard output, or a file that appears under its name only when it is whole."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from holdfast.cli.output import Output

__all__ = ["Sink"]


class Sink:
    """A context manager with `write`. On an exception nothing of the file remains, and an older one stays.

    Files are made for their owner alone (0600): they hold what the store holds.
    A name that ends with `.gz` is compressed. A device or a named pipe is
    written to directly, as nothing can be renamed over it.
    """

    def __init__(self, out: Output, path: Path | None) -> None:
        self._out = out
        self._path = path
        self._part: Path | None = None
        self._file: IO[bytes] | None = None
        self._packed: gzip.GzipFile | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        if self._path.exists() and not self._path.is_file():
            self._file = self._path.open("wb")
        else:
            self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            try:
                self._file = os.fdopen(os.open(self._part, flags, 0o600), "wb")
            except OSError as exc:
                raise OSError(
                    exc.errno, exc.strerror, str(self._path)
                ) from exc  # the name that was asked for
        if self._path.suffix == ".gz":
            self._packed = gzip.GzipFile("", "wb", 6, self._file, 0)
        return self

    def write(self, data: bytes) -> None:
        target = self._packed or self._file
        if target is None:
            self._out.data(data)
        else:
            target.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        whole = False
        try:
            if error is None:
                self._finish(self._file)
                whole = True
        finally:
            self._file.close()
            if self._part is not None and not whole:
                self._part.unlink(missing_ok=True)

    def _finish(self, file: IO[bytes]) -> None:
        if self._packed is not None:
            self._packed.close()
        file.flush()
        if self._part is not None and self._path is not None:
            os.fsync(file.fileno())  # a name that outlives a power cut must not stand over an empty file
            self._part.replace(self._path)
