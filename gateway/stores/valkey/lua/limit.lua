-- Take from several limits at once, or from none: domain/limits.py, `judge`, on the server.
-- KEYS: peers (process -> when it last took, ms), then one hash per limit, slot -> count.
-- ARGV: clock, slot ms, slots, process, ms after which one is gone, then per limit: allowed, amount.
-- Gives the slot, how many processes take, then per limit: used before, ms until it may pass (0:
-- now), ms until some is back.
local now = clock()
local size, slots = tonumber(ARGV[2]), tonumber(ARGV[3])
local slot = math.floor(now / size)
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[5]))
local answer, refused = {slot, redis.call('ZCARD', KEYS[1])}, false
for no = 2, #KEYS do
  local key = KEYS[no]
  local allowed, amount = tonumber(ARGV[2 + 2 * no]), tonumber(ARGV[3 + 2 * no])
  local flat, counted, used = redis.call('HGETALL', key), {}, 0
  for at = 1, #flat, 2 do
    local which, count = tonumber(flat[at]), tonumber(flat[at + 1])
    if which < slot - slots then
      redis.call('HDEL', key, flat[at])
    elseif count > 0 then
      counted[#counted + 1] = {which, count}
      used = used + count
    end
  end
  table.sort(counted, function(a, b) return a[1] < b[1] end)
  local reset, wait = 0, 0
  if counted[1] then
    reset = (counted[1][1] + slots + 1) * size - now
  end
  if used + amount > allowed then
    refused = true
    wait = slots * size
    local excess = used + amount - allowed
    for _, one in ipairs(counted) do
      excess = excess - one[2]
      if excess <= 0 then
        wait = (one[1] + slots + 1) * size - now
        break
      end
    end
  end
  answer[#answer + 1] = used
  answer[#answer + 1] = wait
  answer[#answer + 1] = reset
end
if not refused then
  for no = 2, #KEYS do
    local key = KEYS[no]
    redis.call('HINCRBY', key, slot, ARGV[3 + 2 * no])
    redis.call('PEXPIRE', key, (slots + 2) * size)
  end
end
return answer
