"""What an open file promises, in sentences for `holdfast doctor`."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat

from holdfast.engines.sqlite.file import WAL_BYTES, DatabaseFile
from holdfast.store import Finding

__all__ = ["findings"]

_SYNCHRONOUS = {
    0: Finding(
        "warning", "durability", "synchronous=OFF: kill -9 loses nothing, a loss of power may damage the file"
    ),
    1: Finding(
        "note",
        "durability",
        "synchronous=NORMAL: an acknowledged write survives kill -9 of the process; a loss of power or a "
        "crash of the system may take back the last ones, the file stays sound",
    ),
    2: Finding(
        "ok",
        "durability",
        "synchronous=FULL: a write is acknowledged after it was synced to disk; it survives kill -9 and, "
        "as far as the disk keeps what it says it wrote, a loss of power",
    ),
    3: Finding(
        "ok",
        "durability",
        "synchronous=EXTRA: as FULL (in write-ahead mode the two do the same): a write is acknowledged after "
        "it was synced to disk; it survives kill -9 and a loss of power",
    ),
}
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre", "afs", "virtiofs")
_LITTLE_SPACE = 256 << 20


def findings(connection: sqlite3.Connection, file: DatabaseFile) -> list[Finding]:
    """Looks at settings and at the disk; changes nothing."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    journal = Finding(
        "ok" if mode == "wal" else "warning",
        "journal",
        f"journal_mode={mode}, SQLite {sqlite3.sqlite_version}"
        + ("" if mode == "wal" else "; readers and the writer lock each other out: something changed it"),
    )
    return [
        journal,
        _SYNCHRONOUS[level],
        _sizes(connection, file),
        _filesystem(file),
        _permissions(file),
        _space(file),
    ]


def _sizes(connection: sqlite3.Connection, file: DatabaseFile) -> Finding:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (bound,) = connection.execute("PRAGMA max_page_count").fetchone()
    log = file.wal_bytes()
    text = f"{_mib(pages * page_bytes)} in the file ({_mib(free * page_bytes)} of it free), {_mib(log)} in the log"
    if file.max_pages and pages - free > 0.9 * bound:
        return Finding(
            "warning", "size", f"{text}; max_page_count={bound} ({_mib(bound * page_bytes)}) is near"
        )
    if log > 8 * WAL_BYTES:
        return Finding(
            "warning", "size", f"{text}; the log is long: some reader has held it open for a while"
        )
    return Finding("ok", "size", text)


def _filesystem(file: DatabaseFile) -> Finding:
    kind = _kind_of(file.path)
    if kind is None:
        return Finding("note", "filesystem", "kind unknown; SQLite needs a local disk")
    if kind.startswith(_NETWORK):
        return Finding(
            "warning",
            "filesystem",
            f"{kind} is shared over a network: write-ahead mode needs memory shared by all that use the file "
            "and locks that hold; keep it on a local disk, or use postgresql:// or redis://",
        )
    return Finding("ok", "filesystem", kind)


def _kind_of(path: str) -> str | None:
    """The type of the file system at `path`, where the kernel lists its mounts."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            found = [line.split()[1:3] for line in mounts]
    except OSError:
        return None
    real = os.path.realpath(path)
    best, kind = "", None
    for raw, each in found:
        point = raw.replace("\\040", " ")
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, each
    return kind


def _permissions(file: DatabaseFile) -> Finding:
    try:
        mode = stat.S_IMODE(os.stat(file.path).st_mode)
    except OSError as exc:
        return Finding("warning", "permissions", f"cannot be looked at: {exc.strerror}")
    if mode & 0o077:
        return Finding(
            "warning",
            "permissions",
            f"mode {mode:04o}: others on this machine can open the file; chmod 600 it",
        )
    return Finding("ok", "permissions", f"mode {mode:04o}: its owner alone")


def _space(file: DatabaseFile) -> Finding:
    try:
        free = shutil.disk_usage(os.path.dirname(file.path)).free
    except OSError as exc:
        return Finding("warning", "disk", f"cannot be looked at: {exc.strerror}")
    return Finding("warning" if free < _LITTLE_SPACE else "ok", "disk", f"{_mib(free)} free")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
