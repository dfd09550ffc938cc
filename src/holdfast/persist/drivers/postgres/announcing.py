"""Writes that announce themselves: the same statements, each of which also notifies; and hearing of them.

A statement that announces has the statement that does not as a part of it,
named `done`, and answers the same rows. The notification is sent if and when it
commits. A payload is a letter and the keys as a JSON array: `s["app:p:user:1"]`.

Transactions that notify commit one after the other, all over the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from holdfast.engines.postgres import Hearing, PostgresEngine
from holdfast.errors import StoreMisconfigured
from holdfast.persist.announcing import REMOVED, SET
from holdfast.persist.driver import Listener
from holdfast.persist.drivers.postgres import statements as sql
from holdfast.persist.drivers.postgres.sending import Fetch

__all__ = ["TELLING", "Heard", "channel_name", "telling"]

# A payload has less than 8,000 bytes and a key, escaped, less than 4,300: as many as begin below 3,500 go together.
# The condition is true, and computed once; where nothing was done there is nothing to notify of.
_TOLD: Final = """(
    SELECT count(pg_notify({channel}::text, '{letter}[' || said || ']')) FROM (
        SELECT string_agg(named, ',') AS said FROM (
            SELECT named, sum(octet_length(named) + 1) OVER (ROWS UNBOUNDED PRECEDING) / 3500 AS chunk
            FROM (SELECT to_json(key)::text AS named FROM {done}) AS each
        ) AS chunked GROUP BY chunk
    ) AS payloads) >= 0"""
# Namespaces have no colon, so the family stands behind the first.
_VALUES: Final = "split_part(key, ':', 2) = 'p'"


def _telling(
    statement: str, *, letter: str, returning: str, answers: str, channel: str, only: str = "true"
) -> str:
    """The statement, its RETURNING exchanged, and a notification of the keys that it returns."""
    done = statement.rpartition("RETURNING")[0] or statement
    told = _TOLD.format(channel=channel, letter=letter, done=f"done WHERE {_VALUES} AND {only}")
    return f"WITH done AS ({done} RETURNING {returning})\nSELECT {answers} FROM done\nWHERE {told}\n"


# Counted up from $4, the versions that were drawn say which counters were changed.
_COUNTED: Final = "version BETWEEN $4::bigint + 1 AND $4::bigint + cardinality($3::bigint[])"
_CLEAR: Final = f"""
WITH page AS MATERIALIZED (
    SELECT key FROM holdfast_persist WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3 FOR UPDATE
), gone AS (
    DELETE FROM holdfast_persist AS t USING page WHERE t.key = page.key
    RETURNING t.key, {sql.LIVE} AS lived
)
SELECT (SELECT count(*) FROM page), (SELECT max(key) FROM page), (SELECT count(*) FROM gone WHERE lived)
WHERE {_TOLD.format(channel="$4", letter=REMOVED, done=f"gone WHERE lived AND {_VALUES}")}
"""


def _set(statement: str, channel: str) -> str:
    return _telling(statement, letter=SET, returning="t.key", answers="1", channel=channel)


def _stored(statement: str, channel: str) -> str:
    return _telling(statement, letter=SET, returning="t.key, t.version", answers="version", channel=channel)


TELLING: Final[dict[str, str]] = {
    sql.SET: _set(sql.SET, "$7"),
    sql.SET_KEEP: _set(sql.SET_KEEP, "$5"),
    sql.SET_ONE: _set(sql.SET_ONE, "$5"),
    sql.SET_KEEP_ONE: _set(sql.SET_KEEP_ONE, "$4"),
    sql.CREATE: _stored(sql.CREATE, "$7"),
    sql.CREATE_ONE: _stored(sql.CREATE_ONE, "$5"),
    sql.REPLACE: _stored(sql.REPLACE, "$8"),
    sql.INCREMENT: _telling(
        sql.INCREMENT,
        letter=SET,
        returning="t.key, t.version, CASE WHEN length(t.value) <= 20 THEN t.value END AS count",
        answers="key, version, count",
        channel="$9",
        only=_COUNTED,
    ),
    sql.REMOVE: _telling(sql.REMOVE, letter=REMOVED, returning="t.key", answers="key", channel="$5"),
    sql.CLEAR: _CLEAR,
}
"""For each statement that changes values, the one that announces it; its last parameter is the channel."""


def telling(fetch: Fetch, channel: str) -> Fetch:
    """Send what changes values as the statement that announces it too."""

    async def send(statement: str, *args: Any) -> list[Any]:
        told = TELLING.get(statement)
        if told is None:
            return await fetch(statement, *args)
        return await fetch(told, *args, channel)

    return send


def channel_name(channel: str) -> str:
    """The channel as Postgres can name one: in less than 64 bytes."""
    if len(channel.encode()) < 64:
        return channel
    return f"holdfast:w:{hashlib.sha256(channel.encode()).hexdigest()[:32]}"


class Heard:
    """One `Subscription`, on the engine's one connection that listens."""

    def __init__(self, listener: Listener, closed: Callable[[Heard], None]) -> None:
        self._listener = listener
        self._tell_closed = closed
        self._hearing: Hearing | None = None

    async def begin(self, engine: PostgresEngine, channel: str) -> None:
        """Hear what is committed from the return on; raises what the engine raises."""
        if not engine.listens:
            raise StoreMisconfigured(
                "watch: LISTEN does not pass a pgbouncer; ?listen= names a way past it, as an escaped URL"
            )
        self._hearing = await engine.listen(channel, self._told, self._listener.lost)

    async def close(self) -> None:
        self._tell_closed(self)
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            await hearing.close()

    def _told(self, payload: str) -> None:
        try:
            keys = msgspec.json.decode(payload[1:], type=list[str])
        except msgspec.DecodeError:
            return  # somebody else speaks in this channel, or a later version
        if payload[0] in (SET, REMOVED):
            for key in keys:
                self._listener.changed(key, payload[0] == REMOVED)
