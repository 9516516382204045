#!lua flags=allow-oom
-- Sets changes of the open batch aside. The second form of `ShardState::park` in entry/shard/batch.rs.
-- KEYS: the shard's meta, frozen, open, dead, letters, then the keys; ARGV: identity, epoch, the batch's epoch and number, cause.
-- Answers how many changes the batch still holds.
-- Keeps: acts only on the open batch of that name, which ends with its last change; the letter holds the change as it was
-- accepted; a newer change stays. Runs when memory is full: one bad row must not hold up the others.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'open_epoch', 'open_batch', 'open_bytes')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
if meta[4] ~= ARGV[3] or meta[5] ~= ARGV[4] then
  return 0
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

local cause = struct.pack('>I4', #ARGV[5]) .. ARGV[5]
local bytes = tonumber(meta[6] or 0)
for n = 6, #KEYS do
  local key = KEYS[n]
  local member = string.sub(key, #KEYS[1] - 1)
  local frozen = redis.call('HMGET', KEYS[3], 'h' .. member, 'v' .. member)
  if frozen[1] then
    bytes = math.max(0, bytes - #frozen[2])
    redis.call('HDEL', KEYS[3], 'h' .. member, 'v' .. member)
    redis.call('ZREM', KEYS[2], member)

    -- Its own entry goes, a newer one stays, and whatever is being filled was read before.
    local head = redis.pcall('GETRANGE', key, 0, 38)
    local kind = type(head) == 'string' and string.sub(head, 1, 3)
    local version = kind and #head == 39 and string.sub(head, 8, 23) or string.rep('\0', 16)
    if kind == '\215C\1' or (kind == '\215D\1' and version == string.sub(frozen[1], 13, 28)) then
      redis.call('DEL', key)
    end
    redis.call('ZADD', KEYS[4], 0, member)
    local first = earlier(redis.call('HGET', KEYS[5], member), string.sub(frozen[1], 29))
    redis.call('HSET', KEYS[5], member, string.sub(frozen[1], 9, 28) .. first .. cause .. frozen[2])
  end
end

local left = redis.call('ZCARD', KEYS[2])
if left == 0 then
  redis.call('HDEL', KEYS[1], 'open_epoch', 'open_batch', 'open_count', 'open_whole', 'open_bytes')
else
  redis.call('HSET', KEYS[1], 'open_bytes', bytes)
end
return left
