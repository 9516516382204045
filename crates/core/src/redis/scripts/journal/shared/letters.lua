-- The second form of what entry/shard does with a letter. A letter is schema (4 bytes), version (16), first (16), when (8),
-- tries (4), the reason's letter, length of the cause (4), cause, value.
local function value_of(letter)
  return string.sub(letter, 54 + struct.unpack('>I4', letter, 50))
end

-- Whether SQL's having this version outdates a letter. The second form of what `ShardState::forget` in entry/shard/batch.rs
-- removes.
local function outdated(letter, version)
  return not less(version, string.sub(letter, 5, 20)) and not counts(value_of(letter))
end

-- Sets a change aside: one letter stands for all of the key's that were. The second form of `ShardState::bury` in
-- entry/shard/letters.rs.
local function bury(dead, letters, member, change, at, tries, reason, cause, value)
  local schema, version, first = string.sub(change, 1, 4), string.sub(change, 5, 20), string.sub(change, 21, 36)
  local letter = redis.call('HGET', letters, member)
  if letter then
    local before = value_of(letter)
    if less(string.sub(letter, 21, 36), first) then
      first = string.sub(letter, 21, 36)
    end
    if counts(before) or counts(value) then
      value, schema = join(before, value), later(schema, string.sub(letter, 1, 4))
    end
    redis.call('ZREM', dead, string.sub(letter, 5, 20) .. member)
  end
  redis.call('ZADD', dead, 0, version .. member)
  local head = schema .. version .. first .. struct.pack('>I8I4', at, tries) .. reason
  redis.call('HSET', letters, member, head .. struct.pack('>I4', #cause) .. cause .. value)
end
