-- Take the right to poll one task. When more tasks want a query than the rate allows, the wanting
-- ones wait in line, those likely done first in front; each is told when it is probably its turn.
-- KEYS: grants (list of µs, oldest first), line (task -> when it may be done, ms),
--       back (task -> when it is to ask again, ms).
-- ARGV: clock, allowed, window µs, task, likely done (ms), longest wait (ms),
--       ms after which one that did not ask again is gone.
-- Gives the ms to wait; 0: granted.
local now, micros = clock()
local allowed, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local id, likely = ARGV[4], tonumber(ARGV[5])
local longest, patience = tonumber(ARGV[6]), tonumber(ARGV[7])

local function grant()
  redis.call('RPUSH', KEYS[1], string.format('%.0f', micros))
  redis.call('LTRIM', KEYS[1], -allowed, -1)
  -- Old grants are told by their time; the key itself goes when nobody has asked for a minute.
  redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 60000)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
  return 0
end

local function is_spent(index)
  local at = tonumber(redis.call('LINDEX', KEYS[1], index) or 0)
  -- A grant from the future was made before the server's clock was set back: no reason to wait.
  return at <= micros and micros - at < window and at or false
end

local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - patience, 'LIMIT', 0, 100)
for _, other in ipairs(gone) do
  redis.call('ZREM', KEYS[2], other)
  redis.call('ZREM', KEYS[3], other)
end
local ahead = redis.call('ZRANK', KEYS[2], id)
if not ahead then
  ahead = redis.call('ZCOUNT', KEYS[2], '-inf', string.format('(%.0f', likely))
end
-- The one behind `ahead` others may go when so many grants, and its own, are free.
if ahead < allowed and not is_spent(ahead - allowed) then
  return grant()
end
local first = is_spent(-allowed)
local wait = first and (first + window - micros) / 1000 or 0
wait = math.ceil(math.min(math.max(wait + ahead * window / allowed / 1000, 1), longest))
redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', likely), id)
redis.call('ZADD', KEYS[3], now + wait, id)
local kept = wait + patience
if redis.call('PTTL', KEYS[2]) < kept then
  redis.call('PEXPIRE', KEYS[2], kept)
  redis.call('PEXPIRE', KEYS[3], kept)
end
return wait
