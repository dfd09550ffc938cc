"""Each reply as an outcome, each announcement as what it says. Pure: what hiredis read in, contract's types out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from holdfast.channels.driver import (
    Append,
    Appended,
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
from holdfast.channels.drivers.redis.commands import MARK

__all__ = ["READ_REPLY", "announced", "page", "what"]

_NOTHING: Final = Log(None, 0, 0, ())


class _Head(msgspec.Struct, array_like=True, gc=False):
    """What stands in front of a payload."""

    offset: int
    at: int
    changed: int | None
    id: str | None
    event: str


class _Announced(msgspec.Struct, array_like=True, gc=False):
    """The same, announced."""

    epoch: str
    offset: int
    at: int
    changed: int | None
    id: str | None
    event: str


_head = msgspec.json.Decoder(_Head).decode
_announced = msgspec.json.Decoder(_Announced).decode


def what(op: Any) -> str:
    """Operation and subject, as messages name them."""
    return f"{type(op).__name__.lower()} {op.key!r}"


def announced(text: bytes) -> tuple[str, int, Entry]:
    """Epoch, how far the log reaches now, and the message, from an announcement without its first characters."""
    head, feed, payload = text.partition(b"\n")
    said = _announced(head)
    entry = Entry(said.offset, said.id, said.event, payload if feed else None, said.at, said.changed)
    return said.epoch, said.changed or said.offset, entry


def _entry(member: bytes) -> Entry:
    head, feed, payload = member.partition(b"\n")
    said = _head(head[head.index(b"[") :])
    return Entry(said.offset, said.id, said.event, payload if feed else None, said.at, said.changed)


def _appended(op: Append, reply: Any) -> Outcome:
    return Appended(reply[0], reply[2].decode(), reply[1], len(reply) > 3)


def _changed(op: Edit | Erase, reply: Any) -> Outcome:
    return None if reply is None else Changed(reply[0].decode(), _entry(reply[1]))


def _found(op: Find, reply: Any) -> Outcome:
    return None if reply is None else Found(reply[0].decode(), _entry(reply[1]))


def _log(op: Read, reply: Any) -> Outcome:
    if reply is None:
        return _NOTHING
    epoch, last, trimmed, *members = reply
    entries = list(map(_entry, members))
    if op.after is None and op.changes_after is None:
        entries.reverse()
    return Log(epoch.decode(), last, trimmed, entries)


def _nothing(op: Send, reply: Any) -> Outcome:
    return None


def _as_it_is(op: Trim, reply: Any) -> Outcome:
    return reply


def _whether(op: Clear, reply: Any) -> Outcome:
    return bool(reply)


def page(start: str, limit: int, reply: list[bytes]) -> TopicPage:
    """Topics of the namespace whose keys start with `start`; the reply has one more where there is a next page."""
    topics = []
    for name, state in zip(reply[0 : 2 * limit : 2], reply[1 : 2 * limit : 2], strict=True):
        if state:  # without: evicted
            epoch, last, _, kept, at = state[1:].split()
            topics.append(Topic(start + name.decode(), epoch.decode(), int(last), int(kept), int(at)))
    more = len(reply) > 2 * limit
    return TopicPage(topics, start + reply[2 * limit - 2].decode() if more else None)


def _topics(op: Topics, reply: Any) -> Outcome:
    return page(op.key[: op.key.index(MARK) + len(MARK)], op.limit, reply)


READ_REPLY: Final[dict[type, Callable[[Any, Any], Outcome]]] = {
    Append: _appended,
    Edit: _changed,
    Erase: _changed,
    Find: _found,
    Read: _log,
    Send: _nothing,
    Trim: _as_it_is,
    Clear: _whether,
    Topics: _topics,
}
