-- ARGV: node, incarnation, lease in ms, ms it is remembered afterwards, its HTTP, its sessions,
-- whether it drains, how many displaced streams are told at once.
-- Answers: 0 where another process has the name, 1 where the node was not known, else 2; the clock;
-- streams of the node that others have claimed since.
local node, incarnation = ARGV[1], ARGV[2]
local now, key = clock(), base .. ':n:' .. node
local known = redis.call('HMGET', key, 'incarnation', 'until')
if known[1] and known[1] ~= incarnation and tonumber(known[2]) > now then return { 0, now, {} } end
redis.call('HSET', key, 'incarnation', incarnation, 'until', digits(now + ARGV[3]), 'http', ARGV[5],
  'sessions', ARGV[6], 'draining', ARGV[7])
redis.call('PEXPIRE', key, ARGV[3] + ARGV[4])
redis.call('SADD', base .. ':nodes', node)
local displaced = redis.call('SPOP', base .. ':d:' .. node, ARGV[8])
return { known[1] == incarnation and 2 or 1, now, displaced }
