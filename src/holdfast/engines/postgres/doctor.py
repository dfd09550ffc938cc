"""What a Postgres server promises as it is configured, in words. Pure: the facts are read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.store import Finding

__all__ = ["FACTS", "findings"]

FACTS = """
SELECT current_setting('server_version') AS version,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS standbys,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only') AS read_only,
       extract(epoch FROM clock_timestamp())::float8 AS clock,
       ARRAY(SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL) AS missing,
       ARRAY(SELECT name FROM unnest($1::text[]) AS name
             JOIN pg_class ON pg_class.oid = to_regclass(name) WHERE relpersistence = 'u') AS unlogged
"""

_COMMITTED: Mapping[str, str] = {
    "on": "an acknowledged write is on the server's disk, and on that of its synchronous standbys if it has any",
    "remote_apply": "an acknowledged write is on disk, and can be read on the synchronous standbys",
    "remote_write": "an acknowledged write is on the server's disk and has reached the synchronous standbys, "
    "perhaps not their disks",
    "local": "an acknowledged write is on the server's disk, perhaps not yet on any standby",
}
_SKEW_SECONDS = 1.0


def findings(facts: Mapping[str, Any], *, local: float, pgbouncer: bool) -> list[Finding]:
    """The facts as sentences; `local` is this machine's clock in the middle of reading them."""
    found = [Finding("ok", "server", f"PostgreSQL {facts['version']}"), _durability(facts)]
    if facts["fsync"] != "on":
        found.append(Finding("warning", "fsync", "fsync is off: a crash may lose or destroy everything"))
    elif facts["full_page_writes"] != "on":
        found.append(
            Finding("warning", "full_page_writes", "full_page_writes is off: a power cut may tear pages")
        )
    if facts["in_recovery"]:
        found.append(Finding("warning", "replica", "the server is in recovery: it takes no writes"))
    elif facts["read_only"] == "on":
        found.append(Finding("warning", "read only", "transactions are read only here: every write fails"))
    if facts["missing"]:
        names = ", ".join(facts["missing"])
        found.append(Finding("warning", "tables", f"missing: {names}; run `holdfast migrate`"))
    if facts["unlogged"]:
        names = ", ".join(facts["unlogged"])
        found.append(Finding("warning", "tables", f"unlogged, so emptied by a crash: {names}"))
    found.append(_clock(facts["clock"] - local))
    if pgbouncer:
        found.append(
            Finding("note", "pgbouncer", "statements are parsed and planned anew each time; nothing is kept")
        )
    return found


def _durability(facts: Mapping[str, Any]) -> Finding:
    setting = facts["synchronous_commit"]
    if setting == "off":
        return Finding(
            "warning",
            "durability",
            "synchronous_commit=off: a crash of the server may lose the writes of the last moments, "
            "though they were acknowledged",
        )
    said = _COMMITTED.get(setting, "see the manual of your server")
    if setting.startswith("remote") and not facts["standbys"]:
        said = "no synchronous standby is named, so an acknowledged write is on the server's disk"
    return Finding("ok", "durability", f"synchronous_commit={setting}: {said}")


def _clock(ahead: float) -> Finding:
    if abs(ahead) < _SKEW_SECONDS:
        return Finding(
            "ok", "clock", "the server's clock decides about expiry, and agrees with this machine's"
        )
    word = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "note",
        "clock",
        f"the server's clock, which decides about expiry, is {abs(ahead):.1f} s {word} this machine's",
    )
