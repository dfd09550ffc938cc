"""Each kind of operation as a statement: what is sent, and what the rows mean.

The functions of `SENT` take operations of one kind and answer them in their
order. What is a change names each topic once, but for `Append` and `Send`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from holdfast.channels.driver import (
    Append,
    Changed,
    Clear,
    Edit,
    Entry,
    Erase,
    Find,
    Found,
    Log,
    Outcome,
    Read,
    Send,
    Topic,
    TopicPage,
    Topics,
    Trim,
)
from holdfast.channels.drivers.postgres import changes as sql
from holdfast.channels.drivers.postgres import queries as read
from holdfast.channels.drivers.postgres.announcements import INLINE_BYTES, chunks, joined, packed
from holdfast.channels.drivers.postgres.appending import append, decoded
from holdfast.channels.drivers.postgres.line import Line
from holdfast.errors import StoreUnavailable

__all__ = ["SENT"]

_ENDLESS = (1 << 63) - 1
_PAGE = 5_000
"""How many messages one statement deletes at most, so that it ends in time."""
_LAST = chr(0x10FFFF) * 200
"""Greater than what any topic has after its prefix: 200 of the greatest character are more bytes than one may have."""


async def _change(line: Line, ops: Sequence[Edit | Erase]) -> list[Outcome]:
    keys = [op.key for op in ops]
    whole, between = joined(keys)
    payloads = [decoded([op.payload]) if isinstance(op, Edit) else None for op in ops]
    rows = await line.fetch(
        sql.CHANGE,
        keys,
        payloads,
        [op.id for op in ops],
        [op.offset for op in ops],
        [op.epoch for op in ops],
        between,
        f"k{line.origin}",
        chunks(keys, whole),
    )
    outcomes: list[Outcome] = [None] * len(ops)
    for place, epoch, offset, id_, event, at, changed, _ in rows:
        entry = Entry(offset, id_, event, payloads[place - 1], at, changed)
        outcomes[place - 1] = Changed(epoch, entry)
    return outcomes


async def _trim(line: Line, ops: Sequence[Trim]) -> list[Outcome]:
    counts = [0] * len(ops)
    left: Sequence[int] = range(len(ops))
    while left:
        rows = await line.fetch(
            sql.TRIM,
            [ops[at].key for at in left],
            [ops[at].max_messages for at in left],
            [ops[at].max_age for at in left],
            _PAGE,
        )
        went = {left[place - 1]: count for place, count in rows}
        for at, count in went.items():
            counts[at] += count
        left = [at for at, count in went.items() if count >= _PAGE]
    return list(counts)


async def _clear(line: Line, ops: Sequence[Clear]) -> list[Outcome]:
    rows = await line.fetch(sql.CLEAR, [op.key for op in ops])
    gone = {row[0] for row in rows}
    try:
        while rows and len(await line.fetch(sql.EMPTY, [row[1] for row in rows], _PAGE)) == _PAGE:
            pass
    except StoreUnavailable:
        pass  # the logs are gone, and nobody finds what is left of them; `sweep` does
    return [op.key in gone for op in ops]


async def _send(line: Line, ops: Sequence[Send]) -> list[Outcome]:
    """All short enough to travel in the announcement, or none."""
    if line.inline and len(ops[0].data) <= INLINE_BYTES:
        await line.fetch(sql.NOTIFY, packed(ops, line.origin))
    else:
        keys = [op.key for op in ops]
        await line.fetch(sql.NOTE, keys, [op.data for op in ops], joined(keys)[1], f"n{line.origin}.")
    return [None] * len(ops)


# --- reads ---


async def _read(line: Line, ops: Sequence[Read]) -> list[Outcome]:
    """Reads of one form."""
    first = ops[0]
    if first.changes_after is not None:
        query, bounds = read.CHANGES_AFTER, [op.changes_after for op in ops]
    elif first.after is not None:
        query, bounds = read.AFTER, [op.after for op in ops]
    else:
        query, bounds = read.BEFORE, [_ENDLESS if op.before is None else op.before for op in ops]
    rows = await line.fetch(query, *joined([op.key for op in ops]), bounds, [op.limit for op in ops])
    heads: list[Any] = [None] * len(ops)
    entries: list[list[Entry]] = [[] for _ in ops]
    for row in rows:
        place = row[0] - 1
        heads[place] = row
        if row[4] is not None:
            entries[place].append(Entry(*row[4:]))
    return [
        Log(None, 0, 0, ()) if head[1] is None else Log(head[1], head[2], head[3], there)
        for head, there in zip(heads, entries, strict=True)
    ]


async def _find(line: Line, ops: Sequence[Find]) -> list[Outcome]:
    rows = await line.fetch(
        read.FIND,
        [op.key for op in ops],
        [op.id for op in ops],
        [op.offset for op in ops],
        [op.epoch for op in ops],
    )
    found = {row[0]: Found(row[1], Entry(*row[2:])) for row in rows}
    return [found.get(place) for place in range(1, len(ops) + 1)]


async def _topics(line: Line, ops: Sequence[Topics]) -> list[Outcome]:
    return [await _page(line, op) for op in ops]


async def _page(line: Line, op: Topics) -> TopicPage:
    # After a topic comes the one that is a U+0001 longer: there is no U+0000 in Postgres.
    since = op.key if op.cursor is None else op.cursor + "\x01"
    rows = await line.fetch(read.TOPICS, since, op.key + _LAST, op.limit)
    return TopicPage([Topic(*row) for row in rows], rows[-1][0] if len(rows) == op.limit else None)


_Send: TypeAlias = Callable[[Line, Any], Awaitable[list[Outcome]]]

SENT: dict[type, _Send] = {
    Append: cast("_Send", append),
    Edit: _change,
    Erase: _change,
    Find: _find,
    Read: _read,
    Send: _send,
    Trim: _trim,
    Clear: _clear,
    Topics: _topics,
}
