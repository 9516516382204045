#!lua
-- Stores a loaded value. The second form of `ShardState::fill` in entry/shard/mod.rs; both must leave the same bytes.
-- KEYS: the shard's meta, the key; ARGV: identity, lease id (16 bytes), the value entry, time to live (milliseconds).
-- Keeps: only into the unbroken lease of this very incarnation under which it was loaded; a clean value always has an expiry.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'inc')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end

local header = '\215C\1' .. struct.pack('>I8', tonumber(meta[3] or 0))
local entry = redis.call('GET', KEYS[2])
if entry and #entry == 38 and string.sub(entry, 1, 30) == header .. '\215L\1' .. ARGV[2] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('SET', KEYS[2], header .. ARGV[3], 'PXAT', now + ARGV[4])
  return 'FILLED'
end
return 'BROKEN'
