-- Learns where a budget stands from what the ledger of record has, plus what was reported and is not in there yet.
-- ARGV: epoch, budget, lease window, count of replicas, then replica, applied through for each; count of balances, then window, spent
-- for each; then replica, leased for each lease of the ledger of record.
if not in_charge(ARGV[1]) then return 'epoch' end
local budget, lease_window = ARGV[2], ARGV[3]
local id = budget .. ':' .. lease_window
if redis.call('EXISTS', posted_key(id)) == 1 then return 'known' end
local at = 5
local applied = {}
for _ = 1, tonumber(ARGV[4]) do
  applied[ARGV[at]] = tonumber(ARGV[at + 1])
  at = at + 2
end
local missing = {}
for _, replica in ipairs(redis.call('SMEMBERS', key('reporters'))) do
  local last = key('batch:' .. replica)
  local marks = redis.call('HMGET', last, 'through', 'before')
  local through, before, has = tonumber(marks[1] or 0), tonumber(marks[2] or 0), applied[replica] or 0
  if before > has then return 'stale' end
  if through > has then
    local fields = redis.call('HGETALL', last)
    for f = 1, #fields, 2 do
      local window = string.match(fields[f], ':(-?%d+)$')
      if window and string.sub(fields[f], 1, -#window - 2) == budget then missing[#missing + 1] = {window, fields[f + 1]} end
    end
  end
end
local balances = tonumber(ARGV[at])
at = at + 1
redis.call('HSET', posted_key(id), '-1', '0') -- known, even with nothing spent
for _ = 1, balances do
  redis.call('HSET', posted_key(id), ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _, move in ipairs(missing) do redis.call('HINCRBY', posted_key(id), move[1], move[2]) end
-- Leases of replicas that have not registered in this epoch: they are away, and may come back with them.
while at <= #ARGV do
  if redis.call('SISMEMBER', key('members'), ARGV[at]) == 0 then
    redis.call('HSETNX', leased_key(id), ARGV[at], ARGV[at + 1])
    redis.call('SADD', key('held:' .. ARGV[at]), id)
  end
  at = at + 2
end
redis.call('EXPIRE', posted_key(id), KEEP)
redis.call('EXPIRE', leased_key(id), KEEP)
redis.call('SADD', key('windows:' .. budget), lease_window)
return 'learnt'
