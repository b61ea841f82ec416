-- Compare and set one field of a hash. KEYS: hash. ARGV: clock, field, expected ('' = absent), new.
-- Gives nil when it was set, else what is there ('' when nothing is).
local there = redis.call('HGET', KEYS[1], ARGV[2]) or ''
if there ~= ARGV[3] then
  return there
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
return false
