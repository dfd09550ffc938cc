"""Typed values between requests, with expiry: `Persist`, and what it raises."""

from holdfast.errors import (
    DuplicateKey,
    InvalidConversion,
    LockBusy,
    LockLost,
    PersistError,
    StoreUnavailable,
    VersionConflict,
)
from holdfast.persist.api import Entry, Persist, reserved
from holdfast.persist.driver import KEEP

__all__ = [
    "KEEP",
    "DuplicateKey",
    "Entry",
    "InvalidConversion",
    "LockBusy",
    "LockLost",
    "Persist",
    "PersistError",
    "StoreUnavailable",
    "VersionConflict",
    "reserved",
]
