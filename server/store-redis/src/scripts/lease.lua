-- Grants every want or none.
-- ARGV: epoch, replica, generation, then for each want: budget, lease window, from window, limit, min, max, needed.
-- Returns {'epoch'}, {'unknown', index...}, {'denied', index, posted, leased}, {'granted', amount...}.
if not in_charge(ARGV[1]) or late(ARGV[1], ARGV[2], ARGV[3]) then return {'epoch'} end
local replica = ARGV[2]
local wants, unknown = {}, {'unknown'}
for at = 4, #ARGV, 7 do
  local want = {
    id = ARGV[at] .. ':' .. ARGV[at + 1], from = tonumber(ARGV[at + 2]), limit = tonumber(ARGV[at + 3]),
    min = tonumber(ARGV[at + 4]), max = tonumber(ARGV[at + 5]), needed = tonumber(ARGV[at + 6]),
  }
  wants[#wants + 1] = want
  if redis.call('EXISTS', posted_key(want.id)) == 0 then unknown[#unknown + 1] = #wants - 1 end
end
if #unknown > 1 then return unknown end
local share = math.max(redis.call('SCARD', key('members')), 1) * 4
local granted = {'granted'}
for i, want in ipairs(wants) do
  local posted, leased = 0, 0
  local spent = redis.call('HGETALL', posted_key(want.id))
  for f = 1, #spent, 2 do
    local window = tonumber(spent[f])
    if window >= want.from then posted = posted + tonumber(spent[f + 1])
    elseif window >= 0 then redis.call('HDEL', posted_key(want.id), spent[f]) end
  end
  local leases = redis.call('HVALS', leased_key(want.id))
  for _, amount in ipairs(leases) do leased = leased + tonumber(amount) end
  local available = want.limit - posted - leased
  -- Beyond 2^52 a double misses single nano-dollars: a slack on the safe side.
  if want.limit > 4503599627370496 then available = available - 65536 end
  if available < want.min then
    return {'denied', i - 1, whole(posted), whole(leased)}
  end
  local amount = math.min(available, want.needed)
  -- Ahead of need only out of plenty, so that what is stranded at others never refuses a call that fits.
  if available - amount > 4 * share * want.needed then
    amount = amount + math.min(want.max - amount, math.floor((available - amount) / share))
  end
  granted[i + 1] = whole(math.max(amount, want.min, 0))
end
for i, want in ipairs(wants) do
  if granted[i + 1] ~= '0' then
    redis.call('HINCRBY', leased_key(want.id), replica, granted[i + 1])
    redis.call('EXPIRE', leased_key(want.id), KEEP)
    redis.call('EXPIRE', posted_key(want.id), KEEP)
    redis.call('SADD', key('held:' .. replica), want.id)
  end
end
return granted
