-- Take one task out of turn if nobody holds it.
-- KEYS: task, due. ARGV: clock, id, lease ms, token. Gives the doc, or nil.
local now = clock()
local row = redis.call('HMGET', KEYS[1], 'doc', 'end', 'until')
if not row[1] or row[2] or tonumber(row[3] or 0) > now then
  return false
end
local ends = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'lease', ARGV[4], 'until', ends)
redis.call('ZADD', KEYS[2], ends, ARGV[2])
return row[1]
