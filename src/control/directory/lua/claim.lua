-- ARGV: node, incarnation, how ('new', 'free' or 'keep'), ms a claim is kept, ms a node is
-- remembered; then pairs of a stream and the greatest epoch the claimer has seen of it.
-- Answers, of each: 1, its epoch and the node that is displaced; or 0, the epoch and the owner.
local node, incarnation, how = ARGV[1], ARGV[2], ARGV[3]
local now, claimed = clock(), {}
for i = 6, #ARGV, 2 do
  local key, hint = base .. ':s:' .. ARGV[i], tonumber(ARGV[i + 1])
  local stored = redis.call('HMGET', key, 'node', 'incarnation', 'epoch')
  local owner, epoch = stored[1], tonumber(stored[3] or 0)
  local mine = owner == node and stored[2] == incarnation
  local others = owner and not mine and alive(owner, stored[2], now)
  local may = not owner or mine or how == 'new' or (how == 'free' and not others)
    or (how == 'keep' and (epoch < hint or (not others and epoch <= hint)))
  if may then
    epoch = math.max(epoch, hint)
    if how ~= 'keep' then epoch = math.max(now, epoch + 1) end
    redis.call('HSET', key, 'node', node, 'incarnation', incarnation, 'epoch', digits(epoch))
    redis.call('PEXPIRE', key, ARGV[4])
    if others then
      -- It hears of it with its next beat.
      redis.call('SADD', base .. ':d:' .. owner, ARGV[i])
      redis.call('PEXPIRE', base .. ':d:' .. owner, ARGV[5])
    end
    claimed[#claimed + 1] = { 1, epoch, others and owner or '' }
  else
    claimed[#claimed + 1] = { 0, epoch, owner }
  end
end
return claimed
