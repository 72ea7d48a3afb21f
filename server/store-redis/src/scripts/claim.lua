-- Claims an idempotency key. ARGV: key, fingerprint, call, seconds, whether the ledger of record has yet to be told. Returns fingerprint
-- and call of who has it, whether this server knows all claims, and whether some replica reaches the ledger of record.
local name = BASE .. 'claim:' .. ARGV[1]
local whole = redis.call('GET', BASE .. 'claims') == server() and 1 or 0
local vouched = redis.call('EXISTS', BASE .. 'vouched')
local has = redis.call('HMGET', name, 'fingerprint', 'call')
if has[2] and has[2] ~= ARGV[3] then return {has[1], has[2], whole, vouched} end
redis.call('HSET', name, 'fingerprint', ARGV[2], 'call', ARGV[3])
redis.call('EXPIRE', name, ARGV[4])
-- One that is not enough alone is given back, and concerns nobody else.
if ARGV[5] == '1' and whole == 1 and vouched == 0 then redis.call('SADD', BASE .. 'claims:alone', ARGV[1]) end
return {ARGV[2], ARGV[3], whole, vouched}
