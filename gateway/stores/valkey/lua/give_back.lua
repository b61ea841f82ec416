-- Give back what a call took and did not use; a count that a flush took away is left alone.
-- KEYS: one hash per limit, slot -> count. ARGV: clock, slot, then per key: amount.
for no, key in ipairs(KEYS) do
  local count = tonumber(redis.call('HGET', key, ARGV[2]) or '0')
  if count > 0 then
    redis.call('HSET', key, ARGV[2], math.max(count - tonumber(ARGV[2 + no]), 0))
  end
end
return #KEYS
