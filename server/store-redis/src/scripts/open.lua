-- ARGV: epoch. A lower one than is open is left alone: its proposer was slow.
local now = redis.call('TIME')
local open = tonumber(redis.call('HGET', BASE .. 'epoch', 'number') or 0)
if open < tonumber(ARGV[1]) then
  redis.call('HSET', BASE .. 'epoch', 'number', ARGV[1], 'server', server(), 'opened', now[1])
end
return 'open'
