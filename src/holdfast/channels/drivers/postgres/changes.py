"""The SQL of everything but append that writes: edit and erase, trim, clear, send, sweep.

What `statements` says of locks and of sight holds here as well.
"""

from __future__ import annotations

from typing import Final

from holdfast.channels.drivers.postgres.statements import CHANNEL, NEWEST_OR_OLDEST, NOW, OLD

# --- edit and erase: a message is named by $3, its id, or by $4 in the log of epoch $5 ---

# $1 topics, $2 payloads (NULL: erased), $6 to $8 the announcement.
CHANGE: Final = f"""
WITH held AS MATERIALIZED (
    SELECT s.place, s.payload, s.id, s.position, s.epoch AS expected, t.topic, t.number, t.epoch, t.last
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
        WITH ORDINALITY AS s(topic, payload, id, position, epoch, place)
    JOIN holdfast_topics AS t ON t.topic = s.topic
    ORDER BY t.topic FOR UPDATE OF t
), named AS MATERIALIZED (
    SELECT place, payload, topic, number, epoch, last, CASE
        WHEN id IS NOT NULL THEN
            (SELECT x.position FROM holdfast_messages AS x WHERE x.number = held.number AND x.id = held.id)
        WHEN expected = epoch THEN position END AS position
    FROM held
), done AS (
    UPDATE holdfast_messages AS m SET payload = named.payload, changed = named.last + 1
    FROM named
    WHERE m.number = named.number AND m.position = named.position AND m.payload IS NOT NULL
    RETURNING named.place, named.topic, named.number, named.epoch, m.position, m.id, m.event, m.at, m.changed
), moved AS (
    UPDATE holdfast_topics AS t SET last = done.changed FROM done WHERE t.number = done.number
)
SELECT place, epoch, position, id, event, at, changed, (
    SELECT count(pg_notify('{CHANNEL}', said)) FROM (
        SELECT $6::text || $7::text || $6 || string_agg(epoch || ':' || changed || ':' || topic, $6) AS said
        FROM done GROUP BY ($8::int[])[place]
    ) AS chunks)
FROM done
"""

# --- trim: at most $4 messages of a topic at a time ---

_BY_COUNT: Final = NEWEST_OR_OLDEST.format(number="held.number", most="most", page="$4::bigint")
_BY_AGE: Final = OLD.format(age="age", now=NOW, number="held.number", page="$4::bigint")
TRIM: Final = f"""
WITH held AS MATERIALIZED (
    SELECT s.place, s.most, s.age, t.number, t.trimmed
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS s(topic, most, age, place)
    JOIN holdfast_topics AS t ON t.topic = s.topic
    ORDER BY t.topic FOR UPDATE OF t
), bound AS MATERIALIZED (
    SELECT place, number, greatest(
        CASE WHEN most IS NOT NULL THEN {_BY_COUNT} END,
        CASE WHEN age IS NOT NULL THEN {_BY_AGE} END
    ) AS position
    FROM held
), gone AS (
    DELETE FROM holdfast_messages AS m USING bound
    WHERE m.number = bound.number AND m.position <= bound.position
    RETURNING bound.place
), counted AS MATERIALIZED (
    SELECT place, count(*) AS n FROM gone GROUP BY place
), moved AS (
    UPDATE holdfast_topics AS t
    SET trimmed = greatest(t.trimmed, bound.position), kept = greatest(t.kept - counted.n, 0)
    FROM bound JOIN counted ON counted.place = bound.place
    WHERE t.number = bound.number
)
SELECT place, n FROM counted
"""

# --- clear: without its topic a message cannot be found, and nobody will use the number again ---

CLEAR: Final = """
WITH held AS MATERIALIZED (
    SELECT number FROM holdfast_topics WHERE topic = ANY ($1::text[]) ORDER BY topic FOR UPDATE
)
DELETE FROM holdfast_topics AS t USING held WHERE t.number = held.number RETURNING t.topic, t.number
"""
EMPTY: Final = """
WITH page AS MATERIALIZED (
    SELECT number, position FROM holdfast_messages WHERE number = ANY ($1::bigint[]) LIMIT $2
)
DELETE FROM holdfast_messages AS m USING page WHERE m.number = page.number AND m.position = page.position
RETURNING 1
"""

# --- send: in the announcement itself, or, where that is too short, in a note ---

NOTIFY: Final = f"SELECT count(pg_notify('{CHANNEL}', said)) FROM unnest($1::text[]) AS said"
# A note need not survive a crash, so the commit need not wait for the disk.
NOTE: Final = f"""
WITH put AS (
    INSERT INTO holdfast_notes (channel, data, at)
    SELECT channel, data, {NOW} FROM unnest($1::text[], $2::bytea[]) AS s(channel, data)
    RETURNING number, channel
)
SELECT set_config('synchronous_commit', 'off', true),
    (SELECT count(pg_notify('{CHANNEL}', $3::text || $4::text || number || $3 || number || ':' || channel)) FROM put)
"""

# --- what nobody needs any more ---

# Locked rows are another process's sweep.
SWEEP_NOTES: Final = f"""
WITH old AS MATERIALIZED (
    SELECT number FROM holdfast_notes WHERE number IN (SELECT number FROM holdfast_notes ORDER BY number LIMIT $1)
    AND at < {NOW} - $2::bigint ORDER BY number FOR UPDATE SKIP LOCKED
)
DELETE FROM holdfast_notes AS n USING old WHERE n.number = old.number RETURNING 1
"""
# A walk from number to number: messages whose topic was cleared by a process that did not live to empty it.
ORPHANS: Final = """
WITH RECURSIVE walked(number, nth) AS (
    (SELECT number, 1 FROM holdfast_messages WHERE number > $1::bigint ORDER BY number LIMIT 1)
    UNION ALL
    SELECT (SELECT m.number FROM holdfast_messages AS m WHERE m.number > w.number ORDER BY m.number LIMIT 1), nth + 1
    FROM walked AS w WHERE nth < $2::int AND w.number IS NOT NULL
)
SELECT number, NOT EXISTS (SELECT FROM holdfast_topics AS t WHERE t.number = walked.number)
FROM walked WHERE number IS NOT NULL ORDER BY number
"""
