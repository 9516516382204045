#!lua flags=no-writes
-- Counters as they stand. The second form of `ShardState::count` in entry/shard/count.rs.
-- KEYS: the shard's meta, open, then the keys; ARGV: identity.
-- Answers the last batch of increments that was acknowledged, the open batch's number (0 for none), and per key its base, its
-- increments in the open batch and those in no batch. Reads the bases: their names start as KEYS[1] does, so they lie in the same slot.
-- Keeps: all of that is of one moment; a base of another incarnation is none.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'inc', 'acked', 'open_batch')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end
local stem = string.sub(KEYS[1], 1, -5) .. 'b:'
local header = '\215C\1' .. struct.pack('>I8', tonumber(meta[3] or 0)) .. '\215V\1'
local answer = {tonumber(meta[4] or 0), tonumber(meta[5] or 0)}
for n = 3, #KEYS do
  local member = string.sub(KEYS[n], #KEYS[1] - 1)
  local base = redis.pcall('GET', stem .. member)
  local is_base = type(base) == 'string' and #base >= 23 and string.sub(base, 1, 14) == header
  local entry = redis.pcall('GET', KEYS[n])
  local kind = type(entry) == 'string' and #entry >= 3 and string.sub(entry, 1, 3)
  local pending = false
  if kind == '\215D\1' then
    pending = string.sub(entry, 40)
  elseif kind and string.sub(kind, 1, 2) == '\215D' then
    pending = entry
  end
  local at = #answer
  answer[at + 1] = is_base and string.sub(base, 12)
  answer[at + 2] = meta[5] and redis.call('HGET', KEYS[2], 'v' .. member)
  answer[at + 3] = pending
end
return answer
