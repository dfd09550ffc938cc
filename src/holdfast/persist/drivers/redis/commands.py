"""Each operation as a command of Redis, and each reply as an outcome. Pure: bytes in, bytes out.

A stored value is a plain string of Redis under the operation's key, its expiry
Redis' own, so `redis-cli get` shows what is stored and `pttl` what is left. The
version is `redis.sha1hex` of the value, computed wherever that costs less.

An operation is one command with one reply, reads may share one (`paged`). Lua is
used where no single native command does it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, Final, TypeAlias

from holdfast.engines.redis import Refusal, Script, as_error, pack
from holdfast.persist.driver import (
    KEEP,
    Clear,
    Cleared,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Keep,
    Keys,
    Operation,
    Outcome,
    Page,
    Remove,
    Replace,
    Set,
    Stored,
    Touch,
)

__all__ = [
    "PACK",
    "READ",
    "SCRIPTS",
    "Arguments",
    "lifetime",
    "packed",
    "paged",
    "pattern",
    "scripted",
    "unpaged",
    "version",
    "what",
]

MANY: Final = 128
"""Keys in one command: Redis does nothing else while it answers."""

# --- scripts; KEYS and ARGV are strings, and Redis' clock stands still while one runs ---

# A counter's TTL must not run out between two commands, or an increment would
# make a counter that never expires. Lua's numbers are exact up to 2^53: beyond, GET says the number.
INCREMENT: Final = Script.of("""\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return ARGV[1] end
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if count > -9007199254740992 and count < 9007199254740992 then return count end
return redis.call('GET', KEYS[1])
""")

# ARGV: the version it must be, the value, and what SET is told of its lifetime.
REPLACE: Final = Script.of("""\
local value = redis.call('GET', KEYS[1])
if not value or redis.sha1hex(value) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], unpack(ARGV, 2))
return 1
""")

REMOVE_VERSION: Final = Script.of("""\
local value = redis.call('GET', KEYS[1])
if not value or redis.sha1hex(value) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

# Value and PTTL of each key. A key of another type answers with its own error, in its own place.
ENTRIES: Final = Script.of("""\
local found = {}
for i, key in ipairs(KEYS) do
  found[2 * i - 1] = redis.pcall('GET', key)
  found[2 * i] = redis.call('PTTL', key)
end
return found
""")

# PERSIST alone answers 0 both for no key and for a key without a TTL.
NEVER_EXPIRE: Final = Script.of("""\
redis.call('PERSIST', KEYS[1])
return redis.call('EXISTS', KEYS[1])
""")

# One page. One by one, because keys of one command would have to share a slot of a cluster.
CLEAR: Final = Script.of("""\
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3], 'TYPE', 'string')
local removed = 0
for _, key in ipairs(page[2]) do removed = removed + redis.call('UNLINK', key) end
return {page[1], removed}
""")

SCRIPTS: Final = (INCREMENT, REPLACE, REMOVE_VERSION, ENTRIES, NEVER_EXPIRE, CLEAR)

_GLOB = re.compile(r"([\\*?\[\]])")

Arguments: TypeAlias = tuple[str | bytes | int, ...]


# --- operations as commands ---


def packed(ops: Sequence[Operation]) -> bytes:
    """One command for each operation."""
    kind = type(ops[0])
    if len(ops) == 1:
        return PACK[kind](ops[0])
    if (kind is Set or kind is Create) and list(map(type, ops)).count(kind) == len(ops):
        return _stores(_SET if kind is Set else _CREATE, ops)
    return b"".join([PACK[type(op)](op) for op in ops])


def scripted(op: Any, name: str = "EVALSHA") -> bytes:
    """An operation done by a script, named by its digest or, with `EVAL`, by its text."""
    script, keys, arguments = _call(op)
    text = script.sha if name == "EVALSHA" else script.text
    return pack((name, text, len(keys), *keys, *arguments))


def _call(op: Any) -> tuple[Script, tuple[str, ...], Arguments]:
    kind = type(op)
    if kind is Increment:
        return INCREMENT, (op.key,), (op.by, op.ttl)
    if kind is Replace:
        return REPLACE, (op.key,), (op.version, op.value, *lifetime(op.ttl))
    if kind is Remove:
        return REMOVE_VERSION, (op.key,), (op.version,)
    if kind is GetEntry:
        return ENTRIES, (op.key,), ()
    if kind is Touch:
        return NEVER_EXPIRE, (op.key,), ()
    assert kind is Clear
    return CLEAR, (), (op.cursor or "0", pattern(op.key), op.limit)


def lifetime(ttl: Any) -> Arguments:
    """What SET is told of a lifetime."""
    if ttl is KEEP:
        return ("KEEPTTL",)
    return () if ttl is None else ("PX", ttl)


def pattern(prefix: str) -> str:
    """What SCAN matches the keys with that start with the prefix."""
    return _GLOB.sub(r"\\\1", prefix) + "*"


class _Lengths(dict[int, bytes]):
    """How the length of a text is announced; the common ones are kept."""

    def __missing__(self, length: int) -> bytes:
        told = b"$%d\r\n" % length
        if length < 4096:
            self[length] = told
        return told


class _Around(dict[int | Keep | None, tuple[bytes, bytes]]):
    """What stands in front of the key and behind the value of a SET, by lifetime.

    Bounded: an app that gives every value a lifetime of its own starts over now and then.
    """

    def __init__(self, *more: bytes) -> None:
        super().__init__()
        self._more = more

    def __missing__(self, ttl: int | Keep | None) -> tuple[bytes, bytes]:
        if len(self) >= 1024:
            self.clear()
        told = (b"KEEPTTL",) if ttl is KEEP else () if ttl is None else (b"PX", b"%d" % ttl)
        rest = (*self._more, *told)
        behind = b"".join([b"$%d\r\n%b\r\n" % (len(each), each) for each in rest])
        self[ttl] = around = b"*%d\r\n$3\r\nSET\r\n" % (3 + len(rest)), b"\r\n" + behind
        return around


_LENGTHS: Final = _Lengths()
_SET: Final = _Around()
_CREATE: Final = _Around(b"NX")


def _store(known: _Around, op: Any) -> bytes:
    before, behind = known[op.ttl]
    key, value = op.key.encode(), op.value
    return b"%b$%d\r\n%b\r\n$%d\r\n%b%b" % (before, len(key), key, len(value), value, behind)


def _stores(known: _Around, ops: Sequence[Any]) -> bytes:
    """Joining ready pieces takes half the time of formatting each command."""
    pieces: list[bytes] = []
    add, lengths = pieces.extend, _LENGTHS
    for op in ops:
        key, value = op.key.encode(), op.value
        before, behind = known[op.ttl]
        add((before, lengths[len(key)], key, b"\r\n", lengths[len(value)], value, behind))
    return b"".join(pieces)


def _get(op: Get) -> bytes:
    key = op.key.encode()
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


def _get_renew(op: GetRenew) -> bytes:
    return pack(("GETEX", op.key, "PERSIST") if op.ttl is None else ("GETEX", op.key, "PX", op.ttl))


def _set(op: Set) -> bytes:
    return _store(_SET, op)


def _create(op: Create) -> bytes:
    return _store(_CREATE, op)


def _remove(op: Remove) -> bytes:
    return pack(("DEL", op.key)) if op.version is None else scripted(op)


def _touch(op: Touch) -> bytes:
    return scripted(op) if op.ttl is None else pack(("PEXPIRE", op.key, op.ttl))


def _increment(op: Increment) -> bytes:
    return pack(("INCRBY", op.key, op.by)) if op.ttl is None else scripted(op)


def _keys(op: Keys) -> bytes:
    scan = ("SCAN", op.cursor or "0", "MATCH", pattern(op.key), "COUNT", op.limit, "TYPE", "string")
    return pack(scan)


PACK: Final[dict[type, Callable[[Any], bytes]]] = {
    Get: _get,
    GetEntry: scripted,
    GetRenew: _get_renew,
    Set: _set,
    Create: _create,
    Replace: scripted,
    Remove: _remove,
    Touch: _touch,
    Increment: _increment,
    Keys: _keys,
    Clear: scripted,
}


# --- replies as outcomes; an error reply never comes here ---

_CALLED: Final[dict[type, str]] = {GetEntry: "entry", GetRenew: "get"}


def what(op: Any) -> str:
    """Operation and subject, as messages name them."""
    kind = type(op)
    return f"{_CALLED.get(kind, kind.__name__.lower())} {op.key!r}"


def _as_it_is(op: Operation, reply: Any) -> Outcome:
    return reply


def _nothing(op: Operation, reply: Any) -> Outcome:
    return None


def _whether(op: Operation, reply: Any) -> Outcome:
    return bool(reply)  # 1, OK; 0, None


def _new_version(op: Replace, reply: Any) -> Outcome:
    return version(op.value) if reply else None


def _count(op: Increment, reply: Any) -> Outcome:
    return int(reply)


def _entry(op: GetEntry, reply: Any) -> Outcome:
    value, left = reply
    if value is None:
        return None
    if type(value) is Refusal:  # inside the script, this key alone
        return as_error(what(op), value)
    return Stored(value, None if left < 0 else max(left, 1), version(value))


def _page(op: Keys, reply: Any) -> Outcome:
    cursor, found = reply
    keys = []
    for key in found:
        try:
            keys.append(key.decode())
        except UnicodeDecodeError:
            continue  # nobody could ask for it: not one of ours
    return Page(keys, _cursor(cursor))


def _cleared(op: Clear, reply: Any) -> Outcome:
    cursor, removed = reply
    return Cleared(removed, _cursor(cursor))


def _cursor(cursor: bytes) -> str | None:
    return None if cursor == b"0" else cursor.decode()


def version(value: bytes) -> str:
    """What `redis.sha1hex` says of the value."""
    return sha1(value, usedforsecurity=False).hexdigest()


READ: Final[dict[type, Callable[[Any, Any], Outcome]]] = {
    Get: _as_it_is,
    GetEntry: _entry,
    GetRenew: _as_it_is,
    Set: _nothing,
    Create: _whether,
    Replace: _new_version,
    Remove: _whether,
    Touch: _whether,
    Increment: _count,
    Keys: _page,
    Clear: _cleared,
}


# --- many keys in one command ---


def paged(ops: Sequence[Any]) -> tuple[bytes, int]:
    """`Get`s as MGET, or `GetEntry`s as one script, of at most `MANY` keys each; and how many commands.

    A key of another Redis type is nil to MGET, where GET refuses.
    """
    keys = [op.key for op in ops]
    if type(ops[0]) is Get:
        head: Callable[[int], Arguments] = _mget
    else:
        head = _entries
    if len(keys) <= MANY:
        return pack((*head(len(keys)), *keys)), 1
    pages = [keys[at : at + MANY] for at in range(0, len(keys), MANY)]
    return b"".join([pack((*head(len(page)), *page)) for page in pages]), len(pages)


def _mget(count: int) -> Arguments:
    return ("MGET",)


def _entries(count: int) -> Arguments:
    return ("EVALSHA", ENTRIES.sha, count)


def unpaged(ops: Sequence[Any], replies: list[Any]) -> list[Any]:
    """What each operation would have been answered alone, from the replies to `paged`; a refused page refuses each."""
    single = type(ops[0]) is Get
    if single and len(replies) == 1 and type(replies[0]) is list:
        return replies[0]
    found: list[Any] = []
    for page in replies:
        if type(page) is Refusal:
            found += [page] * min(MANY, len(ops) - len(found))
        else:
            found += page if single else zip(page[::2], page[1::2], strict=True)
    return found
