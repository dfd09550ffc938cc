"""The tables of `channels`, as the SQL of each dialect: one layout per database, whichever driver reads it.

`holdfast_topics` holds one row a topic that has a log:

======== ==========================================================================
topic    `<namespace>:c:<topic>`, compared by bytes
number   what its messages refer to it by; never given out twice
epoch    random word, drawn with the row
last     the highest offset given out
trimmed  the highest offset that retention took away
kept     how many rows it has in `holdfast_messages`
at       milliseconds since 1970 of its latest message
======== ==========================================================================

`holdfast_messages` one row a message:

======== ==========================================================================
number   of its topic
position its offset in the log (`offset` is a word of SQL)
id       as its publisher gave it, or NULL; unique within the topic
event    text
payload  the JSON text as it was encoded; NULL: erased
at       milliseconds since 1970
changed  the offset of its latest edit, or of its removal; else NULL
======== ==========================================================================

Where processes tell each other things through the database, the table
`holdfast_notes` of `engines.notes` comes with these.
"""

from __future__ import annotations

from holdfast.store import Migration

__all__ = ["LEDGER", "MIGRATIONS"]

LEDGER = "holdfast_migrations"

_SUMMARY = "topics and their messages"

MIGRATIONS: dict[str, tuple[Migration, ...]] = {
    "sqlite": (
        Migration(
            "channels",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_topics ("
                " number INTEGER PRIMARY KEY AUTOINCREMENT,"
                " topic TEXT NOT NULL UNIQUE,"
                " epoch TEXT NOT NULL,"
                " last INTEGER NOT NULL,"
                " trimmed INTEGER NOT NULL,"
                " kept INTEGER NOT NULL,"
                " at INTEGER NOT NULL)",
                "CREATE TABLE holdfast_messages ("
                " number INTEGER NOT NULL,"
                " position INTEGER NOT NULL,"
                " id TEXT,"
                " event TEXT NOT NULL,"
                " payload TEXT,"
                " at INTEGER NOT NULL,"
                " changed INTEGER,"
                " PRIMARY KEY (number, position)) WITHOUT ROWID",
                "CREATE UNIQUE INDEX holdfast_messages_id ON holdfast_messages (number, id) WHERE id IS NOT NULL",
                "CREATE INDEX holdfast_messages_changed ON holdfast_messages (number, changed)"
                " WHERE changed IS NOT NULL",
            ),
        ),
    ),
    "postgresql": (
        Migration(
            "channels",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_topics ("
                " number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                ' topic text COLLATE "C" NOT NULL UNIQUE,'
                " epoch text NOT NULL,"
                " last bigint NOT NULL,"
                " trimmed bigint NOT NULL,"
                " kept bigint NOT NULL,"
                " at bigint NOT NULL)",
                "CREATE TABLE holdfast_messages ("
                " number bigint NOT NULL,"
                " position bigint NOT NULL,"
                ' id text COLLATE "C",'
                " event text NOT NULL,"
                " payload text,"
                " at bigint NOT NULL,"
                " changed bigint,"
                " PRIMARY KEY (number, position))",
                "CREATE UNIQUE INDEX holdfast_messages_id ON holdfast_messages (number, id) WHERE id IS NOT NULL",
                "CREATE INDEX holdfast_messages_changed ON holdfast_messages (number, changed)"
                " WHERE changed IS NOT NULL",
            ),
        ),
    ),
    "mysql": (
        Migration(
            "channels",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_topics ("
                " number bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
                " topic varbinary(768) NOT NULL UNIQUE,"
                " epoch varchar(16) NOT NULL,"
                " last bigint NOT NULL,"
                " trimmed bigint NOT NULL,"
                " kept bigint NOT NULL,"
                " at bigint NOT NULL)",
                "CREATE TABLE holdfast_messages ("
                " number bigint NOT NULL,"
                " position bigint NOT NULL,"
                " id varbinary(255),"
                " event varbinary(255) NOT NULL,"
                " payload longblob,"
                " at bigint NOT NULL,"
                " changed bigint,"
                " PRIMARY KEY (number, position),"
                " UNIQUE KEY holdfast_messages_id (number, id),"
                " KEY holdfast_messages_changed (number, changed))",
            ),
        ),
    ),
}
