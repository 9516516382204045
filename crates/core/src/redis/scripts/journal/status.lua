#!lua flags=no-writes
-- Looks. The second form of `ShardState::status` in entry/shard/mod.rs.
-- KEYS: the shard's meta, dirty, frozen, dead, open, strikes; ARGV: identity.
-- Answers whatever the identity, and with it; the oldest change's age in milliseconds, the open batch's first one included, is -1
-- where there is none.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'seq', 'dirty_bytes', 'open_bytes', 'batch', 'open_batch', 'open_tries', 'known',
  'open_first', 'began_batch', 'began_first')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local installed = meta[1] == ARGV[1] and not meta[2]
local oldest = tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2])
local frozen = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
if frozen then
  local since = struct.unpack('>I8', redis.call('HGET', KEYS[5], 'h' .. frozen))
  oldest = math.min(oldest or since, since)
end
local number = function(n)
  return tonumber(meta[n] or 0)
end
local suspects = redis.call('HLEN', KEYS[6])
local delayed = suspects > 0 and math.min(suspects, redis.call('ZCOUNT', KEYS[2], '(' .. string.format('%.0f', now), '+inf')) or 0
local last, first = number(7), tonumber(meta[11] or meta[8])
if meta[2] then
  last, first = number(12), tonumber(meta[13])
end
local over = first and math.min(last, math.max(0, first - 1)) or last
return {
  ARGV[1], installed and 1 or 0, number(3), redis.call('ZCARD', KEYS[2]), number(5),
  oldest and math.max(0, now - oldest) or -1, redis.call('ZCARD', KEYS[3]), number(6), redis.call('ZCARD', KEYS[4]), number(4), over,
  suspects, delayed, number(9), number(meta[2] and 10 or 3),
}
