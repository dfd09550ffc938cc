"""Each kind of operation as a statement: what is sent, and what the rows mean."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from holdfast.errors import InvalidConversion
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keys,
    Operation,
    Outcome,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
    prefix_end,
)
from holdfast.persist.drivers.postgres import statements as sql
from holdfast.persist.waves import INT64_MAX, INT64_MIN, Wave, slack

__all__ = ["ALONE", "SENT", "Fetch"]

Fetch: TypeAlias = Callable[..., Awaitable[list[Any]]]
"""Sends a statement with its arguments down one lane."""


# --- one operation alone: naming one key in place is cheaper than an array of one ---


async def _get_one(fetch: Fetch, op: Get) -> Outcome:
    rows = await fetch(sql.GET_ONE, op.key)
    return rows[0][0] if rows else None


async def _set_one(fetch: Fetch, op: Set) -> Outcome:
    if op.ttl is KEEP:
        await fetch(sql.SET_KEEP_ONE, op.key, op.value.decode(), _draw(1) + 1)
    else:
        await fetch(sql.SET_ONE, op.key, op.value.decode(), _draw(1) + 1, op.ttl)


async def _create_one(fetch: Fetch, op: Create) -> Outcome:
    return bool(await fetch(sql.CREATE_ONE, op.key, op.value.decode(), _draw(1) + 1, op.ttl))


ALONE: dict[type, Callable[[Fetch, Any], Awaitable[Outcome]]] = {
    Get: _get_one,
    Set: _set_one,
    Create: _create_one,
}


# --- one statement for the operations of a wave; the answers stand in the order of its `ops` ---


async def _get(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    return [row[0] for row in await fetch(sql.GET, *_joined([op.key for op in wave.ops]))]


async def _get_entry(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    rows = await fetch(sql.GET_ENTRY, *_joined([op.key for op in wave.ops]))
    return [None if row[0] is None else Stored(row[0], row[1], str(row[2])) for row in rows]


async def _get_renew(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[GetRenew]", wave.ops)
    keys = [op.key for op in ops]
    rows = await fetch(sql.GET_RENEW, *_joined(keys), *_lifetimes([op.ttl for op in ops]))
    found = {row[0]: row[1] for row in rows}
    return [found.get(key) for key in keys]


async def _set(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Set]", wave.ops)
    what = *_joined([op.key for op in ops]), _values(ops), _draw(len(ops))
    if ops[0].ttl is KEEP:
        await fetch(sql.SET_KEEP, *what)
    else:
        await fetch(sql.SET, *what, *_lifetimes([op.ttl for op in ops]))
    return [None] * len(ops)


async def _create(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Create]", wave.ops)
    drawn = _draw(len(ops))
    what = *_joined([op.key for op in ops]), _values(ops), drawn
    stored = {row[0] for row in await fetch(sql.CREATE, *what, *_lifetimes([op.ttl for op in ops]))}
    return [version in stored for version in range(drawn + 1, drawn + 1 + len(ops))]


async def _replace(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Replace]", wave.ops)
    drawn = _draw(len(ops))
    rows = await fetch(
        sql.REPLACE,
        *_joined([op.key for op in ops]),
        _values(ops),
        drawn,
        [None if op.ttl is KEEP else op.ttl for op in ops],
        [_number(op.version) for op in ops],
        [op.ttl is KEEP for op in ops],
    )
    stored = {row[0] for row in rows}
    drew = range(drawn + 1, drawn + 1 + len(ops))
    return [str(version) if version in stored else None for version in drew]


async def _remove(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Remove]", wave.ops)
    keys = [op.key for op in ops]
    expected = [None if op.version is None else _number(op.version) for op in ops]
    rows = await fetch(sql.REMOVE, *_joined(keys), expected, [op.version is None for op in ops])
    gone = {row[0] for row in rows}
    return [key in gone for key in keys]


async def _touch(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Touch]", wave.ops)
    keys = [op.key for op in ops]
    rows = await fetch(sql.TOUCH, *_joined(keys), *_lifetimes([op.ttl for op in ops]))
    found = {row[0] for row in rows}
    return [key in found for key in keys]


async def _increment(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    ops = cast("Sequence[Increment]", wave.ops)
    drawn = _draw(len(ops))
    rows = await fetch(
        sql.INCREMENT,
        *_joined([op.key for op in ops]),
        [op.by for op in ops],
        drawn,
        *_lifetimes([op.ttl for op in ops]),
        *slack(wave, batch),
    )
    found = {row[0]: row for row in rows}
    return [_counted(op, drawn + place, *found[op.key][1:]) for place, op in enumerate(ops, 1)]


def _counted(op: Increment, drawn: int, version: int, text: str | None) -> Outcome:
    if version == drawn and text is not None:
        return int(text)
    if text is not None and text.removeprefix("-").isdecimal() and INT64_MIN <= int(text) <= INT64_MAX:
        return ValueError(f"increment {op.key!r}: the sum would leave the signed 64-bit range")
    return InvalidConversion(f"increment {op.key!r}: what is stored is not a 64-bit integer")


async def _keys(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    op = cast("Keys", wave.ops[0])
    rows = await fetch(sql.KEYS, *_range(op.key, op.cursor), op.limit)
    return [Page([row[0] for row in rows if row[1]], rows[-1][0] if len(rows) == op.limit else None)]


async def _clear(fetch: Fetch, wave: Wave, batch: Sequence[Operation]) -> list[Outcome]:
    op = cast("Clear", wave.ops[0])
    ((looked_at, last, removed),) = await fetch(sql.CLEAR, *_range(op.key, op.cursor), op.limit)
    return [Cleared(removed, last if looked_at == op.limit else None)]


SENT: dict[type, Callable[[Fetch, Wave, Sequence[Operation]], Awaitable[list[Outcome]]]] = {
    Get: _get,
    GetEntry: _get_entry,
    GetRenew: _get_renew,
    Set: _set,
    Create: _create,
    Replace: _replace,
    Remove: _remove,
    Touch: _touch,
    Increment: _increment,
    Keys: _keys,
    Clear: _clear,
}

_LAST = chr(0x10FFFF) * 256
"""Greater than any key: 256 of the greatest character are more bytes than a key may have."""


def _range(prefix: str, cursor: str | None) -> tuple[str, str]:
    """From where and up to where, the end not included. After a key comes the one that is a U+0001 longer."""
    return (prefix if cursor is None else cursor + "\x01"), (prefix_end(prefix) or _LAST)


def _joined(keys: list[str]) -> tuple[str, str]:
    """The keys as one text, and the character between them, which is in none of them."""
    text = "\x1f".join(keys)
    if text.count("\x1f") == len(keys) - 1:
        return text, "\x1f"
    everything = "".join(keys)
    between = next(char for char in map(chr, range(1, 0xD800)) if char not in everything)
    return between.join(keys), between


def _values(ops: Sequence[Any]) -> str:
    # JSON escapes control characters, so U+001F is in no value; were it in one, there
    # would be more values than keys, which the table refuses.
    return b"\x1f".join([op.value for op in ops]).decode()


def _lifetimes(ttls: list[Any]) -> tuple[list[Any], int | None]:
    """Every operation's own, or none and the one that all share."""
    return (ttls, None) if ttls.count(ttls[0]) != len(ttls) else ([], ttls[0])


def _draw(count: int) -> int:
    """A random version, after which `count` more are in range."""
    drawn = int.from_bytes(os.urandom(8), signed=True)
    return drawn if drawn <= INT64_MAX - count else drawn - count


def _number(version: str) -> int | None:
    """The version as it is stored; None, which equals nothing, where it is none of ours."""
    try:
        number = int(version)
    except ValueError:
        return None
    return number if str(number) == version and INT64_MIN <= number <= INT64_MAX else None
