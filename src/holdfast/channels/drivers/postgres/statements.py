"""The SQL of append; and what changes of logs have in common.

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

NOW: Final = "(SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint)"

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

# Retention, looked at where more than {limit} are kept, and where the offset passes a multiple of 64. It takes
# no more at a time than an append has the time for: what is left of a long backlog goes with the next ones.
# `kept` is what counts: too high a number is put right the next time, so the unseen count as messages.
_OVER: Final = "t.kept + excluded.last > {limit}::bigint"
_FAR_OVER: Final = "t.kept + excluded.last > {limit}::bigint + 10000"
_PASSED: Final = "(t.last + excluded.last) / 64 > t.last / 64 AND {age}::bigint IS NOT NULL"
_BOUND_BY_COUNT: Final = """CASE
        WHEN {far_over} THEN {newest_or_oldest}
        WHEN {over} AND excluded.last >= {most}::bigint THEN t.last + excluded.last - {most}::bigint
        WHEN {over} THEN (SELECT x.position FROM holdfast_messages AS x WHERE x.number = t.number
            ORDER BY x.position DESC OFFSET {most}::bigint - excluded.last LIMIT 1)
    END"""
# Up to the first that is young, so that what was said late with an early time does not take others with it.
OLD: Final = """(
        SELECT max(w.position) FROM (
            SELECT x.position, bool_or(x.at >= {now} - {age}) OVER (ORDER BY x.position) AS young
            FROM (SELECT y.position, y.at FROM holdfast_messages AS y WHERE y.number = {number}
                  ORDER BY y.position LIMIT {page}) AS x
        ) AS w WHERE NOT w.young)"""
NEWEST_OR_OLDEST: Final = """(
        SELECT least(newest.position, oldest.position) FROM
            (SELECT x.position FROM holdfast_messages AS x WHERE x.number = {number}
             ORDER BY x.position DESC OFFSET {most} LIMIT 1) AS newest
        LEFT JOIN
            (SELECT x.position FROM holdfast_messages AS x WHERE x.number = {number}
             ORDER BY x.position OFFSET {page} - 1 LIMIT 1) AS oldest ON true)"""
_KEPT: Final = """CASE
        WHEN {far_over} THEN t.kept + excluded.last - 10000
        WHEN {over} THEN {most}::bigint + t.last - coalesce(
            (SELECT x.last FROM holdfast_topics AS x WHERE x.number = t.number), 0)
        WHEN {passed} THEN t.kept + excluded.last - (
            SELECT count(*) FROM holdfast_messages AS x
            WHERE x.number = t.number AND x.position > t.trimmed AND x.position <= {old})
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
    old = OLD.format(age=f"{age}::bigint", now=NOW, number="t.number", page=256)
    when = {
        "over": _OVER.format(limit=limit),
        "far_over": _FAR_OVER.format(limit=limit),
        "passed": _PASSED.format(age=age),
        "most": most,
    }
    room = f"greatest({most}::bigint - excluded.last, 0)"
    both = NEWEST_OR_OLDEST.format(number="t.number", most=room, page=10_000)
    by_count = _BOUND_BY_COUNT.format(newest_or_oldest=both, **when)
    by_age = f"CASE WHEN {when['passed']} THEN {old} END"
    kept = _KEPT.format(old=old, **when)
    return _APPEND.format(
        now=NOW,
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
