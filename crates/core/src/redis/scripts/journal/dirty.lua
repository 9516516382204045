#!lua flags=no-writes
-- In a recovery, a page of the dirty keys. The second form of `ShardState::dirty_keys` in entry/shard/recovery.rs.
-- KEYS: the shard's meta, dirty; ARGV: identity, epoch, from.
-- Keeps: only while the shard recovers on this very server, in this epoch.
local meta = redis.call('HMGET', KEYS[1], 'recovering', 'epoch')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return 'EPOCH'
end
return {redis.call('ZRANGE', KEYS[2], ARGV[3], ARGV[3] + 199)}
