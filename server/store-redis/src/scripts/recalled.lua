-- What was recalled in the last two seconds. ARGV: epoch. A server that has restarted, or that took over, may have lost what the one
-- before had acknowledged: it is not in charge.
local epoch = redis.call('HMGET', BASE .. 'epoch', 'number', 'server')
if epoch[1] ~= ARGV[1] or epoch[2] ~= server() then return {'epoch'} end
local now = redis.call('TIME')
local recent = redis.call('ZRANGEBYSCORE', BASE .. 'recall', now[1] * 1000 + math.floor(now[2] / 1000) - 2000, '+inf')
table.insert(recent, 1, 'recalled')
return recent
