-- The ledger of record knows a claim now. ARGV: key.
return redis.call('SREM', BASE .. 'claims:alone', ARGV[1])
