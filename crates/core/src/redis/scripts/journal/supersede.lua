#!lua flags=allow-oom
-- In a recovery, drops dirty changes or sets them aside. The second form of `ShardState::supersede` in entry/shard/recovery.rs.
-- KEYS: the shard's meta, dirty, dead, letters, frozen, strikes, then the keys; ARGV: identity, epoch, and to set them aside:
-- cause.
-- Keeps: only while the shard recovers on this very server, in this epoch; a change of a key that is in the open batch is newer,
-- and stays; what was set aside before is outdated, too, or as ambiguous, which
-- increments always are. Runs when memory is full: it makes room.
-- Needs: less, increments, letters
local meta = redis.call('HMGET', KEYS[1], 'recovering', 'epoch', 'dirty_bytes')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return 'EPOCH'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bytes = tonumber(meta[3] or 0)
for n = 7, #KEYS do
  local key = KEYS[n]
  local member = string.sub(key, #KEYS[1] - 1)
  if not redis.call('ZSCORE', KEYS[5], member) then
    local letter = redis.call('HGET', KEYS[4], member)
    if letter and (ARGV[3] or counts(value_of(letter))) then
      redis.call('HSET', KEYS[4], member, string.sub(letter, 1, 48) .. 'A' .. string.sub(letter, 50))
    elseif letter then
      redis.call('HDEL', KEYS[4], member)
      redis.call('ZREM', KEYS[3], string.sub(letter, 5, 20) .. member)
    end
    if redis.call('ZREM', KEYS[2], member) == 1 then
      local tries = tonumber(redis.call('HGET', KEYS[6], member) or 0)
      redis.call('HDEL', KEYS[6], member)
      local entry = redis.pcall('GET', key)
      if type(entry) == 'string' and string.sub(entry, 1, 3) == '\215D\1' then
        local change = #entry >= 39 and string.sub(entry, 4, 39) or string.rep('\0', 36)
        local value = string.sub(entry, 40)
        bytes = math.max(0, bytes - #value)
        redis.call('DEL', key)
        if ARGV[3] then
          bury(KEYS[3], KEYS[4], member, change, now, tries, 'A', ARGV[3], value)
        end
      end
    end
  end
end
redis.call('HSET', KEYS[1], 'dirty_bytes', bytes)
return 'DONE'
