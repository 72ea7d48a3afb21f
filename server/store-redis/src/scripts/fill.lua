-- Claims that the ledger of record has. ARGV: whether they are the last, then for each: key, fingerprint, call, seconds.
for i = 2, #ARGV, 4 do
  local name = BASE .. 'claim:' .. ARGV[i]
  if redis.call('EXISTS', name) == 0 then
    redis.call('HSET', name, 'fingerprint', ARGV[i + 1], 'call', ARGV[i + 2])
    redis.call('EXPIRE', name, ARGV[i + 3])
  end
end
if ARGV[1] == '1' then redis.call('SET', BASE .. 'claims', server()) end
return 'filled'
