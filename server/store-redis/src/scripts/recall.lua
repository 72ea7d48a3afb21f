-- ARGV: budgets.
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for _, budget in ipairs(ARGV) do redis.call('ZADD', BASE .. 'recall', ms, budget) end
redis.call('ZREMRANGEBYSCORE', BASE .. 'recall', '-inf', ms - 2000)
return 'recalled'
