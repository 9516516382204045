#!lua flags=allow-oom
-- Removes a value and voids a lease. The second form of `Slot::invalidate` in entry/state.rs; same answer, same bytes.
-- KEYS[1] the key.
-- Keeps: a barrier with a live token stands, poisoned, so that no writer that is under way publishes; another kind or format is
-- left alone; a barrier never gets an expiry of the key. Runs when memory is full: it only removes or rewrites in place.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = redis.call('GET', KEYS[1])
if not entry then
  return 'VOIDED'
end

if #entry >= 3 and string.sub(entry, 1, 1) == '\215' then
  local kind = string.sub(entry, 2, 3)
  if kind == 'B\1' then
    -- Damage unless: flags 0 or 1, then 1 to 64 tokens of 24 bytes.
    local whole = (#entry - 4) % 24 == 0 and #entry >= 28 and #entry <= 1540 and string.byte(entry, 4) <= 1
    for at = 5, whole and #entry or 0, 24 do
      if struct.unpack('>I8', entry, at + 16) > now then
        redis.call('SET', KEYS[1], '\215B\1\1' .. string.sub(entry, 5))
        return 'VOIDED'
      end
    end
  elseif kind ~= 'V\1' and kind ~= 'L\1' then
    return 'FOREIGN'
  end
end

redis.call('DEL', KEYS[1])
return 'VOIDED'
