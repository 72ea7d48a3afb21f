-- A deployment is left alone for some milliseconds. ARGV: deployment, class of the failure, milliseconds. The longest of several counts.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', BASE .. 'cooling', '-inf', now)
redis.call('ZADD', BASE .. 'cooling', 'GT', now + tonumber(ARGV[3]), ARGV[2] .. ' ' .. ARGV[1])
return 'told'
