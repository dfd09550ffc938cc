"""One database file: what its URL says, how it is made and opened, and whether it is still there."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import time
from typing import Self

import msgspec

from holdfast.engines.sqlite.failures import is_busy, opening_failed
from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.store import StoreURL

__all__ = ["WAL_BYTES", "DatabaseFile"]

WAL_BYTES = 16 << 20
"""How long the log grows before it is worth a checkpoint: about 4,000 pages.

It is also `journal_size_limit`: the first commit after a complete checkpoint
cuts the file to this length and later ones overwrite it in place. So "the file
is longer than this" says exactly "this much was logged since", without asking
SQLite, which has no other way to say it from Python. (Reading the length from
the -shm file is not safe: closing any descriptor of it drops the locks that
SQLite holds there.) Overwriting also syncs faster than appending.
"""

_CACHE_KIB = 16 << 10
_STATEMENTS = 512  # every width of every multi-row statement, of all capabilities
_RETRY_SECONDS = 0.005


class DatabaseFile(msgspec.Struct, frozen=True):
    """Where the database is and how to open it."""

    name: str  # as in the URL; what messages say
    path: str  # absolute, so that a change of directory moves nothing
    synchronous: str
    busy_seconds: float
    max_pages: int  # 0: unbounded

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """What the URL says, without touching the file."""
        name = url.path
        if not name or url.text.partition("://")[2].partition("/")[0]:
            raise StoreMisconfigured(
                f"store URL {url}: names no file; write sqlite:///app.db for a relative path, "
                "sqlite:////var/app.db for an absolute one (memory is memory://)"
            )
        if name.startswith((":memory:", "file:")) or "\0" in name:
            raise StoreMisconfigured(
                f"store URL {url}: {name!r} is not a path; what need not be kept goes in memory://"
            )
        return cls(
            name,
            os.path.abspath(name),
            url.choice("synchronous", ("full", "normal", "extra"), "full"),
            url.number("busy_timeout", 5.0),
            int(url.number("max_page_count", 0)),
        )

    def _make(self) -> None:
        """Make the file, readable by its owner alone, where there is none; -wal and -shm take after it."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if not os.path.isfile(self.path):
                raise StoreMisconfigured(f"sqlite {self.name}: is not a file") from None
        except FileNotFoundError as exc:
            raise StoreMisconfigured(
                f"sqlite {self.name}: the directory {os.path.dirname(self.path)} does not exist"
            ) from exc
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise StoreUnavailable(f"sqlite {self.name}: cannot be made: {exc.strerror}") from exc
            raise StoreMisconfigured(f"sqlite {self.name}: cannot be made: {exc.strerror}") from exc

    def connect_writer(self) -> sqlite3.Connection:
        """The connection that writes. Never waits inside SQLite: who calls it tries again as long as it wants."""
        self._make()
        connection = self._connect()
        try:
            self._into_wal(connection)
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            connection.execute(f"PRAGMA synchronous={self.synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            # Statements of many rows and savepoints keep copies of the pages they change: past 64 KiB
            # in a temporary file, which costs half as much again and may have no directory to be in.
            connection.execute("PRAGMA temp_store=memory")
            connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            if sys.platform == "darwin":  # there fsync does not reach the platter
                connection.execute("PRAGMA fullfsync=1")
            if self.max_pages:
                connection.execute(f"PRAGMA max_page_count={self.max_pages}")
        except sqlite3.Error as exc:
            connection.close()
            raise opening_failed(exc, self.name) from exc
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_reader(self) -> sqlite3.Connection:
        """A connection for the loop, warm: its schema is read. Made on one thread and used on another."""
        connection = self._connect(check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only=1")
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as exc:
            connection.close()
            raise opening_failed(exc, self.name) from exc
        # Values go straight to the decoder, which takes bytes: no text is made of them on the way.
        connection.text_factory = bytes
        return connection

    def _connect(self, *, check_same_thread: bool = True) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=0,
                isolation_level=None,
                check_same_thread=check_same_thread,
                cached_statements=_STATEMENTS,
            )
        except sqlite3.Error as exc:
            raise opening_failed(exc, self.name) from exc
        return connection

    def _into_wal(self, connection: sqlite3.Connection) -> None:
        """Two processes that do this at once find the file locked, whatever the busy time-out; hence the loop."""
        deadline = time.monotonic() + self.busy_seconds
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=wal").fetchone()
            except sqlite3.OperationalError as exc:
                if not is_busy(exc) or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
                continue
            if mode != "wal":
                raise StoreMisconfigured(
                    f"sqlite {self.name}: this place cannot hold a write-ahead log (journal_mode={mode}); "
                    "use a local disk"
                )
            return

    def identity(self) -> tuple[int, int] | None:
        """Which file stands at the path now; None: there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def wal_bytes(self) -> int:
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0
