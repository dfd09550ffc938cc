"""The SQL of the Postgres driver: one statement for each kind of operation.

Rows that a statement changes are met in the order of their keys: an upsert
takes them in the order of its arrays, which the driver sorts, and an update or
delete locks them first (`held`), because its own join may take any order. Two
statements that meet can therefore wait for each other, but not in a circle.

The server's clock decides, as it stood when the statement arrived, in whole
milliseconds. As a subselect it is computed once; where a statement names one
key, in place is cheaper.
"""

from __future__ import annotations

from typing import Final

_CLOCK: Final = "(extract(epoch FROM statement_timestamp()) * 1000)::bigint"
_NOW: Final = f"(SELECT {_CLOCK})"
LIVE: Final = f"(t.expires_at IS NULL OR t.expires_at > {_NOW})"
_INTO: Final = "INSERT INTO holdfast_persist AS t (key, value, expires_at, version)"

# Texts travel as one, split on the server: an array of them costs the client twice
# as much. $1 is the keys and $2 what is between them; U+001F is never in JSON.
_KEYS: Final = "string_to_array($1::text, $2::text)"
_VALUES: Final = r"string_to_array($3::text, E'\x1f')"

# --- reads: rows in the order of the keys asked for, NULL where nothing lives ---

GET: Final = f"""
SELECT t.value
FROM unnest({_KEYS}) WITH ORDINALITY AS asked(key, place)
LEFT JOIN holdfast_persist AS t ON t.key = asked.key AND {LIVE}
ORDER BY asked.place
"""
GET_ENTRY: Final = f"""
SELECT t.value, t.expires_at - {_NOW}, t.version
FROM unnest({_KEYS}) WITH ORDINALITY AS asked(key, place)
LEFT JOIN holdfast_persist AS t ON t.key = asked.key AND {LIVE}
ORDER BY asked.place
"""
GET_ONE: Final = f"""
SELECT value FROM holdfast_persist
WHERE key = $1 AND (expires_at IS NULL OR expires_at > {_CLOCK})
"""

# --- upserts: the versions count on from $4; where all lifetimes are one, it is $6 and $5 is empty ---

_OVERWRITE: Final = "value = excluded.value, version = excluded.version, expires_at = excluded.expires_at"
_KEEP: Final = """value = excluded.value, version = excluded.version,
    expires_at = CASE WHEN t.expires_at > {now} THEN t.expires_at END"""
_VALUES_SENT: Final = f"""
SELECT key, value, {_NOW} + coalesce(ttl, $6::bigint), $4::bigint + place
FROM unnest({_KEYS}, {_VALUES}, $5::bigint[]) WITH ORDINALITY AS sent(key, value, ttl, place)"""

SET: Final = f"""
{_INTO} {_VALUES_SENT}
ON CONFLICT (key) DO UPDATE SET {_OVERWRITE}
"""
SET_KEEP: Final = f"""
{_INTO}
SELECT key, value, NULL, $4::bigint + place
FROM unnest({_KEYS}, {_VALUES}) WITH ORDINALITY AS sent(key, value, place)
ON CONFLICT (key) DO UPDATE SET {_KEEP.format(now=_NOW)}
"""
SET_ONE: Final = f"""
{_INTO} VALUES ($1, $2, {_CLOCK} + $4::bigint, $3)
ON CONFLICT (key) DO UPDATE SET {_OVERWRITE}
"""
SET_KEEP_ONE: Final = f"""
{_INTO} VALUES ($1, $2, NULL, $3)
ON CONFLICT (key) DO UPDATE SET {_KEEP.format(now=_CLOCK)}
"""

# The version that was drawn for an operation says which rows were stored.
CREATE: Final = f"""
{_INTO} {_VALUES_SENT}
ON CONFLICT (key) DO UPDATE SET {_OVERWRITE} WHERE t.expires_at <= {_NOW}
RETURNING t.version
"""
CREATE_ONE: Final = f"""
{_INTO} VALUES ($1, $2, {_CLOCK} + $4::bigint, $3)
ON CONFLICT (key) DO UPDATE SET {_OVERWRITE} WHERE t.expires_at <= {_CLOCK}
RETURNING t.version
"""

# A row that is no counter, or too near the end of the range ($7 below, $8 above),
# is written as it was and answered with its old version: an error would take the
# whole statement with it. CASE keeps the casts from what is not a number.
_OVER: Final = f"t.expires_at <= {_NOW}"
_FITS: Final = """CASE WHEN t.value ~ '^-?(0|[1-9][0-9]{0,18})$'
    THEN t.value::numeric BETWEEN -9223372036854775808 AND 9223372036854775807
     AND t.value::numeric + excluded.value::numeric
         BETWEEN -9223372036854775808 + $7::numeric AND 9223372036854775807 - $8::numeric
    ELSE false END"""
INCREMENT: Final = f"""
{_INTO}
SELECT key, by::text, {_NOW} + coalesce(ttl, $6::bigint), $4::bigint + place
FROM unnest({_KEYS}, $3::bigint[], $5::bigint[]) WITH ORDINALITY AS sent(key, by, ttl, place)
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN {_OVER} THEN excluded.value
                 WHEN {_FITS} THEN (t.value::bigint + excluded.value::bigint)::text
                 ELSE t.value END,
    version = CASE WHEN {_OVER} OR {_FITS} THEN excluded.version ELSE t.version END,
    expires_at = CASE WHEN {_OVER} THEN excluded.expires_at ELSE t.expires_at END
RETURNING t.key, t.version, CASE WHEN length(t.value) <= 20 THEN t.value END
"""

# --- changes to what is there; the lock sees the newest row, so what follows holds for it ---

# Every row below has met `locked` in its join, so all locks are held by the first
# change. Joining the keys of `held` themselves would compare each with each.
_HELD: Final = f"""WITH held AS MATERIALIZED (
    SELECT key FROM holdfast_persist WHERE key = ANY ({_KEYS}) ORDER BY key FOR UPDATE
), locked AS MATERIALIZED (SELECT count(*) FROM held)"""

REPLACE: Final = f"""
{_HELD}
UPDATE holdfast_persist AS t
SET value = sent.value, version = $4::bigint + sent.place,
    expires_at = CASE WHEN sent.keep THEN t.expires_at ELSE {_NOW} + sent.ttl END
FROM locked, unnest({_KEYS}, {_VALUES}, $5::bigint[], $6::bigint[], $7::boolean[]) WITH ORDINALITY
    AS sent(key, value, ttl, expected, keep, place)
WHERE t.key = sent.key AND t.version = sent.expected AND {LIVE}
RETURNING t.version
"""
_RENEW: Final = f"""
{_HELD}
UPDATE holdfast_persist AS t SET expires_at = {_NOW} + coalesce(sent.ttl, $4::bigint)
FROM locked, unnest({_KEYS}, $3::bigint[]) AS sent(key, ttl)
WHERE t.key = sent.key AND {LIVE}
"""
TOUCH: Final = f"{_RENEW} RETURNING t.key"
GET_RENEW: Final = f"{_RENEW} RETURNING t.key, t.value"
REMOVE: Final = f"""
{_HELD}
DELETE FROM holdfast_persist AS t
USING locked, unnest({_KEYS}, $3::bigint[], $4::boolean[]) AS sent(key, expected, whatever)
WHERE t.key = sent.key AND (sent.whatever OR t.version = sent.expected) AND {LIVE}
RETURNING t.key
"""

# --- walks: a page is rows looked at, so that expired ones cannot make it long ---

KEYS: Final = f"""
SELECT t.key, {LIVE}
FROM (
    SELECT key, expires_at FROM holdfast_persist WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3
) AS t
ORDER BY t.key
"""
CLEAR: Final = f"""
WITH page AS MATERIALIZED (
    SELECT key FROM holdfast_persist WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3 FOR UPDATE
), gone AS (
    DELETE FROM holdfast_persist AS t USING page WHERE t.key = page.key RETURNING {LIVE} AS lived
)
SELECT (SELECT count(*) FROM page), (SELECT max(key) FROM page), (SELECT count(*) FROM gone WHERE lived)
"""
# Rows that a writer holds are left for the next sweep: it is about to renew them, or has.
SWEEP: Final = f"""
WITH page AS MATERIALIZED (
    SELECT key, expires_at FROM holdfast_persist WHERE key > $1 ORDER BY key LIMIT $2
), held AS MATERIALIZED (
    SELECT t.key FROM page JOIN holdfast_persist AS t ON t.key = page.key
    WHERE page.expires_at <= {_NOW} AND t.expires_at <= {_NOW}
    ORDER BY t.key FOR UPDATE OF t SKIP LOCKED
), gone AS (
    DELETE FROM holdfast_persist AS t USING held
    WHERE t.key = held.key AND t.expires_at <= {_NOW} RETURNING 1
)
SELECT (SELECT count(*) FROM page), (SELECT max(key) FROM page), (SELECT count(*) FROM gone)
"""
