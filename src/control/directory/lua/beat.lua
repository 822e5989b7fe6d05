-- ARGV: node, incarnation, lease in ms, ms it is remembered afterwards, how many displaced streams
-- are told at once, the node's clock, how far that may be off, how many nodes there may be; its
-- HTTP, its sessions, whether it drains, the number it has had, the version of what it says to
-- others, fingerprints of its secrets, its ports, what else there is to know.
-- Answers: 2, or 1 where the node was not known or its lease had run out; the clock; its number;
-- streams of the node that others have claimed since. Or why it is not one of these nodes: 0 another process has the name,
-- -1 the clock, -2 the version, -3 the secret, -4 a port, -5 there are too many; and with -1 how
-- far, with the next three which node is otherwise, and which port it is.
local node, incarnation = ARGV[1], ARGV[2]
local now, key = clock(), base .. ':n:' .. node
local fields = { 'incarnation', 'until', 'number', 'terms' }
local known = redis.call('HMGET', key, unpack(fields))
if known[1] and known[1] ~= incarnation and tonumber(known[2]) > now then
  return { 0, now, 0, {}, '', '' }
end
local apart = math.abs(now - ARGV[6])
if apart > tonumber(ARGV[7]) then return { -1, now, 0, {}, digits(apart), '' } end

-- Whether what is signed by who has the secrets `theirs` is taken by who has `ours`.
local function takes(ours, theirs)
  local signs = string.match(theirs, '^[^ ]*')
  return string.find(' ' .. ours .. ' ', ' ' .. signs .. ' ', 1, true) ~= nil
end

local function shared(ours, theirs)
  local port = '([^/ ]+/[^/ ]+)/(%d+)-(%d+)'
  for at, first, last in string.gmatch(ours, port) do
    for other, from, to in string.gmatch(theirs, port) do
      first, last, from, to = tonumber(first), tonumber(last), tonumber(from), tonumber(to)
      if at == other and first <= to and from <= last then
        return at .. '/' .. digits(math.max(first, from))
      end
    end
  end
  return nil
end

local terms = ARGV[13] .. '|' .. ARGV[14] .. '|' .. ARGV[15]
local number = tonumber(known[3] or 0)
if known[1] ~= incarnation or known[4] ~= terms then
  local used, others = {}, redis.call('SMEMBERS', base .. ':nodes')
  table.sort(others)
  for _, other in ipairs(others) do
    local theirs = redis.call('HMGET', base .. ':n:' .. other, 'until', 'number', 'terms')
    if other ~= node and theirs[1] then
      used[tonumber(theirs[2])] = true
      if tonumber(theirs[1]) > now then
        local version, secrets, ports = string.match(theirs[3], '^([^|]*)|([^|]*)|(.*)$')
        if version ~= ARGV[13] then return { -2, now, 0, {}, other, '' } end
        if not (takes(ARGV[14], secrets) and takes(secrets, ARGV[14])) then
          return { -3, now, 0, {}, other, '' }
        end
        local at = shared(ARGV[15], ports)
        if at then return { -4, now, 0, {}, other, at } end
      end
    end
  end
  local had = tonumber(ARGV[12])
  if had > 0 and not used[had] then number = had end
  if number == 0 or used[number] then
    number = 1
    while used[number] do number = number + 1 end
  end
  if number > tonumber(ARGV[8]) then return { -5, now, 0, {}, '', '' } end
end
redis.call('HSET', key, 'incarnation', incarnation, 'until', digits(now + ARGV[3]), 'http', ARGV[9],
  'sessions', ARGV[10], 'draining', ARGV[11], 'number', digits(number), 'terms', terms,
  'about', ARGV[16])
redis.call('PEXPIRE', key, ARGV[3] + ARGV[4])
redis.call('SADD', base .. ':nodes', node)
local displaced = redis.call('SPOP', base .. ':d:' .. node, ARGV[5])
-- Others may have claimed what it had while it was dead, and then it is in no list.
local held = known[1] == incarnation and tonumber(known[2]) > now
return { held and 2 or 1, now, number, displaced, '', '' }
