-- A window that began after the epoch opened has spent nothing that this server was not told of. For when the ledger of record cannot be
-- asked. ARGV: epoch, budget, lease window.
if not in_charge(ARGV[1]) then return 'epoch' end
local opened = tonumber(redis.call('HGET', BASE .. 'epoch', 'opened'))
if tonumber(ARGV[3]) <= opened then return 'unknown' end
local id = ARGV[2] .. ':' .. ARGV[3]
redis.call('HSETNX', posted_key(id), '-1', '0')
redis.call('EXPIRE', posted_key(id), KEEP)
redis.call('SADD', key('windows:' .. ARGV[2]), ARGV[3])
return 'begun'
