-- Say that a process is alive. KEYS: peers. ARGV: clock, process, ms after which one counts as gone.
-- Gives how many are alive.
local now = clock()
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
return redis.call('ZCARD', KEYS[1])
