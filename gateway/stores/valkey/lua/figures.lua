-- KEYS: due. ARGV: clock. Gives: tasks in the queue, tasks due now, ms the first of them waits.
local now = clock()
local lag = 0
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then
  lag = math.max(0, now - math.floor(tonumber(first[2])))
end
return {redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '-inf', now), lag}
