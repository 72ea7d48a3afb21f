-- Corrects what was charged. ARGV: for each: name, limit, interval in microseconds, how much more was used.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for at = 1, #ARGV, 4 do
  local name = BASE .. 'rate:' .. ARGV[at]
  local state = redis.call('HMGET', name, 'debt', 'at')
  local debt = math.max(tonumber(state[1] or 0) - (now - tonumber(state[2] or 0)), 0)
  debt = math.max(debt + tonumber(ARGV[at + 3]) * tonumber(ARGV[at + 2]) / tonumber(ARGV[at + 1]), 0)
  redis.call('HSET', name, 'debt', string.format('%.6f', debt), 'at', whole(now))
  redis.call('PEXPIRE', name, whole(math.ceil(debt / 1000) + 1000))
end
return 'corrected'
