"""An `AsyncEngine` made from a store URL, without I/O, and what its dialect is like."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from holdfast.errors import MissingExtra, StoreMisconfigured
from holdfast.store import StoreURL, closest

__all__ = ["OPTIONS", "Manner", "engine_for", "manner_of"]

OPTIONS: Final = ("timeout",)
"""Of the URL's query; the rest is SQLAlchemy's and the DBAPI module's."""

TIMEOUT: Final = 10.0
BUSY: Final = 5.0
"""Seconds that a writer of SQLite waits for another process's transaction."""
CONNECTIONS: Final = 8
"""Two lanes of each of two capabilities, who polls, the sweepers, a health check, and one to spare."""

_ASYNC: Final = {
    "sqlite": "aiosqlite",
    "postgresql": "asyncpg",
    "mysql": "asyncmy",
    "mariadb": "asyncmy",
    "mssql": "aioodbc",
    "oracle": "oracledb",
}
_PACKAGES: Final = {
    "aiosqlite": '"holdfast[sqlalchemy]"',
    "greenlet": '"holdfast[sqlalchemy]"',
    "asyncpg": '"holdfast[postgres]"',
}
_SYNC_MODULES: Final = frozenset(
    {"psycopg2", "pg8000", "MySQLdb", "pymysql", "pyodbc", "cx_Oracle", "sqlcipher3"}
)


class Manner(msgspec.Struct, frozen=True):
    """How transactions go on a dialect.

    Where `alone` is true a single statement commits by itself, without the two
    round trips of BEGIN and COMMIT. `isolation` is what transactions ask for,
    None: what the database does anyway.
    """

    alone: bool
    isolation: str | None
    begin: str | None = None  # sent by us, and COMMIT; None: the DBAPI module sees to both
    enter: str | None = None  # lets one migration in at a time
    leave: str | None = None  # lets the next one in; None: the end of the transaction does


_MANNERS: Final = {
    # AUTOCOMMIT keeps the sqlite3 module from opening transactions of its own, which are deferred ones: two
    # that read first and write then cannot both go on, and the second fails at once instead of waiting.
    "sqlite": Manner(alone=True, isolation="AUTOCOMMIT", begin="BEGIN IMMEDIATE"),
    # The lock is the one that engines/postgres takes: the two may start at once.
    "postgresql": Manner(
        alone=True,
        isolation="READ COMMITTED",
        enter=f"SELECT pg_advisory_xact_lock({int.from_bytes(b'holdfast')})",
    ),
    # READ COMMITTED, or the gaps between keys are locked too and those who create neighbours deadlock.
    "mysql": Manner(
        alone=False,
        isolation="READ COMMITTED",
        enter="SELECT GET_LOCK('holdfast_migrations', 30)",
        leave="SELECT RELEASE_LOCK('holdfast_migrations')",
    ),
}
_ELSEWHERE: Final = Manner(alone=False, isolation=None)


def manner_of(dialect: str) -> Manner:
    return _MANNERS.get("mysql" if dialect == "mariadb" else dialect, _ELSEWHERE)


def engine_for(url: StoreURL) -> AsyncEngine:
    """A new engine; nothing is connected.

    Raises:
        StoreMisconfigured: no such dialect, one that cannot await, an SQLite in memory.
        MissingExtra: the DBAPI module is not installed.
    """
    target = _target(url)
    dialect = target.get_backend_name()
    arguments: dict[str, Any] = {
        "hide_parameters": True,  # they are users' values
        "poolclass": AsyncAdaptedQueuePool,  # SQLAlchemy before 2.0.38 connects anew every time on SQLite
        "pool_size": CONNECTIONS,
        "max_overflow": 0,
        "pool_timeout": seconds(url),
    }
    if dialect == "sqlite":
        if _in_memory(target):
            raise StoreMisconfigured(f"store URL {url}: SQLite in memory forgets its tables; use memory://")
        arguments |= {"isolation_level": "AUTOCOMMIT", "connect_args": {"timeout": busy_seconds(url)}}
    elif dialect in ("mysql", "mariadb"):
        arguments["isolation_level"] = manner_of(dialect).isolation  # once a connection, not at every loan
    try:
        engine = create_async_engine(target, **arguments)
    except exc.NoSuchModuleError:
        raise StoreMisconfigured(
            f"store URL {url}: SQLAlchemy has no dialect {target.drivername!r}{closest(target.drivername, _known())}"
        ) from None
    except ImportError as missing:
        raise _not_there(url, target, missing) from missing
    except (exc.InvalidRequestError, exc.ArgumentError) as refused:
        if isinstance(refused, exc.ArgumentError) and refused.code != "pcls":
            raise StoreMisconfigured(f"store URL {url}: an option that SQLAlchemy refuses") from refused
        raise _synchronous(url, target) from refused  # the pool, or the dialect itself, found out
    if dialect == "sqlite":
        event.listen(engine.sync_engine, "connect", _sync_fully)
    return engine


def seconds(url: StoreURL) -> float:
    """How long one round trip may take; on SQLite, where the option has a meaning already, longer than it waits."""
    given = url.number("timeout", TIMEOUT, least=0.001)
    return max(TIMEOUT, 2 * given) if url.scheme.startswith("sqlalchemy+sqlite") else given


def busy_seconds(url: StoreURL) -> float:
    return url.number("timeout", BUSY)


def _target(url: StoreURL) -> URL:
    scheme, _, rest = url.text.partition("://")
    try:
        return make_url(f"{scheme.removeprefix('sqlalchemy+')}://{rest}")
    except (exc.ArgumentError, ValueError) as refused:
        raise StoreMisconfigured(
            f"store URL {url}: not one that SQLAlchemy reads; like sqlalchemy+postgresql+asyncpg://user@host/app"
        ) from refused


def _in_memory(target: URL) -> bool:
    return (
        target.database in (None, "", ":memory:")
        or ":memory:" in (target.database or "")
        or target.query.get("mode") == "memory"
    )


def _known() -> list[str]:
    return [f"{name}+{module}" for name, module in _ASYNC.items()]


def _not_there(url: StoreURL, target: URL, missing: ImportError) -> StoreMisconfigured:
    module = (missing.name or "its DBAPI module").partition(".")[0]
    if module in _SYNC_MODULES:
        return _synchronous(url, target)
    return MissingExtra(
        f"store URL {url}: {module} is not installed; pip install {_PACKAGES.get(module, module)}"
    )


def _synchronous(url: StoreURL, target: URL) -> StoreMisconfigured:
    name = target.get_backend_name()
    way_out = (
        f"; use sqlalchemy+{name}+{_ASYNC[name]}://"
        if name in _ASYNC
        else "; SQLAlchemy's documentation lists the asynchronous ones"
    )
    return StoreMisconfigured(
        f"store URL {url}: the dialect {target.drivername!r} cannot be awaited{way_out}"
    )


def _sync_fully(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA synchronous=FULL")
    finally:
        cursor.close()
