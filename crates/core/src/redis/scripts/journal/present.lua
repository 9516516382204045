#!lua flags=allow-oom
-- Who is there. The second form of `Members::present` in entry/members.rs; same answer but for its order, same
-- contents.
-- KEYS[1] the namespace's members; ARGV: who asks (16 bytes), for how long it is there (milliseconds, '0' when it leaves), how many
-- are kept.
-- Keeps: who has lapsed is forgotten by the next who asks. It gives no safety, so it needs no identity. Runs when memory is full:
-- draining must go on.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lapsed = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE')
if #lapsed > 0 then
  redis.call('ZREM', KEYS[1], unpack(lapsed))
end
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
elseif redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
