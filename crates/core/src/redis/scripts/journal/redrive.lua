#!lua
-- Makes dead letters dirty again. The second form of `ShardState::redrive` in entry/shard/letters.rs.
-- KEYS: the shard's meta, dirty, frozen, open, dead, letters, then the keys; ARGV: identity, how many keys, bytes and
-- milliseconds of age the shard may hold, then per key the version (16 bytes) of its letter.
-- Answers one letter per key: Dirty, Superseded, Gone, Foreign, Unfit, or the bound that would be passed: Keys, Bytes, Age.
-- Keeps: what is driven again is the key's newest change, and SQL has nothing newer, or its letter would be gone; increments are
-- added to what is dirty. Refused when memory is full, as an accept is.
-- Needs: less, increments, letters
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'seq', 'dirty_bytes', 'open_bytes')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seq, bytes = tonumber(meta[4] or 0), tonumber(meta[5] or 0)

local function waited()
  local oldest = tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]) or now
  local frozen = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  if frozen then
    oldest = math.min(oldest, (struct.unpack('>I8', redis.call('HGET', KEYS[4], 'h' .. frozen))))
  end
  return now - oldest
end

-- Which bound would be passed.
local function bound(is_queued, before, after)
  if not is_queued and waited() > tonumber(ARGV[4]) then
    return 'A'
  end
  if not is_queued and redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) + 1 > tonumber(ARGV[2]) then
    return 'K'
  end
  if after > before and bytes + (meta[6] or 0) + after - before > tonumber(ARGV[3]) then
    return 'B'
  end
end

local function again(key, member, version)
  local letter = redis.call('HGET', KEYS[6], member)
  if not letter or string.sub(letter, 5, 20) ~= version then
    return 'G'
  end
  local head = redis.pcall('GETRANGE', key, 0, 2)
  if type(head) ~= 'string' then
    return 'F'
  end
  if #head >= 3 and string.sub(head, 1, 1) == '\215' and head ~= '\215C\1' and head ~= '\215D\1' then
    return 'F'
  end
  local value, schema, first = value_of(letter), string.sub(letter, 1, 4), string.sub(letter, 21, 36)
  local is_queued, replaced = redis.call('ZSCORE', KEYS[2], member), 0
  if not counts(value) then
    if head == '\215D\1' or is_queued or redis.call('ZSCORE', KEYS[3], member) then
      return 'S'
    end
  elseif head == '\215D\1' and is_queued then
    local entry = redis.call('GET', key)
    local before = string.sub(entry, 40)
    value, replaced = merge(before, value), #before
    if not value then
      return 'U'
    end
    schema = later(schema, string.sub(entry, 4, 7))
    if less(string.sub(entry, 24, 39), first) then
      first = string.sub(entry, 24, 39)
    end
  end
  local passed = bound(is_queued, replaced, #value)
  if passed then
    return passed
  end
  seq, bytes = seq + 1, math.max(0, bytes + #value - replaced)
  redis.call('SET', key, '\215D\1' .. schema .. struct.pack('>I8I8', tonumber(meta[3]), seq) .. first .. value)
  redis.call('ZADD', KEYS[2], 'NX', now, member)
  redis.call('HDEL', KEYS[6], member)
  redis.call('ZREM', KEYS[5], version .. member)
  return 'D'
end

local answers = {}
for n = 7, #KEYS do
  answers[n - 6] = again(KEYS[n], string.sub(KEYS[n], #KEYS[1] - 1), ARGV[n - 2])
end
redis.call('HSET', KEYS[1], 'seq', seq, 'dirty_bytes', bytes)
return {table.concat(answers)}
