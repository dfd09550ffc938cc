"""Each operation as one command of Redis, with one reply. Pure: an operation in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from holdfast.channels.driver import (
    Append,
    Clear,
    Edit,
    Erase,
    Find,
    Operation,
    Read,
    Send,
    Topics,
    Trim,
)
from holdfast.channels.drivers.redis.scripts import APPEND, CHANGE, CLEAR, FIND, READ, TOPICS, TRIM
from holdfast.engines.redis import Script, pack

__all__ = ["MARK", "WHO", "Packer", "look_for_namespaces", "page_of"]

WHO: Final = 12
"""Characters of an announcement that say who made it."""
MARK: Final = ":c:"
"""Stands between namespace and topic; no namespace holds a colon."""
LOOKED_AT: Final = 1000
"""Keys in one SCAN."""
REMEMBERED: Final = 4096

Arguments: TypeAlias = tuple[str | bytes | int, ...]

_text = msgspec.json.Encoder().encode
_GLOB = re.compile(r"([\\*?\[\]])")


class Packer:
    """The commands of one driver.

    Args:
        database: part of the channels' names.
        who: `WHO` characters with which this driver's announcements begin.
    """

    def __init__(self, database: int, who: str) -> None:
        self.suffix = f"@{database}"
        self.who = who
        # To pack ten arguments costs more than all else about an append: what comes again is kept as bytes.
        head = _bulk("EVALSHA", APPEND.sha, "1")
        self._heads = _Parts(lambda key: head + _bulk(key))
        self._events = _Parts(lambda event: b"null,%b]\n" % _text(event))
        self._tails = _Parts(lambda bounds: _bulk(self.suffix, self.who, *bounds))

    def rename(self, who: str) -> None:
        """Announce under this name from now on."""
        self.who = who
        self._tails.clear()

    def packed(self, ops: Sequence[Operation], word: str) -> bytes:
        """One command for each operation.

        Args:
            word: 12 letters or digits that nobody had before. Every operation adds
                its own four digits: the epoch of the log that may begin with it.
        """
        start = word.encode()
        return b"".join(
            [
                self._append(op, b"%b%04d" % (start, at))
                if type(op) is Append
                else self.command(op, f"{word}{at:04}")
                for at, op in enumerate(ops)
            ]
        )

    def _append(self, op: Append, epoch: bytes) -> bytes:
        if op.id is not None or op.at is not None:
            return self.command(op, epoch.decode())
        text = self._events[op.event] + op.payload
        return b"*11\r\n%b$%d\r\n%b\r\n$16\r\n%b\r\n%b$0\r\n\r\n" % (
            self._heads[op.key],
            len(text),
            text,
            epoch,
            self._tails[op.max_messages, op.max_age],
        )

    def command(self, op: Any, epoch: str, *, by: str = "EVALSHA") -> bytes:
        """One operation; its script named by its digest or, with `EVAL`, sent along."""
        kind = type(op)
        if kind is Send:
            return pack(("PUBLISH", op.key + self.suffix, b"%bs%b" % (self.who.encode(), op.data)))
        if kind is Topics and MARK not in op.key:
            return look_for_namespaces(op.key, "0")
        script, key, arguments = self._call(op, epoch)
        return pack((by, script.sha if by == "EVALSHA" else script.text, 1, key, *arguments))

    def _call(self, op: Any, epoch: str) -> tuple[Script, str, Arguments]:
        kind = type(op)
        if kind is Append:
            text = b"%b,%b]\n%b" % (_text(op.id), _text(op.event), op.payload)
            bounds = _or_empty((op.max_messages, op.max_age, op.at))
            named = () if op.id is None else (op.id,)
            return APPEND, op.key, (text, epoch, self.suffix, self.who, *bounds, *named)
        if kind is Edit:
            return CHANGE, op.key, (*_name(op), self.suffix, self.who, "*", op.payload)
        if kind is Erase:
            return CHANGE, op.key, (*_name(op), self.suffix, self.who, "!")
        if kind is Find:
            return FIND, op.key, _name(op)
        if kind is Read:
            return READ, op.key, _stretch(op)
        if kind is Trim:
            return TRIM, op.key, tuple(_or_empty((op.max_messages, op.max_age)))
        if kind is Clear:
            return CLEAR, op.key, ()
        assert kind is Topics
        return page_of(op, op.key[: op.key.index(MARK) + len(MARK)])


class _Parts(dict[Any, bytes]):
    """Parts of commands by what they are of; begins anew when there are too many."""

    def __init__(self, make: Callable[[Any], bytes]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: Any) -> bytes:
        if len(self) >= REMEMBERED:
            self.clear()
        self[name] = made = self._make(name)
        return made


def _bulk(*words: str | int | None) -> bytes:
    parts = [b"" if word is None else str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def _or_empty(numbers: Iterable[int | None]) -> list[str]:
    return ["" if number is None else str(number) for number in numbers]


def _name(op: Any) -> Arguments:
    """How the scripts are told of a message: an id may be empty, so it has a colon in front."""
    if op.id is not None:
        return (f":{op.id}", "", "")
    return ("", "" if op.offset is None else op.offset, op.epoch or "")


def _stretch(op: Read) -> Arguments:
    if op.changes_after is not None:
        return ("changes", op.limit, op.changes_after)
    if op.after is not None:
        return ("after", op.limit, op.after)
    if op.before is not None:
        return ("before", op.limit, op.before)
    return ("last", op.limit, "")


# --- topics ---


def page_of(op: Topics, start: str) -> tuple[Script, str, Arguments]:
    """A page, and one more, of the namespace whose keys start with `start`: topics that start as `op.key` does."""
    prefix = op.key[len(start) :]
    first: bytes = f"[{prefix}".encode()
    if op.cursor is not None and op.cursor.startswith(start):
        first = f"({op.cursor[len(start) :]}".encode()
    # No text has the byte 255: what starts with the prefix ends below prefix and 255.
    return TOPICS, start[:-1], (first, b"[%b\xff" % prefix.encode(), op.limit + 1)


def look_for_namespaces(start: str, cursor: str) -> bytes:
    """Some of the keys that list a namespace's topics, of namespaces whose names start so."""
    pattern = _GLOB.sub(r"\\\1", start) + "*" + MARK[:-1]
    return pack(("SCAN", cursor, "MATCH", pattern, "COUNT", LOOKED_AT, "TYPE", "zset"))
