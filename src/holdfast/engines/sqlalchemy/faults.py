"""What went wrong, told from what SQLAlchemy and the DBAPI modules under it raise.

Judged by SQLSTATE, MySQL error number and SQLite result code, never by the
database's message: it may hold keys and values, and be in any language.
"""

from __future__ import annotations

import enum
from typing import Final

from sqlalchemy import exc

__all__ = ["Fault", "Unreachable", "demoted", "fault_of", "never_accepted", "summary"]


class Unreachable(OSError):
    """A DBAPI module's own error while connecting, which SQLAlchemy 2.0 lets through as it is."""

    def __init__(self, orig: Exception) -> None:
        super().__init__(type(orig).__name__)
        self.orig = orig


class Fault(enum.Enum):
    """What a failure says about what was asked."""

    LOST = "the connection was lost"  # what had been sent may or may not have happened
    AWAY = "the database could not"  # busy, full, read-only: nothing of it happened
    COLLIDED = "somebody else was faster"  # rolled back whole; another attempt may do
    UNMIGRATED = "no such table"
    REFUSED = "the database refused it"  # for what it is: another attempt will not do


_LOST_STATES: Final = ("08", "57P")  # connection exceptions; shutting down, crashed, starting up, dropped
_COLLIDED_STATES: Final = ("40001", "40P01")  # serialization failure, deadlock
_AWAY_STATES: Final = (
    "53",  # disk full, out of memory, too many connections
    "55P03",  # lock not available
    "57014",  # cancelled, by statement_timeout too
    "58",  # system error
    "25006",  # read-only: a standby, or on the way to be one
)
_UNMIGRATED_STATES: Final = ("42P01", "42703")

_LOST_NUMBERS: Final = frozenset({1053, 1152, 1184, 1927, 2003, 2006, 2013, 2014, 2055, 4031})
_COLLIDED_NUMBERS: Final = frozenset({1020, 1213})  # changed since last read, deadlock
_AWAY_NUMBERS: Final = frozenset({1021, 1037, 1040, 1041, 1114, 1205, 1290, 1317, 1792, 1836, 1969, 3024})
_UNMIGRATED_NUMBERS: Final = frozenset({1054, 1146})

_SQLITE_AWAY: Final = frozenset({5, 6, 7, 8, 13, 14})  # busy, locked, no memory, read-only, full, cannot open
_SQLITE_LOST: Final = frozenset({10})  # an I/O error: nobody can tell, if it was while committing


def fault_of(error: BaseException) -> Fault:
    """What `error`, raised while a statement or a connection was under way, says."""
    if isinstance(error, exc.TimeoutError):
        return Fault.AWAY  # no connection of the pool came free: nothing was sent
    if isinstance(error, OSError | EOFError):  # a TimeoutError is an OSError
        return Fault.LOST
    if not isinstance(error, exc.DBAPIError):
        return Fault.REFUSED
    if error.connection_invalidated:
        return Fault.LOST
    told = _by_state(error) or _by_number(error) or _by_sqlite_code(error)
    if told is not None:
        return told
    return Fault.COLLIDED if isinstance(error, exc.IntegrityError) else Fault.REFUSED


def demoted(error: BaseException) -> bool:
    """Whether the server takes no writes any more: another connection may lead to the one that now does."""
    orig = _orig(error)
    return getattr(orig, "sqlstate", None) == "25006" or _number(orig) in (1290, 1836)


def never_accepted(error: BaseException) -> bool:
    """Whether no later attempt to connect can go better: wrong password, no such database, no such directory."""
    orig = _orig(error)
    state = getattr(orig, "sqlstate", None)
    return (
        isinstance(orig, TypeError | ValueError)  # an option in the URL that the DBAPI module does not know
        or (isinstance(state, str) and (state.startswith("28") or state == "3D000"))
        or _number(orig) in (1044, 1045, 1049, 1698)
        or _sqlite_code(orig) in (14, 26)
    )


def summary(error: BaseException) -> str:
    """The failure in few words, without anything that the database said."""
    orig = _orig(error)
    code = getattr(orig, "sqlstate", None) or _number(orig) or getattr(orig, "sqlite_errorname", None)
    return f"{type(orig).__name__} {code}" if code else type(orig).__name__


def _orig(error: BaseException) -> BaseException:
    return (error.orig if isinstance(error, exc.DBAPIError | Unreachable) else None) or error


def _by_state(error: exc.DBAPIError) -> Fault | None:
    state = getattr(error.orig, "sqlstate", None)
    if not isinstance(state, str):
        return None
    if state.startswith(_LOST_STATES):
        return Fault.LOST
    if state in _COLLIDED_STATES:
        return Fault.COLLIDED
    if state.startswith(_AWAY_STATES):
        return Fault.AWAY
    return Fault.UNMIGRATED if state in _UNMIGRATED_STATES else None


def _by_number(error: exc.DBAPIError) -> Fault | None:
    number = _number(error.orig)
    if number in _LOST_NUMBERS:
        return Fault.LOST
    if number in _COLLIDED_NUMBERS:
        return Fault.COLLIDED
    if number in _AWAY_NUMBERS:
        return Fault.AWAY
    return Fault.UNMIGRATED if number in _UNMIGRATED_NUMBERS else None


def _by_sqlite_code(error: exc.DBAPIError) -> Fault | None:
    code = _sqlite_code(error.orig)
    if code is None:
        return None
    if code in _SQLITE_LOST:
        return Fault.LOST
    if code in _SQLITE_AWAY:
        return Fault.AWAY
    # SQLite has one code, 1, for everything wrong with a statement; its messages are never translated.
    return Fault.UNMIGRATED if code == 1 and "no such " in str(error.orig) else None


def _number(orig: BaseException | None) -> int | None:
    first = orig.args[0] if orig is not None and orig.args else None
    return first if isinstance(first, int) and not isinstance(orig, OSError) else None


def _sqlite_code(orig: BaseException | None) -> int | None:
    code = getattr(orig, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None
