"""A topic in Redis, and the scripts that are the only ones to touch it.

A topic is one sorted set under the operation's key, so it is stored, cleared,
moved or evicted whole. By score:

=======  ========================================================================
-n       `:<id>`: the message at offset n was given this id by its publisher
0        `=<epoch> <last> <trimmed> <kept> <at>`: the state of the log
n        `[n,<at>,null,<id or null>,<event>]`, a line feed, the payload: a message
         as it was said; `*[n,<at>,<changed>,...]` and the payload: an edited one;
         `![n,<at>,<changed>,...]` alone: an erased one
changed  `><offset>`: here that message was changed, for the latest time
=======  ========================================================================

So the members above 0 are the log in the one order that `changes_after` wants,
and `redis-cli ZRANGE <key> -inf +inf BYSCORE` shows it to people. A stream would
be smaller, but nothing in a stream can be replaced, and what is not at its ends
leaves holes.

`<namespace>:c` is a sorted set of the namespace's topics, all at score 0, so in
the order of their bytes; the scripts find it from the topic's key, which is why
this is not for a cluster.

Whatever changes a log publishes it in the same script, in the channel
`<key>@<database>` (channels know no databases), as the 12 characters of who said
so, and the message with its epoch in front: `["<epoch>",n,<at>,...` A `Send` has
an `s` after the 12 characters.

Lua's numbers are doubles and become text with 14 digits: enough for offsets and
for milliseconds until the year 5138.
"""

from __future__ import annotations

from typing import Final

from holdfast.engines.redis import Script

__all__ = ["APPEND", "CHANGE", "CLEAR", "FIND", "READ", "SCRIPTS", "TOPICS", "TRIM"]

_STATE: Final = """\
local log = KEYS[1]
local state = redis.call('ZRANGEBYSCORE', log, 0, 0)[1]
local epoch, last, trimmed, kept, said
if state then
  epoch, last, trimmed, kept, said = string.match(state, '^=(%w+) (%d+) (%d+) (%d+) (%-?%d+)$')
end
"""

_NOW: Final = """\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# The oldest `over` messages go, and whatever is older than `cutoff` and follows them without a gap.
# An id stands at minus its message's offset: one command takes all of them.
_TRIM: Final = """\
local from, gone, cut, markers = 0, 0, nil, {}
repeat
  local page = redis.call('ZRANGEBYSCORE', log, '(0', '+inf', 'LIMIT', from, 50)
  for _, member in ipairs(page) do
    local kind, offset, at = string.match(member, '^([*!]?)%[(%d+),(%-?%d+)')
    if offset then
      if gone >= over and tonumber(at) >= cutoff then page = {} break end
      gone, cut = gone + 1, offset
      if kind ~= '' then markers[#markers + 1] = '>' .. offset end
    end
  end
  from = from + 50
until #page < 50
if cut then
  for _, marker in ipairs(markers) do redis.call('ZREM', log, marker) end
  redis.call('ZREMRANGEBYSCORE', log, '(0', cut)
  redis.call('ZREMRANGEBYSCORE', log, '-' .. cut, '(0')
  trimmed, kept = cut, kept - gone
end
"""

# ARGV: id, event and payload as they stand in the log; the epoch, should this be the first
# message; '@' and the database; who says so; max_messages, max_age, at, or '' for each; the id.
# A log begins with an announcement of nothing, so that where ours are forbidden nothing is stored.
# Memory is judged at a script's first write: it is one that adds.
APPEND: Final = Script.of(
    _STATE
    + """\
local id = ARGV[8]
if not state then
  redis.call('PUBLISH', log .. ARGV[3], '')
  local colon = string.find(log, ':c:', 1, true)
  redis.call('ZADD', string.sub(log, 1, colon + 1), 0, string.sub(log, colon + 3))
  epoch, last, trimmed, kept = ARGV[2], 0, 0, 0
elseif id then
  local known = redis.call('ZSCORE', log, ':' .. id)
  if known then
    known = string.sub(known, 2)
    local message = redis.call('ZRANGEBYSCORE', log, known, known)[1]
    return {tonumber(known), tonumber(string.match(message, ',(%-?%d+)')), epoch, 1}
  end
end
"""
    + _NOW
    + """\
said = ARGV[7] ~= '' and ARGV[7] or now
last, kept = last + 1, kept + 1
local most, age = tonumber(ARGV[5]), tonumber(ARGV[6])
local over = most and kept - most or 0
if over > 16 and over > most / 8 or age and last % 16 == 0 then
  local cutoff = age and now - age or -1
"""
    + _TRIM
    + """\
end
local message = last .. ',' .. said .. ',null,' .. ARGV[1]
local becomes = '=' .. epoch .. ' ' .. last .. ' ' .. trimmed .. ' ' .. kept .. ' ' .. said
if id then
  redis.call('ZADD', log, 0, becomes, last, '[' .. message, -last, ':' .. id)
else
  redis.call('ZADD', log, 0, becomes, last, '[' .. message)
end
if state then redis.call('ZREM', log, state) end
redis.call('PUBLISH', log .. ARGV[3], ARGV[4] .. '["' .. epoch .. '",' .. message)
return {last, tonumber(said), epoch}
"""
)

# ARGV of these: the id, or '' and an offset and its epoch.
_NAMED: Final = """\
if not state then return false end
local offset = ARGV[2]
if ARGV[1] ~= '' then
  local known = redis.call('ZSCORE', log, ':' .. string.sub(ARGV[1], 2))
  if not known then return false end
  offset = string.sub(known, 2)
elseif ARGV[3] ~= epoch then
  return false
end
local found = redis.call('ZRANGEBYSCORE', log, offset, offset)[1]
local kind = found and string.sub(found, 1, 1)
if kind ~= '[' and kind ~= '*' then return false end
"""

FIND: Final = Script.of(_STATE + _NAMED + "return {epoch, found}\n")

# ARGV, further: '@' and the database; who says so; '*' and the new payload, or '!'.
CHANGE: Final = Script.of(
    _STATE
    + _NAMED
    + """\
last = last + 1
local at, named = string.match(found, '^%*?%[%d+,(%-?%d+),%w+,([^\\n]*)')
local message = offset .. ',' .. at .. ',' .. last .. ',' .. named
if ARGV[6] == '*' then message = message .. '\\n' .. ARGV[7] end
local becomes = '=' .. epoch .. ' ' .. last .. ' ' .. trimmed .. ' ' .. kept .. ' ' .. said
if ARGV[6] == '*' then  -- first something that adds; a removal must be possible when memory is full
  redis.call('ZADD', log, offset, '*[' .. message, last, '>' .. offset, 0, becomes)
  redis.call('ZREM', log, found, state)
else
  redis.call('ZREM', log, found, state)
  redis.call('ZADD', log, offset, '![' .. message, last, '>' .. offset, 0, becomes)
end
redis.call('PUBLISH', log .. ARGV[4], ARGV[5] .. '["' .. epoch .. '",' .. message)
return {epoch, '[' .. message}
"""
)

# ARGV: 'last', 'before', 'after' or 'changes'; how many; the bound.
# Pages are as long as what is still missing: where nothing was changed, the first is the answer.
READ: Final = Script.of(
    _STATE
    + """\
if not state then return false end
local mode, limit, bound = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local answer, from, page = {epoch, tonumber(last), tonumber(trimmed)}, 0, nil
local full = limit + 3
while #answer < full do
  local count = math.max(full - #answer, math.min(from, 1000))
  if mode == 'last' then
    page = redis.call('ZREVRANGEBYSCORE', log, '+inf', '(0', 'LIMIT', from, count)
  elseif mode == 'before' then
    page = redis.call('ZREVRANGEBYSCORE', log, '(' .. bound, '(0', 'LIMIT', from, count)
  else
    page = redis.call('ZRANGEBYSCORE', log, '(' .. bound, '+inf', 'LIMIT', from, count)
  end
  for _, member in ipairs(page) do
    local kind = string.byte(member)
    if kind == 91 then
      answer[#answer + 1] = member
    elseif mode == 'changes' then
      if kind == 62 then
        local offset = string.sub(member, 2)
        answer[#answer + 1] = redis.call('ZRANGEBYSCORE', log, offset, offset)[1]
      end
    elseif kind == 42 then
      answer[#answer + 1] = member
    end
    if #answer == full then break end
  end
  if #page < count then break end
  from = from + count
end
return answer
"""
)

# ARGV: max_messages, max_age, or '' for each.
TRIM: Final = Script.of(
    _STATE
    + """\
if not state then return 0 end
"""
    + _NOW
    + """\
local most, age = tonumber(ARGV[1]), tonumber(ARGV[2])
local over = most and kept - most or 0
local cutoff = age and now - age or -1
"""
    + _TRIM
    + """\
if cut then
  redis.call('ZADD', log, 0, '=' .. epoch .. ' ' .. last .. ' ' .. trimmed .. ' ' .. kept .. ' ' .. said)
  redis.call('ZREM', log, state)
end
return gone
"""
)

CLEAR: Final = Script.of("""\
local log = KEYS[1]
local colon = string.find(log, ':c:', 1, true)
redis.call('ZREM', string.sub(log, 1, colon + 1), string.sub(log, colon + 3))
return redis.call('UNLINK', log)
""")

# KEYS: a namespace's topics. ARGV: the bounds of one page; how many. Topics that were evicted are passed over.
TOPICS: Final = Script.of("""\
local names = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local answer = {}
for at, name in ipairs(names) do
  answer[2 * at - 1] = name
  answer[2 * at] = redis.call('ZRANGEBYSCORE', KEYS[1] .. ':' .. name, 0, 0)[1] or ''
end
return answer
""")

SCRIPTS: Final = (APPEND, CHANGE, FIND, READ, TRIM, CLEAR, TOPICS)
