-- ARGV: call, then names.
for at = 2, #ARGV do redis.call('ZREM', BASE .. 'in_flight:' .. ARGV[at], ARGV[1]) end
return 'left'
