#!lua flags=no-writes
-- A page of dead letters. The second form of `ShardState::dead_letters` in entry/shard/letters.rs.
-- KEYS: the shard's dead, letters; ARGV: '-', or '(' and the version and key after which it starts.
-- Answers pairs of a key and its letter: schema (4 bytes), version (16), first (16), when (8), tries (4), the reason's letter,
-- length of the cause (4), cause, value. At most 200, and no further one after 4 MiB.
local letters, bytes = {}, 0
for _, ranked in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, 200)) do
  if bytes >= 4194304 then
    break
  end
  local member = string.sub(ranked, 17)
  local letter = redis.call('HGET', KEYS[2], member)
  bytes = bytes + #letter - 53 - struct.unpack('>I4', letter, 50)
  letters[#letters + 1] = {member, letter}
end
return {letters}
