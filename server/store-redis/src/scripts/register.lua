-- States everything that a replica has leased, in an epoch that may not be open yet: what was on the list for it goes.
-- ARGV: epoch, replica, generation, then budget, lease window, amount for each.
local base, replica = BASE .. ARGV[1] .. ':', ARGV[2]
local held = base .. 'held:' .. replica
for _, id in ipairs(redis.call('SMEMBERS', held)) do redis.call('HDEL', base .. 'leased:' .. id, replica) end
redis.call('DEL', held)
redis.call('SET', base .. 'generation:' .. replica, ARGV[3], 'EX', KEEP)
for at = 4, #ARGV, 3 do
  local id = ARGV[at] .. ':' .. ARGV[at + 1]
  redis.call('HSET', base .. 'leased:' .. id, replica, ARGV[at + 2])
  redis.call('EXPIRE', base .. 'leased:' .. id, KEEP)
  redis.call('SADD', held, id)
end
redis.call('EXPIRE', held, KEEP)
redis.call('SADD', base .. 'members', replica)
redis.call('EXPIRE', base .. 'members', KEEP)
return 'registered'
