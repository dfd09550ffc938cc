"""What goes wrong with Postgres, in Holdfast's words.

The question behind every line is whether a statement may have taken effect. An
error that the server *answers* is proof that it did not: a statement outside a
transaction is applied whole, before the answer, or not at all. A connection
that ends instead of an answer proves nothing.

Messages carry the server's condition ("undefined_table") and never its text,
which may quote a value.
"""

from __future__ import annotations

import ssl

import asyncpg

from holdfast.errors import NotMigrated, StoreError, StoreMisconfigured, StoreUnavailable

__all__ = ["CONNECTING", "STATEMENT", "StatementRefused", "of_connecting", "of_statement"]

STATEMENT = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError among them
)
"""What a statement may raise."""

CONNECTING = (*STATEMENT, ValueError)
"""What connecting may raise: `ValueError` is what asyncpg says of some URLs."""

_PASSING = ("40001", "40P01")  # serialization_failure, deadlock_detected
_TABLES = ("42P01", "42703", "3F000")  # undefined table, column, schema
_UNNAMED = ("26000", "42P05", "08P01")  # prepared statement gone, there already, start-up parameter refused
_OF_SERVER = (
    "53",
    "58",
    "55P03",
    "57014",
)  # no disk, memory or connections; I/O; lock or statement time-outs
_SETUP = ("28", "3D", "42", "22", "0A")  # authentication, unknown database, parameters


class StatementRefused(StoreError):
    """The server read the statement and answered with an error: nothing of it was applied.

    `code` is the SQLSTATE. `passing` says that the same statement may succeed
    when it is sent again (a deadlock, a serialization failure).
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.passing = code in _PASSING


def of_statement(exc: BaseException, *, sent: bool) -> tuple[StoreError, bool]:
    """The error to raise, and whether the connection is still good. `sent`: its bytes may have left."""
    if isinstance(exc, asyncpg.PostgresConnectionError):  # also "closed in the middle of operation"
        return StoreUnavailable(f"postgres: {_reason(exc)}", maybe_applied=sent), False
    if isinstance(exc, asyncpg.PostgresError):
        return _answered(exc, exc.sqlstate or "XX000", sent)
    if isinstance(exc, asyncpg.DataError):
        return StatementRefused("postgres refuses an argument (it cannot be encoded)", code="22000"), True
    if isinstance(exc, asyncpg.InterfaceError):  # asyncpg's own objection: nothing left
        return StoreUnavailable("postgres: the connection is closed"), False
    return StoreUnavailable(f"postgres: {_reason(exc)}", maybe_applied=sent), False


def _answered(exc: asyncpg.PostgresError, code: str, sent: bool) -> tuple[StoreError, bool]:
    said = f"{_condition(exc)}, {code}"
    if code in _TABLES:
        return NotMigrated(f"postgres: a table is missing or old ({said}); run `holdfast migrate`"), True
    if code == "42501":
        return StoreMisconfigured(f"postgres: this user may not touch the tables ({said})"), True
    if code in _UNNAMED:
        return StoreMisconfigured(
            f"postgres: prepared statements get lost ({said}); behind pgbouncer add ?pgbouncer=true"
        ), False
    if code == "25006":  # a primary that became a replica: somewhere else there is a new one
        return StoreUnavailable(f"postgres: the server takes no writes ({said})"), False
    if code.startswith(_OF_SERVER):
        return StoreUnavailable(f"postgres: the server cannot now ({said})"), True
    if code.startswith(("57P", "40003")):  # shutting down: its last words may follow a commit
        return StoreUnavailable(
            f"postgres: the server ended the connection ({said})", maybe_applied=sent
        ), False
    return StatementRefused(f"postgres refuses the statement ({said})", code=code), True


def of_connecting(exc: BaseException, where: object) -> StoreError:
    """What to raise where a connection could not be made."""
    code = getattr(exc, "sqlstate", None) if isinstance(exc, asyncpg.PostgresError) else None
    if code == "08P01":
        return StoreMisconfigured(f"{where}: {_reason(exc)}; behind pgbouncer add ?pgbouncer=true")
    if code is not None and code.startswith(_SETUP):
        return StoreMisconfigured(f"{where}: {_reason(exc)}")
    if isinstance(exc, (ValueError, asyncpg.UnsupportedClientFeatureError)) and not isinstance(exc, OSError):
        return StoreMisconfigured(f"{where}: {_reason(exc)}")
    if isinstance(exc, ssl.SSLCertVerificationError):
        return StoreMisconfigured(f"{where}: {_reason(exc)}")
    return StoreUnavailable(f"{where}: {_reason(exc)}")


def _reason(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    first = str(exc.args[0]) if exc.args else ""
    text = first if isinstance(exc, asyncpg.PostgresError) else str(exc)
    return " ".join(text.split()) or type(exc).__name__


def _condition(exc: asyncpg.PostgresError) -> str:
    name = type(exc).__name__.removesuffix("Error")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
