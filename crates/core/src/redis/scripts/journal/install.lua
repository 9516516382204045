#!lua flags=allow-oom
-- Takes the shard into a new epoch. The second form of `ShardState::install` in entry/shard/recovery.rs.
-- KEYS: the shard's meta, dirty; ARGV: the connection's identity, the identity that was learned before SQL was asked, the fence's
-- epoch and batch, and if another server was in use since: the epoch in which it was installed here, else ''.
-- Keeps: refused on another server than said, and unless the epoch is newer; on the server that it knows the shard goes on, its
-- open batch as it is; on another it recovers. Runs when memory is full: a shard that nobody leads does not drain.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'batch', 'open_epoch', 'open_batch', 'open_whole', 'known',
  'acked', 'open_first', 'began_batch', 'began_epoch', 'began_open', 'began_first')
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
-- What it held when its recovery began, and the last epoch in which it was ready, however often it begins anew.
local known = tonumber(meta[2] and meta[8] or not meta[2] and meta[3] or 0)
local began = {meta[11] or 0, meta[12], meta[13], meta[14]}
if not meta[2] then
  began = {batch, meta[5], meta[6], meta[6] and (meta[10] or meta[6])}
  redis.call('HSET', KEYS[1], 'known', known, 'began_batch', batch)
  if meta[6] then
    redis.call('HSET', KEYS[1], 'began_epoch', meta[5], 'began_open', meta[6], 'began_first', began[4])
  end
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'recovering', ARGV[1])
-- What was released of the open batch does not come back.
local whole = meta[6] and meta[7] == '1' or not meta[6] and began[3]
return {'RECOVER', began[2], began[3], began[4] or 0, known, began[1], redis.call('ZCARD', KEYS[2]), whole and 1 or 0}
