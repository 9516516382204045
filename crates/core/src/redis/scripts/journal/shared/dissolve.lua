-- What was frozen is dirty again, due since then, unless a newer change stands for both; increments are added to newer ones. The
-- second form of `ShardState::dissolve` in entry/shard/failure.rs. Answers the bytes that are dirty besides.
local function dissolve(dirty, key, member, frozen, since)
  local change, value = string.sub(frozen[1], 9), frozen[2]
  if not redis.call('ZSCORE', dirty, member) then
    redis.call('SET', key, '\215D\1' .. change .. value)
    redis.call('ZADD', dirty, since, member)
    return #value
  end
  -- It waits as long as the older one, or is held back with it.
  if since > struct.unpack('>I8', frozen[1]) then
    redis.call('ZADD', dirty, since, member)
  else
    redis.call('ZADD', dirty, 'LT', since, member)
  end

  local head = redis.pcall('GETRANGE', key, 0, 38)
  head = type(head) == 'string' and head or ''
  local is_dirty = string.sub(head, 1, 3) == '\215D\1'
  local schema, version, first = string.rep('\0', 4), string.rep('\0', 16), string.sub(change, 21)
  if is_dirty and #head == 39 then
    schema, version = string.sub(head, 4, 7), string.sub(head, 8, 23)
  end
  if not counts(value) then
    if is_dirty then
      redis.call('SETRANGE', key, 3, schema .. version .. first)
    end
    return 0
  elseif is_dirty then
    local newer = redis.call('GETRANGE', key, 39, -1)
    local both = join(value, newer)
    redis.call('SET', key, '\215D\1' .. later(schema, string.sub(change, 1, 4)) .. version .. first .. both)
    return #both - #newer
  elseif #head >= 3 and string.sub(head, 1, 1) == '\215' and string.sub(head, 1, 3) ~= '\215C\1' then
    return 0
  end
  redis.call('SET', key, '\215D\1' .. change .. value)
  return #value
end
