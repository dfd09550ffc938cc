"""What `holdfast doctor` says of a database that is reached through SQLAlchemy."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.engines.sqlalchemy.clock import server_clock
from holdfast.engines.sqlalchemy.engine import SQLAlchemyEngine
from holdfast.store import Finding

__all__ = ["findings"]

SKEW_MS: Final = 1_000

_STORED: Final = text(
    "SELECT table_name, engine FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_name IN :tables"
).bindparams(bindparam("tables", expanding=True))


async def findings(engine: SQLAlchemyEngine, decision: str, tables: Sequence[str]) -> list[Finding]:
    """Durability, clock, and whether anybody has tested this dialect.

    Args:
        decision: what the clock does: "decides about expiry".
        tables: that are relied on to have transactions.
    """
    look = _LOOKS.get("mysql" if engine.dialect == "mariadb" else engine.dialect, _elsewhere)

    async def work(connection: AsyncConnection) -> list[Finding]:
        return [*await look(connection, tables), await _clock(connection, decision)]

    return await engine.read(work)


async def _sqlite(connection: AsyncConnection, tables: Sequence[str]) -> list[Finding]:
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


async def _postgresql(connection: AsyncConnection, tables: Sequence[str]) -> list[Finding]:
    commit = await _first(connection, "SHOW synchronous_commit")
    fsync = await _first(connection, "SHOW fsync")
    if fsync != "on" or commit == "off":
        said = f"fsync={fsync}, synchronous_commit={commit}: a crash may lose what was acknowledged"
        return [Finding("warning", "durability", said)]
    return [
        Finding("ok", "durability", f"synchronous_commit={commit}: what was acknowledged was synced to disk")
    ]


async def _mysql(connection: AsyncConnection, tables: Sequence[str]) -> list[Finding]:
    found: list[Finding] = []
    flush = int(await _first(connection, "SELECT @@innodb_flush_log_at_trx_commit"))
    if flush == 1:
        said = "innodb_flush_log_at_trx_commit=1: what was acknowledged was synced to disk"
        found.append(Finding("ok", "durability", said))
    else:
        said = f"innodb_flush_log_at_trx_commit={flush}: a crash may lose a second of what was acknowledged"
        found.append(Finding("warning", "durability", said))
    stored = await connection.execute(_STORED, {"tables": list(tables)})
    for table, storage in stored:
        if storage != "InnoDB":
            said = f"{table} is a {storage} table, which has no transactions: ALTER TABLE … ENGINE=InnoDB"
            found.append(Finding("warning", "transactions", said))
    return found


async def _elsewhere(connection: AsyncConnection, tables: Sequence[str]) -> list[Finding]:
    said = f"no test of Holdfast runs on {connection.dialect.name}; portable statements are used"
    return [
        Finding("warning", "dialect", said),
        Finding("note", "durability", "as the database is configured"),
    ]


async def _clock(connection: AsyncConnection, decision: str) -> Finding:
    clock = server_clock(connection.dialect.name)
    if clock is None:
        return Finding("note", "clock", f"this machine's clock {decision}")
    before = time.time_ns()
    server = int((await connection.execute(select(clock))).scalar_one())
    skew = server - (before + time.time_ns()) // 2_000_000
    said = f"the server's clock {decision}; it is {abs(skew)} ms {'ahead of' if skew > 0 else 'behind'} ours"
    return Finding("ok" if abs(skew) < SKEW_MS else "note", "clock", said)


async def _first(connection: AsyncConnection, statement: str) -> Any:
    return (await connection.execute(text(statement))).scalar()


_LOOKS: Final[dict[str, Callable[[AsyncConnection, Sequence[str]], Awaitable[list[Finding]]]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
}
