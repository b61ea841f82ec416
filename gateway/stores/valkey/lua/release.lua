-- Give leases back unused: their tasks are due at once.
-- KEYS: due. ARGV: clock, task prefix, channel, then (id, token)*. Gives how many were held.
local now = clock()
local released = 0
for no = 4, #ARGV, 2 do
  local key = ARGV[2] .. ARGV[no]
  local row = redis.call('HMGET', key, 'lease', 'until')
  if row[1] == ARGV[no + 1] and row[2] ~= '0' then
    redis.call('HSET', key, 'until', '0')
    redis.call('ZADD', KEYS[1], now, ARGV[no])
    released = released + 1
  end
end
if released > 0 then
  redis.call('PUBLISH', ARGV[3], 'd')
end
return released
