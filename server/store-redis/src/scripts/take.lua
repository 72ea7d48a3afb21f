-- Takes from shared rates (GCRA). The debt of a rate is what was let through and has not arrived at the even rate yet, in microseconds.
-- ARGV: for each: name, limit, interval in microseconds, burst, needed, ahead. Returns for each: amount, wait, remaining, reset.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = {}
for at = 1, #ARGV, 6 do
  local name, limit, interval = BASE .. 'rate:' .. ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local burst, needed, ahead = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local each = interval / limit
  local state = redis.call('HMGET', name, 'debt', 'at')
  local debt = math.max(tonumber(state[1] or 0) - (now - tonumber(state[2] or 0)), 0)
  local amount, wait = 0, 0
  -- A thousandth of a microsecond is what doubles may be wrong by.
  local missing = debt + needed * each - math.max(burst, needed) * each - 0.001
  if needed <= limit and missing <= 0 then
    amount = needed
    if math.floor((burst * each - debt) / each) - needed >= 4 * ahead then amount = needed + ahead end
    debt = debt + amount * each
    redis.call('HSET', name, 'debt', string.format('%.6f', debt), 'at', whole(now))
    redis.call('PEXPIRE', name, whole(math.ceil(debt / 1000) + 1000))
  else
    wait = math.ceil(missing)
  end
  answer[#answer + 1] = whole(amount)
  answer[#answer + 1] = whole(math.max(wait, 0))
  answer[#answer + 1] = whole(math.max(math.floor((burst * each - debt) / each + 0.001), 0))
  answer[#answer + 1] = whole(math.ceil(debt))
end
return answer
