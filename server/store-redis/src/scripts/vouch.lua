-- A replica reaches the ledger of record, and says so for some milliseconds. ARGV: milliseconds. Returns whether this server, since it
-- started, was told all claims.
redis.call('SET', BASE .. 'vouched', 1, 'PX', ARGV[1])
return redis.call('GET', BASE .. 'claims') == server() and 1 or 0
