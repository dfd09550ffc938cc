"""The SQL that changes logs: append, edit and erase, trim, clear.

Who changes a log holds the row of its topic from before it reads `last` until
it commits: offsets become visible in their order. Topics come sorted, and are
locked in that order, so two statements can wait for each other, but not in a
circle; messages are only touched under the lock of their topic.

A statement sees the tables as they stood when it began, which may be before it
got the lock: messages that were committed in between are not in its sight, and
only the row of the topic, which is read again under the lock, is new. Where
retention counts messages, it can therefore count too few, and then takes away
too little, never too much.

The parts of one statement do not see each other's changes either. What one
needs of another comes by RETURNING, and by place: arrays in the order of the
topics, so that a message finds its topic without a join.

The announcement is part of the statement: it is sent if and when that commits.
"""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "holdfast_channels"
"""Where announcements are made; of every namespace, for who follows a topic knows its whole name."""

_NOW: Final = "(SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint)"

# --- append ---

# $1 topics, joined by $2; $3 how many messages each; $4 the latest `at` of each, where one is given.
# $5 and $6 place a message: the number of its topic, and how many of the same topic follow it.
# $7 payloads, joined by U+001F, which JSON never contains; $8 the event of all or $9 of each;
# $10 the `at` of each, where one is given; $11 a random word, with the place the epoch of a new log;
# $12 and $13 are of the announcement; $14 the ids, or $14 to $16 the retention, or $14 to $17 both.
_APPEND: Final = """
WITH {before}told AS (
    INSERT INTO holdfast_topics AS t (topic, epoch, last, trimmed, kept, at)
    SELECT topic, $11::text || place, n, {trimmed_of_new}, n - {trimmed_of_new}, coalesce(at, {now})
    FROM unnest(string_to_array($1::text, $2::text), string_to_array($3::text, ' ')::bigint[], $4::bigint[])
        WITH ORDINALITY AS s(topic, n, at, place)
    {unless}
    ON CONFLICT (topic) DO UPDATE
        SET last = t.last + excluded.last, kept = {kept}, trimmed = {trimmed}, at = excluded.at
    RETURNING t.topic, t.number, t.epoch, t.last, t.trimmed
), whole AS MATERIALIZED (
    SELECT array_agg(number) AS numbers, array_agg(last) AS lasts, array_agg(trimmed) AS trims,
        array_agg(epoch) AS epochs
    FROM (SELECT * FROM told ORDER BY topic) AS sorted
), {after}put AS (
    INSERT INTO holdfast_messages (number, position, event, payload, at{id_column})
    SELECT whole.numbers[m.place], whole.lasts[m.place] - m.back, coalesce(m.event, $8::text), m.payload,
        coalesce(m.at, {now}){id_value}
    FROM whole, unnest(string_to_array($5::text, ' ')::int[], string_to_array($6::text, ' ')::int[],
            string_to_array($7::text, E'\\x1f'), $9::text[], $10::bigint[]{ids})
        AS m(place, back, payload, event, at{id_name})
    {only}
)
SELECT whole.epochs, whole.lasts, {now}, {announced}{answers}
FROM whole
"""

# One notification for each of the chunks that $13 assigns to the topics; all in one where it is empty.
_ANNOUNCED: Final = f"""(
    SELECT count(pg_notify('{CHANNEL}', said)) FROM (
        SELECT $2 || $12::text || $2 || string_agg(epoch || ':' || last || ':' || topic, $2) AS said
        FROM unnest(whole.epochs, whole.lasts, string_to_array($1::text, $2::text), $13::int[])
            AS placed(epoch, last, topic, chunk)
        WHERE epoch IS NOT NULL GROUP BY chunk
    ) AS chunks)"""

# Ids that are there already: then nothing is stored, and the answer says where they stand.
_REPEATED: Final = """there AS MATERIALIZED (
    SELECT array_agg(t.number ORDER BY s.place) AS numbers
    FROM unnest(string_to_array($1::text, $2::text)) WITH ORDINALITY AS s(topic, place)
    LEFT JOIN holdfast_topics AS t ON t.topic = s.topic
), asked AS MATERIALIZED (
    SELECT u.nth, u.id, there.numbers[u.place] AS number
    FROM there, unnest(string_to_array($5::text, ' ')::int[], $14::text[]) WITH ORDINALITY AS u(place, id, nth)
    WHERE u.id IS NOT NULL
), repeated AS MATERIALIZED (
    SELECT asked.nth, asked.number, x.position, x.at
    FROM asked JOIN holdfast_messages AS x ON x.number = asked.number AND x.id = asked.id
), """
_ANSWERS: Final = """,
    (SELECT array_agg(nth ORDER BY nth) FROM repeated),
    (SELECT array_agg(position ORDER BY nth) FROM repeated),
    (SELECT array_agg(at ORDER BY nth) FROM repeated),
    (SELECT array_agg((SELECT epoch FROM holdfast_topics AS t WHERE t.number = r.number) ORDER BY nth)
     FROM repeated AS r)"""

# Retention, looked at where more than {limit} are kept, and where the offset passes a multiple of 64.
# `kept` is what counts: too high a number is put right the next time, so the unseen count as messages.
_OVER: Final = "t.kept + excluded.last > {limit}::bigint"
_PASSED: Final = "(t.last + excluded.last) / 64 > t.last / 64 AND {age}::bigint IS NOT NULL"
_BOUND_BY_COUNT: Final = """CASE WHEN {over} THEN
        CASE WHEN excluded.last >= {most}::bigint THEN t.last + excluded.last - {most}::bigint
        ELSE (SELECT x.position FROM holdfast_messages AS x WHERE x.number = t.number
              ORDER BY x.position DESC OFFSET {most}::bigint - excluded.last LIMIT 1) END
    END"""
_BOUND_BY_AGE: Final = """CASE WHEN {passed} THEN
        (SELECT x.position FROM holdfast_messages AS x WHERE x.number = t.number AND x.position < coalesce(
            (SELECT y.position FROM holdfast_messages AS y
             WHERE y.number = t.number AND y.at >= {now} - {age}::bigint ORDER BY y.position LIMIT 1),
            9223372036854775807) ORDER BY x.position DESC LIMIT 1)
    END"""
_KEPT: Final = """CASE WHEN {over} THEN {most}::bigint + t.last - coalesce(
            (SELECT x.last FROM holdfast_topics AS x WHERE x.number = t.number), 0)
        WHEN {passed} THEN t.kept + excluded.last - (
            SELECT count(*) FROM holdfast_messages AS x
            WHERE x.number = t.number AND x.position > t.trimmed AND x.position <= {by_age})
        ELSE t.kept + excluded.last END"""
# Rows below the bound that an earlier trim did not see go with these.
_GONE: Final = """over AS MATERIALIZED (
    SELECT told.number, told.trimmed
    FROM told JOIN holdfast_topics AS t ON t.number = told.number AND t.trimmed < told.trimmed
    WHERE told.trimmed > 0
), gone AS (
    DELETE FROM holdfast_messages AS m USING over WHERE m.number = over.number AND m.position <= over.trimmed
), """


def _append(*, ids: bool, retention: bool) -> str:
    most, limit, age = (f"${n + ids}" for n in (14, 15, 16))
    over = _OVER.format(limit=limit)
    passed = _PASSED.format(age=age)
    by_count = _BOUND_BY_COUNT.format(over=over, most=most)
    by_age = _BOUND_BY_AGE.format(passed=passed, age=age, now=_NOW)
    kept = _KEPT.format(over=over, passed=passed, most=most, by_age=by_age)
    return _APPEND.format(
        now=_NOW,
        announced=_ANNOUNCED,
        before=_REPEATED if ids else "",
        unless="WHERE NOT EXISTS (SELECT FROM repeated)" if ids else "",
        answers=_ANSWERS if ids else "",
        id_column=", id" if ids else "",
        id_value=", m.id" if ids else "",
        id_name=", id" if ids else "",
        ids=", $14::text[]" if ids else "",
        trimmed_of_new=f"CASE WHEN n > {limit}::bigint THEN n - {most}::bigint ELSE 0 END"
        if retention
        else "0",
        kept=kept if retention else "t.kept + excluded.last",
        trimmed=f"greatest(t.trimmed, {by_count}, {by_age})" if retention else "t.trimmed",
        after=_GONE if retention else "",
        only="WHERE whole.numbers IS NOT NULL"
        + (" AND whole.lasts[m.place] - m.back > whole.trims[m.place]" if retention else ""),
    )


APPEND: Final = {
    (ids, retention): _append(ids=ids, retention=retention)
    for ids in (False, True)
    for retention in (False, True)
}

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

TRIM: Final = f"""
WITH held AS MATERIALIZED (
    SELECT s.place, s.most, s.age, t.number, t.trimmed
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS s(topic, most, age, place)
    JOIN holdfast_topics AS t ON t.topic = s.topic
    ORDER BY t.topic FOR UPDATE OF t
), wanted AS MATERIALIZED (
    SELECT place, number, greatest(
        (SELECT x.position FROM holdfast_messages AS x WHERE x.number = held.number AND most IS NOT NULL
         ORDER BY x.position DESC OFFSET most LIMIT 1),
        CASE WHEN age IS NOT NULL THEN
            (SELECT x.position FROM holdfast_messages AS x
             WHERE x.number = held.number AND x.position < coalesce(
                (SELECT y.position FROM holdfast_messages AS y
                 WHERE y.number = held.number AND y.at >= {_NOW} - age ORDER BY y.position LIMIT 1),
                9223372036854775807)
             ORDER BY x.position DESC LIMIT 1)
        END) AS position
    FROM held
), bound AS MATERIALIZED (
    SELECT place, number, least(position, (
        SELECT x.position FROM holdfast_messages AS x WHERE x.number = wanted.number
        ORDER BY x.position OFFSET $4::bigint - 1 LIMIT 1)) AS position
    FROM wanted WHERE position IS NOT NULL
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
    SELECT channel, data, {_NOW} FROM unnest($1::text[], $2::bytea[]) AS s(channel, data)
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
    AND at < {_NOW} - $2::bigint ORDER BY number FOR UPDATE SKIP LOCKED
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
