-- Index tasks that are not indexed, due after a delay; one already in the index is left alone,
-- but put back into the queue if it fell out. Names a rebuild if the epoch is gone.
-- KEYS: due, epoch, rebuild.
-- ARGV: clock, delay ms, TTL ms, task prefix, channel, a fresh rebuild name, 
--       then (id, fence, doc, request ('' = none))*.
-- Gives how many were added, and the name of the rebuild under way ('' when there is none).
local now = clock()
local due = now + tonumber(ARGV[2])
local added = 0
for no = 7, #ARGV, 4 do
  local id = ARGV[no]
  local key = ARGV[4] .. id
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'fence', ARGV[no + 1], 'doc', ARGV[no + 2])
    if ARGV[no + 3] ~= '' then
      redis.call('HSET', key, 'request', ARGV[no + 3])
    end
    redis.call('PEXPIRE', key, ARGV[3])
    redis.call('ZADD', KEYS[1], due, id)
    added = added + 1
  elseif redis.call('HEXISTS', key, 'end') == 0
      and redis.call('ZADD', KEYS[1], 'NX', due, id) == 1 then
    added = added + 1
  end
end
if added > 0 and due <= now then
  redis.call('PUBLISH', ARGV[5], 'd')
end
local rebuild = ''
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[3], ARGV[6], 'NX')
  rebuild = redis.call('GET', KEYS[3])
end
return {added, rebuild}
