-- Before each of the others. Every key begins with KEYS[1], whose braces keep all of them in one slot
-- of a Redis Cluster: a script looks at nodes and streams together.
local base = KEYS[1]

-- Milliseconds of Unix time: the one clock that counts.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A number as it is kept, to its last digit.
local function digits(number)
  return string.format('%.0f', number)
end

-- Where the HTTP of a node is, if it is alive as this incarnation.
local function alive(node, incarnation, now)
  local known = redis.call('HMGET', base .. ':n:' .. node, 'incarnation', 'until', 'http')
  if known[1] == incarnation and tonumber(known[2]) > now then return known[3] end
  return nil
end
