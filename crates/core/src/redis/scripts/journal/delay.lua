#!lua flags=allow-oom
-- The only change of the open batch is dirty again, and not due for a while. The second form of `ShardState::delay` in
-- entry/shard/failure.rs.
-- KEYS: the shard's meta, dirty, frozen, open, strikes; ARGV: identity, epoch, the batch's epoch and number, for how long
-- (milliseconds), '1' if the failure is one more of its own.
-- Answers 0 if it is not the open batch, or holds more. Writes the entry of the frozen key: its name starts as KEYS[1] does, so it
-- lies in the same slot.
-- Keeps: only in a later epoch than that of its name, for a try of it may yet land in its own; a newer change stays, stands for both,
-- and waits as long. Runs when memory is full: one bad row must not hold up the others.
-- Needs: increments, dissolve
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'open_epoch', 'open_batch', 'dirty_bytes', 'open_since')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
local page = redis.call('ZRANGE', KEYS[3], 0, 1)
if meta[4] ~= ARGV[3] or meta[5] ~= ARGV[4] or tonumber(meta[7] or meta[4]) >= tonumber(meta[3]) or #page ~= 1 then
  return 0
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local member = page[1]
local frozen = redis.call('HMGET', KEYS[4], 'h' .. member, 'v' .. member)
redis.call('DEL', KEYS[3], KEYS[4])
local key = string.sub(KEYS[1], 1, -5) .. 'e:' .. member
local dirty_bytes = tonumber(meta[6] or 0) + dissolve(KEYS[2], key, member, frozen, now + ARGV[5])
local strikes = tonumber(redis.call('HGET', KEYS[5], member) or 0)
redis.call('HSET', KEYS[5], member, math.max(1, strikes + ARGV[6]))
redis.call('HSET', KEYS[1], 'dirty_bytes', dirty_bytes)
redis.call('HDEL', KEYS[1], 'open_epoch', 'open_batch', 'open_count', 'open_whole', 'open_bytes', 'open_tries', 'open_keep', 'open_since', 'open_first')
return 1
