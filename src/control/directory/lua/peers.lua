-- Answers, of each node that is alive: its name, its HTTP, its number, its sessions, whether it
-- drains, its terms, what else there is to know of it, how long its lease is good yet, in ms.
local now, peers = clock(), {}
for _, node in ipairs(redis.call('SMEMBERS', base .. ':nodes')) do
  local fields = { 'until', 'http', 'number', 'sessions', 'draining', 'terms', 'about' }
  local known = redis.call('HMGET', base .. ':n:' .. node, unpack(fields))
  if not known[1] then
    redis.call('SREM', base .. ':nodes', node)
  elseif tonumber(known[1]) > now then
    peers[#peers + 1] = { node, known[2], tonumber(known[3]), tonumber(known[4]),
      tonumber(known[5]), known[6], known[7], known[1] - now }
  end
end
return peers
