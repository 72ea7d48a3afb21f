-- What the scripts share. All keys have one hash tag, so that a request over several budgets is one script on one node of a cluster.
local BASE = '{tollgate}:'
local KEEP = 3456000 -- 40 days: longer than any window but those of a year, which are learnt anew
local function server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
-- Whether this server is in charge of `epoch`, and is still the one that was when it opened.
local function in_charge(epoch)
  return redis.call('HGET', BASE .. 'epoch', 'number') == epoch
end
-- Whether a replica has stated its leases anew since this was asked: what arrives late counts no more.
local function late(epoch, replica, generation)
  return redis.call('GET', BASE .. epoch .. ':generation:' .. replica) ~= generation
end
local function key(name) return BASE .. redis.call('HGET', BASE .. 'epoch', 'number') .. ':' .. name end
local function posted_key(id) return key('posted:' .. id) end
local function leased_key(id) return key('leased:' .. id) end
local function whole(number) return string.format('%.0f', number) end
