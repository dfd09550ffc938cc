"""Documents in Redis, and the scripts that are the only ones to change them.

=================  ========================================================================
`<kind>:d:<id>`    hash of a document: `n` number, `r` revision, `t` tags as JSON, `b` data,
                   `w` when it is due (absent: never)
`<kind>:a`         sorted set of ids by number
`<kind>:t:<tag>`   the same, of those that have the tag
`<kind>:w`         sorted set of what is due sometime, by when: 16 digits of the number, so
                   that what is due at once comes in its order, and the id
`<namespace>:m`    the last number given: what stands before the last colon of the kind
=================  ========================================================================

The scripts make names of keys from their arguments, so this is not for a cluster.

A script that fails in its middle keeps what it did. So each looks at everything
first, and then begins with a command that Redis refuses where memory is full or
writes are not allowed; it asks that once a script. Hence puts come before drops,
and within a put what grows before what shrinks.

Lua's numbers are doubles: exact up to 2**53, `%.0f` writes them out.
"""

from __future__ import annotations

from typing import Final

from holdfast.engines.redis import Script

__all__ = ["CLAIM", "NEXT", "PAGE", "SCRIPTS", "WRITE"]

_NOW: Final = """\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# ARGV: six for each change: kind; id; '*' or '=' and the version expected; tags as JSON, '' to drop it;
# milliseconds until it is due, or ''; data.
WRITE: Final = Script.of(
    """\
local old = {}
for at = 1, #ARGV, 6 do
  local found = redis.call('HMGET', ARGV[at] .. ':d:' .. ARGV[at + 1], 'n', 'r', 't')
  local version = found[1] and found[1] .. '.' .. found[2] or ''
  local expect = ARGV[at + 2]
  if expect ~= '*' and expect ~= '=' .. version then return 0 end
  if found[1] then old[at] = {n = found[1], r = tonumber(found[2]), t = cjson.decode(found[3])} end
end
"""
    + _NOW
    + """\
local function member(number, id) return string.format('%016.0f', number) .. id end
for at = 1, #ARGV, 6 do
  local kind, id, text, wait = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  if text ~= '' then
    local key, before = kind .. ':d:' .. id, old[at]
    local number, revision = before and before.n, '1'
    if before then
      revision = string.format('%.0f', before.r + 1)
    else
      number = string.format('%.0f', redis.call('INCR', string.match(kind, '^(.+):') or KEYS[1]))
    end
    redis.call('HSET', key, 'n', number, 'r', revision, 't', text, 'b', ARGV[at + 5])
    if wait == '' then
      redis.call('HDEL', key, 'w')
      redis.call('ZREM', kind .. ':w', member(number, id))
    else
      local due = string.format('%.0f', now + tonumber(wait))
      redis.call('HSET', key, 'w', due)
      redis.call('ZADD', kind .. ':w', due, member(number, id))
    end
    redis.call('ZADD', kind .. ':a', number, id)
    local kept = {}
    for _, tag in ipairs(cjson.decode(text)) do
      kept[tag] = true
      redis.call('ZADD', kind .. ':t:' .. tag, number, id)
    end
    for _, tag in ipairs(before and before.t or {}) do
      if not kept[tag] then redis.call('ZREM', kind .. ':t:' .. tag, id) end
    end
  end
end
for at = 1, #ARGV, 6 do
  local kind, id, before = ARGV[at], ARGV[at + 1], old[at]
  if ARGV[at + 3] == '' and before then
    redis.call('DEL', kind .. ':d:' .. id)
    redis.call('ZREM', kind .. ':a', id)
    redis.call('ZREM', kind .. ':w', member(before.n, id))
    for _, tag in ipairs(before.t) do redis.call('ZREM', kind .. ':t:' .. tag, id) end
  end
end
return 1
"""
)

# KEYS: the due ones. ARGV: kind, milliseconds of the lease, how many, tag or ''. A document that was evicted
# stands in sets still; it is passed over, also where it was made again under another number.
CLAIM: Final = Script.of(
    _NOW
    + """\
local kind, most, tag = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local found, members, from = {}, {}, 0
repeat
  local page = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', from, 50)
  for _, member in ipairs(page) do
    local id = string.sub(member, 17)
    if #found < most and (tag == '' or redis.call('ZSCORE', kind .. ':t:' .. tag, id)) then
      local entry = redis.call('HMGET', kind .. ':d:' .. id, 'n', 'r', 'w', 't', 'b')
      if entry[1] and member == string.format('%016.0f', entry[1]) .. id then
        found[#found + 1] = {id, entry[1], entry[2], entry[3], entry[4], entry[5]}
        members[#members + 1] = member
      end
    end
  end
  from = from + 50
until #page < 50 or #found == most
local due = string.format('%.0f', now + tonumber(ARGV[2]))
for at, entry in ipairs(found) do
  entry[3] = string.format('%.0f', entry[3] + 1)
  entry[4] = due
  redis.call('HSET', kind .. ':d:' .. entry[1], 'r', entry[3], 'w', due)
  redis.call('ZADD', KEYS[1], due, members[at])
end
return found
"""
)

# KEYS: the ids by number. ARGV: kind, number to begin beyond or '', how many, 1: newest first.
PAGE: Final = Script.of(
    """\
local kind, after, most, newest = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local found, from = {}, 0
repeat
  local page
  if newest then
    local top = after == '' and '+inf' or '(' .. after
    page = redis.call('ZREVRANGEBYSCORE', KEYS[1], top, '-inf', 'LIMIT', from, most)
  else
    local bottom = after == '' and '-inf' or '(' .. after
    page = redis.call('ZRANGEBYSCORE', KEYS[1], bottom, '+inf', 'LIMIT', from, most)
  end
  for _, id in ipairs(page) do
    local entry = redis.call('HMGET', kind .. ':d:' .. id, 'n', 'r', 'w', 't', 'b')
    if entry[1] and #found < most then
      found[#found + 1] = {id, entry[1], entry[2], entry[3], entry[4], entry[5]}
    end
  end
  from = from + most
until #page < most or #found == most
return found
"""
)

# KEYS: the due ones.
NEXT: Final = Script.of(
    _NOW
    + """\
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then return false end
return math.max(0, tonumber(first[2]) - now)
"""
)

SCRIPTS: Final = (WRITE, CLAIM, PAGE, NEXT)
