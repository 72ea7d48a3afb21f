-- Claims that the ledger of record has yet to be told. ARGV: how many at most. Returns for each: key, fingerprint, call, seconds left.
local alone = {}
for _, key in ipairs(redis.call('SRANDMEMBER', BASE .. 'claims:alone', ARGV[1])) do
  local name = BASE .. 'claim:' .. key
  local has = redis.call('HMGET', name, 'fingerprint', 'call')
  if has[2] then
    alone[#alone + 1] = {key, has[1], has[2], math.max(redis.call('TTL', name), 1)}
  else
    redis.call('SREM', BASE .. 'claims:alone', key)
  end
end
return alone
