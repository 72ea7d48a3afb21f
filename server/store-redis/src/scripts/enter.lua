-- Enters a call in every count or in none. ARGV: call, seconds, then name and limit for each. Returns -1, or the index of a full one.
local now = tonumber(redis.call('TIME')[1])
for at = 3, #ARGV, 2 do
  local name = BASE .. 'in_flight:' .. ARGV[at]
  redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
  if redis.call('ZCARD', name) >= tonumber(ARGV[at + 1]) then return (at - 3) / 2 end
end
for at = 3, #ARGV, 2 do
  local name = BASE .. 'in_flight:' .. ARGV[at]
  redis.call('ZADD', name, now + tonumber(ARGV[2]), ARGV[1])
  redis.call('EXPIRE', name, ARGV[2] + 60)
end
return -1
