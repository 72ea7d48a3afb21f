-- Learns what a batch spends. A batch counts once; the last of each replica is kept for budgets that are learnt later.
-- ARGV: epoch, replica, batch, count of leases, then budget, lease window, used for each; then budget, window, spent for each balance.
if not in_charge(ARGV[1]) then return 'epoch' end
local replica, batch, leases = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local last = key('batch:' .. replica)
local before = redis.call('HGET', last, 'through')
if before and tonumber(before) >= batch then return 'known' end
local at = 5
for _ = 1, leases do
  local id = ARGV[at] .. ':' .. ARGV[at + 1]
  if ARGV[at + 2] ~= '0' and redis.call('HEXISTS', leased_key(id), replica) == 1 then
    if redis.call('HINCRBY', leased_key(id), replica, '-' .. ARGV[at + 2]) <= 0 then
      redis.call('HDEL', leased_key(id), replica)
    end
  end
  at = at + 3
end
redis.call('DEL', last)
redis.call('HSET', last, 'through', ARGV[3], 'before', before or '0')
redis.call('EXPIRE', last, KEEP)
redis.call('SADD', key('reporters'), replica)
while at <= #ARGV do
  local budget, window, spent = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  redis.call('HSET', last, budget .. ':' .. window, spent)
  for _, lease_window in ipairs(redis.call('SMEMBERS', key('windows:' .. budget))) do
    local posted = posted_key(budget .. ':' .. lease_window)
    if redis.call('EXISTS', posted) == 1 then redis.call('HINCRBY', posted, window, spent)
    else redis.call('SREM', key('windows:' .. budget), lease_window) end
  end
  at = at + 3
end
return 'counted'
