-- KEYS: epoch, rebuild. ARGV: clock, a fresh rebuild name.
-- Gives '' while the index is complete, else the name of the rebuild it needs.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return ''
end
redis.call('SET', KEYS[2], ARGV[2], 'NX')
return redis.call('GET', KEYS[2])
