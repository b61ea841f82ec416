-- Extend leases still held. A task indexed again after a flush, and not taken since, is taken
-- back by the visit that held it before.
-- KEYS: due. ARGV: clock, lease ms, task prefix, then (id, token)*. Gives how many are held.
local ends = clock() + tonumber(ARGV[2])
local held = 0
for no = 4, #ARGV, 2 do
  local key = ARGV[3] .. ARGV[no]
  local row = redis.call('HMGET', key, 'doc', 'end', 'lease', 'until')
  local ours = not row[3] or (row[3] == ARGV[no + 1] and row[4] ~= '0')
  if row[1] and not row[2] and ours then
    redis.call('HSET', key, 'lease', ARGV[no + 1], 'until', ends)
    redis.call('ZADD', KEYS[1], ends, ARGV[no])
    held = held + 1
  end
end
return held
