"""The SQL of webmentions in Postgres: each call one statement, so one transaction and one commit.

All parts of a statement see the database as it was when the statement began,
but a row that is locked is had as it is now: who waited for somebody else may
hold a newer revision than the one whose tags it sees. So a statement that
changes a row compares the revision that it sees with the one that it holds, and
where they differ does nothing and says so; sent again, it sees what it holds.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CLAIM", "COUNT", "GET", "NEXT", "PAGE", "TAGGED", "WRITE"]

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

_DOCUMENT: Final = """\
m.id, m.number, m.revision, m.data,
       ARRAY(SELECT t.tag FROM holdfast_mention_tags AS t WHERE t.number = m.number) AS tags, m.due"""

# Who makes several rows waits for whoever else does: their order is that of the changes, so two could
# otherwise wait for each other's. "mentions" as a number, as in the driver over SQLAlchemy.
_GATE: Final = int.from_bytes(b"mentions")

# $1 kinds, $2 ids, $3 data (NULL: drop it), $4 milliseconds until it is due, $5 the version expected;
# $6 and $7 place of a change and a tag that its document is to have.
WRITE: Final = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
        WITH ORDINALITY AS a(kind, id, data, wait, expect, place)
), seen AS MATERIALIZED (
    SELECT a.place, m.number, m.revision FROM asked AS a
    JOIN holdfast_mentions AS m ON m.kind = a.kind AND m.id = a.id
), held AS MATERIALIZED (
    SELECT a.place, m.number, m.revision FROM asked AS a
    JOIN holdfast_mentions AS m ON m.kind = a.kind AND m.id = a.id
    ORDER BY m.kind, m.id FOR UPDATE OF m
), judged AS MATERIALIZED (
    SELECT bool_and(CASE
            WHEN a.expect IS NULL THEN true
            WHEN a.expect = '' THEN h.number IS NULL
            ELSE coalesce(h.number || '.' || h.revision = a.expect, false) END) AS expected,
        bool_and(s.number IS NOT DISTINCT FROM h.number AND s.revision IS NOT DISTINCT FROM h.revision) AS fresh
    FROM asked AS a LEFT JOIN seen AS s USING (place) LEFT JOIN held AS h USING (place)
), known AS MATERIALIZED (
    SELECT a.*, h.number FROM asked AS a LEFT JOIN held AS h USING (place)
    WHERE (SELECT expected AND fresh FROM judged)
), gone AS (
    DELETE FROM holdfast_mentions AS m USING known AS k WHERE m.number = k.number AND k.data IS NULL
), changed AS (
    UPDATE holdfast_mentions AS m SET revision = m.revision + 1, data = k.data, due = {_NOW} + k.wait
    FROM known AS k WHERE m.number = k.number AND k.data IS NOT NULL
), gate AS MATERIALIZED (
    SELECT pg_advisory_xact_lock({_GATE})
    WHERE (SELECT count(*) FROM known WHERE number IS NULL AND data IS NOT NULL) > 1
), made AS (
    INSERT INTO holdfast_mentions (kind, id, revision, due, data)
    SELECT kind, id, 1, {_NOW} + wait, data FROM known
    WHERE number IS NULL AND data IS NOT NULL AND (SELECT count(*) FROM gate) >= 0
    ORDER BY place
    RETURNING number, kind, id
), wanted AS MATERIALIZED (
    SELECT k.kind, w.tag, coalesce(k.number, n.number) AS number
    FROM unnest($6::bigint[], $7::text[]) AS w(place, tag)
    JOIN known AS k ON k.place = w.place
    LEFT JOIN made AS n ON n.kind = k.kind AND n.id = k.id
), untagged AS (
    DELETE FROM holdfast_mention_tags AS t USING known AS k
    WHERE t.number = k.number
        AND NOT EXISTS (SELECT FROM wanted AS w WHERE w.number = t.number AND w.tag = t.tag)
), tagged AS (
    INSERT INTO holdfast_mention_tags (kind, tag, number) SELECT kind, tag, number FROM wanted
    ORDER BY kind, tag, number ON CONFLICT DO NOTHING
)
SELECT expected, fresh FROM judged
"""

# $1 kind, $2 tag or '', $3 how many, $4 milliseconds of the lease. What another holds is passed over, and what
# another has just changed (see above) is left for the next call.
CLAIM: Final = f"""
WITH clock AS MATERIALIZED (
    SELECT {_NOW} AS now
), held AS MATERIALIZED (
    SELECT m.number, m.revision, m.due,
        (SELECT s.revision FROM holdfast_mentions AS s WHERE s.number = m.number) AS seen
    FROM holdfast_mentions AS m
    WHERE m.kind = $1 AND m.due IS NOT NULL AND m.due <= (SELECT now FROM clock)
        AND ($2 = '' OR EXISTS (SELECT FROM holdfast_mention_tags AS t
                                WHERE t.kind = $1 AND t.tag = $2 AND t.number = m.number))
    ORDER BY m.due, m.number LIMIT $3 FOR UPDATE OF m SKIP LOCKED
), leased AS (
    UPDATE holdfast_mentions AS m SET revision = m.revision + 1, due = (SELECT now FROM clock) + $4
    FROM held AS h WHERE m.number = h.number AND h.revision = h.seen
    RETURNING m.*, h.due AS since
)
SELECT {_DOCUMENT} FROM leased AS m ORDER BY m.since, m.number
"""

# $1 kind, $2 ids.
GET: Final = f"""
SELECT {_DOCUMENT} FROM unnest($2::text[]) AS a(id)
JOIN holdfast_mentions AS m ON m.kind = $1 AND m.id = a.id
"""

# By `newest`. $1 kind, $2 the number to begin beyond, $3 how many.
PAGE: Final = {
    newest: f"""
SELECT {_DOCUMENT} FROM holdfast_mentions AS m
WHERE m.kind = $1 AND m.number {"<" if newest else ">"} $2
ORDER BY m.number {"DESC" if newest else "ASC"} LIMIT $3
"""
    for newest in (False, True)
}

# The same, and $4 tag. The numbers first: they are read along an index.
TAGGED: Final = {
    newest: f"""
WITH chosen AS MATERIALIZED (
    SELECT number FROM holdfast_mention_tags
    WHERE kind = $1 AND tag = $4 AND number {"<" if newest else ">"} $2
    ORDER BY number {"DESC" if newest else "ASC"} LIMIT $3
)
SELECT {_DOCUMENT} FROM chosen AS c JOIN holdfast_mentions AS m ON m.number = c.number
ORDER BY c.number {"DESC" if newest else "ASC"}
"""
    for newest in (False, True)
}

# $1 kind, $2 tags.
COUNT: Final = """
SELECT CASE WHEN a.tag = ''
    THEN (SELECT count(*) FROM holdfast_mentions AS m WHERE m.kind = $1)
    ELSE (SELECT count(*) FROM holdfast_mention_tags AS t WHERE t.kind = $1 AND t.tag = a.tag) END
FROM unnest($2::text[]) WITH ORDINALITY AS a(tag, place) ORDER BY a.place
"""

# $1 kind.
NEXT: Final = f"""
SELECT greatest(0, m.due - {_NOW}) FROM holdfast_mentions AS m
WHERE m.kind = $1 AND m.due IS NOT NULL ORDER BY m.due LIMIT 1
"""
