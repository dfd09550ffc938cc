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
from holdfast.persist.api import Change, Entry, Persist, Watch, reserved
from holdfast.persist.driver import KEEP, Keep
from holdfast.persist.keys import Expires

__all__ = [
    "KEEP",
    "Change",
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
    "Watch",
    "reserved",
]
