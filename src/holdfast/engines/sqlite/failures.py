"""What SQLite's errors mean to a caller: the one place where `sqlite3` exceptions are read."""

from __future__ import annotations

import sqlite3

from holdfast.errors import NotMigrated, StoreError, StoreMisconfigured, StoreUnavailable

__all__ = ["DiskFull", "is_busy", "opening_failed", "spoils_transaction", "translated"]

_PRIMARY = 0xFF  # the extended codes keep their family in the low byte

_SPOILING = frozenset(
    (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_INTERRUPT,
    )
)
"""Failures of the file rather than of a statement: SQLite may have rolled back by itself, so all of it must go."""


class DiskFull(StoreUnavailable):
    """The disk, or the bound on the file's size, is reached; nothing was applied."""


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it may work in a moment: somebody else has the lock."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def spoils_transaction(error: BaseException) -> bool:
    """Whether the whole transaction is lost, and not only the job that met the error."""
    return isinstance(error, sqlite3.Error) and _code(error) in _SPOILING


def translated(error: BaseException, name: str, *, committing: bool = False) -> BaseException:
    """Our exception for SQLite's, with the original as its cause; anything else as it is.

    A commit that failed with an I/O error was rolled back here, but its frames
    may lie whole in the log: a crash before the next commit would bring them
    back. So, and only so, is `maybe_applied` true.
    """
    if not isinstance(error, sqlite3.Error):
        return error
    ours = _told(error, _code(error), name, committing)
    ours.__cause__ = error
    return ours


def _told(error: sqlite3.Error, code: int, name: str, committing: bool) -> StoreError:
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(
            f"sqlite {name}: no space for the write: the disk is full or max_page_count is reached"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(f"sqlite {name}: locked by another process for longer than busy_timeout")
    if code == sqlite3.SQLITE_ERROR and "no such table" in str(error):
        return NotMigrated(f"sqlite {name}: {error}; run `holdfast migrate`")
    if code in _SPOILING or code in (sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM):
        maybe = committing and code == sqlite3.SQLITE_IOERR
        return StoreUnavailable(f"sqlite {name}: {error} ({_named(error)})", maybe_applied=maybe)
    return StoreError(f"sqlite {name}: {error} ({_named(error)})")


def opening_failed(error: sqlite3.Error, name: str) -> StoreError:
    """The same for the opening of a file, where most failures are of the set-up."""
    code = _code(error)
    if code == sqlite3.SQLITE_NOTADB:
        ours: StoreError = StoreMisconfigured(f"sqlite {name}: the file is not an SQLite database")
    elif code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH):
        ours = StoreMisconfigured(
            f"sqlite {name}: cannot be opened for writing ({_named(error)}); "
            "the file, its directory and its -wal and -shm must be writable"
        )
    else:
        ours = _told(error, code, name, False)
    ours.__cause__ = error
    return ours


def _named(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)
