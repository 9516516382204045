#!lua flags=allow-oom
-- Whether the shard still stands, and a write behind which all that it holds lies. The second form of `ShardState::stands` in
-- entry/shard/confirm.rs.
-- KEYS: the shard's meta, its mark; ARGV: identity, incarnation ('' for any), '1' for the write.
-- Keeps: what was accepted in another incarnation is not confirmed, for it may be lost. The write changes the dataset each time:
-- what is asked for afterwards on this connection, WAIT or WAITAOF, is counted from it. Runs when memory is full: draining may
-- wait for it.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'inc')
if meta[1] ~= ARGV[1] or meta[2] or (ARGV[2] ~= '' and meta[3] ~= ARGV[2]) then
  return 'EPOCH'
end
if ARGV[3] == '1' then
  redis.call('SET', KEYS[2], '1')
end
return 1
