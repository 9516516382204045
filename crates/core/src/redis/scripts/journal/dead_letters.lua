#!lua flags=no-writes
-- A page of dead letters. The second form of `ShardState::dead_letters` in entry/shard/mod.rs.
-- KEYS: the shard's dead, letters; ARGV: '-', or '(' and the key after which it starts.
-- Answers pairs of a key and its letter: schema (4 bytes), version (16), first (16), length of the cause (4), cause, value.
local letters = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, 200)) do
  letters[#letters + 1] = {member, redis.call('HGET', KEYS[2], member)}
end
return {letters}
