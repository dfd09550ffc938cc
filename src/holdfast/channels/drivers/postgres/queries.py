"""The SQL that reads logs: one statement for all questions of one form.

A statement sees the tables as they stood at one moment, so what a log holds,
how far it reaches and how much of it retention took are always of one moment.

Rows come in the order of what was asked, and of the log; a topic that has a log
and no such message is a row without one, a topic without a log a row of NULL.
"""

from __future__ import annotations

from typing import Final

# --- stretches: $1 topics, joined by $2; $3 an offset each; $4 a limit each ---

_READ: Final = """
SELECT asked.place, t.epoch, t.last, t.trimmed, m.position, m.id, m.event, m.payload, m.at, m.changed
FROM unnest(string_to_array($1::text, $2::text), $3::bigint[], $4::bigint[])
    WITH ORDINALITY AS asked(topic, bound, most, place)
LEFT JOIN holdfast_topics AS t ON t.topic = asked.topic
LEFT JOIN LATERAL ({stretch}) AS m ON true
ORDER BY asked.place, {order}
"""
_COLUMNS: Final = "x.position, x.id, x.event, x.payload, x.at, x.changed"
_OF: Final = f"SELECT {_COLUMNS} FROM holdfast_messages AS x WHERE x.number = t.number"

BEFORE: Final = _READ.format(
    stretch=f"{_OF} AND x.position < asked.bound AND x.payload IS NOT NULL ORDER BY x.position DESC LIMIT asked.most",
    order="m.position",
)
AFTER: Final = _READ.format(
    stretch=f"{_OF} AND x.position > asked.bound AND x.payload IS NOT NULL ORDER BY x.position LIMIT asked.most",
    order="m.position",
)
# What was never changed stands in the order of `position`, what was in that of `changed`:
# the first of both, each by its index, hold the first of all.
CHANGES_AFTER: Final = _READ.format(
    stretch=f"""
    SELECT * FROM (
        ({_OF} AND x.position > asked.bound AND x.changed IS NULL ORDER BY x.position LIMIT asked.most)
        UNION ALL
        ({_OF} AND x.changed > asked.bound ORDER BY x.changed LIMIT asked.most)
    ) AS x ORDER BY coalesce(x.changed, x.position) LIMIT asked.most""",
    order="coalesce(m.changed, m.position)",
)

# --- one message each: by $2, its id, or by $3 in the log of epoch $4 ---

FIND: Final = """
SELECT asked.place, t.epoch, m.position, m.id, m.event, m.payload, m.at, m.changed
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
    WITH ORDINALITY AS asked(topic, id, position, epoch, place)
JOIN holdfast_topics AS t ON t.topic = asked.topic
JOIN holdfast_messages AS m ON m.number = t.number AND m.position = CASE
    WHEN asked.id IS NOT NULL THEN
        (SELECT x.position FROM holdfast_messages AS x WHERE x.number = t.number AND x.id = asked.id)
    WHEN asked.epoch = t.epoch THEN asked.position END
WHERE m.payload IS NOT NULL
"""

# --- topics ---

TOPICS: Final = """
SELECT topic, epoch, last, kept, at FROM holdfast_topics
WHERE topic >= $1 AND topic < $2 ORDER BY topic LIMIT $3
"""
# $1 topics, joined by $2; $3 and $4 what is known of them: which of them went on since?
MOVED: Final = """
SELECT t.topic, t.epoch, t.last
FROM unnest(string_to_array($1::text, $2::text), $3::bigint[], $4::text[]) AS known(topic, last, epoch)
JOIN holdfast_topics AS t ON t.topic = known.topic
WHERE t.last <> known.last OR t.epoch <> known.epoch
"""

# --- notes ---

NOTES: Final = "SELECT number, channel, data FROM holdfast_notes WHERE number = ANY ($1::bigint[])"
LATEST_NOTE: Final = "SELECT coalesce(max(number), 0) FROM holdfast_notes"
# $2: those above $1 that were read already.
NEW_NOTES: Final = """
SELECT number, channel FROM holdfast_notes
WHERE number > $1 AND number <> ALL ($2::bigint[]) ORDER BY number LIMIT $3
"""
