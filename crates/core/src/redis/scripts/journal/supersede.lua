#!lua flags=allow-oom
-- In a recovery, drops dirty changes or sets them aside. The second form of `ShardState::supersede` in entry/shard/recovery.rs.
-- KEYS: the shard's meta, dirty, dead, letters, frozen, then the keys; ARGV: identity, epoch, and to set them aside: cause.
-- Keeps: only while the shard recovers on this very server, in this epoch; a change of a key that is in the open batch is newer, and stays. Runs when
-- memory is full: it makes room.
local meta = redis.call('HMGET', KEYS[1], 'recovering', 'epoch', 'dirty_bytes')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return 'EPOCH'
end

-- The first version of all that were set aside under the key.
local function earlier(letter, first)
  if letter then
    local before = string.sub(letter, 21, 36)
    for at = 1, 13, 4 do
      local x, y = struct.unpack('>I4', before, at), struct.unpack('>I4', first, at)
      if x ~= y then
        return x < y and before or first
      end
    end
  end
  return first
end

local bytes = tonumber(meta[3] or 0)
for n = 6, #KEYS do
  local key = KEYS[n]
  local member = string.sub(key, #KEYS[1] - 1)
  if not redis.call('ZSCORE', KEYS[5], member) and redis.call('ZREM', KEYS[2], member) == 1 then
    local entry = redis.pcall('GET', key)
    if type(entry) == 'string' and string.sub(entry, 1, 3) == '\215D\1' then
      local change = #entry >= 39 and string.sub(entry, 4, 39) or string.rep('\0', 36)
      local value = string.sub(entry, 40)
      bytes = math.max(0, bytes - #value)
      redis.call('DEL', key)
      if ARGV[3] then
        change = string.sub(change, 1, 20) .. earlier(redis.call('HGET', KEYS[4], member), string.sub(change, 21))
        redis.call('ZADD', KEYS[3], 0, member)
        redis.call('HSET', KEYS[4], member, change .. struct.pack('>I4', #ARGV[3]) .. ARGV[3] .. value)
      end
    end
  end
end
redis.call('HSET', KEYS[1], 'dirty_bytes', bytes)
return 'DONE'
