-- Take due tasks: re-score each to the end of its lease, mark it with the token, give its doc.
-- KEYS: due, epoch. ARGV: clock, limit, lease ms, token, task prefix.
-- Gives: whether the epoch is there, ms until the next task is due (-1: none), then (id, doc,
-- request ('' = not at hand))*.
local now = clock()
local ends = now + tonumber(ARGV[3])
local found = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do
  local key = ARGV[5] .. id
  local row = redis.call('HMGET', key, 'doc', 'end', 'request')
  if row[1] and not row[2] then
    redis.call('HSET', key, 'lease', ARGV[4], 'until', ends)
    redis.call('ZADD', KEYS[1], ends, id)
    found[#found + 1] = id
    found[#found + 1] = row[1]
    found[#found + 1] = row[3] or ''
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
local wait = -1
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then
  wait = math.max(0, math.ceil(tonumber(first[2]) - now))
end
return {redis.call('EXISTS', KEYS[2]), wait, found}
