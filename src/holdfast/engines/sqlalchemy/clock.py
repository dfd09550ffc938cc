"""Whose time it is: the server's where its dialect is known, else this process's."""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

__all__ = ["CLOCKS", "now_ms", "process_ms", "server_clock"]

CLOCKS: Final[dict[str, str]] = {
    # clock_timestamp, not now(): a transaction that waited for a lock must not count lifetimes from before it.
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    # UTC, because an hour that comes twice in the server's own zone would expire things early.
    "mysql": "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000)",
}
"""Milliseconds since 1970, by dialect."""


@cache
def server_clock(dialect: str) -> ColumnElement[Any] | None:
    """The server's clock in SQL; None: this process's decides."""
    text = CLOCKS.get("mysql" if dialect == "mariadb" else dialect)
    return None if text is None else literal_column(text, type_=BigInteger())


def process_ms() -> int:
    return time.time_ns() // 1_000_000


async def now_ms(connection: AsyncConnection) -> int:
    """The deciding clock; one round trip where it is the server's."""
    clock = server_clock(connection.dialect.name)
    return process_ms() if clock is None else int((await connection.execute(select(clock))).scalar_one())
