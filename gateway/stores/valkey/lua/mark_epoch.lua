-- Say that a rebuild is complete. Refused when a flush since its beginning took its name away.
-- KEYS: epoch, rebuild. ARGV: clock, the rebuild's name ('' = none). Gives 1, or 0 when refused.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 1
end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
return 1
