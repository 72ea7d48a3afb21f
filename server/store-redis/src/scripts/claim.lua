-- Claims an idempotency key. ARGV: key, fingerprint, call, seconds. Returns fingerprint and call of who has it, whether this server
-- knows all claims, and whether some replica reaches the ledger of record.
local name = BASE .. 'claim:' .. ARGV[1]
local whole = redis.call('GET', BASE .. 'claims') == server() and 1 or 0
local vouched = redis.call('EXISTS', BASE .. 'vouched')
local has = redis.call('HMGET', name, 'fingerprint', 'call')
if has[2] and has[2] ~= ARGV[3] then return {has[1], has[2], whole, vouched} end
redis.call('HSET', name, 'fingerprint', ARGV[2], 'call', ARGV[3])
redis.call('EXPIRE', name, ARGV[4])
return {ARGV[2], ARGV[3], whole, vouched}
