-- Write a visited task and end its lease; a further visit asks the database for the request.
-- KEYS: task, due.
-- ARGV: clock, id, token, fence, doc, delay ms ('' = leave the queue), ended ('1'/'0'), TTL ms,
--       channel, announcement ('' = none).
-- A task without a lease field was indexed after a flush and not taken since: the visit that held
-- it before may still save. 'until' 0 marks a lease that was ended by a save or a release.
-- An ended task is final in Postgres, so its doc is kept even when the lease was lost.
-- Gives 1, or 0 when the lease was lost or a newer doc is stored.
local now = clock()
local row = redis.call('HMGET', KEYS[1], 'fence', 'end', 'lease', 'until')
local ours = not row[3] or (row[3] == ARGV[3] and row[4] ~= '0')
local ended = ARGV[7] == '1'
if row[2] or tonumber(row[1] or 0) > tonumber(ARGV[4]) or not (ours or ended) then
  return 0
end
redis.call('HSET', KEYS[1], 'fence', ARGV[4], 'doc', ARGV[5])
if ended then
  redis.call('HSET', KEYS[1], 'end', '1')
  redis.call('HDEL', KEYS[1], 'lease', 'until', 'request')
else
  redis.call('HSET', KEYS[1], 'lease', ARGV[3], 'until', '0')
  redis.call('HDEL', KEYS[1], 'request')
end
redis.call('PEXPIRE', KEYS[1], ARGV[8])
if ended or ARGV[6] == '' then
  redis.call('ZREM', KEYS[2], ARGV[2])
else
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[6]), ARGV[2])
end
if ARGV[10] ~= '' then
  redis.call('PUBLISH', ARGV[9], ARGV[10])
end
return ours and 1 or 0
