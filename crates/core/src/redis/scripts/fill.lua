#!lua
-- Stores a loaded value. The second form of `Slot::fill` in entry/state.rs; both must leave the same bytes.
-- KEYS[1] the key; ARGV: lease id (16 bytes), the value entry, time to live (milliseconds).
-- Keeps: only into the unbroken lease under which it was loaded; a value always has an expiry of the key.
local entry = redis.call('GET', KEYS[1])
if entry and #entry == 27 and string.sub(entry, 1, 19) == '\215L\1' .. ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 'FILLED'
end
return 'BROKEN'
