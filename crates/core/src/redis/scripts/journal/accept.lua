#!lua
-- Accepts changes, all or none. The second form of `ShardState::accept` in entry/shard/mod.rs; same answer, same contents.
-- KEYS: the shard's meta, dirty, frozen, open, then the keys; ARGV: identity, not after (a moment of this server's clock in
-- milliseconds), how many keys, bytes and milliseconds of age the shard may hold, then per key its schema (4 bytes) and value.
-- Answers with this server's clock besides, from which the next `not after` is derived.
-- Keeps: refused when late, for its caller has been answered; nothing is written before everything was read and judged; a key
-- stays dirty since its first change that is in no batch; a row replaces, increments are added to what is dirty, or all are
-- refused. Refused when memory is full, as every bound is.
-- Needs: increments
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'inc', 'seq', 'dirty_bytes', 'open_bytes')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[2]) then
  return {'LATE', time[1], time[2]}
end

-- Of the changes that would be replaced: the first version, the bytes, of increments the schema; and what each key would hold. A
-- key counts as often as it is named.
local at = #KEYS[1] - 1
local first, size, schemas, last, values, queued = {}, {}, {}, {}, {}, {}
local new, before, after, fit = 0, 0, 0, true
for n = 5, #KEYS do
  local key, value = KEYS[n], ARGV[2 * n - 3]
  -- Most entries of counters are shorter, and whole.
  local head = redis.call('GETRANGE', key, 0, 511)
  local kind = string.sub(head, 1, 3)
  if #head >= 3 and string.sub(head, 1, 1) == '\215' and kind ~= '\215C\1' and kind ~= '\215D\1' then
    return {'FOREIGN', time[1], time[2]}
  end
  if not redis.call('ZSCORE', KEYS[2], string.sub(key, at)) then
    new = new + 1
  elseif kind == '\215D\1' then
    first[key] = #head >= 39 and string.sub(head, 24, 39) or string.rep('\0', 16)
    local whole = #head < 512
    size[key] = math.max(0, (whole and #head or redis.call('STRLEN', key)) - 39)
    queued[key] = true
    before = before + size[key]
    if not last[key] and (counts(value) or counts(string.sub(head, 40, 42))) then
      last[key], schemas[key] = whole and string.sub(head, 40) or redis.call('GETRANGE', key, 39, -1), string.sub(head, 4, 7)
    end
  end
  if last[key] and (counts(value) or counts(last[key])) then
    local sum = merge(last[key], value)
    fit, value = fit and sum, sum or value
  end
  last[key], values[n] = value, value
  after = after + #value
end
if not fit then
  return {'UNFIT', time[1], time[2]}
end

if new > 0 then
  local oldest = tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]) or now
  local frozen = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  if frozen then
    oldest = math.min(oldest, (struct.unpack('>I8', redis.call('HGET', KEYS[4], 'h' .. frozen))))
  end
  if now - oldest > tonumber(ARGV[5]) then
    return {'FULL', 'AGE', time[1], time[2]}
  end
  if redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) + new > tonumber(ARGV[3]) then
    return {'FULL', 'KEYS', time[1], time[2]}
  end
end
local bytes = tonumber(meta[6] or 0)
if after > before and bytes + (meta[7] or 0) + after - before > tonumber(ARGV[4]) then
  return {'FULL', 'BYTES', time[1], time[2]}
end

local seq = tonumber(meta[5] or 0)
for n = 5, #KEYS do
  local key, schema, value = KEYS[n], ARGV[2 * n - 4], values[n]
  seq = seq + 1
  local version = struct.pack('>I8I8', tonumber(meta[3]), seq)
  bytes = math.max(0, bytes + #value - (size[key] or 0))
  first[key], size[key] = first[key] or version, #value
  if counts(value) then
    schema = schemas[key] and later(schema, schemas[key]) or schema
    schemas[key] = schema
  end
  redis.call('SET', key, '\215D\1' .. schema .. version .. first[key] .. value)
  if not queued[key] then
    redis.call('ZADD', KEYS[2], 'NX', now, string.sub(key, at))
  end
end
-- The server would write a number with 17 digits in mind.
redis.call('HSET', KEYS[1], 'seq', string.format('%d', seq), 'dirty_bytes', string.format('%d', bytes))
return {'AS', meta[3], seq, meta[4], redis.call('ZCARD', KEYS[2]), bytes, time[1], time[2]}
