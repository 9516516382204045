#!lua flags=allow-oom
-- Sets changes of the open batch aside. The second form of `ShardState::park` in entry/shard/failure.rs.
-- KEYS: the shard's meta, frozen, open, dead, letters, strikes, then the keys; ARGV: identity, epoch, the batch's epoch and number,
-- the reason's letter, cause.
-- Answers how many changes the batch still holds.
-- Keeps: acts only on the open batch of that name, which ends with its last change; what was refused is set aside only in a
-- later epoch than that of its name, for a try of it may yet land in its own; the letter holds the change as it was accepted; a newer
-- change stays; increments that were refused wait where there is a letter already. Runs when memory is full: one bad row must
-- not hold up the others.
-- Needs: less, increments, letters
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'open_epoch', 'open_batch', 'open_bytes', 'open_since')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
if meta[4] ~= ARGV[3] or meta[5] ~= ARGV[4] or (ARGV[5] == 'R' and tonumber(meta[7] or meta[4]) >= tonumber(meta[3])) then
  return 0
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bytes = tonumber(meta[6] or 0)
for n = 7, #KEYS do
  local key = KEYS[n]
  local member = string.sub(key, #KEYS[1] - 1)
  local frozen = redis.call('HMGET', KEYS[3], 'h' .. member, 'v' .. member)
  -- One letter would have to say of both what became of them.
  local waits = frozen[1] and ARGV[5] == 'R' and counts(frozen[2]) and redis.call('HEXISTS', KEYS[5], member) == 1
  if frozen[1] and not waits then
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
    local tries = tonumber(redis.call('HGET', KEYS[6], member) or 0) + (ARGV[5] == 'R' and 1 or 0)
    redis.call('HDEL', KEYS[6], member)
    bury(KEYS[4], KEYS[5], member, string.sub(frozen[1], 9), now, tries, ARGV[5], ARGV[6], frozen[2])
  end
end

local left = redis.call('ZCARD', KEYS[2])
if left == 0 then
  redis.call('HDEL', KEYS[1], 'open_epoch', 'open_batch', 'open_count', 'open_whole', 'open_bytes', 'open_tries', 'open_keep', 'open_since', 'open_first')
else
  redis.call('HSET', KEYS[1], 'open_bytes', bytes)
end
return left
