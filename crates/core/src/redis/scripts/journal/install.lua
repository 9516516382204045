#!lua flags=allow-oom
-- Takes the shard into a new epoch. The second form of `ShardState::install` in entry/shard/recovery.rs.
-- KEYS: the shard's meta, dirty; ARGV: the connection's identity, the identity that was learned before SQL was asked, the fence's
-- epoch and batch, and if another server was in use since: the epoch in which it was installed here, else ''.
-- Keeps: refused on another server than said, and unless the epoch is newer; on the server that it knows the shard goes on, its
-- open batch as it is; on another it recovers. Runs when memory is full: a shard that nobody leads does not drain.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'batch', 'open_epoch', 'open_batch', 'open_whole', 'known',
  'acked')
if ARGV[1] ~= ARGV[2] or tonumber(ARGV[3]) <= tonumber(meta[3] or 0) or (ARGV[5] ~= '' and ARGV[5] ~= (meta[3] or '0')) then
  return {'REFUSED'}
end
local batch = tonumber(meta[4] or 0)
if meta[1] == ARGV[1] and not meta[2] and ARGV[5] == '' then
  -- SQL may have been restored.
  local acked = math.min(tonumber(meta[9] or 0), tonumber(ARGV[4]))
  redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'batch', math.max(batch, tonumber(ARGV[4])), 'acked', acked)
  return {'READY'}
end
-- The last epoch in which it was ready, however often its recovery begins.
local known = meta[2] and tonumber(meta[8] or 0) or tonumber(meta[3] or 0)
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'recovering', ARGV[1], 'known', known)
return {'RECOVER', meta[5], meta[6], known, batch, redis.call('ZCARD', KEYS[2]), meta[7] == '1' and 1 or 0}
