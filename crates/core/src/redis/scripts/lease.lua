#!lua
-- Asks for the right to fill. The second form of `Slot::lease` in entry/state.rs; both must give the same answer and bytes.
-- KEYS[1] the key; ARGV: id (16 bytes), discard ('1' or '0'), owner for, keep for (milliseconds).
-- Keeps: a lease that is taken over keeps its id, so that the slow loader's result stays good; a barrier with a live token and
-- another kind or format are left alone; a lease always has an expiry of the key.
local id, discard = ARGV[1], ARGV[2] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = redis.call('GET', KEYS[1])

if entry and #entry >= 3 and string.sub(entry, 1, 1) == '\215' then
  local kind = string.sub(entry, 2, 3)
  if kind == 'V\1' then
    if #entry >= 12 and not discard then
      return {'HIT', entry}
    end
  elseif kind == 'L\1' then
    if #entry == 27 then
      if struct.unpack('>I8', entry, 20) > now then
        return {'BUSY'}
      end
      id = string.sub(entry, 4, 19)
    end
  elseif kind == 'B\1' then
    -- Damage unless: flags 0 or 1, then 1 to 64 tokens of 24 bytes.
    local whole = (#entry - 4) % 24 == 0 and #entry >= 28 and #entry <= 1540 and string.byte(entry, 4) <= 1
    for at = 5, whole and #entry or 0, 24 do
      if struct.unpack('>I8', entry, at + 16) > now then
        return {'BYPASS'}
      end
    end
  else
    return {'BYPASS'}
  end
end

redis.call('SET', KEYS[1], '\215L\1' .. id .. struct.pack('>I8', now + ARGV[3]), 'PXAT', now + ARGV[4])
return {'GRANTED', id}
