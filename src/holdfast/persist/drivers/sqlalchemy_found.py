"""What `holdfast doctor` says of a database that is reached through SQLAlchemy."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.engines.sqlalchemy import SQLAlchemyEngine
from holdfast.persist.drivers.sqlalchemy_tables import Statements
from holdfast.store import Finding

__all__ = ["findings"]

SKEW_MS: Final = 1_000


async def findings(engine: SQLAlchemyEngine, sql: Statements) -> list[Finding]:
    """Durability, clock, and whether anybody has tested this dialect."""
    look = _LOOKS.get("mysql" if engine.dialect == "mariadb" else engine.dialect, _elsewhere)

    async def work(connection: AsyncConnection) -> list[Finding]:
        return [*await look(connection), await _clock(connection, sql)]

    return await engine.read(work)


async def _sqlite(connection: AsyncConnection) -> list[Finding]:
    mode = await _first(connection, "PRAGMA journal_mode")
    level = int(await _first(connection, "PRAGMA synchronous"))
    if level >= 2:
        kept = Finding(
            "ok",
            "durability",
            f"journal_mode={mode}, synchronous=FULL: what was acknowledged was synced to disk",
        )
    else:
        kept = Finding(
            "warning",
            "durability",
            f"journal_mode={mode}, synchronous={('OFF', 'NORMAL')[level]}: a power cut may lose what was acknowledged",
        )
    if mode != "wal":
        note = "readers and the writer wait for each other; PRAGMA journal_mode=wal ends that"
        return [kept, Finding("note", "concurrency", note)]
    return [kept]


async def _postgresql(connection: AsyncConnection) -> list[Finding]:
    commit = await _first(connection, "SHOW synchronous_commit")
    fsync = await _first(connection, "SHOW fsync")
    if fsync != "on" or commit == "off":
        said = f"fsync={fsync}, synchronous_commit={commit}: a crash may lose what was acknowledged"
        return [Finding("warning", "durability", said)]
    return [
        Finding("ok", "durability", f"synchronous_commit={commit}: what was acknowledged was synced to disk")
    ]


async def _mysql(connection: AsyncConnection) -> list[Finding]:
    found: list[Finding] = []
    flush = int(await _first(connection, "SELECT @@innodb_flush_log_at_trx_commit"))
    if flush == 1:
        said = "innodb_flush_log_at_trx_commit=1: what was acknowledged was synced to disk"
        found.append(Finding("ok", "durability", said))
    else:
        said = f"innodb_flush_log_at_trx_commit={flush}: a crash may lose a second of what was acknowledged"
        found.append(Finding("warning", "durability", said))
    storage = await _first(
        connection,
        "SELECT engine FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = 'holdfast_persist'",
    )
    if storage not in (None, "InnoDB"):
        said = (
            f"holdfast_persist is a {storage} table, which has no transactions: ALTER TABLE … ENGINE=InnoDB"
        )
        found.append(Finding("warning", "transactions", said))
    return found


async def _elsewhere(connection: AsyncConnection) -> list[Finding]:
    said = f"no test of Holdfast runs on {connection.dialect.name}; portable statements are used"
    return [
        Finding("warning", "dialect", said),
        Finding("note", "durability", "as the database is configured"),
    ]


async def _clock(connection: AsyncConnection, sql: Statements) -> Finding:
    if sql.clock is None:
        return Finding("note", "clock", "this machine's clock decides about expiry")
    before = time.time_ns()
    server = int((await connection.execute(sql.clock)).scalar_one())
    skew = server - (before + time.time_ns()) // 2_000_000
    said = f"the server's clock decides about expiry; it is {abs(skew)} ms {'ahead of' if skew > 0 else 'behind'} ours"
    return Finding("ok" if abs(skew) < SKEW_MS else "note", "clock", said)


async def _first(connection: AsyncConnection, statement: str) -> Any:
    return (await connection.execute(text(statement))).scalar()


_LOOKS: Final[dict[str, Callable[[AsyncConnection], Awaitable[list[Finding]]]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
}
