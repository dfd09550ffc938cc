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
from holdfast.persist.driver import KEEP, Keep
from holdfast.persist.keys import Expires

__all__ = [
    "KEEP",
    "DuplicateKey",
    "Entry",
    "Expires",
    "InvalidConversion",
    "Keep",
    "LockBusy",
    "LockLost",
    "Persist",
    "PersistError",
    "StoreUnavailable",
    "VersionConflict",
    "reserved",
]
