#!lua flags=allow-oom
-- The first changes of the open batch become a batch of its own name, a page of the rest is dirty again. The second form of
-- `ShardState::split` in entry/shard/failure.rs.
-- KEYS: the shard's meta, dirty, frozen, open; ARGV: identity, epoch, the batch's epoch and number, how many stay.
-- Answers the batch's name from now on, and whether there is more to move; or that it is not the open batch. Writes the entries of
-- the frozen keys: their names start as KEYS[1] does, so they lie in the same slot.
-- Keeps: only in a later epoch than that of its name, for a try of it may yet land in its own, or where it is being split
-- already; what stays has a new number, and the epoch of its freeze; a newer change stays, and stands for both, with increments
-- added. Runs when memory is full: one bad row must not hold up the others.
-- Needs: increments, dissolve
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'open_epoch', 'open_batch', 'open_bytes', 'dirty_bytes',
  'open_keep', 'batch', 'open_since', 'open_first')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
if meta[4] ~= ARGV[3] or meta[5] ~= ARGV[4] then
  return {'NONE'}
end
local batch, keep = meta[5], tonumber(ARGV[5])
if tonumber(meta[10] or meta[4]) < tonumber(meta[3]) then
  batch = tonumber(meta[9] or 0) + 1
  redis.call('HSET', KEYS[1], 'batch', batch, 'open_since', meta[3], 'open_first', meta[11] or meta[5], 'open_batch', batch, 'open_whole', 1, 'open_keep', keep)
elseif meta[8] then
  keep = tonumber(meta[8])
else
  return {'NONE'}
end

local stem = string.sub(KEYS[1], 1, -5) .. 'e:'
local bytes, dirty_bytes = tonumber(meta[6] or 0), tonumber(meta[7] or 0)
local rest = math.max(0, redis.call('ZCARD', KEYS[3]) - math.max(1, keep))
local page = rest > 0 and redis.call('ZRANGE', KEYS[3], -math.min(rest, 200), -1) or {}
for n = #page, 1, -1 do
  local member = page[n]
  local frozen = redis.call('HMGET', KEYS[4], 'h' .. member, 'v' .. member)
  bytes = math.max(0, bytes - #frozen[2])
  redis.call('HDEL', KEYS[4], 'h' .. member, 'v' .. member)
  redis.call('ZREM', KEYS[3], member)
  dirty_bytes = dirty_bytes + dissolve(KEYS[2], stem .. member, member, frozen, (struct.unpack('>I8', frozen[1])))
end
redis.call('HSET', KEYS[1], 'dirty_bytes', dirty_bytes, 'open_bytes', bytes)
return {'SPLIT', meta[4], batch, rest > 200 and 1 or 0}
