-- Who is left alone: for each deployment `class deployment` and the milliseconds that are left.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local all = redis.call('ZRANGEBYSCORE', BASE .. 'cooling', '(' .. now, '+inf', 'WITHSCORES')
for i = 2, #all, 2 do all[i] = whole(tonumber(all[i]) - now) end
return all
