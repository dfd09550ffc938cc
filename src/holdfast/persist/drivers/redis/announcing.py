"""Writes that announce themselves: the same operations, each a script that also publishes, and hearing of them.

A write and its PUBLISH are one script, so that nobody can come between them and
what was refused says nothing. The replies are those of the plain commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from holdfast.engines.redis import RedisEngine, Script, pack
from holdfast.persist.announcing import REMOVED, SET, is_value, tell
from holdfast.persist.driver import Clear, Create, Increment, Listener, Operation, Remove, Replace, Set
from holdfast.persist.drivers.redis.commands import PACK, Arguments, lifetime, packed, pattern, scripted

__all__ = ["ANNOUNCING", "Announcer", "Hearing", "Plain"]

# KEYS: the value's. ARGV: the channel, what is published, and what each script says.
# Refusals are handed on as they are: inside `redis.call` Redis 6 would word them anew.

# A command without its key. It did something unless it answers nil or 0.
COMMAND: Final = Script.of("""\
local done = redis.pcall(ARGV[3], KEYS[1], unpack(ARGV, 4))
if type(done) == 'table' and done.err then return done end
if done and done ~= 0 then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return done
""")

# By how much, and the lifetime of a counter that begins; empty: for ever. See `commands.INCREMENT`.
COUNT: Final = Script.of("""\
local count = ARGV[3]
if ARGV[4] == '' or not redis.call('SET', KEYS[1], count, 'NX', 'PX', ARGV[4]) then
  count = redis.pcall('INCRBY', KEYS[1], ARGV[3])
  if type(count) == 'table' then return count end
  if count <= -9007199254740992 or count >= 9007199254740992 then count = redis.call('GET', KEYS[1]) end
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return count
""")

# The version that it must be, and a command without its key, as above.
OF_VERSION: Final = Script.of("""\
local value = redis.call('GET', KEYS[1])
if not value or redis.sha1hex(value) ~= ARGV[3] then return 0 end
local done = redis.pcall(ARGV[4], KEYS[1], unpack(ARGV, 5))
if type(done) == 'table' and done.err then return done end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
""")

# Cursor, pattern, count. Of the keys in the way only values are announced; ARGV[2] is their letter.
CLEAR: Final = Script.of("""\
local page = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[4], 'COUNT', ARGV[5], 'TYPE', 'string')
local removed, told = 0, {}
for _, key in ipairs(page[2]) do
  if redis.call('UNLINK', key) == 1 then
    removed = removed + 1
    local mark = string.find(key, ':', 1, true)
    if mark and string.sub(key, mark, mark + 2) == ':p:' then told[#told + 1] = ARGV[2] .. key end
  end
end
if #told > 0 then redis.call('PUBLISH', ARGV[1], table.concat(told, '\\0')) end
return {page[1], removed}
""")

ANNOUNCING: Final = (COMMAND, COUNT, OF_VERSION, CLEAR)

Call: TypeAlias = tuple[Script, Arguments]


def _set(op: Set) -> Call:
    return COMMAND, ("SET", op.value, *lifetime(op.ttl))


def _create(op: Create) -> Call:
    return COMMAND, ("SET", op.value, "NX", *lifetime(op.ttl))


def _replace(op: Replace) -> Call:
    return OF_VERSION, (op.version, "SET", op.value, *lifetime(op.ttl))


def _remove(op: Remove) -> Call:
    return (COMMAND, ("DEL",)) if op.version is None else (OF_VERSION, (op.version, "DEL"))


def _increment(op: Increment) -> Call:
    return COUNT, (op.by, "" if op.ttl is None else op.ttl)


_CALLS: Final[dict[type, Callable[[Any], Call]]] = {
    Set: _set,
    Create: _create,
    Replace: _replace,
    Remove: _remove,
    Increment: _increment,
}


class Plain:
    """The commands of a driver that announces nothing."""

    packed = staticmethod(packed)
    """One command for each operation."""

    def command(self, op: Operation) -> bytes:
        """The operation as one command."""
        return PACK[type(op)](op)

    def resent(self, op: Operation) -> bytes:
        """The same, its script sent along because the server did not know it."""
        return scripted(op, "EVAL")


class Announcer:
    """The commands of a driver that announces in this channel."""

    def __init__(self, channel: str) -> None:
        self._channel = channel

    def packed(self, ops: Sequence[Operation]) -> bytes:
        return b"".join([self.command(op) for op in ops])

    def command(self, op: Operation) -> bytes:
        return self._called(op, "EVALSHA") or PACK[type(op)](op)

    def resent(self, op: Operation) -> bytes:
        return self._called(op, "EVAL") or scripted(op, "EVAL")

    def _called(self, op: Any, by: str) -> bytes | None:
        """The operation as a script that announces it; None where it is not announced."""
        if type(op) is Clear:
            keys: tuple[str, ...] = ()
            script, says = CLEAR, REMOVED
            arguments: Arguments = (op.cursor or "0", pattern(op.key), op.limit)
        else:
            call = _CALLS.get(type(op))
            if call is None or not is_value(op.key):
                return None
            keys = (op.key,)
            script, arguments = call(op)
            says = (REMOVED if type(op) is Remove else SET) + op.key
        text = script.sha if by == "EVALSHA" else script.text
        return pack((by, text, len(keys), *keys, self._channel, says, *arguments))


class Hearing:
    """One `Subscription`, on the engine's one subscribing connection."""

    def __init__(
        self, engine: RedisEngine, channel: str, listener: Listener, closed: Callable[[Hearing], None]
    ) -> None:
        self._channel = channel.encode()
        self._listener = listener
        self._tell_closed = closed
        self._ear = engine.listen(self._heard, listener.lost)

    async def begin(self) -> None:
        """Hear what is published from the return on; raises what the engine raises."""
        await self._ear.follow(self._channel)

    async def close(self) -> None:
        self._tell_closed(self)
        await self._ear.close()

    def _heard(self, channel: bytes, data: bytes) -> None:
        tell(self._listener, data)
