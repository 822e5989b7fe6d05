-- ARGV: node, incarnation; then pairs of a stream and the epoch of the claim that is given back.
local released = 0
for i = 3, #ARGV, 2 do
  local key = base .. ':s:' .. ARGV[i]
  local stored = redis.call('HMGET', key, 'node', 'incarnation', 'epoch')
  if stored[1] == ARGV[1] and stored[2] == ARGV[2] and stored[3] == ARGV[i + 1] then
    released = released + redis.call('DEL', key)
  end
end
return released
