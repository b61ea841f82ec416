-- Time in every script is the server's own: UTC milliseconds (and microseconds).
-- ARGV[1] is empty in production; tests pass milliseconds to own the time.
local function clock()
  if ARGV[1] ~= '' then
    return tonumber(ARGV[1]), tonumber(ARGV[1]) * 1000
  end
  local time = redis.call('TIME')
  local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
  return math.floor(micros / 1000), micros
end
