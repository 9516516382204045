#!lua flags=allow-oom
-- The tries of the open batch have ended. The second form of `ShardState::ended` in entry/shard/failure.rs.
-- KEYS: the shard's meta; ARGV: identity, epoch, the batch's epoch and number.
-- Keeps: acts only on the open batch of that name. Runs when memory is full: draining must go on.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'open_epoch', 'open_batch')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
if meta[4] == ARGV[3] and meta[5] == ARGV[4] then
  redis.call('HSET', KEYS[1], 'open_tries', 0)
end
return 'DONE'
