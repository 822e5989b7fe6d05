-- ARGV: streams. Answers, of each: its owner, the epoch, and the owner's HTTP while that is alive.
local now, owners = clock(), {}
for i = 1, #ARGV do
  local stored = redis.call('HMGET', base .. ':s:' .. ARGV[i], 'node', 'incarnation', 'epoch')
  if stored[1] then
    owners[i] = { stored[1], tonumber(stored[3]), alive(stored[1], stored[2], now) or '' }
  else
    owners[i] = { '', 0, '' }
  end
end
return owners
