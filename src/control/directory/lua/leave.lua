-- ARGV: node, incarnation, ms it is remembered afterwards: its number is given to nobody else
-- meanwhile.
local key = base .. ':n:' .. ARGV[1]
if redis.call('HGET', key, 'incarnation') ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'until', digits(clock()))
redis.call('PEXPIRE', key, ARGV[3])
return 1
