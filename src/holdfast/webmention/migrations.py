"""The tables of `webmention`, as the SQL of each dialect: one layout per database, whichever driver reads it.

`holdfast_mentions` holds one row a document (see `webmention.driver`):

======== ==========================================================================
number   given at creation, never twice
kind     `<namespace>:m:<letter>`: what it is
id       unique within the kind
revision 1 at creation, one more at each change; `number.revision` is the version
due      milliseconds since 1970 when something is to be done; NULL: never
data     the JSON text as it was encoded
======== ==========================================================================

`holdfast_mention_tags` holds one row for each tag of each document: `kind`,
`tag`, `number`.
"""

from __future__ import annotations

from holdfast.store import Migration

__all__ = ["LEDGER", "MIGRATIONS"]

LEDGER = "holdfast_migrations"

_SUMMARY = "mentions and their tags"

MIGRATIONS: dict[str, tuple[Migration, ...]] = {
    "sqlite": (
        Migration(
            "webmention",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_mentions ("
                " number INTEGER PRIMARY KEY AUTOINCREMENT,"
                " kind TEXT NOT NULL,"
                " id TEXT NOT NULL,"
                " revision INTEGER NOT NULL,"
                " due INTEGER,"
                " data TEXT NOT NULL,"
                " UNIQUE (kind, id))",
                "CREATE INDEX holdfast_mentions_due ON holdfast_mentions (kind, due) WHERE due IS NOT NULL",
                "CREATE INDEX holdfast_mentions_number ON holdfast_mentions (kind, number)",
                "CREATE TABLE holdfast_mention_tags ("
                " kind TEXT NOT NULL,"
                " tag TEXT NOT NULL,"
                " number INTEGER NOT NULL,"
                " PRIMARY KEY (kind, tag, number)) WITHOUT ROWID",
                "CREATE INDEX holdfast_mention_tags_number ON holdfast_mention_tags (number)",
            ),
        ),
    ),
    "postgresql": (
        Migration(
            "webmention",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_mentions ("
                " number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                ' kind text COLLATE "C" NOT NULL,'
                ' id text COLLATE "C" NOT NULL,'
                " revision bigint NOT NULL,"
                " due bigint,"
                " data text NOT NULL,"
                " UNIQUE (kind, id))",
                "CREATE INDEX holdfast_mentions_due ON holdfast_mentions (kind, due) WHERE due IS NOT NULL",
                "CREATE INDEX holdfast_mentions_number ON holdfast_mentions (kind, number)",
                "CREATE TABLE holdfast_mention_tags ("
                ' kind text COLLATE "C" NOT NULL,'
                ' tag text COLLATE "C" NOT NULL,'
                " number bigint NOT NULL,"
                " PRIMARY KEY (kind, tag, number))",
                "CREATE INDEX holdfast_mention_tags_number ON holdfast_mention_tags (number)",
            ),
        ),
    ),
    "mysql": (
        Migration(
            "webmention",
            1,
            _SUMMARY,
            (
                "CREATE TABLE holdfast_mentions ("
                " number bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
                " kind varbinary(255) NOT NULL,"
                " id varbinary(200) NOT NULL,"
                " revision bigint NOT NULL,"
                " due bigint,"
                " data longblob NOT NULL,"
                " UNIQUE KEY holdfast_mentions_id (kind, id),"
                " KEY holdfast_mentions_due (kind, due),"
                " KEY holdfast_mentions_number (kind, number))",
                "CREATE TABLE holdfast_mention_tags ("
                " kind varbinary(255) NOT NULL,"
                " tag varbinary(200) NOT NULL,"
                " number bigint NOT NULL,"
                " PRIMARY KEY (kind, tag, number),"
                " KEY holdfast_mention_tags_number (number))",
            ),
        ),
    ),
}
