#!lua flags=allow-oom
-- In a recovery, drops some of the open batch, or dissolves a page of it. The second form of `ShardState::release` in
-- entry/shard/recovery.rs.
-- KEYS: the shard's meta, dirty, frozen, open, strikes, dead, letters, then the keys to drop; ARGV: identity, epoch, the batch's
-- epoch and number, 'DROP' or 'DISSOLVE'.
-- Answers how many changes the batch still holds. Writes the entries of the frozen keys: their names start as KEYS[1] does, so
-- they lie in the same slot.
-- Keeps: only while the shard recovers on this very server, in this epoch, and only the open batch of that name, which ends with
-- its last change; a newer change stays, and stands for both, with increments added. Runs when memory is full: a shard that
-- recovers does not drain.
-- Needs: less, increments, letters, dissolve
local meta = redis.call('HMGET', KEYS[1], 'recovering', 'epoch', 'open_epoch', 'open_batch', 'open_bytes', 'dirty_bytes')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return 'EPOCH'
end
if meta[3] ~= ARGV[3] or meta[4] ~= ARGV[4] then
  return 0
end

local stem = string.sub(KEYS[1], 1, -5) .. 'e:'
local bytes, dirty_bytes = tonumber(meta[5] or 0), tonumber(meta[6] or 0)
local page = {}
if ARGV[5] == 'DROP' then
  for n = 8, #KEYS do
    page[n - 7] = string.sub(KEYS[n], #KEYS[1] - 1)
  end
else
  page = redis.call('ZRANGE', KEYS[3], 0, 199)
end
local function release(member, frozen)
  local key = stem .. member
  bytes = math.max(0, bytes - #frozen[2])
  redis.call('HDEL', KEYS[4], 'h' .. member, 'v' .. member)
  redis.call('ZREM', KEYS[3], member)

  if ARGV[5] == 'DROP' then
    -- SQL has it: what was set aside before is outdated, and it is no suspect any more.
    redis.call('HDEL', KEYS[5], member)
    local letter = redis.call('HGET', KEYS[7], member)
    if letter and outdated(letter, string.sub(frozen[1], 13, 28)) then
      redis.call('HDEL', KEYS[7], member)
      redis.call('ZREM', KEYS[6], string.sub(letter, 5, 20) .. member)
    end
    -- Its own entry goes, a newer one stays, and whatever is being filled was read before.
    local head = redis.pcall('GETRANGE', key, 0, 38)
    local kind = type(head) == 'string' and string.sub(head, 1, 3)
    local version = kind and #head == 39 and string.sub(head, 8, 23) or string.rep('\0', 16)
    if kind == '\215C\1' or (kind == '\215D\1' and version == string.sub(frozen[1], 13, 28)) then
      redis.call('DEL', key)
    end
  else
    dirty_bytes = dirty_bytes + dissolve(KEYS[2], key, member, frozen, (struct.unpack('>I8', frozen[1])))
  end
end
for _, member in ipairs(page) do
  local frozen = redis.call('HMGET', KEYS[4], 'h' .. member, 'v' .. member)
  if frozen[1] then
    release(member, frozen)
  end
end

redis.call('HSET', KEYS[1], 'dirty_bytes', dirty_bytes)
local left = redis.call('ZCARD', KEYS[3])
if left == 0 then
  redis.call('HDEL', KEYS[1], 'open_epoch', 'open_batch', 'open_count', 'open_whole', 'open_bytes', 'open_tries', 'open_keep', 'open_since', 'open_first')
else
  -- From here on it lacks keys because they were released.
  redis.call('HSET', KEYS[1], 'open_bytes', bytes, 'open_whole', 1)
end
return left
