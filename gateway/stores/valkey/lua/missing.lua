-- Say which tasks are not indexed, or fell out of the queue before they ended.
-- KEYS: due. ARGV: clock, task prefix, then ids. Gives the ids.
local missing = {}
for no = 3, #ARGV do
  local id = ARGV[no]
  local queued = redis.call('ZSCORE', KEYS[1], id)
  local row = redis.call('HMGET', ARGV[2] .. id, 'fence', 'end')
  if not row[1] or (not queued and not row[2]) then
    missing[#missing + 1] = id
  end
end
return missing
