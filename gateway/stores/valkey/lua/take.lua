-- Take the right to call an upstream: a place in flight (submits) and grants of its rate.
-- A grant is allowed when the `allowed`-th grant before it is a whole window old: never more than
-- `allowed` in any window, yet all of them at once after a pause.
-- KEYS: grants (list of µs, oldest first), slots (sorted set attempt -> expiry ms).
-- ARGV: clock, count, allowed (0 = no rate), window µs, attempt ('' = none), cap (0 = none),
--       slot ms.
-- Gives 0, or the ms until the rate allows it, or -1 when every slot is taken.
local now, micros = clock()
local count, allowed, window = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local attempt, cap = ARGV[5], tonumber(ARGV[6])
if cap > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if not redis.call('ZSCORE', KEYS[2], attempt) and redis.call('ZCARD', KEYS[2]) >= cap then
    return -1
  end
end
if allowed > 0 then
  local oldest = tonumber(redis.call('LINDEX', KEYS[1], count - 1 - allowed) or 0)
  -- A grant from the future was made before the server's clock was set back: not a reason to wait.
  if oldest <= micros and micros - oldest < window then
    return math.ceil((oldest + window - micros) / 1000)
  end
  for _ = 1, count do
    redis.call('RPUSH', KEYS[1], string.format('%.0f', micros))
  end
  redis.call('LTRIM', KEYS[1], -allowed, -1)
  -- Old grants are told by their time; the key itself goes when nobody has asked for a minute.
  redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 60000)
end
if cap > 0 then
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[7]), attempt)
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
return 0
