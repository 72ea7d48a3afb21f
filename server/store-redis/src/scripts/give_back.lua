-- ARGV: epoch, replica, generation, then budget, lease window, amount for each.
if not in_charge(ARGV[1]) or late(ARGV[1], ARGV[2], ARGV[3]) then return 'epoch' end
for at = 4, #ARGV, 3 do
  local id = ARGV[at] .. ':' .. ARGV[at + 1]
  if redis.call('HEXISTS', leased_key(id), ARGV[2]) == 1 and
      redis.call('HINCRBY', leased_key(id), ARGV[2], '-' .. ARGV[at + 2]) <= 0 then
    redis.call('HDEL', leased_key(id), ARGV[2])
  end
end
return 'given'
