#!lua
-- Asks for the right to fill. The second form of `ShardState::lease` in entry/shard/mod.rs; same answer, same bytes.
-- KEYS: the shard's meta, the key; ARGV: identity, id (16 bytes), discard ('1' or '0'), owner for, keep for (milliseconds).
-- Keeps: an accepted change, also one that only a newer release can read or that was cut short, is never nothing; what is of
-- another incarnation is; a lease that is taken over keeps its id; a lease always has an expiry of the key.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'inc')
if meta[1] ~= ARGV[1] or meta[2] then
  return 'EPOCH'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, inc = ARGV[2], struct.pack('>I8', tonumber(meta[3] or 0))
local entry = redis.call('GET', KEYS[2])
if entry and #entry >= 3 and string.sub(entry, 1, 1) == '\215' then
  local kind = string.sub(entry, 2, 3)
  if kind == 'D\1' then
    return {'DIRTY', string.sub(entry, 40)}
  elseif string.sub(kind, 1, 1) == 'D' then
    return {'DIRTY', entry}
  elseif kind ~= 'C\1' then
    return {'BYPASS'}
  elseif string.sub(entry, 4, 11) == inc then
    local inner = string.sub(entry, 12, 14)
    if inner == '\215V\1' and #entry >= 23 and ARGV[3] ~= '1' then
      return {'HIT', string.sub(entry, 12)}
    elseif inner == '\215L\1' and #entry == 38 then
      if struct.unpack('>I8', entry, 31) > now then
        return {'BUSY'}
      end
      id = string.sub(entry, 15, 30)
    end
  end
end

local lease = '\215C\1' .. inc .. '\215L\1' .. id .. struct.pack('>I8', now + ARGV[4])
redis.call('SET', KEYS[2], lease, 'PXAT', now + ARGV[5])
return {'GRANTED', id}
