-- Claims an idempotency key. ARGV: key, fingerprint, call, seconds. Returns fingerprint and call of who has it.
local name = BASE .. 'claim:' .. ARGV[1]
local has = redis.call('HMGET', name, 'fingerprint', 'call')
if has[2] and has[2] ~= ARGV[3] then return has end
redis.call('HSET', name, 'fingerprint', ARGV[2], 'call', ARGV[3])
redis.call('EXPIRE', name, ARGV[4])
return {ARGV[2], ARGV[3]}
