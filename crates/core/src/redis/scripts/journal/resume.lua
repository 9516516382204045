#!lua flags=allow-oom
-- Ends a recovery. The second form of `ShardState::resume` in entry/shard/recovery.rs.
-- KEYS: the shard's meta; ARGV: identity, the fence's epoch and batch.
-- Keeps: only while the shard recovers on this very server, in this epoch; from here on what is clean in another incarnation is
-- nothing. Runs when memory is full: a shard that recovers does not drain.
local meta = redis.call('HMGET', KEYS[1], 'recovering', 'epoch', 'batch')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return 'EPOCH'
end
local batch = math.max(tonumber(meta[3] or 0), tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'identity', ARGV[1], 'inc', ARGV[2], 'batch', batch, 'acked', ARGV[3])
redis.call('HDEL', KEYS[1], 'recovering', 'known', 'began_batch', 'began_epoch', 'began_open', 'began_first')
return 'DONE'
