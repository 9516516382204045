#!lua flags=allow-oom
-- Removes dead letters. The second form of `ShardState::discard` in entry/shard/letters.rs.
-- KEYS: the shard's meta, dead, letters, then the keys; ARGV: identity, then per key the version (16 bytes) of its letter.
-- Answers how many there were. Runs when memory is full: it makes room.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end
local count = 0
for n = 4, #KEYS do
  local member = string.sub(KEYS[n], #KEYS[1] - 1)
  local letter = redis.call('HGET', KEYS[3], member)
  if letter and string.sub(letter, 5, 20) == ARGV[n - 2] then
    redis.call('HDEL', KEYS[3], member)
    redis.call('ZREM', KEYS[2], ARGV[n - 2] .. member)
    count = count + 1
  end
end
return count
