-- Count a job's cost for its day, unless that would pass the cap; a correction may be negative.
-- KEYS: hash upstream -> micro-USD. ARGV: clock, upstream, amount, cap, ms the hash is kept.
-- Gives the total, or -(total + 1) when the cap refuses.
local spent = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '0')
local total = math.max(0, spent + tonumber(ARGV[3]))
if total > tonumber(ARGV[4]) then
  return -(spent + 1)
end
redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', total))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return total
