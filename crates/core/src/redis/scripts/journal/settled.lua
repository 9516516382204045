#!lua flags=no-writes
-- What became of accepted changes. The second form of `ShardState::settled` in entry/shard/mod.rs.
-- KEYS: the shard's meta, dirty, open, letters, then the keys; ARGV: identity, incarnation, then per key a version (16 bytes).
-- Answers one letter per key: Pending, dead (X), Durable, Unknown.
-- Needs: less
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'inc')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end

-- `at`: where the last version starts, and behind it the first.
local function within(change, at, version)
  return not less(version, string.sub(change, at + 16, at + 31)) and not less(string.sub(change, at, at + 15), version)
end

local function coalesced(key, member, version)
  if not redis.call('ZSCORE', KEYS[2], member) then
    return false
  end
  local head = redis.call('GETRANGE', key, 0, 38)
  local first = #head == 39 and string.sub(head, 24) or string.rep('\0', 16)
  return string.sub(head, 1, 3) == '\215D\1' and not less(version, first)
end

local gone = ARGV[2] == meta[3] and 'D' or 'U'
local answers = {}
for n = 5, #KEYS do
  local key, version = KEYS[n], ARGV[n - 2]
  local member = string.sub(key, #KEYS[1] - 1)
  local frozen = redis.call('HGET', KEYS[3], 'h' .. member)
  if (frozen and within(frozen, 13, version)) or coalesced(key, member, version) then
    answers[#answers + 1] = 'P'
  else
    local letter = redis.call('HGET', KEYS[4], member)
    answers[#answers + 1] = (letter and within(letter, 5, version)) and 'X' or gone
  end
end
return {table.concat(answers)}
