-- Frees an idempotency key. ARGV: key, call.
local name = BASE .. 'claim:' .. ARGV[1]
if redis.call('HGET', name, 'call') == ARGV[2] then
  redis.call('DEL', name)
  redis.call('SREM', BASE .. 'claims:alone', ARGV[1])
end
return 'free'
